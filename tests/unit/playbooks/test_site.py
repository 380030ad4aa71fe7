# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The playbooks that run everything know every role, and in the same order as the table that they go by; the example inventories mean what they say."""
import pathlib

import pytest
import yaml
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.vars.manager import VariableManager

from ansible_collections.dgxops.fleet.plugins.filter.site_plan import site_plan
from ansible_collections.dgxops.fleet.plugins.module_utils.cluster.site import ROOMS

ROOT = pathlib.Path(__file__).resolve().parents[3]
ROLES = [room.role for room in ROOMS]
HOW = "Add it to ROOMS in plugins/module_utils/cluster/site.py, and a play each to playbooks/site.yml and playbooks/revert.yml. docs/site.md shows them."


def plays(name):
    """The plays that run roles, by role."""
    return {play["roles"][0]["role"].rpartition(".")[2]: play for play in yaml.safe_load((ROOT / "playbooks" / name).read_text()) if "roles" in play}


def test_every_role_of_the_collection_is_run_by_site_and_given_back_by_revert():
    there = {place.name for place in (ROOT / "roles").iterdir() if (place / "tasks").is_dir()}
    assert there - set(ROLES) == set(), HOW
    assert set(ROLES) - there == set(), "There is no such role (any more)."
    assert list(plays("site.yml")) == ROLES, HOW
    assert list(plays("revert.yml")) == ROLES[::-1], HOW


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.role)
@pytest.mark.parametrize("name", ["site.yml", "revert.yml"])
def test_each_play_has_the_hosts_and_tags_of_its_role_and_revert_says_absent(name, room):
    play = plays(name)[room.role]
    assert play["hosts"] == "{{ groups.fleet_" + room.role + " | default('all:!all') }}"
    assert play["tags"] == [room.chapter, room.role]
    assert play["become"] and "max_fail_percentage" in play
    assert play["roles"][0].get(room.role + "_state") == (None if name == "site.yml" else "absent")


def read(name):
    loader = DataLoader()
    inventory = InventoryManager(loader=loader, sources=[str(ROOT / "docs/inventories" / name)])
    variables = VariableManager(loader=loader, inventory=inventory)
    hostvars = {host.name: variables.get_vars(host=host, include_hostvars=False) for host in inventory.get_hosts()}
    return site_plan(inventory.get_groups_dict(), hostvars)


@pytest.mark.parametrize(("name", "count", "host", "roles"), [
    ("station.yml", 1, "station", ["timesyncd", "raid_cache", "local_users"]),
    ("dgx1.yml", 5, "dgx1-03", ["timesyncd", "raid_cache", "local_users", "slurm_gpu"]),
    ("dgx1.yml", 5, "head01", ["timesyncd", "nfs_server", "local_users", "head_node", "slurm_gpu", "ssh_tunnel"]),
    ("kvm.yml", 2, "dgx2-b", ["timesyncd", "kvm_tuning"]),
    ("a100.yml", 145, "dgx140", ["timesyncd"]),
    ("a100.yml", 145, "login02", ["timesyncd", "ssh_tunnel"]),
])
def test_an_example_inventory_gives_each_host_its_roles(name, count, host, roles):
    site = read(name)
    assert len(site["hosts"]) == count
    assert site["hosts"][host] == roles


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.role)
def test_the_guide_tells_of_each_role(room):
    groups = ", ".join("`{0}`".format(group) for group in (room.role,) + room.groups)
    variables = ", ".join("`{0}`".format(variable) for variable in room.variables)
    assert "| `{0}` | `{1}` | {2} | {3} |\n".format(room.role, room.chapter, groups, variables) in (ROOT / "docs/site.md").read_text()


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.role)
def test_a_variable_that_means_a_role_is_one_of_its_own(room):
    options = yaml.safe_load((ROOT / "roles" / room.role / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    assert set(room.variables) <= set(options)
