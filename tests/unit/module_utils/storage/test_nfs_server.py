"""A server's threads, exports and service, and the server as it was; on a host that behaves as systemd, exportfs and the kernel do."""
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.dgxops.fleet.plugins.module_utils.host import records
from ansible_collections.dgxops.fleet.plugins.module_utils.host.commands import Commands, Result
from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.host.host import Host
from ansible_collections.dgxops.fleet.plugins.module_utils.storage import nfs_server
from ansible_collections.dgxops.fleet.plugins.module_utils.storage import nfs_server_host as host

NEW, OLD = "ExecStart=/usr/sbin/rpc.nfsd\n", "EnvironmentFile=-/run/sysconfig/nfs-utils\nExecStart=/usr/sbin/rpc.nfsd $RPCNFSDARGS\n"
DEFAULT = "# Number of servers to start up\nRPCNFSDCOUNT=8\n\nRPCNFSDPRIORITY=0\n"
DATA = {"path": "/srv/data", "clients": [{"host": "192.0.2.0/24", "options": ["ro"]}, {"host": "ingest01"}]}


class Machine(Commands):
    """systemctl and exportfs; ``refused`` are paths that the kernel does not export."""

    def __init__(self, root):
        super().__init__()
        self.root, self.enabled, self.active, self.refused, self.asked = root, False, False, set(), []

    def run(self, argv, timeout=None, text_in=None):
        self.asked.append(" ".join(argv))
        if argv[:2] == ("systemctl", "show"):
            words = "enabled" if self.enabled else "disabled", "active" if self.active else "inactive"
            return Result(0, "UnitFileState={0}\nActiveState={1}\n".format(*words), "")
        if argv[0] == "systemctl":
            self.systemctl(argv[1])
        if argv[0] == "exportfs":
            self.export()
        return Result(0, "", "")

    def systemctl(self, verb):
        if verb in ("enable", "disable"):
            self.enabled = verb == "enable"
            return
        self.active = verb != "stop"
        os.makedirs(self.root + "/proc/fs/nfsd", exist_ok=True)
        with open(self.root + "/proc/fs/nfsd/threads", "w") as handle:
            handle.write("{0}\n".format(self.count() if self.active else 0))
        ports = [line for line in self.text("etc/nfs.conf.d/dgxops.conf").splitlines() if line.startswith("rdma-port=")]
        with open(self.root + "/proc/fs/nfsd/portlist", "w") as handle:
            handle.write("".join(line.replace("rdma-port=", "rdma ") + "\n" for line in ports * 2 if self.active))
        if self.active:
            self.export()

    def count(self):
        texts = [self.text("etc/nfs.conf.d/dgxops.conf"), self.text("etc/default/nfs-kernel-server")]
        words = "\n".join(texts).replace("threads=", "RPCNFSDCOUNT=").split("RPCNFSDCOUNT=")
        return int(words[1].split()[0]) if len(words) > 1 else 8

    def export(self):
        lines = []
        for line in self.text("etc/exports.d/dgxops.exports").splitlines():
            path, _blank, clients = line.partition(" ")
            if not line.startswith("#") and path not in self.refused:
                clients = clients.replace("ingest01", "ingest01.example.com").replace(")", ",wdelay,secure)")
                lines += ["{0}\t{1}\n".format(path, client) for client in clients.split()]
        os.makedirs(self.root + "/var/lib/nfs", exist_ok=True)
        with open(self.root + "/var/lib/nfs/etab", "w") as handle:
            handle.write("".join(lines))

    def text(self, name):
        try:
            with open(os.path.join(self.root, name)) as handle:
                return handle.read()
        except OSError:
            return ""


def build(root, unit=NEW):
    for name in ("srv/data", "lib/systemd/system", "etc/default", "etc/nfs.conf.d" if unit == NEW else "etc"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "etc/default/nfs-kernel-server").write_text(DEFAULT)
    if unit:
        (root / "lib/systemd/system/nfs-server.service").write_text(unit)
    return Host(Machine(str(root)), str(root))


@pytest.fixture
def server(tmp_path):
    return build(tmp_path)


def wish(*exports, **options):
    params = {"exports": list(exports), "options": ["rw", "sync"], "threads": None, "rdma_port": None, "allow_async": False, "state": "present"}
    return nfs_server.Wish.from_params(dict(params, **options))


def run(server, wanted):
    change = nfs_server.decide(wanted, host.read(wanted, server))
    host.carry_out(change, wanted, server)
    return change


def state(server):
    found = {"service": (server.commands.enabled, server.commands.active)}
    for above, directories, names in os.walk(server.sysfs.root + "/etc"):
        found.update(dict.fromkeys(os.path.join(above, name) for name in directories))
        for name in names:
            found[os.path.join(above, name)] = server.commands.text(os.path.join(above, name))
    return found


