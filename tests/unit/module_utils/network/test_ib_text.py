"""What infiniband-diags prints, and what is read from it.

The long texts were printed by infiniband-diags 44.0 (Debian 12) on a fabric simulated by ibsim 0.10, in November 2026; the switch with a subnet manager of its
own was put in by hand.
"""
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.host.sysfs import Sysfs
from ansible_collections.dgxops.fleet.plugins.module_utils.network import ib_text

IBSTAT = """CA 'mlx5_0'
\tCA type: MT4115
\tNumber of ports: 1
\tFirmware version: 12.28.2006
\tHardware version: 0
\tNode GUID: 0x0000000000100002
\tSystem image GUID: 0x0000000000100002
\tPort 1:
\t\tState: Active
\t\tPhysical state: LinkUp
\t\tRate: 100
\t\tBase lid: 3
\t\tLMC: 0
\t\tSM lid: 1
\t\tCapability mask: 0x0050c04a
\t\tPort GUID: 0x0000000000100003
\t\tLink layer: InfiniBand
CA 'mlx5_1'
\tCA type: MT4115
\tPort 1:
\t\tState: Down
\t\tPhysical state: Disabled
\t\tRate: 40
\t\tBase lid: 0
\t\tLMC: 0
\t\tSM lid: 0
\t\tCapability mask: 0x00010000
\t\tPort GUID: 0x0000000000100005
\t\tLink layer: Ethernet
\tPort 2:
\t\tPhysical state: Polling
\t\tBase lid: 65535
\t\tPort GUID: 0x100006
"""

SMIR = """SMInfoRecord dump:
\t\tRID
\t\tLID...................3
\t\tSMInfo dump:
\t\tGUID..................0x0000000000100003
\t\tSM_Key................0x0000000000000000
\t\tActCount..............77
\t\tPriority..............13
\t\tSMState...............2
SMInfoRecord dump:
\t\tRID
\t\tLID...................2
\t\tSMInfo dump:
\t\tGUID..................0x0000000000200000
\t\tSM_Key................0x0000000000000000
\t\tActCount..............0
\t\tPriority..............15
\t\tSMState...............2
SMInfoRecord dump:
\t\tRID
\t\tLID...................1
\t\tSMInfo dump:
\t\tGUID..................0x0000000000100001
\t\tSM_Key................0x0000000000000000
\t\tActCount..............186
\t\tPriority..............14
\t\tSMState...............3
"""

NR = """NodeRecord dump:
\t\tlid.....................2
\t\treserved................0x0
\t\tbase_version............0x1
\t\tnode_type...............Switch
\t\tnum_ports...............36
\t\tnode_guid...............0x0000000000200000
\t\tport_guid...............0x0000000000200000
\t\tNodeDescription.........MF0;leaf01:MSB7700/U1
NodeRecord dump:
\t\tlid.....................1
\t\tnode_type...............Channel Adapter
\t\tport_guid...............0x0000000000100001
\t\tNodeDescription.........sm01 mlx5_0
"""

DISCOVERED = """#
# Topology file: generated on Mon Nov 23 06:01:12 2026
#
# Initiated from node 0000000000100002 port 0000000000100003

vendid=0x0
devid=0x0
sysimgguid=0x200000
switchguid=0x200000(200000)
Switch\t36 "S-0000000000200000"\t\t# "leaf01" base port 0 lid 2 lmc 0
[1]\t"H-0000000000100000"[1](100001) \t\t# "sm01" lid 1 4xSDR
[3]\t"H-0000000000100004"[1](100005) \t\t# "dgx01" lid 4 4xSDR

vendid=0x0
devid=0x0
sysimgguid=0x100004
caguid=0x100004
Ca\t1 "H-0000000000100004"\t\t# "dgx01"
[1](100005) \t"S-0000000000200000"[3]\t\t# lid 4 lmc 0 "leaf01" lid 2 4xSDR

vendid=0x0
devid=0x0
sysimgguid=0x100000
caguid=0x100000
Ca\t1 "H-0000000000100000"\t\t# "sm01"
[1](100001) \t"S-0000000000200000"[1]\t\t# lid 0 lmc 0 "leaf01" lid 2 4xSDR
"""

HEX = st.integers(min_value=1, max_value=2**64 - 1)


def test_the_ports_of_a_host_by_ibstat():
    first, second, third = ib_text.ports_of(IBSTAT)
    assert first == ib_text.Port("mlx5_0", 1, "0x0000000000100003", True, True, 3, 1, True)
    assert (second.name, second.infiniband, second.link_up, second.is_sm) == ("mlx5_1/1", False, False, False)
    assert (third.name, third.guid, third.lid) == ("mlx5_1/2", "0x0000000000100006", 65535)
    assert third.infiniband, "an ibstat that does not know of Ethernet yet has InfiniBand only"


def test_a_port_that_says_something_odd_of_itself_is_a_port_all_the_same():
    text = "CA 'mlx5_0'\n\tPort 1:\n\t\tBase lid: unknown\n\t\tSM lid: -\n\t\tCapability mask: none\n\t\tPort GUID: 0x1\n"
    (port,) = ib_text.ports_of(text)
    assert (port.name, port.lid, port.sm_lid, port.is_sm) == ("mlx5_0/1", 0, 0, False)


