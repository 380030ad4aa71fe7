# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is kept of nodes that may be down tomorrow."""
import os
import stat

import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.cluster import slurm_nodes
from ansible_collections.dgxops.fleet.plugins.module_utils.cluster.slurm_node import Gpu, SlurmNode
from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError

BIG = SlurmNode(96, 2, 24, 2, 1545216, (Gpu(0, "v100", "0-23"), Gpu(1, "v100", "24-47")))
SMALL = BIG._replace(gpus=())


def test_a_node_that_is_down_keeps_its_description():
    nodes = slurm_nodes.decide({"dgx01": BIG, "dgx02": BIG}, {"dgx01": SMALL}, ["dgx01", "dgx02"], True, ["dgx01", "dgx02"])
    assert nodes.after == {"dgx01": SMALL, "dgx02": BIG} and nodes and nodes.unknown == []


def test_the_same_again_is_no_change():
    assert not slurm_nodes.decide({"dgx01": BIG}, {"dgx01": BIG}, ["dgx01"], True)


def test_a_node_that_left_the_inventory_is_forgotten_and_one_never_seen_is_told():
    nodes = slurm_nodes.decide({"dgx01": BIG, "dgx02": BIG}, {}, ["dgx01", "dgx03"], True, ["dgx01", "dgx02"])
    assert list(nodes.after) == ["dgx01"] and nodes.unknown == ["dgx03"]


def test_a_lost_file_takes_no_node_out_of_the_cluster():
    with pytest.raises(FleetError, match=r"dgx\[02-03\] are nodes of this cluster.*nothing was changed.*without --limit") as caught:
        slurm_nodes.decide({}, {"dgx01": BIG}, ["dgx01", "dgx02", "dgx03"], True, ["dgx01", "dgx02", "dgx03"])
    assert caught.value.details == {"nodes": ["dgx02", "dgx03"]}


def test_without_the_controller_a_run_changes_no_description():
    nodes = slurm_nodes.decide({"dgx01": BIG, "gone": BIG}, {"dgx01": BIG}, ["dgx01"], False)
    assert not nodes and list(nodes.after) == ["dgx01", "gone"]
    with pytest.raises(FleetError, match="dgx01 is not what the cluster's configuration says.*controller"):
        slurm_nodes.decide({"dgx01": BIG}, {"dgx01": SMALL}, ["dgx01"], False)
    with pytest.raises(FleetError, match="dgx02 is not what"):
        slurm_nodes.decide({"dgx01": BIG}, {"dgx02": BIG}, ["dgx01", "dgx02"], False)


@pytest.mark.parametrize(("members", "said"), [
    (["dgx01", "dgx01", "dgx02"], "several nodes are called dgx01. Call each by its own host name"),
    (["10", "10"], "10 are numbers.*addresses as ansible_host"),
])
def test_names_that_tell_no_nodes_apart_are_refused(members, said):
    """dgx01.hall1.example and dgx01.hall2.example; 10.0.0.1 and 10.0.0.2."""
    with pytest.raises(FleetError, match=said):
        slurm_nodes.decide({}, {members[0]: BIG}, members, True)


def test_strangers_are_refused():
    with pytest.raises(FleetError, match="slurm01 are described but are no nodes.*dgx01"):
        slurm_nodes.decide({}, {"slurm01": BIG}, ["dgx01"], True)


def test_the_file_is_read_back_and_has_a_line_for_each_node():
    text = slurm_nodes.show({"dgx02": SMALL, "dgx01": BIG})
    assert slurm_nodes.parse(text) == {"dgx01": BIG, "dgx02": SMALL} and len(text.splitlines()) == 4
    assert slurm_nodes.parse(None) == {}


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_a_broken_file_is_no_empty_one(text):
    with pytest.raises(FleetError, match="cannot be read"):
        slurm_nodes.parse(text)


@pytest.mark.parametrize("node", [None, {}, {"cpus": "many"}])
def test_a_broken_description_is_named(node):
    with pytest.raises(FleetError, match="dgx01.cpus"):
        slurm_nodes.from_dicts({"dgx01": node})


def test_a_key_is_made_once_and_for_root_alone(tmp_path):
    assert slurm_nodes.key_file(str(tmp_path)) == ""
    assert slurm_nodes.make_key(str(tmp_path)) == slurm_nodes.OWN_KEY == slurm_nodes.key_file(str(tmp_path))
    path = str(tmp_path / slurm_nodes.OWN_KEY)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600 and os.path.getsize(path) == 128


def test_a_controller_with_a_key_keeps_it(tmp_path):
    (tmp_path / "etc/munge").mkdir(parents=True)
    (tmp_path / slurm_nodes.MUNGE_KEY).write_bytes(b"k" * 64)
    assert slurm_nodes.key_file(str(tmp_path)) == slurm_nodes.MUNGE_KEY
