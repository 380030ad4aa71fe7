# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Users from LDAP by sssd: the options, the settings they make, and what the servers must answer before a node is pointed at them.

Chapter 3.3 of the Best Practices leaves the client open. There is no way to have it without TLS, nor without a check of the server's certificate: passwords of
users go over this connection.
"""
import itertools
import os
import re
from typing import Any, Dict, List, Mapping, NamedTuple, Sequence, Tuple

from ..host.errors import FleetError
from . import ldap_probe
from .ldap_probe import Answer, Question, Server
from .sssd import CA_FILE, SYSTEM_CA, Common, wish_for
from .state import Wish

_SERVER = re.compile(r"^(?:(ldaps?)://)?(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)(?::([0-9]{1,5}))?/?\Z")
_DN = re.compile(r"^[A-Za-z0-9.-]+\s*=[^\n]+\Z")


class LdapWish(NamedTuple):
    """What is wanted on the node, and whom to ask first."""

    wish: Wish
    servers: Tuple[Server, ...]
    question: Question

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> "LdapWish":
        """Read the module's options; raises :class:`FleetError` for what could not work."""
        ldaps = params["tls"] == "ldaps"
        servers = _servers("servers", params["servers"], ldaps)
        spare = _servers("backup_servers", params["backup_servers"], ldaps)
        if not servers:
            raise FleetError("servers is empty, but at least one LDAP server is expected.")
        base = _need_dn("base", params["base"])
        if bool(params["bind_dn"]) != bool(params["bind_password"]):
            raise FleetError("bind_dn and bind_password belong together; only {0} is given. Without both, the node asks anonymously.".format(
                "bind_dn" if params["bind_dn"] else "bind_password"))
        common = Common.from_params(params, params["domain"])
        ca = params["ca_certificates"] or ""
        settings = _settings(params, servers, spare, base, ca)
        if params["access_filter"]:
            if common.allowed_users or common.allowed_groups:
                raise FleetError("access_filter and allowed_users or allowed_groups are both given, but sssd goes by one of them. Put both into the filter.")
            allowed = _need_filter("access_filter", params["access_filter"])
            settings.update(access_provider="ldap", ldap_access_order="filter", ldap_access_filter=allowed)
        elif not (common.allowed_users or common.allowed_groups):
            settings["access_provider"] = "permit"
        wish = wish_for("ldap", common, ("sssd-ldap",), settings, ca)
        question = Question(
            "".join(file.text for file in wish.files if file.path == CA_FILE), "/" + SYSTEM_CA, params["bind_dn"] or "", params["bind_password"] or "", base,
            float(params["timeout_s"]),
        )
        return cls(wish, servers + spare, question)


def ask_all(wish: LdapWish) -> List[Answer]:
    """What each server says."""
    if not wish.question.authorities and not os.path.exists(wish.question.authority_file):
        raise FleetError("{0} is missing, so no certificate can be checked. Install the package ca-certificates, or give your own authority in "
                         "ca_certificates.".format(wish.question.authority_file))
    return [ldap_probe.ask(server, wish.question) for server in wish.servers]


def judge(answers: Sequence[Answer], would_change: bool) -> List[str]:
    """Warnings, or a refusal: of a server that answers wrongly always, of servers that do not answer only before the node is pointed at them."""
    wrong = [answer.problem for answer in answers if answer.reached and answer.problem]
    silent = [answer.problem for answer in answers if not answer.reached]
    if wrong:
        raise FleetError("{0}. The node was left as it was. Check ca_certificates and the names in the servers' certificates, bind_dn, bind_password and "
                         "base.".format("; ".join(wrong)), problems=wrong)
    if would_change and len(silent) == len(answers):
        raise FleetError("No LDAP server answers, so the node was left as it was: {0}. Check the names, the route, and TCP port 389 (636 for ldaps) in "
                         "firewalls.".format("; ".join(silent)), problems=silent)
    return ["{0}.".format(problem) for problem in silent]


