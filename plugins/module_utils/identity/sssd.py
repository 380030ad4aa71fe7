# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""sssd.conf(5): what LDAP and Active Directory have in common in it, and the wish for a node that has it.

``services`` is left out on purpose: Debian and Ubuntu start the responders by their sockets, which fail if the file names them too. ``debug_backtrace_enabled``
is off: with it, sssd from 2.6 on writes all it has done before an error into its log, and that begins with its settings, the bind password among them.
"""
import re
from typing import Any, Dict, List, Mapping, NamedTuple, Sequence, Tuple

from ..host.errors import FleetError
from .node import SSSD_CONF, own_profile
from .state import File, Profile, Wish

SERVICE = "sssd.service"
CA_FILE = "etc/sssd/dgxops-ca.pem"

#: What every Debian and Ubuntu keeps its certificate authorities in.
SYSTEM_CA = "etc/ssl/certs/ca-certificates.crt"

_HEADER = "# Written by dgxops.fleet.{0}, which owns this file. See sssd.conf(5).\n"
_BASE_PACKAGES = ("libnss-sss", "libpam-sss")
_SUDO_PACKAGES = ("libsss-sudo", "sudo")

#: What sssd has from a directory, and a copy of its settings, secrets included.
_CACHES = (
    "var/lib/sss/db/cache_{0}.ldb", "var/lib/sss/db/timestamps_{0}.ldb", "var/lib/sss/db/ccache_*", "var/lib/sss/db/config.ldb", "var/lib/sss/mc/*",
    "var/log/sssd/sssd_{0}.log*",
)
_DATABASES = ("passwd", "group", "shadow", "netgroup")

#: Parts of the names of options by which a check could be loosened, or a secret shown.
_LOOSE = ("reqcert", "authtok", "disable_tls", "krb5_validate")
_KEY = re.compile(r"^[a-z][a-z0-9_]*\Z")
_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*\Z")
_HOST = re.compile(r"^[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?\Z")
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----\s+[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")

#: The options that the modules for LDAP and for Active Directory have in common.
ARGUMENTS: Dict[str, Dict[str, Any]] = {
    "create_home": {"type": "bool", "default": True},
    "home_umask": {"type": "str", "default": "0077"},
    "home": {"type": "str"},
    "shell": {"type": "str"},
    "cache_credentials": {"type": "bool", "default": True},
    "offline_days": {"type": "int", "default": 0},
    "cache_timeout_s": {"type": "int", "default": 5400},
    "min_id": {"type": "int", "default": 1000},
    "sudo": {"type": "bool", "default": False},
    "access_filter": {"type": "str"},
    "allowed_users": {"type": "list", "elements": "str", "default": []},
    "allowed_groups": {"type": "list", "elements": "str", "default": []},
    "settings": {"type": "dict", "default": {}},
    "expected_users": {"type": "list", "elements": "str", "default": []},
    "conflicts": {"type": "str", "choices": ["refuse", "replace"], "default": "refuse"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}


class Common(NamedTuple):
    """What a play may say about any directory behind sssd."""

    domain: str
    create_home: bool
    home_umask: str
    home: str
    shell: str
    cache_credentials: bool
    offline_days: int
    cache_timeout_s: int
    min_id: int
    sudo: bool
    allowed_users: Tuple[str, ...]
    allowed_groups: Tuple[str, ...]
    settings: Mapping[str, str]
    users: Tuple[str, ...]
    replace: bool

    @classmethod
    def from_params(cls, params: Mapping[str, Any], domain: str) -> "Common":
        """Read the options that both modules have."""
        if not _NAME.match(domain):
            raise FleetError("domain is {0!r}, but letters, digits, dots, dashes and underscores are expected.".format(domain))
        for name, least in (("offline_days", 0), ("cache_timeout_s", 1), ("min_id", 1)):
            if params[name] < least:
                raise FleetError("{0} is {1}, but at least {2} is expected.".format(name, params[name], least))
        for option in ("home", "shell"):
            if params[option] and not params[option].startswith("/"):
                raise FleetError("{0} is {1!r}, but a path that begins with / is expected.".format(option, params[option]))
        for option in ("allowed_users", "allowed_groups"):
            if any("," in name or not name.strip() for name in params[option]):
                raise FleetError("{0} has {1!r}, but names are expected, one an entry.".format(option, params[option]))
        return cls(
            domain=domain, create_home=params["create_home"], home_umask=need_umask(params["home_umask"]),
            home=params["home"] or "", shell=params["shell"] or "",
            cache_credentials=params["cache_credentials"], offline_days=params["offline_days"], cache_timeout_s=params["cache_timeout_s"],
            min_id=params["min_id"], sudo=params["sudo"], allowed_users=tuple(params["allowed_users"]), allowed_groups=tuple(params["allowed_groups"]),
            settings=params["settings"] or {}, users=tuple(params["expected_users"]), replace=params["conflicts"] == "replace",
        )

    def domain_settings(self) -> Dict[str, str]:
        """Settings of the domain's section that do not depend on its kind."""
        found = {
            "cache_credentials": _yes(self.cache_credentials), "entry_cache_timeout": str(self.cache_timeout_s), "min_id": str(self.min_id),
            "enumerate": "false", "autofs_provider": "none",
        }
        if self.home:
            found["override_homedir"] = self.home
        if self.shell:
            found["default_shell"] = self.shell
        if self.allowed_users or self.allowed_groups:
            found["access_provider"] = "simple"
            found["simple_allow_users"] = ", ".join(self.allowed_users)
            found["simple_allow_groups"] = ", ".join(self.allowed_groups)
        return {key: value for key, value in found.items() if value}

    def pam_settings(self) -> Dict[str, str]:
        return {"offline_credentials_expiration": str(self.offline_days)}