def test_it_exports_with_threads_and_a_second_run_changes_nothing(server):
    change = run(server, wish(DATA, threads=64))
    assert [diff.header for diff in change.diffs] == ["NFS server", "/etc/exports.d/dgxops.exports", "/etc/nfs.conf.d/dgxops.conf"]
    assert server.commands.text("etc/exports.d/dgxops.exports").endswith(
        "/srv/data 192.0.2.0/24(sync,ro,no_subtree_check) ingest01(rw,sync,no_subtree_check)\n")
    assert state(server)["service"] == (True, True) and server.sysfs.read("proc/fs/nfsd/threads") == "64"
    asked = len(server.commands.asked)
    assert not run(server, wish(DATA, threads=64))
    assert [words.split()[1] for words in server.commands.asked[asked:]] == ["show"]


@pytest.mark.parametrize("unit", [NEW, OLD])
@pytest.mark.parametrize("enabled, active", [(True, True), (False, False), (True, False), (False, True)])
def test_everything_is_given_back(tmp_path, unit, enabled, active):
    server = build(tmp_path, unit)
    if active:
        server.commands.systemctl("start")
    server.commands.enabled = enabled
    before, threads = state(server), server.sysfs.read("proc/fs/nfsd/threads")
    run(server, wish(DATA, threads=64))
    run(server, wish(dict(DATA, path="/srv"), threads=32))
    assert server.sysfs.read("proc/fs/nfsd/threads") == "32"
    assert run(server, wish(state="absent")) and state(server) == before
    assert server.sysfs.read("proc/fs/nfsd/threads") == (threads or "0")
    assert not run(server, wish(state="absent")) and not os.path.exists(records.place(nfs_server.RECORD, server.root))


def test_a_server_that_runs_takes_rdma_too_and_gives_it_back_by_a_restart(server):
    server.commands.systemctl("start")
    server.commands.enabled = True
    before = state(server)
    server.commands.asked.clear()
    change = run(server, wish(DATA, rdma_port=20049))
    assert server.commands.text("etc/nfs.conf.d/dgxops.conf").endswith("[nfsd]\nrdma=y\nrdma-port=20049\n")
    assert change.diffs[0].after == "enabled, running, 8 threads\nRDMA on port 20049\n"
    assert server.sysfs.read("proc/fs/nfsd/portlist") == "rdma 20049" and not any("start" in words for words in server.commands.asked)
    assert not run(server, wish(DATA, rdma_port=20049))
    no_more = run(server, wish(DATA))
    assert no_more.left == (20049,) and not run(server, wish(DATA)).left
    run(server, wish(state="absent"))
    assert state(server) == before and "systemctl restart nfs-server.service" in server.commands.asked and not server.sysfs.read("proc/fs/nfsd/portlist")


def test_a_server_that_is_started_opens_the_port_itself(server):
    run(server, wish(threads=16, rdma_port=20050))
    assert server.sysfs.read("proc/fs/nfsd/portlist").splitlines() == ["rdma 20050"] * 2
    run(server, wish(state="absent"))
    assert state(server)["service"] == (False, False)


def test_a_port_that_the_kernel_refuses_is_told_and_the_files_go_back(server):
    server.commands.systemctl("start")
    os.remove(server.sysfs.path("proc/fs/nfsd/portlist"))
    os.symlink("nowhere/portlist", server.sysfs.path("proc/fs/nfsd/portlist"))
    before = state(server)
    with pytest.raises(FleetError, match="does not take NFS over RDMA on port 20049: .*svcrdma.*The files are as they were"):
        run(server, wish(rdma_port=20049))
    assert {name: text for name, text in state(server).items() if name != "service"} == {name: text for name, text in before.items() if name != "service"}


def test_old_releases_have_no_setting_for_rdma(tmp_path):
    with pytest.raises(FleetError, match="rdma_port is 20049.*nfs-utils before 2.5"):
        run(build(tmp_path, OLD), wish(rdma_port=20049))


def test_old_releases_keep_the_number_in_etc_default(tmp_path):
    server = build(tmp_path, OLD)
    run(server, wish(threads=64))
    assert server.commands.text("etc/default/nfs-kernel-server") == DEFAULT.replace("=8", "=64") and not os.path.exists(server.sysfs.path("etc/nfs.conf.d"))
    run(server, wish(DATA))
    assert server.commands.text("etc/default/nfs-kernel-server") == DEFAULT


