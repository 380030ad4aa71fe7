# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The module ldap_client as a playbook meets it, on a node whose programs and servers are played."""
import json

import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host.host import Host
from ansible_collections.dgxops.fleet.plugins.module_utils.identity.ldap_probe import Answer
from ansible_collections.dgxops.fleet.plugins.modules import ldap_client
from ansible_collections.dgxops.fleet.tests.unit.module_utils.identity.lab_identity import Node

from .run_module import run_module

WANTED = {
    "servers": ["ldap1.example.com"], "base": "dc=example,dc=com", "bind_dn": "cn=nodes,dc=example,dc=com", "bind_password": "correct horse battery",
    "expected_users": ["alice"],
}


@pytest.fixture
def node(tmp_path, monkeypatch):
    node = Node(tmp_path)
    monkeypatch.setattr(ldap_client, "Commands", lambda: node)
    monkeypatch.setattr(ldap_client, "Host", lambda programs: Host(programs, str(tmp_path)))
    monkeypatch.setattr(ldap_client, "ask_all", lambda wanted: [Answer(server, node.reached, node.problem) for server in wanted.servers])
    return node


def test_check_mode_predicts_what_the_run_then_does(node):
    before = node.everything()
    predicted = run_module(ldap_client.main, WANTED, check=True)
    assert node.everything() == before
    done = run_module(ldap_client.main, WANTED)
    assert predicted == done and done["changed"]
    assert done["installed"] == ["libnss-sss", "libpam-sss", "sssd-ldap"] and done["owner"] == "ldap_client"
    assert done["servers"] == [{"uri": "ldap://ldap1.example.com", "reached": True, "problem": ""}]
    assert not run_module(ldap_client.main, WANTED)["changed"]


def test_the_way_back_needs_nothing_but_its_name(node):
    before = node.everything()
    assert not run_module(ldap_client.main, {"state": "absent"})["changed"]
    run_module(ldap_client.main, WANTED)
    predicted = run_module(ldap_client.main, {"state": "absent"}, check=True)
    done = run_module(ldap_client.main, {"state": "absent"})
    assert predicted == done and done["changed"] and done["owner"] == "" and "sssd-ldap" in done["removed"]
    assert node.everything() == before


def test_the_password_is_in_no_answer(node):
    told = json.dumps([run_module(ldap_client.main, WANTED), run_module(ldap_client.main, dict(WANTED, bind_password="another horse"))])
    node.units["sssd.service"] = ["enabled", False]
    node.broken = {"sssd.service"}
    told += json.dumps(run_module(ldap_client.main, WANTED))
    assert "horse" not in told and "did not start" in told


def test_a_server_that_cannot_be_trusted_stops_everything(node):
    before = node.everything()
    node.problem = "ldap://ldap1.example.com is not to be trusted: self-signed certificate"
    answer = run_module(ldap_client.main, WANTED)
    assert answer["failed"] and "The node was left as it was" in answer["msg"] and answer["problems"] == [node.problem]
    assert node.everything() == before


def test_servers_that_are_down_stop_a_change_and_else_are_a_warning(node):
    node.reached, node.problem = False, "ldap://ldap1.example.com does not answer: timed out"
    assert "No LDAP server answers" in run_module(ldap_client.main, WANTED)["msg"]
    node.reached, node.problem = True, ""
    run_module(ldap_client.main, WANTED)
    node.reached, node.problem = False, "ldap://ldap1.example.com does not answer: timed out"
    answer = run_module(ldap_client.main, WANTED)
    assert not answer["changed"] and "does not answer" in str(answer["warnings"])


def test_a_mistake_is_an_answer(node):
    assert "distinguished name is expected" in run_module(ldap_client.main, dict(WANTED, base="example.com"))["msg"]
    node.write("etc/sssd/sssd.conf", "[sssd]\n")
    answer = run_module(ldap_client.main, WANTED)
    assert answer["failed"] and answer["conflicts"] == ["/etc/sssd/sssd.conf"]
