# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A node gets users from a directory and is given back: the whole way, on a node whose programs are played."""
import os

import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host.commands import Result
from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.host.files import BACKUPS
from ansible_collections.dgxops.fleet.plugins.module_utils.identity.node import carry_out, own_profile, read
from ansible_collections.dgxops.fleet.plugins.module_utils.identity.state import RECORD, File, Profile, Wish, decide, decide_return

from .lab_identity import Node

CONF = "etc/sssd/sssd.conf"
HOMES, HOMES_PROFILE = own_profile("dgxops-mkhomedir", "Homes", ["optional\tpam_mkhomedir.so umask=0077"])


def wish(owner="ldap", text="[sssd]\nldap_default_authtok = first secret\n", **changes):
    given = Wish(
        owner, ("sssd-ldap", "libnss-sss", "libpam-sss"), (File(CONF, text, private=True), HOMES), "sss", ("passwd", "group", "sudoers"),
        (Profile("sss", "common-auth", "pam_sss.so"), HOMES_PROFILE), ("sssd.service",), caches=("var/lib/sss/db/*",),
    )
    return given._replace(**changes)


def have(node, wanted, users=(), wait=0.0):
    change = decide(wanted, read(wanted, node.host))
    carry_out(change, node.host, users, wait=wait)
    return change


def give_back(node, owner="ldap"):
    change = decide_return(owner, read(None, node.host))
    carry_out(change, node.host)
    return change


@pytest.fixture
def node(tmp_path):
    return Node(tmp_path)


def test_users_come_and_the_node_is_given_back_as_it_was(node):
    before = node.everything()
    change = have(node, wish(), ["alice"])
    assert change.install == ["libnss-sss", "libpam-sss", "sssd-ldap"]
    assert node.read("etc/nsswitch.conf").startswith("passwd:         files systemd sss\ngroup:          files systemd sss\nshadow:         files\n")
    assert "services:       db files\n" in node.read("etc/nsswitch.conf")  # what the package added of its own accord is not wanted
    assert "pam_sss.so" in node.read("etc/pam.d/common-auth") and "pam_mkhomedir.so umask=0077" in node.read("etc/pam.d/common-session")
    assert os.stat(node.path(CONF)).st_mode & 0o777 == 0o600
    assert node.units["sssd.service"] == ["enabled", True]
    node.write("var/lib/sss/db/cache_ldap.ldb", "alice")
    assert not have(node, wish(), ["alice"])
    assert give_back(node)
    assert node.everything() == before
    assert not give_back(node)


def test_what_is_predicted_is_what_then_is(node):
    wanted = wish()
    predicted = decide(wanted, read(wanted, node.host)).after
    have(node, wanted)
    assert read(wanted, node.host).state._replace(packages=predicted.packages) == predicted  # what they depend on comes with them
    predicted = decide_return("ldap", read(None, node.host)).after
    give_back(node)
    assert read(wanted, node.host).state.nsswitch == predicted.nsswitch


@pytest.mark.parametrize("words", [
    "apt-get install", "pam-auth-update --package", "systemctl restart", "systemctl show", "dpkg-query",
])
def test_a_run_cut_short_is_completed_by_the_next_and_given_back_whole(node, words):
    before = node.everything()
    node.dies_at = words
    with pytest.raises(KeyboardInterrupt):
        have(node, wish())
    have(node, wish(), ["alice"])
    assert not have(node, wish())
    node.dies_at = words.replace("install", "purge").replace("--package", "--package --remove").replace("restart", "stop")
    with pytest.raises(KeyboardInterrupt):
        give_back(node)
    give_back(node)
    assert node.everything() == before


def test_a_run_cut_short_before_its_record_leaves_no_stale_copies(tmp_path):
    node = Node(tmp_path, packages=["sssd-common"])
    node.write(BACKUPS.lstrip("/") + "/identity/" + CONF, "older")
    node.write(CONF, "[sssd]\n", 0o600)
    have(node, wish(replace=True))
    give_back(node)
    assert node.read(CONF) == "[sssd]\n"


def test_a_node_given_back_in_the_middle_of_the_first_run_is_as_it_was(node):
    before = node.everything()
    node.dies_at = "systemctl restart"
    with pytest.raises(KeyboardInterrupt):
        have(node, wish())
    give_back(node)
    assert node.everything() == before


