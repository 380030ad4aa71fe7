# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a play says about LDAP, the settings it makes, what is refused, and what is made of the servers' answers."""
import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.identity import sssd
from ansible_collections.dgxops.fleet.plugins.module_utils.identity.ldap import LdapWish, ask_all, judge
from ansible_collections.dgxops.fleet.plugins.module_utils.identity.ldap_probe import Answer, Server

PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"


def wish(**options):
    params = {name: option.get("default") for name, option in sssd.ARGUMENTS.items()}
    params.update(servers=["ldap1.example.com"], backup_servers=[], tls="starttls", ca_certificates=None, base="dc=example,dc=com", domain="ldap", bind_dn=None,
                  bind_password=None, schema="rfc2307", user_base=None, user_filter=None, group_base=None, group_filter=None, sudo_base=None, timeout_s=5.0)
    params.update(options)
    return LdapWish.from_params(params)


def settings(**options):
    text = wish(**options).wish.files[0].text
    return dict(line.split(" = ", 1) for line in text[text.index("[domain/"):].splitlines() if " = " in line)


def test_the_shortest_play_is_encrypted_checked_and_cached():
    found = settings()
    assert found["ldap_uri"] == "ldap://ldap1.example.com"
    assert found["ldap_id_use_start_tls"] == "true" and found["ldap_tls_reqcert"] == "demand"
    assert found["ldap_tls_cacert"] == "/etc/ssl/certs/ca-certificates.crt"
    assert found["cache_credentials"] == "true" and found["min_id"] == "1000" and found["access_provider"] == "permit"
    assert "services" not in wish().wish.files[0].text.split()


@pytest.mark.parametrize("options, key, value", [
    ({"tls": "ldaps", "servers": ["a", "b:1636"]}, "ldap_uri", "ldaps://a, ldaps://b:1636"),
    ({"tls": "ldaps", "servers": ["ldaps://a/"]}, "ldap_uri", "ldaps://a"),
    ({"tls": "ldaps"}, "ldap_id_use_start_tls", "false"),
    ({"servers": ["ldap://[2001:db8::1]:1389"]}, "ldap_uri", "ldap://[2001:db8::1]:1389"),
    ({"backup_servers": ["spare"]}, "ldap_backup_uri", "ldap://spare"),
    ({"ca_certificates": "text\n" + PEM + "\nmore"}, "ldap_tls_cacert", "/etc/sssd/dgxops-ca.pem"),
    ({"schema": "ad"}, "ldap_schema", "AD"),
    ({"user_filter": "(departmentNumber=42)"}, "ldap_user_search_base", "dc=example,dc=com?subtree?(departmentNumber=42)"),
    ({"group_base": "ou=groups,dc=example,dc=com"}, "ldap_group_search_base", "ou=groups,dc=example,dc=com"),
    ({"allowed_groups": ["dgx", "staff"]}, "simple_allow_groups", "dgx, staff"),
    ({"access_filter": "(memberOf=cn=dgx)"}, "ldap_access_filter", "(memberOf=cn=dgx)"),
    ({"access_filter": "(memberOf=cn=dgx)"}, "access_provider", "ldap"),
    ({"bind_dn": "cn=nodes,dc=example,dc=com", "bind_password": "s"}, "ldap_default_authtok", "s"),
    ({"sudo": True, "sudo_base": "ou=sudoers,dc=example,dc=com"}, "ldap_sudo_search_base", "ou=sudoers,dc=example,dc=com"),
    ({"home": "/home/%u"}, "override_homedir", "/home/%u"),
    ({"settings": {"ldap_page_size": 200}}, "ldap_page_size", "200"),
])
def test_an_option_becomes_the_setting_it_means(options, key, value):
    assert settings(**options)[key] == value


def test_own_authorities_are_written_without_what_stands_around_them():
    files = {file.path: file.text for file in wish(ca_certificates="subject=x\n" + PEM + "\n" + PEM).wish.files}
    assert files["etc/sssd/dgxops-ca.pem"] == PEM + "\n" + PEM + "\n"


def test_rules_for_sudo_need_their_package_and_their_line_in_nsswitch():
    assert "libsss-sudo" in wish(sudo=True).wish.packages and "sudoers" in wish(sudo=True).wish.databases
    assert "libsss-sudo" not in wish().wish.packages and "sudoers" not in wish().wish.databases


def test_homes_are_made_unless_they_come_from_elsewhere():
    assert any("pam_mkhomedir.so umask=0027" in file.text for file in wish(home_umask="0027").wish.files)
    assert [profile.name for profile in wish(create_home=False).wish.profiles] == ["sss"]


