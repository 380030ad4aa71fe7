# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A node of Debian 12 as far as its directory client goes: apt, dpkg, pam-auth-update and systemctl that change the files and states they tell.

What the packages do on installation and removal (lines in nsswitch.conf, a PAM profile, an account, a unit) was seen on Debian 12 in November 2026.
"""
import json
import os
import re

from ansible_collections.dgxops.fleet.plugins.module_utils.host.commands import Commands, Result
from ansible_collections.dgxops.fleet.plugins.module_utils.host.host import Host

NSSWITCH = """\
passwd:         files systemd
group:          files systemd
shadow:         files

hosts:          files dns
services:       db files

netgroup:       nis
"""
PASSWD = "root:x:0:0::/root:/bin/sh\noperator:x:1000:1000::/home/operator:/bin/sh\n"

DEPENDENCIES = {"sssd-ldap": ["sssd-common"], "sssd-ad": ["sssd-common"], "libnss-sss": [], "libpam-sss": ["libpam-pwquality"], "libsss-sudo": []}
UNITS = {"sssd-common": "sssd.service", "ypbind-mt": "ypbind.service", "nscd": "nscd.service", "nis": "nis.service"}
#: Those that are scripts in /etc/init.d, of which systemd says "generated".
SCRIPTS = ("nis.service",)
PROFILES = {"libpam-sss": ("sss", "auth [success=end] pam_sss.so use_first_pass\n")}


class Node(Commands):
    """``dies_at`` interrupts the program whose words it is part of; ``broken`` are units that do not start; ``edited``: pam-auth-update changes nothing."""

    def __init__(self, root, packages=(), users=("alice",), broken=(), edited=False):
        super().__init__()
        self.root = str(root)
        self.status = dict.fromkeys(packages, "installed")
        self.units = {UNITS[name]: ["enabled", True] for name in packages if name in UNITS}
        self.users, self.broken, self.edited = set(users), set(broken), edited
        self.foreign = {}  # packages of others by what they need of ours
        self.dies_at = None
        self.reached, self.problem, self.problems = True, "", []  # what its servers say
        self.asked = []
        for name in packages:
            if name in PROFILES:
                self._profile_file(name)
        self.write("etc/nsswitch.conf", NSSWITCH)
        self.write("etc/passwd", PASSWD)
        self.write("etc/group", "root:x:0:\n")
        self.write("usr/share/pam-configs/unix", "Name: unix\n")
        self._update_pam({"unix"}, os.listdir(self.path("usr/share/pam-configs")))

    @property
    def host(self):
        return Host(self, self.root)

    def path(self, name):
        return os.path.join(self.root, name)

    def read(self, name):
        with open(self.path(name)) as handle:
            return handle.read()

    def write(self, name, text, mode=None):
        os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
        with open(self.path(name), "w") as handle:
            handle.write(text)
        if mode is not None:
            os.chmod(self.path(name), mode)

    def everything(self):
        """All files with their modes, and packages and units: what must be the same after the way there and back."""
        found = {}
        for directory, _names, files in os.walk(self.root):
            for name in files:
                place = os.path.join(directory, name)
                with open(place, errors="surrogateescape") as handle:
                    found[os.path.relpath(place, self.root)] = (handle.read(), os.stat(place).st_mode)
        return found, dict(self.status), {name: list(unit) for name, unit in self.units.items()}

    def run(self, argv, timeout=None, text_in=None):
        words = [word for word in argv if not word.startswith(("--quiet", "--yes", "--no-inst", "--option", "--force", "--show", "DEBIAN_")) and word != "env"]
        said = " ".join(words)
        self.asked.append(said)
        if self.dies_at and self.dies_at in said and "--simulate" not in said:
            self.dies_at = None
            raise KeyboardInterrupt
        return getattr(self, "_" + re.sub(r"\W", "_", words[0]))(words[1:], "--simulate" in words)

    def _dpkg(self, _words, _simulate):
        for name, status in list(self.status.items()):
            if status == "half-configured":
                self._configure(name)
        return Result(0, "", "")

    def _dpkg_query(self, words, _simulate):
        return Result(1, "".join("{0} {1}\n".format(name, self.status[name]) for name in words if name in self.status), "no packages found matching others")

    def _apt_get(self, words, simulate):
        verb, names = words[0], [word for word in words[1:] if not word.startswith("-")]
        if verb == "install":
            new = [name for name in self._with_needs(names) if self.status.get(name) != "installed"]
            if not simulate:
                for name in new:
                    self._configure(name)
            return Result(0, "".join("Inst {0} (1.0 Debian [amd64])\n".format(name) for name in new), "")
        if verb in ("remove", "purge"):
            gone = [name for name in names if self.status.get(name) == "installed"]
            gone += [other for other, need in self.foreign.items() if need in gone]
            if not simulate:
                for name in gone:
                    self._unconfigure(name, verb == "purge")
            return Result(0, "".join("Remv {0} [1.0]\n".format(name) for name in gone), "")
        return Result(0, "", "")

    def _with_needs(self, names):
        return sorted(set(names).union(*(DEPENDENCIES.get(name, []) for name in names)))

    def _configure(self, name):
        self.status[name] = "installed"
        if name in UNITS:
            self.units[UNITS[name]] = ["enabled", False]
        if name == "sssd-common":
            self.write("etc/passwd", PASSWD + "sssd:x:101:102::/var/lib/sss:/usr/sbin/nologin\n")
            self.write("etc/group", "root:x:0:\nsssd:x:102:\n")
        if name == "libnss-sss":
            lines = re.sub(r"^((?:passwd|group|shadow|services|netgroup):.*)(?<! sss)$", r"\1 sss", self.read("etc/nsswitch.conf"), flags=re.M)
            self.write("etc/nsswitch.conf", lines)
        if name in PROFILES:
            self._profile_file(name)
            self._pam_auth_update(["--package"], False)

    def _unconfigure(self, name, purge):
        if purge:
            del self.status[name]
        else:
            self.status[name] = "config-files"
        self.units.pop(UNITS.get(name), None)
        if name == "libnss-sss":
            self.write("etc/nsswitch.conf", self.read("etc/nsswitch.conf").replace(" sss", ""))
        if name in PROFILES:
            self._pam_auth_update(["--remove", PROFILES[name][0]], False)
            os.unlink(self.path("usr/share/pam-configs/" + PROFILES[name][0]))

    def _profile_file(self, package):
        name, line = PROFILES[package]
        self.write("usr/share/pam-configs/" + name, "Name: {0}\nDefault: yes\n{1}".format(name, line))

    def _pam_auth_update(self, words, _simulate):
        if self.edited:
            return Result(0, "", "")
        on = set(json.loads(self.read("var/lib/pam/on")))
        seen = set(json.loads(self.read("var/lib/pam/seen")))
        there = set(os.listdir(self.path("usr/share/pam-configs")))
        on |= {name for name in there - seen if "Default: yes" in self.read("usr/share/pam-configs/" + name)}
        seen = there
        for verb, name in zip(words, words[1:]):
            if verb in ("--remove", "--disable"):
                on.discard(name)
                seen = seen - {name} if verb == "--remove" else seen
            if verb == "--enable":
                on.add(name)
        self._update_pam(on & there, seen)
        return Result(0, "", "")

    def _update_pam(self, on, seen):
        self.write("var/lib/pam/on", json.dumps(sorted(on)))
        self.write("var/lib/pam/seen", json.dumps(sorted(seen)))
        notes = "".join("Module: {0}\n".format(name) for name in sorted(on))
        self.write("var/lib/pam/session", notes)
        lines = "".join(self.read("usr/share/pam-configs/" + name) for name in sorted(on))
        self.write("etc/pam.d/common-auth", lines)
        self.write("etc/pam.d/common-session", lines)

    def _systemctl(self, words, _simulate):
        verb, names = words[0], [word for word in words[1:] if not word.startswith("-")]
        if verb == "show":
            return Result(0, "\n".join(self._block(name) for name in names), "")
        if verb == "cat":
            return Result(0, "", "")
        unit = self.units[names[0]]
        if verb == "is-enabled":  # of a script
            return Result(0, "{0}\n".format(unit[0]), "nis.service is not a native service, redirecting to systemd-sysv-install.\n")
        if verb in ("enable", "disable"):
            unit[0] = verb + "d"
        else:
            unit[1] = verb == "restart" and names[0] not in self.broken
        return Result(0, "", "")

    def _block(self, name):
        unit = self.units.get(name)
        return "Id={0}\nLoadState={1}\nActiveState={2}\nUnitFileState={3}\n".format(
            name, "loaded" if unit else "not-found", "active" if unit and unit[1] else "inactive",
            "generated" if unit and name in SCRIPTS else unit[0] if unit else "")

    def _getent(self, words, _simulate):
        known = words[1] in self.users and self.units.get("sssd.service", ["", False])[1]
        return Result(0 if known else 2, "", "")

    def _userdel(self, words, _simulate):
        self.write("etc/passwd", PASSWD)
        self.write("etc/group", "root:x:0:\n")
        return Result(0, "", "")
