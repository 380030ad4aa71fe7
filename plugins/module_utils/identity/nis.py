# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Users from NIS by ypbind, for sites that still have it.

nscd comes with it: services of systemd may not use the network (IPAddressDeny=any in systemd-logind.service), so without nscd, which they reach by a socket,
they know no user of NIS, and each login waits for them.
"""
import re
import socket
import time
from typing import Any, List, Mapping, NamedTuple, Sequence, Tuple

from ..host.commands import Result
from ..host.errors import FleetError
from ..host.files import read_text
from ..host.host import Host
from .node import Enrolment, own_profile
from .sssd import need_host, need_umask
from .state import File, Wish

WARNING = ("NIS sends names and the hashes of passwords over the network in the clear, to whoever asks, and believes whoever answers. Use it in a network "
           "of its own only, and prefer LDAP (ldap_client) where you can.")

_DOMAIN = re.compile(r"^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?\Z")
_HEADER = "# Written by dgxops.fleet.nis_client, which owns this file. See yp.conf(5).\n"
_KERNEL = "proc/sys/kernel/domainname"

#: The C library had NIS built in, and one package the rest, before Debian 11 and Ubuntu 22.04.
_PACKAGES, _PACKAGES_BEFORE = ("ypbind-mt", "yp-tools", "libnss-nis", "nscd"), ("nis", "nscd")
_SERVICE, _SERVICE_BEFORE = "ypbind.service", "nis.service"
_NEW_SINCE = {"debian": 11.0, "ubuntu": 22.04}


class NisWish(NamedTuple):
    """What is wanted on the node, and whom to ask first."""

    wish: Wish
    servers: Tuple[str, ...]
    timeout: float

    @classmethod
    def from_params(cls, params: Mapping[str, Any], release: str) -> "NisWish":
        """Read the module's options; ``release`` is the text of os-release(5). Raises :class:`FleetError` for what could not work."""
        domain = params["domain"] or ""
        if not _DOMAIN.match(domain) or domain == "(none)":
            raise FleetError("domain is {0!r}, but the name of a NIS domain is expected: letters, digits, dots, dashes and "
                             "underscores.".format(params["domain"]))
        servers = tuple(need_host("servers", name) for name in params["servers"])
        lines = ["domain {0} server {1}\n".format(domain, name) for name in servers] or ["domain {0} broadcast\n".format(domain)]
        files = [File("etc/yp.conf", _HEADER + "".join(lines)), File("etc/defaultdomain", domain + "\n")]
        profiles = []
        if params["create_home"]:
            line = "optional\tpam_mkhomedir.so umask={0} skel=/etc/skel".format(need_umask(params["home_umask"]))
            file, profile = own_profile("dgxops-mkhomedir", "Create homes on login (dgxops.fleet)", [line])
            files.append(file)
            profiles.append(profile)
        new = _is_new(release)
        wish = Wish(
            owner="nis", packages=_PACKAGES if new else _PACKAGES_BEFORE, files=tuple(files), word="nis", databases=("passwd", "group", "shadow", "netgroup"),
            profiles=tuple(profiles), services=("nscd.service", _SERVICE if new else _SERVICE_BEFORE), enrolment=domain,
            replace=params["conflicts"] == "replace", caches=("var/yp/binding/{0}.*".format(domain),), users=tuple(params["expected_users"]),
        )
        return cls(wish, servers, float(params["timeout_s"]))


class Domain(Enrolment):
    """The NIS domain name of the running kernel; the one after a boot is in /etc/defaultdomain."""

    def __init__(self) -> None:
        self.server = ""
        self.left_behind = ""

    def read(self, host: Host) -> str:
        name = (read_text(host.path(_KERNEL)) or "").strip()
        return "" if name == "(none)" else name

    def change(self, host: Host, wanted: str) -> None:
        host.commands.output(("domainname", wanted or "(none)"))

    def prove(self, host: Host, wait: float) -> None:
        """ypbind starts whether it finds a server or not."""
        until = time.monotonic() + wait
        while True:
            said = _binding(host)
            if said.rc == 0:
                self.server = said.out.strip()
                return
            if time.monotonic() >= until:
                raise FleetError("ypbind has found no server for this NIS domain; ypwhich says: {0}. Check domain and servers, and that the server lets this "
                                 "node ask (/var/yp/securenets).".format(" ".join((said.err or said.out).split())))
            time.sleep(1)


def _binding(host: Host) -> Result:
    """What ypwhich says; it may wait for an answer much longer than we do."""
    try:
        return host.commands.run(("ypwhich",), 10.0)
    except FleetError as error:
        return Result(1, "", error.message)


def ask_all(wish: NisWish) -> List[str]:
    """What is wrong with the servers, by whether their port mapper answers; a broadcast cannot be tried before the node is set up."""
    problems = []
    for name in wish.servers:
        try:
            socket.create_connection((name, 111), wish.timeout).close()
        except OSError as error:
            problems.append("{0} does not answer on port 111 (rpcbind): {1}".format(name, error.strerror or error))
    return problems


def judge(problems: Sequence[str], servers: Sequence[str], would_change: bool) -> List[str]:
    """Warnings, or a refusal if a node would be pointed at nobody."""
    if would_change and servers and len(problems) == len(servers):
        raise FleetError("No NIS server answers, so the node was left as it was: {0}. Check the names, the route, and firewalls.".format("; ".join(problems)),
                         problems=list(problems))
    return ["{0}.".format(problem) for problem in problems]


def _is_new(release: str) -> bool:
    values = dict(re.findall(r"^(ID|VERSION_ID)=\"?([^\"\n]*)\"?$", release, re.MULTILINE))
    since = _NEW_SINCE.get(values.get("ID", ""))
    number = re.match(r"[0-9]+(?:\.[0-9]+)?", values.get("VERSION_ID", ""))
    return since is None or number is None or float(number.group(0)) >= since
