# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A node gets the users of a NIS domain, on a node whose programs are played; and what a play may say about it."""
import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host.commands import Result
from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.identity.nis import Domain, NisWish, ask_all, judge
from ansible_collections.dgxops.fleet.plugins.module_utils.identity.node import carry_out, read
from ansible_collections.dgxops.fleet.plugins.module_utils.identity.state import decide, decide_return

from .lab_identity import Node

DEBIAN = 'ID=debian\nVERSION_ID="12"\n'


class NisNode(Node):
    """``bound`` is the server that ypbind finds; the domain name is a file here."""

    def __init__(self, root, bound="nis1", **options):
        super().__init__(root, **options)
        self.bound = bound
        self.write("proc/sys/kernel/domainname", "(none)\n")

    def _domainname(self, words, _simulate):
        self.write("proc/sys/kernel/domainname", words[0] + "\n")
        return Result(0, "", "")

    def _ypwhich(self, _words, _simulate):
        return Result(0, self.bound + "\n", "") if self.bound else Result(1, "", "can't yp_bind: Reason: Domain not bound\n")

    def _getent(self, words, _simulate):
        bound = any(self.units.get(name, ["", False])[1] for name in ("ypbind.service", "nis.service"))
        return Result(0 if words[1] in self.users and bound else 2, "", "")


def wish(release=DEBIAN, **options):
    params = {"domain": "dgx", "servers": ["nis1", "nis2"], "create_home": True, "home_umask": "0077", "expected_users": ["alice"], "conflicts": "refuse"}
    return NisWish.from_params(dict(params, timeout_s=0.2, **options), release)


def have(node, **options):
    wanted, domain = wish(**options).wish, Domain()
    change = decide(wanted, read(wanted, node.host, domain))
    carry_out(change, node.host, wanted.users, domain, wait=0)
    return change


def give_back(node):
    change = decide_return("nis", read(None, node.host, Domain()))
    carry_out(change, node.host, (), Domain())
    return change


@pytest.fixture
def node(tmp_path):
    return NisNode(tmp_path)


def test_users_come_and_the_node_is_given_back_as_it_was(node):
    before = node.everything()
    have(node)
    assert node.read("etc/yp.conf").endswith("domain dgx server nis1\ndomain dgx server nis2\n") and node.read("etc/defaultdomain") == "dgx\n"
    assert node.read("etc/nsswitch.conf").startswith("passwd:         files systemd nis\ngroup:          files systemd nis\nshadow:         files nis\n")
    assert node.read("proc/sys/kernel/domainname") == "dgx\n" and node.units["ypbind.service"] == ["enabled", True]
    assert not have(node)
    assert give_back(node)
    assert node.everything() == before and not give_back(node)


def test_where_nis_is_a_script_a_second_run_changes_nothing_either(node):
    old = 'ID=ubuntu\nVERSION_ID="18.04"\n'
    before = node.everything()
    have(node, release=old)
    assert node.units["nis.service"] == ["enabled", True] and not have(node, release=old)
    node.units["nis.service"][0] = "disabled"
    assert have(node, release=old) and node.units["nis.service"] == ["enabled", True]
    assert give_back(node) and node.everything() == before


def test_the_line_for_netgroups_that_debian_has_anyway_comes_back(node):
    have(node)
    give_back(node)
    assert "netgroup:       nis\n" in node.read("etc/nsswitch.conf")


@pytest.mark.parametrize("trouble, said", [({"bound": ""}, "has found no server.*Domain not bound"), ({"users": []}, "alice is not known")])
def test_a_domain_that_nobody_serves_leaves_the_node_as_it_was(tmp_path, trouble, said):
    node = NisNode(tmp_path, **trouble)
    before = node.everything()
    with pytest.raises(FleetError, match=said + ".*given back as it was"):
        have(node)
    assert node.everything() == before


def test_a_nis_of_others_is_refused_or_put_aside(node):
    node.write("etc/nsswitch.conf", "passwd: files nis\ngroup: files nis\n")
    node.write("proc/sys/kernel/domainname", "old\n")
    node.write("etc/yp.conf", "domain old server old1\n")
    node.write("etc/defaultdomain", "old\n")
    node.status["ypbind-mt"] = "installed"
    node.units["ypbind.service"] = ["enabled", True]
    before = node.everything()
    with pytest.raises(FleetError, match="membership in old") as refusal:
        have(node)
    assert refusal.value.details["conflicts"] == ["nis in /etc/nsswitch.conf", "membership in old"]
    have(node, conflicts="replace")
    assert node.read("proc/sys/kernel/domainname") == "dgx\n"
    give_back(node)
    assert node.everything() == before


@pytest.mark.parametrize("release, packages", [
    (DEBIAN, ("ypbind-mt", "yp-tools", "libnss-nis", "nscd")),
    ('ID=ubuntu\nVERSION_ID="22.04"\n', ("ypbind-mt", "yp-tools", "libnss-nis", "nscd")),
    ('ID=ubuntu\nVERSION_ID="20.04"\n', ("nis", "nscd")),
    ('ID=debian\nVERSION_ID="10"\n', ("nis", "nscd")),
    ("ID=other\n", ("ypbind-mt", "yp-tools", "libnss-nis", "nscd")),
])
def test_packages_are_those_of_the_release(release, packages):
    assert wish(release).wish.packages == packages


@pytest.mark.parametrize("options, said", [
    ({"domain": None}, "domain is None"),
    ({"domain": "(none)"}, "name of a NIS domain"),
    ({"domain": "a b"}, "name of a NIS domain"),
    ({"domain": "dgx\ndomain evil"}, "name of a NIS domain"),
    ({"servers": ["nis1 nis2"]}, "servers has 'nis1 nis2'"),
    ({"home_umask": "77"}, "octal mask"),
])
def test_what_could_not_work_is_refused(options, said):
    with pytest.raises(FleetError) as refusal:
        wish(**options)
    assert said in refusal.value.message


def test_servers_that_do_not_answer_stop_a_change_and_else_are_a_warning():
    asked = wish(servers=["no-such-host.invalid"])
    problems = ask_all(asked)
    assert "does not answer on port 111" in problems[0]
    with pytest.raises(FleetError, match="No NIS server answers, so the node was left as it was"):
        judge(problems, asked.servers, True)
    assert judge(problems, asked.servers, False) == [problems[0] + "."]
    assert judge(problems, asked.servers + ("nis2",), True) == [problems[0] + "."]
    assert judge([], (), True) == []
