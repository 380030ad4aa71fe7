# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""nfs_client_info and nfsd_info on recorded hosts, and the way to a server on a recorded network."""
import json

import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host.commands import Recorded, Result
from ansible_collections.dgxops.fleet.plugins.module_utils.host.sysfs import Sysfs
from ansible_collections.dgxops.fleet.plugins.module_utils.storage import nfs_route
from ansible_collections.dgxops.fleet.plugins.modules import nfs_client_info, nfsd_info

from ..module_utils.storage import nfs_texts as texts
from .run_module import run_module

CLIENT = {
    "proc/self/mountinfo": texts.MOUNTINFO, "proc/self/mountstats": texts.MOUNTSTATS, "proc/fs/nfsfs/volumes": texts.VOLUMES,
    "proc/net/rpc/nfs": texts.CALLS, "proc/fs/fscache/caches": texts.CACHE_IN_USE, "proc/fs/fscache/stats": texts.CACHE_STATISTICS,
    "sys/class/bdi/0:44/read_ahead_kb": "128\n", "sys/module/sunrpc/parameters/tcp_slot_table_entries": "2\n",
}
SERVER = {
    "proc/fs/nfsd/threads": "16\n", "proc/fs/nfsd/pool_threads": "16\n", "proc/fs/nfsd/pool_stats": texts.POOLS.format(501, 444),
    "proc/fs/nfsd/versions": "+3 +4 -4.0 +4.1 +4.2\n", "proc/fs/nfsd/max_block_size": "524288\n", "proc/fs/nfsd/clients/3/info": texts.CLIENT,
    "proc/net/rpc/nfsd": texts.NFSD, "var/lib/nfs/etab": texts.ETAB, "proc/sys/kernel/osrelease": "6.1.0-56-amd64\n",
}


def tree(place, files):
    for name, text in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
    return place


def info(place, **options):
    return run_module(nfs_client_info.main, dict(options, root=str(place)))


def test_each_mount_is_told_with_what_is_in_force_and_whether_the_cache_serves_it(tmp_path):
    answer = info(tree(tmp_path, CLIENT))
    data, other = answer["mounts"]
    assert (data["path"], data["server"], data["version"], data["rsize"], data["nconnect"], data["read_ahead_kib"], data["hard"]) == (
        "/mnt/data", "127.0.0.1", "4.2", 524288, 2, 128, True)
    assert data["cache"] == {"asked": True, "active": True, "reason": "", "hits": 2048, "misses": 2048, "hit_rate": 0.5}
    assert (data["rpc"]["from_server"], data["rpc"]["connections"], data["rpc"]["operations"]["READ"]["requests"]) == (0.5, 2, 16)
    assert (other["path"], other["server"], other["version"], other["hard"], other["cache"]["asked"]) == ("/mnt/two words", "::1", "3", False, False)
    assert answer["cache"] == {"caches": [{"name": "mycache", "active": True}], "active": True, "hits": 2048, "misses": 2048, "hit_rate": 0.5, "unit": "pages"}
    assert answer["client"]["calls"] == 49 and answer["parameters"] == {"tcp_slot_table_entries": 2} and not answer["changed"]
    assert any("mounted soft" in text for text in answer["advice"]) and any("reads 128 KiB ahead" in text for text in answer["advice"])


@pytest.mark.parametrize("changes, reason", [
    ({"proc/fs/fscache/caches": texts.CACHE_ABSENT}, "no cache in use"),
    ({"proc/fs/nfsfs/volumes": texts.VOLUMES.replace("yes", "no ")}, "has not taken it into FS-Cache"),
    ({"proc/fs/fscache/caches": None}, "cachefilesd does not run"),
])
def test_an_option_that_does_nothing_is_told(tmp_path, changes, reason):
    files = {name: text for name, text in dict(CLIENT, **changes).items() if text is not None}
    answer = info(tree(tmp_path, files))
    assert not answer["mounts"][0]["cache"]["active"] and reason in answer["mounts"][0]["cache"]["reason"]
    assert "failed" not in answer
    assert "failed" not in info(tmp_path, required=["network"])
    failed = info(tmp_path, required=["cache"])
    assert failed["failed"] and reason in failed["msg"] and "/mnt/data" in failed["msg"]


def test_before_5_17_the_daemon_tells_whether_there_is_a_cache(tmp_path):
    files = {name: text for name, text in CLIENT.items() if name != "proc/fs/fscache/caches"}
    assert info(tree(tmp_path, dict(files, **{"proc/825/comm": "cachefilesd\n"})))["mounts"][0]["cache"]["active"]


def test_a_host_without_nfs_is_no_error(tmp_path):
    answer = info(tmp_path)
    assert (answer["mounts"], answer["client"], answer["problems"], answer["cache"]["active"]) == ([], None, [], False)
    assert not run_module(nfsd_info.main, {"root": str(tmp_path)})["running"]


def test_a_wrong_mtu_is_refused(tmp_path):
    assert "576 to 65535" in info(tmp_path, mtu=9)["msg"]


