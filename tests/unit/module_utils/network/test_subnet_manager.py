"""Who manages the subnet, and what is said where nobody does."""
import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host.commands import Recorded, Result
from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.host.sysfs import Sysfs
from ansible_collections.dgxops.fleet.plugins.module_utils.network.ib_text import Manager, Node, Port
from ansible_collections.dgxops.fleet.plugins.module_utils.network.subnet_manager import Asked, Subnet, choose_port, observe, problem_of, read_ports, watch

from .test_ib_text import DISCOVERED, IBSTAT, NR, SMIR

PORT = Port("mlx5_0", 1, "0x0000000000100003", True, True, 3, 1, True)
WORDS = ("-C", "mlx5_0", "-P", "1")
MASTER = Manager("0x0000000000100001", 1, 14, "master", 1)
STANDBY = Manager(PORT.guid, 3, 13, "standby", 1)
NODE = Node("sm01", "host", MASTER.lid, MASTER.guid)
SILENT = Result(1, "", "Query SA failed: Connection timed out\n")


def said(**answers):
    """A host on which the programs say this."""
    known = {
        ("ibstat",): Result(0, IBSTAT, ""),
        ("saquery",) + WORDS + ("SMIR",): Result(0, SMIR, ""),
        ("saquery",) + WORDS + ("NR", "1"): Result(0, NR[NR.index("NodeRecord", 1):], ""),
        ("saquery",) + WORDS + ("NR", "2"): Result(0, NR[:NR.index("NodeRecord", 1)], ""),
        ("saquery",) + WORDS + ("NR", "3"): Result(1, "", "No record"),
        ("ibnetdiscover",) + WORDS: Result(0, DISCOVERED, ""),
    }
    known.update(answers.pop("instead", {}))
    return Recorded(known)


def test_software_and_hardware_are_told_apart():
    told = observe(PORT, said()).to_dict()
    assert [(one["name"], one["kind"], one["state"]) for one in told["managers"]] == [
        ("sm01 mlx5_0", "software", "master"), ("MF0;leaf01:MSB7700/U1", "hardware", "standby"), ("", "unknown", "standby")]
    assert told["master"]["guid"] == MASTER.guid
    assert (told["state"], told["port"]) == ("standby", {"name": "mlx5_0/1", "guid": PORT.guid, "lid": 3})


def test_without_a_master_the_port_s_own_subnet_manager_is_asked():
    own = "sminfo: sm lid 3 sm guid 0x100003, activity count 7 priority 13 state 1 SMINFO_DISCOVERING\n"
    commands = said(instead={("saquery",) + WORDS + ("SMIR",): SILENT, ("sminfo",) + WORDS + ("3",): Result(0, own, "")})
    subnet = observe(PORT, commands)
    assert (subnet.master, subnet.here.state) == (None, "discovering")
    assert "The one on this port is discovering" in problem_of(subnet, Asked())


def test_a_host_that_the_master_has_not_addressed_is_lost():
    subnet = observe(PORT, said(), hosts=True)
    assert [seat.name for seat in subnet.lost] == ["sm01"]
    assert "sm01 (0x0000000000100001) on leaf01 port 1" in problem_of(subnet, Asked())


@pytest.mark.parametrize("managers, asked, words", [
    ((MASTER, STANDBY), Asked(2, True, 13), ""),
    ((), Asked(), "Start one on a host"),
    ((MASTER,), Asked(own=True), "not known to the fabric"),
    ((MASTER, STANDBY._replace(state="discovering")), Asked(own=True), "is discovering"),
    ((MASTER, STANDBY), Asked(own=True, priority=5), "priority 13, but 5 is wanted"),
    ((MASTER, STANDBY), Asked(3), "2 subnet managers are ready, but 3 are wanted"),
    ((MASTER, STANDBY._replace(state="master")), Asked(), "has 2 masters"),
])
def test_what_is_wrong_is_a_sentence(managers, asked, words):
    problem = problem_of(Subnet(PORT, managers, (NODE,)), asked)
    assert words in problem if words else problem == ""


def test_a_master_that_just_took_over_may_not_know_its_nodes_yet():
    assert "does not answer for its nodes yet" in problem_of(Subnet(PORT, (MASTER, STANDBY), ()), Asked())


@pytest.mark.parametrize("wanted, chosen", [
    ("", "mlx5_0/1"), ("mlx5_0", "mlx5_0/1"), ("mlx5_1/2", "mlx5_1/2"), ("0x100006", "mlx5_1/2"), ("0x0000000000100003", "mlx5_0/1")])
def test_a_port_by_any_of_its_names(wanted, chosen):
    assert choose_port(read_ports(said(), Sysfs("/")), wanted).name == chosen


@pytest.mark.parametrize("wanted, words", [
    ("mlx5_7", "'mlx5_7' is no InfiniBand port of this host, which has mlx5_0/1 (0x0000000000100003), mlx5_1/2 (0x0000000000100006, no link)"),
    ("mlx5_1/1", "is no InfiniBand port"),  # it is an Ethernet port
    ("0x99", "is no InfiniBand port"),
])
def test_a_port_that_is_not_there(wanted, words):
    with pytest.raises(FleetError) as caught:
        choose_port(read_ports(said(), Sysfs("/")), wanted)
    assert words in caught.value.message


def test_two_ports_of_one_name_need_a_better_one():
    with pytest.raises(FleetError, match="more than one port"):
        choose_port([PORT, PORT._replace(number=2, guid="0x2")], "mlx5_0")


def test_a_host_without_infiniband(tmp_path):
    with pytest.raises(FleetError, match="no InfiniBand port"):
        choose_port(read_ports(Recorded({}), Sysfs(str(tmp_path))), "")
    with pytest.raises(FleetError, match="has a link: mlx5_0/1"):
        choose_port([PORT._replace(link_up=False)], "")


def test_it_waits_as_long_as_it_may(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])

    def pause(seconds):
        clock[0] += seconds

    _subnet, problem = watch("", Asked(managers=4), said(), Sysfs("/"), 3, pause)
    assert "but 4 are wanted" in problem
    assert clock[0] == 3