def wish_for(owner: str, common: Common, packages: Sequence[str], domain: Mapping[str, str], ca: str, enrolment: str = "") -> Wish:
    """The whole wish from the domain's own settings; what the play adds by ``settings`` comes last, and never over ours."""
    section = dict(common.domain_settings(), **domain)
    taken = sorted(set(common.settings) & set(section))
    wrong = sorted(key for key in common.settings if not _KEY.match(str(key)))
    loose = sorted(key for key in common.settings if any(word in key for word in _LOOSE))
    if loose:
        raise FleetError("settings has {0}. The server's certificate is always checked, and a bind password belongs into bind_password, where it is not "
                         "shown.".format(", ".join(loose)))
    if taken or wrong:
        raise FleetError("settings has {0}, which {1}. It takes further options of the domain in sssd.conf(5), by name.".format(
            ", ".join(taken or wrong), "an option of this role decides already" if taken else "is no name of an option"))
    section.update({key: str(value) for key, value in common.settings.items()})
    text = render(_HEADER.format("{0}_client".format(owner)), (
        ("sssd", {"config_file_version": "2", "domains": common.domain, "debug_backtrace_enabled": "false"}),
        ("pam", common.pam_settings()),
        ("domain/" + common.domain, section),
    ))
    files = [File(SSSD_CONF, text, private=True)]
    if ca:
        files.append(File(CA_FILE, need_certificates(ca)))
    profiles = [Profile("sss", "common-auth", "pam_sss.so")]
    if common.create_home:
        line = "optional\tpam_mkhomedir.so umask={0} skel=/etc/skel".format(common.home_umask)
        file, profile = own_profile("dgxops-mkhomedir", "Create homes on login (dgxops.fleet)", [line])
        files.append(file)
        profiles.append(profile)
    return Wish(
        owner=owner,
        packages=tuple(packages) + _BASE_PACKAGES + (_SUDO_PACKAGES if common.sudo else ()),
        files=tuple(files),
        word="sss",
        databases=_DATABASES + (("sudoers",) if common.sudo else ()),
        profiles=tuple(profiles),
        services=(SERVICE,),
        enrolment=enrolment,
        replace=common.replace,
        caches=tuple(name.format(common.domain) for name in _CACHES),
        users=common.users,
    )


def render(header: str, sections: Sequence[Tuple[str, Mapping[str, str]]]) -> str:
    """The file. A value with a line end would be a setting of its own, so it is refused."""
    lines = [header]
    for name, settings in sections:
        lines.append("[{0}]\n".format(name))
        for key, value in settings.items():
            if any(ord(letter) < 32 or ord(letter) == 127 for letter in value):
                raise FleetError("The value for {0} in sssd.conf has a line end or another control character. One line of plain text is expected.".format(key))
            lines.append("{0} = {1}\n".format(key, value))
        lines.append("\n")
    return "".join(lines).rstrip("\n") + "\n"


def need_umask(text: str) -> str:
    if not re.match(r"^0?[0-7]{3}\Z", text):
        raise FleetError("home_umask is {0!r}, but an octal mask such as '0077' is expected.".format(text))
    return text


def need_host(option: str, name: str) -> str:
    if not _HOST.match(name):
        raise FleetError("{0} has {1!r}, but names of hosts are expected, one an entry.".format(option, name))
    return name


def need_certificates(text: str) -> str:
    """The certificates in a PEM text, without what stands around them."""
    found: List[str] = _PEM.findall(text)
    if not found or "PRIVATE KEY" in text:
        raise FleetError("ca_certificates is expected to hold certificates in PEM form (-----BEGIN CERTIFICATE-----) and no private key; {0}.".format(
            "it has a private key, which does not belong on the nodes" if "PRIVATE KEY" in text else "there is none in it"))
    return "\n".join(found) + "\n"


def _yes(value: bool) -> str:
    return "true" if value else "false"