def test_of_several_numbers_in_etc_default_the_last_one_counts(tmp_path):
    server, place = build(tmp_path, OLD), tmp_path / "etc/default/nfs-kernel-server"
    place.write_text(DEFAULT + "RPCNFSDCOUNT=16\n")
    run(server, wish(threads=64))
    assert place.read_text() == DEFAULT + "RPCNFSDCOUNT=64\n"
    run(server, wish(DATA))
    assert place.read_text() == DEFAULT + "RPCNFSDCOUNT=16\n"


def test_a_server_that_runs_is_not_restarted(server):
    server.commands.systemctl("start")
    server.commands.asked.clear()
    run(server, wish(DATA, threads=16))
    assert not any("restart" in words or " start" in words for words in server.commands.asked) and server.sysfs.read("proc/fs/nfsd/threads") == "16"


def test_a_server_that_was_not_installed_is_stopped_when_all_is_given_back(tmp_path):
    server = build(tmp_path, None)
    wanted = wish(DATA, threads=64)
    change = nfs_server.decide(wanted, host.read(wanted, server))
    assert change and not host.is_installed(host.read(wanted, server))
    host.remember_absence(change, server)
    (tmp_path / "lib/systemd/system/nfs-server.service").write_text(NEW)
    server.commands.systemctl("start")  # as the package does
    server.commands.enabled = True
    run(server, wanted)
    run(server, wish(state="absent"))
    assert state(server)["service"] == (False, False)


def test_an_export_that_was_lost_is_made_again(server):
    run(server, wish(DATA))
    with open(server.sysfs.path("var/lib/nfs/etab"), "w"):
        pass
    assert run(server, wish(DATA)).export and not run(server, wish(DATA))


def test_what_cannot_be_exported_is_told_and_the_file_goes_back(server):
    run(server, wish(DATA))
    os.mkdir(server.sysfs.path("srv/bad"))
    server.commands.refused.add("/srv/bad")
    before = state(server)
    with pytest.raises(FleetError, match="did not export /srv/bad for 10.0.0.1.*The files are as they were"):
        run(server, wish(DATA, {"path": "/srv/bad", "clients": [{"host": "10.0.0.1"}]}))
    assert state(server) == before and not run(server, wish(DATA))


def test_an_export_of_another_file_is_not_touched_nor_doubled(server):
    with open(server.sysfs.path("etc/exports"), "w") as handle:
        handle.write('# mine\n/srv/other *(ro)\n"/srv/data" \\\n  192.0.2.0/24(rw) # comment\n')
    with pytest.raises(FleetError, match="/srv/data is exported to 192.0.2.0/24 in /etc/exports already"):
        run(server, wish(DATA))
    run(server, wish({"path": "/srv/data", "clients": [{"host": "10.0.0.1"}]}))


@pytest.mark.parametrize("entry, options, said", [
    (dict(DATA, path="srv"), {}, "an absolute path"), (dict(DATA, path="/srv/"), {}, "an absolute path"), (dict(DATA, path="/a\nb"), {}, "an absolute path"),
    (dict(DATA, clients=[]), {}, "has no clients"), (dict(DATA, clients=[{"host": "a b"}]), {}, "a network such as"),
    (dict(DATA, clients=[{"host": "a(rw)"}]), {}, "a network such as"), (dict(DATA, clients=[{"host": "a", "options": ["rw)x("]}]), {}, "a word of exports"),
    (dict(DATA, clients=[{"host": "a", "options": ["async"]}]), {}, "allow_async"), (DATA, {"threads": 0}, "threads is 0"),
    (DATA, {"threads": 9999}, "threads is 9999"), (DATA, {"rdma_port": 0}, "rdma_port is 0"), (DATA, {"rdma_port": 70000}, "rdma_port is 70000"),
    (dict(DATA, clients=[{"host": "a"}, {"host": "a"}]), {}, "more than once"), (dict(DATA, path="/srv/none"), {}, "no such directory"),
])
def test_bad_input_is_told(server, entry, options, said):
    with pytest.raises(FleetError, match=said):
        run(server, wish(entry, **options))


def test_async_needs_consent(server):
    assert "async" in wish(dict(DATA, clients=[{"host": "a", "options": ["async"]}]), allow_async=True).exports[0].options


def test_a_damaged_record_is_told(server):
    run(server, wish(DATA))
    for text in ("{", "[]", '{"unit": 1}', '{"unit": [1], "installed": true, "threads": null, "count_line": null, "directories": []}'):
        with open(records.place(nfs_server.RECORD, server.root), "w") as handle:
            handle.write(text)
        with pytest.raises(FleetError, match="nfs_server.json is damaged"):
            run(server, wish(state="absent"))


@given(st.text())
def test_no_exports_file_is_an_error(text):
    nfs_server.parse_exports(text)