@pytest.mark.parametrize("trouble, said", [
    ({"broken": ["sssd.service"]}, "sssd.service did not start"),
    ({"users": []}, "The user alice is not known"),
    ({"edited": True}, "edited /etc/pam.d/common-"),
])
def test_a_first_run_that_fails_leaves_the_node_as_it_was(tmp_path, trouble, said):
    node = Node(tmp_path, **trouble)
    before = node.everything()
    with pytest.raises(FleetError, match=said + ".*given back as it was"):
        have(node, wish(), ["alice"])
    assert node.everything() == before


def test_a_first_run_that_fails_twice_tells_both(tmp_path, monkeypatch):
    node = Node(tmp_path, broken=["sssd.service"])
    run = node.run

    def stuck(argv, timeout=None, text_in=None):
        if "remove" in argv or "purge" in argv:
            return Result(100, "", "dpkg was interrupted")
        return run(argv, timeout, text_in)

    monkeypatch.setattr(node, "run", stuck)
    with pytest.raises(FleetError, match="sssd.service did not start.*Nor could the node be given back at once: .*dpkg was interrupted"):
        have(node, wish())


def test_an_sssd_of_others_is_refused_or_put_aside_and_comes_back(tmp_path):
    node = Node(tmp_path, packages=["sssd-common", "sssd-ldap", "libnss-sss", "libpam-sss"])
    node.write(CONF, "[sssd]\ndomains = old\nldap_default_authtok = old secret\n", 0o640)
    node.write("etc/nsswitch.conf", "passwd: files sss\ngroup: files sss\n")
    node.units["sssd.service"] = ["disabled", True]
    before = node.everything()
    with pytest.raises(FleetError, match="elsewhere already: /etc/sssd/sssd.conf.*conflicts") as refusal:
        have(node, wish())
    assert refusal.value.details["conflicts"] == ["/etc/sssd/sssd.conf"]
    assert node.everything() == before
    change = have(node, wish(replace=True))
    assert "secret" not in "".join(diff.before + diff.after for diff in change.diffs).replace("(secret)", "").replace("(another secret)", "")
    assert os.stat(node.path(CONF)).st_mode & 0o777 == 0o600
    assert not have(node, wish(replace=True)) and not have(node, wish())
    give_back(node)
    assert node.everything() == before


def test_another_directory_in_nsswitch_is_put_aside_with_its_service_and_comes_back(node):
    node.write("etc/nsswitch.conf", "passwd: files ldap\ngroup: files ldap\n")
    node.units["nslcd.service"] = ["enabled", True]
    before = node.everything()
    with pytest.raises(FleetError, match="ldap in /etc/nsswitch.conf"):
        have(node, wish())
    have(node, wish(replace=True))
    assert not have(node, wish())
    assert node.read("etc/nsswitch.conf").startswith("passwd: files sss\ngroup: files sss\n")
    assert node.units["nslcd.service"] == ["disabled", False]
    give_back(node)
    assert node.everything() == before


@pytest.mark.parametrize("nsswitch, service, said", [
    ("passwd: compat\ngroup: compat\n", "ypbind.service", "nis by compat in /etc/nsswitch.conf"),  # with + lines in /etc/passwd
    ("passwd: compat systemd\npasswd_compat: ldap\ngroup: compat\ngroup_compat: ldap\n", "nslcd.service", "ldap by compat in /etc/nsswitch.conf"),
    ("passwd: files nis\ngroup: files nis\n", "nis.service", "nis in /etc/nsswitch.conf"),  # before Debian 11 and Ubuntu 22.04
])
def test_users_from_elsewhere_by_an_older_way_are_put_aside_too(node, nsswitch, service, said):
    node.write("etc/nsswitch.conf", nsswitch)
    node.units[service] = ["enabled", True]
    before = node.everything()
    with pytest.raises(FleetError, match=said):
        have(node, wish())
    have(node, wish(replace=True))
    assert not have(node, wish())
    assert node.units[service] == ["disabled", False]
    give_back(node)
    assert node.everything() == before


def test_compat_alone_brings_nobody(node):
    node.write("etc/nsswitch.conf", "passwd: compat systemd\ngroup: compat systemd\n")  # Ubuntu 18.04 comes so
    assert have(node, wish())


def test_two_roles_of_this_collection_do_not_fight_and_one_does_not_undo_the_other(node):
    have(node, wish())
    state = node.everything()
    for replace in (False, True):
        with pytest.raises(FleetError, match="gets its users by ldap_client.*ldap_client_state: absent"):
            have(node, wish("ad", replace=replace))
    assert not give_back(node, "ad") and not give_back(node, "nis")
    assert node.everything() == state