@pytest.mark.parametrize("options, said", [
    ({"servers": []}, "servers is empty"),
    ({"servers": ["ldap1 ldap2"]}, "servers has 'ldap1 ldap2'"),
    ({"servers": ["ldap1:99999"]}, "servers has 'ldap1:99999'"),
    ({"servers": ["ldap1\nldap_tls_reqcert = never"]}, "servers has"),
    ({"servers": ["ldaps://a"]}, "tls is starttls. Set tls to ldaps"),
    ({"servers": ["ldap://a"], "tls": "ldaps"}, "tls is ldaps. Set tls to starttls"),
    ({"base": None}, "base is None"),
    ({"base": "example.com"}, "distinguished name is expected"),
    ({"base": "dc=example?one?(uid=*)"}, "distinguished name is expected"),
    ({"bind_dn": "cn=nodes"}, "only bind_dn is given"),
    ({"bind_password": "hush"}, "only bind_password is given"),
    ({"bind_dn": "cn=nodes", "bind_password": "two\nlines"}, "ldap_default_authtok in sssd.conf has a line end"),
    ({"user_filter": "uid=alice"}, "user_filter is 'uid=alice'"),
    ({"user_filter": "((uid=alice)"}, "in parentheses"),
    ({"user_filter": "(uid=alice)(uid=bob)"}, "in parentheses"),
    ({"user_filter": "(uid=alice))(("}, "in parentheses"),
    ({"group_filter": "(description=why?)"}, r"Write \3f instead"),
    ({"access_filter": "(a=b)", "allowed_groups": ["dgx"]}, "sssd goes by one of them"),
    ({"allowed_groups": ["dgx,staff"]}, "one an entry"),
    ({"sudo_base": "ou=sudoers,dc=example"}, "sudo is false"),
    ({"ca_certificates": "/etc/ssl/ca.pem"}, "there is none in it"),
    ({"ca_certificates": PEM + "\n-----BEGIN PRIVATE KEY-----"}, "a private key, which does not belong"),
    ({"settings": {"ldap_tls_reqcert": "never"}}, "always checked"),
    ({"settings": {"ldap_default_authtok": "hush"}}, "always checked"),
    ({"settings": {"ldap_auth_disable_tls_never_use_in_production": True}}, "always checked"),
    ({"settings": {"ldap_uri": "ldap://other"}}, "decides already"),
    ({"settings": {"a b": "c"}}, "no name of an option"),
    ({"settings": {"ldap_page_size": "1\n[domain/evil]"}}, "line end"),
    ({"domain": "../x"}, "domain is '../x'"),
    ({"home_umask": "abc"}, "octal mask"),
    ({"home": "home/%u"}, "begins with /"),
    ({"min_id": 0}, "min_id is 0"),
    ({"offline_days": -1}, "offline_days is -1"),
])
def test_what_could_not_work_or_would_loosen_the_check_is_refused(options, said):
    with pytest.raises(FleetError) as refusal:
        wish(**options)
    assert said in refusal.value.message
    assert "hush" not in refusal.value.message and "two" not in refusal.value.message


HERE, THERE = Server("a", 389, False), Server("b", 389, False)


@pytest.mark.parametrize("answers, would_change, said", [
    ([Answer(HERE, True, "a is not to be trusted")], False, "a is not to be trusted"),
    ([Answer(HERE, True, ""), Answer(THERE, True, "b is not to be trusted")], True, "b is not to be trusted"),
    ([Answer(HERE, False, "a does not answer")], True, "No LDAP server answers"),
])
def test_servers_that_cannot_be_trusted_or_do_not_answer_stop_the_run(answers, would_change, said):
    with pytest.raises(FleetError, match=said):
        judge(answers, would_change)


@pytest.mark.parametrize("answers, would_change, warnings", [
    ([Answer(HERE, True, ""), Answer(THERE, False, "b does not answer")], True, ["b does not answer."]),
    ([Answer(HERE, False, "a does not answer")], False, ["a does not answer."]),
    ([Answer(HERE, True, "")], True, []),
])
def test_a_server_that_is_down_is_a_warning_where_nothing_depends_on_it(answers, would_change, warnings):
    assert judge(answers, would_change) == warnings


def test_without_any_authority_no_server_is_asked():
    wanted = wish()
    with pytest.raises(FleetError, match="/nowhere is missing, so no certificate can be checked"):
        ask_all(wanted._replace(question=wanted.question._replace(authority_file="/nowhere")))
