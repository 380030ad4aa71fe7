# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Users from Active Directory by sssd, and the node's membership in the domain, which adcli makes and ends.

realmd is not used: its leave keeps krb5.conf and settings of sssd that were not there before.
"""
import contextlib
import os
import re
import struct
from typing import Any, Dict, List, Mapping, NamedTuple, Sequence, Tuple

from ..host.errors import FleetError
from ..host.files import keep_once, remove
from ..host.host import Host
from .node import Enrolment, give_back
from .sssd import Common, need_host, wish_for
from .state import KEPT, Wish

KEYTAB = "etc/krb5.keytab"
_DOMAIN = re.compile(r"^[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)+\Z")
_COMPUTER = re.compile(r"^[A-Za-z0-9](?:[A-Za-z0-9-]{0,13}[A-Za-z0-9])?\Z")
_LOGIN = re.compile(r"^[^\s@/\\-][^\s@/\\]*(?:@[A-Za-z0-9.-]+)?\Z")
_TIMEOUT = 120.0


class AdWish(NamedTuple):
    """What is wanted on the node, and in the domain."""

    wish: Wish
    domain: str
    servers: Tuple[str, ...]
    computer: str
    ou: str

    @classmethod
    def from_params(cls, params: Mapping[str, Any], hostname: str) -> "AdWish":
        """Read the module's options; raises :class:`FleetError` for what could not work."""
        domain = (params["domain"] or "").lower()
        if not _DOMAIN.match(domain):
            raise FleetError("domain is {0!r}, but the DNS name of a domain is expected, such as ad.example.com.".format(params["domain"]))
        computer = computer_name(params["computer_name"], hostname)
        ou = params["computer_ou"] or ""
        if ou and not re.match(r"^(?:OU|CN)=[^\n]+\Z", ou, re.IGNORECASE):
            raise FleetError("computer_ou is {0!r}, but the distinguished name of an organizational unit is expected, such as OU=DGX,DC=example,"
                             "DC=com.".format(ou))
        servers = tuple(need_host("servers", name) for name in params["servers"])
        common = Common.from_params(params, domain)
        wish = wish_for("ad", common, ("sssd-ad", "adcli"), _settings(params, common, domain, servers, computer), "", domain.upper())
        return cls(wish, domain, servers, computer, ou)


def computer_name(wanted: str, hostname: str) -> str:
    """The node's name in the domain, at most 15 letters (NetBIOS)."""
    name = (wanted or hostname.split(".", 1)[0]).upper()
    if not _COMPUTER.match(name):
        raise FleetError("The name of this node in the domain would be {0!r}, but at most 15 letters, digits and dashes are possible. Choose one by "
                         "computer_name (ad_client_computer_name in the role).".format(name))
    return name


class Membership(Enrolment):
    """The node's account in the domain: made and removed by adcli with somebody's password, which goes to it by a pipe and is kept nowhere."""

    def __init__(self, login: str, password: str, wish: "AdWish") -> None:
        self.login, self.password, self.wish, self.left_behind = login, password, wish, ""

    def read(self, host: Host) -> str:
        """The realm for which the node has keys of its own, as an account of Windows (NAME$)."""
        realms = realms_in(host.path(KEYTAB))
        return self.wish.wish.enrolment if self.wish.wish.enrolment in realms else ", ".join(realms)

    def change(self, host: Host, wanted: str) -> None:
        """Join the domain, or put back the keys that were there before."""
        if wanted != self.wish.wish.enrolment:
            with contextlib.suppress(FleetError):  # on the way back from a failure, which is the one to tell
                Departure(self.login, self.password).change(host, wanted)
            put_keys_back(host)
            return
        if not self.password:
            raise FleetError("This node is not a member of {0} yet. Give join_user and join_password of somebody who may let it in; they are needed for "
                             "this run only.".format(self.wish.domain))
        if os.path.exists(host.path(KEYTAB)):
            keep_once(host.path(KEYTAB), KEYTAB, host.path(KEPT))
        words = ["--domain={0}".format(self.wish.domain), "--computer-name={0}".format(self.wish.computer)]
        words += ["--domain-controller={0}".format(self.wish.servers[0])] if self.wish.servers else []
        words += ["--domain-ou={0}".format(self.wish.ou)] if self.wish.ou else []
        _adcli(host, "join", words, self.login, self.password, "join {0}".format(self.wish.domain))