def test_another_secret_is_a_change_that_does_not_tell_it(node):
    have(node, wish())
    change = have(node, wish(text="[sssd]\nldap_default_authtok = second secret\n"))
    shown = [diff for diff in change.diffs if diff.header == "/" + CONF]
    assert [(diff.before.splitlines()[1], diff.after.splitlines()[1]) for diff in shown] == [
        ("ldap_default_authtok = (secret)", "ldap_default_authtok = (another secret)")]


def test_settings_that_others_can_read_are_closed_again(node):
    have(node, wish())
    os.chmod(node.path(CONF), 0o644)
    assert have(node, wish())
    assert os.stat(node.path(CONF)).st_mode & 0o777 == 0o600


def test_a_module_that_somebody_took_out_of_pam_by_hand_is_told_and_not_changed_for_ever(node):
    have(node, wish())
    node.write("etc/pam.d/common-auth", "# nothing\n")
    node.edited = True
    for _attempt in range(2):
        with pytest.raises(FleetError, match="did not turn on sss: somebody has edited"):
            have(node, wish())


def test_what_is_no_longer_wanted_goes_before_the_rest(node):
    before = node.everything()
    have(node, wish())
    have(node, wish(files=(File(CONF, "[sssd]\n", private=True),), profiles=(Profile("sss", "common-auth", "pam_sss.so"),), databases=("passwd",)))
    assert "mkhomedir" not in node.read("etc/pam.d/common-session") and "sudoers" not in node.read("etc/nsswitch.conf")
    assert not os.path.exists(node.path(HOMES.path))
    give_back(node)
    assert node.everything() == before


def test_software_that_others_have_come_to_need_stays(node):
    have(node, wish())
    node.foreign = {"their-tool": "libnss-sss"}
    node.status["their-tool"] = "installed"
    give_back(node)
    assert node.status == {"libnss-sss": "installed", "their-tool": "installed"}
    assert "sssd:" in node.read("etc/passwd")  # what stays may need it


def test_packages_whose_settings_were_there_before_leave_them_there(node):
    node.status["sssd-ldap"] = "config-files"
    before = node.everything()
    have(node, wish())
    give_back(node)
    assert node.everything() == before


def test_edits_of_others_survive_the_way_back(node):
    have(node, wish())
    node.write("etc/nsswitch.conf", node.read("etc/nsswitch.conf").replace("files dns", "files mdns4 dns"))
    assert not have(node, wish())
    give_back(node)
    assert "hosts:          files mdns4 dns\n" in node.read("etc/nsswitch.conf") and "sss" not in node.read("etc/nsswitch.conf")


def test_settings_that_sssd_would_add_to_ours_are_refused(node):
    node.write("etc/sssd/conf.d/site.conf", "[sssd]\n")
    with pytest.raises(FleetError, match="/etc/sssd/conf.d/site.conf"):
        have(node, wish(replace=True))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"owner": "ldap"}', '{"owner": "nobody"}'])
def test_a_damaged_record_is_an_answer(node, text):
    node.write(RECORD, text)
    with pytest.raises(FleetError, match="is damaged"):
        have(node, wish())


def test_a_missing_copy_is_an_answer_and_nothing_is_lost(tmp_path):
    node = Node(tmp_path, packages=["sssd-common"])
    node.write(CONF, "[sssd]\n", 0o600)
    have(node, wish(replace=True))
    os.unlink(node.path(BACKUPS.lstrip("/") + "/identity/" + CONF))
    with pytest.raises(FleetError, match="is missing: the copy of /etc/sssd/sssd.conf"):
        give_back(node)
    assert node.units["sssd.service"] == ["enabled", True]


def test_a_cache_that_means_nothing_under_new_settings_goes(node):
    have(node, wish(text="[domain/ldap]\nldap_schema = rfc2307\n"))
    node.write("var/lib/sss/db/cache_ldap.ldb", "alice")
    have(node, wish(text="[domain/ldap]\nldap_schema = rfc2307\nentry_cache_timeout = 1\n"))
    assert os.path.exists(node.path("var/lib/sss/db/cache_ldap.ldb"))
    have(node, wish(text="[domain/ldap]\nldap_schema = rfc2307bis\n"))
    assert not os.path.exists(node.path("var/lib/sss/db/cache_ldap.ldb"))