def _settings(params: Mapping[str, Any], servers: Sequence[Server], spare: Sequence[Server], base: str, ca: str) -> Dict[str, str]:
    schema = {"ipa": "IPA", "ad": "AD"}.get(params["schema"], params["schema"])
    found = {
        "id_provider": "ldap", "auth_provider": "ldap", "chpass_provider": "ldap",
        "ldap_uri": ", ".join(server.uri for server in servers),
        "ldap_backup_uri": ", ".join(server.uri for server in spare),
        "ldap_search_base": base,
        "ldap_schema": schema,
        "ldap_id_use_start_tls": "false" if params["tls"] == "ldaps" else "true",
        "ldap_tls_reqcert": "demand",
        "ldap_tls_cacert": "/" + (CA_FILE if ca else SYSTEM_CA),
        "ldap_user_search_base": _search_base("user", params, base),
        "ldap_group_search_base": _search_base("group", params, base),
        "sudo_provider": "ldap" if params["sudo"] else "none",
        "ldap_sudo_search_base": _need_dn("sudo_base", params["sudo_base"]) if params["sudo_base"] else "",
    }
    if params["sudo_base"] and not params["sudo"]:
        raise FleetError("sudo_base is given, but sudo is false, so no rules would be read. Set sudo to true, or leave sudo_base out.")
    if params["bind_dn"]:
        found["ldap_default_bind_dn"] = _need_dn("bind_dn", params["bind_dn"])
        found["ldap_default_authtok_type"] = "password"
        found["ldap_default_authtok"] = params["bind_password"]
    return {key: value for key, value in found.items() if value}


def _search_base(kind: str, params: Mapping[str, Any], base: str) -> str:
    """sssd-ldap(5): BASE?SCOPE?FILTER."""
    here, wanted = params[kind + "_base"], params[kind + "_filter"]
    if not here and not wanted:
        return ""
    if wanted and "?" in wanted:
        raise FleetError("{0}_filter is {1!r}, but a ? would end it in sssd.conf. Write \\3f instead, which means the same.".format(kind, wanted))
    place = _need_dn(kind + "_base", here) if here else base
    return "{0}?subtree?{1}".format(place, _need_filter(kind + "_filter", wanted)) if wanted else place


def _servers(option: str, names: Sequence[str], ldaps: bool) -> Tuple[Server, ...]:
    servers = []
    for name in names:
        found = _SERVER.match(name)
        if not found or int(found.group(3) or 1) not in range(1, 65536):
            raise FleetError("{0} has {1!r}, but names of hosts are expected, one an entry, with a port if it is another than the usual one: "
                             "ldap1.example.com or ldap1.example.com:1389.".format(option, name))
        scheme, host, port = found.groups()
        if scheme and (scheme == "ldaps") != ldaps:
            raise FleetError("{0} has {1!r}, but tls is {2}. Set tls to {3}, or leave the scheme out: TLS is used either way.".format(
                option, name, *(("ldaps", "starttls") if ldaps else ("starttls", "ldaps"))))
        servers.append(Server(host.strip("[]"), int(port or (636 if ldaps else 389)), ldaps))
    return tuple(servers)


def _need_dn(option: str, text: str) -> str:
    if not text or not _DN.match(text) or "?" in text:
        raise FleetError("{0} is {1!r}, but a distinguished name is expected, such as dc=example,dc=com.".format(option, text))
    return text


def _need_filter(option: str, text: str) -> str:
    depths = list(itertools.accumulate((letter == "(") - (letter == ")") for letter in text))
    if not text.startswith("(") or 0 not in depths or depths.index(0) != len(text) - 1:  # the first one is closed by the last letter
        raise FleetError("{0} is {1!r}, but an LDAP filter in parentheses is expected, such as (objectClass=posixAccount).".format(option, text))
    return text