def test_the_same_ports_from_the_kernel(tmp_path):
    port = tmp_path / "sys/class/infiniband/mlx5_0/ports/1"
    (port / "gids").mkdir(parents=True)
    for name, text in (("link_layer", "InfiniBand"), ("phys_state", "5: LinkUp"), ("lid", "0x3"), ("sm_lid", "0x1"), ("cap_mask", "0x2651e84a"),
                       ("gids/0", "fe80:0000:0000:0000:0000:0000:0010:0003")):
        (port / name).write_text(text + "\n")
    assert ib_text.ports_in_sysfs(Sysfs(str(tmp_path))) == ib_text.ports_of(IBSTAT)[:1]
    assert ib_text.ports_in_sysfs(Sysfs(str(tmp_path / "elsewhere"))) == []


@pytest.mark.parametrize("text, told", [
    ("sminfo: sm lid 1 sm guid 0x100001, activity count 185 priority 14 state 3 SMINFO_MASTER\n", ("0x0000000000100001", 1, 14, "master")),
    ("ibwarn: [7] x\nsminfo: sm lid 3 sm guid 0xe41d2d0300a1b2c3, activity count 0 priority 0 state 2 SMINFO_STANDBY", ("0xe41d2d0300a1b2c3", 3, 0, "standby")),
    ("sminfo: sm lid 3 sm guid 0x1, activity count 9 priority 1 state 7 SMINFO_?", ("0x0000000000000001", 3, 1, "unknown")),
])
def test_one_subnet_manager_by_sminfo(text, told):
    found = ib_text.master_of(text)
    assert (found.guid, found.lid, found.priority, found.state) == told


def test_no_answer_is_no_subnet_manager():
    assert ib_text.master_of("ibwarn: [65] mad_rpc: _do_madrpc failed; dport (Lid 1)\nsminfo: iberror: failed: query\n") is None
    assert ib_text.managers_of("Query SA failed: Connection timed out\n") == []


def test_all_subnet_managers_the_master_first_then_who_would_follow():
    assert [(one.guid[-6:], one.lid, one.priority, one.state) for one in ib_text.managers_of(SMIR)] == [
        ("100001", 1, 14, "master"), ("200000", 2, 15, "standby"), ("100003", 3, 13, "standby")]


def test_a_record_that_lacks_something_is_told_and_not_guessed():
    with pytest.raises(FleetError, match="expected to tell LID"):
        ib_text.managers_of("SMInfoRecord dump:\n\t\tLID....7\n")


def test_nodes_with_their_kind():
    assert ib_text.nodes_of(NR) == [
        ib_text.Node("sm01 mlx5_0", "host", 1, "0x0000000000100001"), ib_text.Node("MF0;leaf01:MSB7700/U1", "switch", 2, "0x0000000000200000")]


def test_where_the_cables_lead():
    assert ib_text.seats_of(DISCOVERED) == [
        ib_text.Seat("dgx01", "0x0000000000100005", 4, "leaf01", 3), ib_text.Seat("sm01", "0x0000000000100001", 0, "leaf01", 1)]


@given(HEX)
def test_a_guid_has_one_form_however_it_is_written(number):
    plain = "{0:016x}".format(number)
    forms = ["0x{0:x}".format(number), plain, "0X" + plain.upper(), ":".join(plain[at:at + 4] for at in range(0, 16, 4))]
    assert {ib_text.guid(form) for form in forms} == {"0x" + plain}


@pytest.mark.parametrize("text", ["", "0x", "mlx5_0", "0x12345678901234567", "0xg", "0x1\n0x2"])
def test_what_is_no_guid_is_refused(text):
    with pytest.raises(FleetError, match="GUID of a port"):
        ib_text.guid(text)


@given(st.lists(st.tuples(HEX, st.integers(1, 0xBFFF), st.integers(0, 15), st.integers(0, 3)), max_size=5))
def test_every_record_comes_through(records):
    text = "".join(
        "SMInfoRecord dump:\n\t\tRID\n\t\tLID...................{1}\n\t\tSMInfo dump:\n\t\tGUID..................0x{0:016x}\n"
        "\t\tActCount..............5\n\t\tPriority..............{2}\n\t\tSMState...............{3}\n".format(*record) for record in records)
    expected = sorted((int(one.guid, 16), one.lid, one.priority, ib_text.STATES.index(one.state)) for one in ib_text.managers_of(text))
    assert expected == sorted(records)


@given(st.text(alphabet=st.sampled_from('CASwitchRt[]()"#-_. 0123456789xabf\t\n:\'dumpNodeRecordLI'), max_size=400))
def test_no_text_whatsoever_raises_anything_but_words(text):
    for read in (ib_text.ports_of, ib_text.master_of, ib_text.managers_of, ib_text.nodes_of, ib_text.seats_of):
        try:
            read(text)
        except FleetError:
            pass