class Departure(Enrolment):
    """The way out of the domain that the record tells of. Without a password the account stays in the domain, and only the node forgets it."""

    def __init__(self, login: str, password: str) -> None:
        self.login, self.password = login, password
        self.left_behind = ""

    def read(self, host: Host) -> str:
        return ", ".join(realms_in(host.path(KEYTAB)))

    def change(self, host: Host, wanted: str) -> None:
        accounts = accounts_in(host.path(KEYTAB))
        kept = realms_in(host.path(os.path.join(KEPT, KEYTAB)))
        for name, realm in accounts:
            if realm in kept:
                continue
            if self.password:
                words = ["--domain={0}".format(realm.lower()), name.rstrip("$")]
                _adcli(host, "delete-computer", words, self.login, self.password, "delete its account in {0}".format(realm.lower()))
            else:
                self.left_behind = "{0} in {1}".format(name.rstrip("$"), realm.lower())
        put_keys_back(host)


def put_keys_back(host: Host) -> None:
    """The keys from before, or none."""
    if os.path.exists(host.path(os.path.join(KEPT, KEYTAB))):
        give_back(host, KEYTAB)
    else:
        remove(host.path(KEYTAB))


def realms_in(path: str) -> List[str]:
    """The realms in which a keytab makes the node a member."""
    return sorted({realm for _name, realm in accounts_in(path)})


def accounts_in(path: str) -> List[Tuple[str, str]]:
    """Names and realms of the Windows accounts (NAME$) in a keytab (MIT's format, version 2). One that cannot be read is of nobody."""
    try:
        with open(path, "rb") as handle:
            data = handle.read()
    except FileNotFoundError:
        return []
    found = set()
    position = 2
    try:
        while data[:2] == b"\x05\x02" and position + 4 <= len(data):
            size = struct.unpack_from(">i", data, position)[0]
            position += 4
            if size > 0:  # a negative one is a hole, where an entry was removed
                count, place = struct.unpack_from(">H", data, position)[0], position + 2
                words = []
                for _index in range(count + 1):
                    length = struct.unpack_from(">H", data, place)[0]
                    words.append(data[place + 2:place + 2 + length].decode("utf-8", "replace"))
                    place += 2 + length
                if count == 1 and words[1].endswith("$"):
                    found.add((words[1], words[0]))
            position += abs(size) or 1
    except struct.error:
        pass
    return sorted(found)


def need_login(name: str) -> str:
    if not _LOGIN.match(name):
        raise FleetError("join_user is {0!r}, but the name of a user of the domain is expected, without the domain before it.".format(name))
    return name


def _adcli(host: Host, verb: str, words: Sequence[str], login: str, password: str, what: str) -> None:
    argv = ["adcli", verb, "--login-user={0}".format(need_login(login)), "--stdin-password"] + list(words)
    result = host.commands.run(argv, _TIMEOUT, password)
    if result.rc != 0:
        said = (result.err.strip() or result.out.strip() or "nothing").replace("\n", "; ").replace(password, "(secret)")
        raise FleetError("adcli could not {0} as {1}; it said: {2}. Check join_user and join_password, that DNS on this node knows the domain (SRV records of "
                         "_ldap._tcp), and that its clock is right to five minutes.".format(what, login, said))


def _settings(params: Mapping[str, Any], common: Common, domain: str, servers: Sequence[str], computer: str) -> Dict[str, str]:
    found = {
        "id_provider": "ad", "auth_provider": "ad", "chpass_provider": "ad",
        "ad_domain": domain,
        "krb5_realm": domain.upper(),
        "ad_server": ", ".join(servers),
        "ldap_sasl_authid": "{0}$".format(computer),
        "ldap_id_mapping": "true" if params["id_mapping"] else "false",
        "use_fully_qualified_names": "true" if params["qualified_names"] else "false",
        "fallback_homedir": "" if common.home else "/home/%u",
        "ad_gpo_access_control": params["gpo"],
        "dyndns_update": "false",  # names of nodes are not this role's business
        "sudo_provider": "ad" if common.sudo else "none",
    }
    if params["access_filter"]:
        if common.allowed_users or common.allowed_groups:
            raise FleetError("access_filter and allowed_users or allowed_groups are both given, but sssd goes by one of them. Put both into the filter.")
        found["ad_access_filter"] = params["access_filter"]
    if not (common.allowed_users or common.allowed_groups):
        found["access_provider"] = "ad"
    return {key: value for key, value in found.items() if value}
