# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which role is for which host: by a group of ours, by a variable, or not at all."""
import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.cluster.site import ROOMS, plan
from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError


def test_a_host_has_the_roles_that_its_groups_and_its_variables_say():
    groups = {"all": ["a", "b", "c", "d"], "dgx_kvm": ["a"], "local_users": ["b"], "ungrouped": ["c", "d"]}
    site = plan(groups, {"c": {"timesyncd_servers": []}, "d": {"local_users_defaults": {}}})
    assert site.roles == {"a": ["kvm_tuning"], "b": ["local_users"], "c": ["timesyncd"]}
    said = site.to_dict()
    assert said["roles"]["kvm_tuning"] == ["a"] and said["roles"]["ssh_tunnel"] == []
    assert said["groups"]["b"] == ["fleet", "fleet_local_users"] and said["help"] == ""


def test_a_host_may_be_left_out_of_a_chapter():
    groups = {"all": ["a", "b"]}
    said = {"a": {"timesyncd_servers": ["x"], "fleet_skip": ["timesyncd"]}, "b": {"timesyncd_servers": ["x"]}}
    assert plan(groups, said).hosts("timesyncd") == ["b"]


def test_an_inventory_that_says_nothing_is_answered_with_what_could_be_said():
    said = plan({"all": ["web01"], "webservers": ["web01"]}, {}).to_dict()
    assert said["hosts"] == {} and said["help"].startswith("This inventory does not say what its hosts are for")
    assert all(room.role in said["help"] for room in ROOMS)


@pytest.mark.parametrize(("groups", "hostvars", "said"), [
    (None, {}, "groups and hostvars are expected"), ({}, [], "groups and hostvars are expected"),
    ({"all": ["a"]}, {"a": {"fleet_skip": ["time"]}}, "fleet_skip of a is ['time'], but a list of roles is expected, out of "),
    ({"all": ["a"]}, {"a": {"fleet_skip": "timesyncd"}}, "fleet_skip of a is 'timesyncd'"),
])
def test_slips_are_answered_in_words(groups, hostvars, said):
    with pytest.raises(FleetError) as refused:
        plan(groups, hostvars)
    assert said in refused.value.message