def test_the_server_is_told(tmp_path):
    answer = run_module(nfsd_info.main, {"root": str(tree(tmp_path, SERVER))})
    assert (answer["running"], answer["threads"], answer["versions"], answer["max_block_size"]) == (True, 16, ["3", "4", "4.1", "4.2"], 524288)
    assert answer["pools"] == [{"pool": 0, "packets": 501, "waited": 57, "woken": 444, "waited_share": 0.1138}]
    assert not answer["counters"]["histogram_is_kept"] and answer["counters"]["bytes_read"] == 50302976
    assert [entry["path"] for entry in answer["exports"]] == ["/srv/data", "/srv/two words"]
    assert answer["clients"] == [{"name": "Linux NFSv4.2 dgx01", "address": "127.0.0.1:931", "version": "4.2"}]
    assert any("async" in text for text in answer["advice"])


class Network(Recorded):
    """A network that carries frames of some size."""

    def __init__(self, carries, route):
        super().__init__({("ip", "-json", "route", "get", "192.0.2.9"): Result(0, json.dumps([route]), "")})
        self.carries = carries

    def run(self, argv, timeout=None, text_in=None):
        if argv[0] == "ping":
            return Result(0 if int(argv[argv.index("-s") + 1]) + 28 <= self.carries else 1, "", "")
        return super().run(argv, timeout, text_in)


@pytest.mark.parametrize("carries, probe, least, found, said", [
    (9000, True, 9000, 9000, ""),
    (1500, True, 9000, 1500, "only 1500 arrive"),
    (0, True, 9000, None, "does not answer ping"),
    (9000, False, 9000, None, ""),
    (9000, True, 9001, 9000, "but 9001 is expected"),
])
def test_frames_that_do_not_arrive_are_told(tmp_path, carries, probe, least, found, said):
    sysfs = Sysfs(str(tree(tmp_path, {"sys/class/net/eth0/mtu": "9000\n"})))
    network = Network(carries, {"dev": "eth0", "dst": "192.0.2.9", "gateway": "192.0.2.1"})
    route = nfs_route.find_route("nfs01", "192.0.2.9", sysfs, network, probe, least)
    assert (route.interface, route.mtu, route.gateway, route.carries) == ("eth0", 9000, "192.0.2.1", found)
    assert said in route.problem and bool(said) == bool(route.problem)


def test_one_packet_that_is_lost_is_no_narrow_place(tmp_path):
    class Lossy(Network):
        sent = 0

        def run(self, argv, timeout=None, text_in=None):
            self.sent += argv[0] == "ping"
            return Result(1, "", "") if self.sent == 1 and argv[0] == "ping" else super().run(argv, timeout, text_in)

    sysfs = Sysfs(str(tree(tmp_path, {"sys/class/net/eth0/mtu": "9000\n"})))
    route = nfs_route.find_route("nfs01", "192.0.2.9", sysfs, Lossy(9000, {"dev": "eth0"}), True, 9000)
    assert (route.carries, route.problem) == (9000, "")


def test_without_ping_it_is_told_that_nobody_knows(tmp_path):
    sysfs = Sysfs(str(tree(tmp_path, {"sys/class/net/eth0/mtu": "9000\n"})))
    commands = Recorded({("ip", "-json", "route", "get", "192.0.2.9"): Result(0, '[{"dev": "eth0"}]', "")})
    route = nfs_route.find_route("nfs01", "192.0.2.9", sysfs, commands, True, 9000)
    assert route.carries is None and "not known whether frames of 9000 bytes arrive at nfs01" in route.problem
    assert "The program ping is not installed" in route.problem


def test_a_route_may_be_narrower_than_its_interface(tmp_path):
    sysfs = Sysfs(str(tree(tmp_path, {"sys/class/net/eth0/mtu": "9000\n"})))
    network = Network(9000, {"dev": "eth0", "metrics": [{"mtu": 1400}]})
    assert nfs_route.find_route("nfs01", "192.0.2.9", sysfs, network, False, None).mtu == 1400


@pytest.mark.parametrize("source, server", [
    ("nfs01:/export", "nfs01"), ("192.0.2.9:/", "192.0.2.9"), ("[fd00::1]:/x", "fd00::1"), ("[fe80::1%eth0]:/x", "fe80::1%eth0"), ("none", ""), ("", ""),
])
def test_the_server_of_a_source(source, server):
    assert nfs_route.server_of(source) == server


def test_old_iproute2_prints_routes_in_words_though_asked_for_json():
    text = "192.0.2.9 via 192.0.2.1 dev enp1s0 src 192.0.2.5 uid 0 \n    cache expires 591sec mtu lock 1400 \n"
    assert nfs_route.parse_route(text) == {"dev": "enp1s0", "gateway": "192.0.2.1", "metrics": [{"mtu": 1400}]}
    assert nfs_route.parse_route("local 127.0.0.1 dev lo src 127.0.0.1 uid 0 \n    cache <local> \n") == {"dev": "lo", "gateway": "", "metrics": []}


@pytest.mark.parametrize("text", ["", "null", "[]", "[1]", "{}", "[{}]", "Device not found"])
def test_whatever_ip_says_is_no_error(text):
    assert nfs_route.parse_route(text) == {}
