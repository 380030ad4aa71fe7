# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A host that keeps time, as far as its programs and files show it: systemctl, apt-get and dpkg-query that change the same state they tell."""
from typing import Optional, Sequence

from ansible_collections.dgxops.fleet.plugins.module_utils.host.commands import Commands, Result
from ansible_collections.dgxops.fleet.plugins.module_utils.host.host import Host
from ansible_collections.dgxops.fleet.plugins.module_utils.host.timesyncd import PACKAGE, SERVICE

#: The packages of Debian 12: they exclude each other, and each brings a unit that is enabled and started when it is installed.
UNIT_OF = {PACKAGE: SERVICE, "chrony": "chrony.service", "ntpsec": "ntpsec.service"}


class TimeHost(Commands):
    """``units`` are lists of enablement and whether it runs; ``broken`` are units that systemd does not start, and does not say so."""

    def __init__(self, packages=(PACKAGE,), units=None, systemd=252, broken=(), stale=False):
        super().__init__()
        self.packages = set(packages)
        self.units = {name: list(unit) for name, unit in (units or {}).items()}
        self.systemd, self.broken, self.stale = systemd, set(broken), stale
        self.asked = []
        self.also_removed: Sequence[str] = ()
        self.dies_at: Optional[str] = None

    def run(self, argv, timeout=None, text_in=None):
        words = [word for word in argv if not word.startswith(("-", "DEBIAN_"))]
        self.asked.append(" ".join(words))
        if self.dies_at and self.dies_at in self.asked[-1]:
            raise KeyboardInterrupt
        if words[:2] == ["env", "apt-get"]:
            return self._apt(words[2], words[3:], "--simulate" in argv)
        if words[0] == "dpkg-query":
            return Result(1, "".join("{0} installed\n".format(name) for name in sorted(self.packages)) + "ntp not-installed\n", "no packages found")
        return self._systemctl(words[1] if len(words) > 1 else "--version", words[2:])

    def _apt(self, verb, names, simulate):
        if verb == "update":
            self.stale = False
        if verb == "purge":
            for name in names:
                self.packages.discard(name)
                self.units.pop(UNIT_OF[name], None)
        if verb == "install":
            if self.stale:
                return Result(100, "", "E: Unable to locate package")
            gone = sorted(self.packages - set(names))
            if simulate:
                return Result(0, "".join("Remv {0} [1.0]\n".format(name) for name in gone + list(self.also_removed)), "")
            for name in gone:
                self.units[UNIT_OF[name]] = ["generated", False]  # the script in /etc/init.d stays
            self.packages = set(names)
            for name in names:
                self.units[UNIT_OF[name]] = ["enabled", True]
        return Result(0, "", "")

    def _systemctl(self, verb, names):
        if verb == "--version":
            return Result(0, "systemd {0} ({0}.1-1)\n+PAM\n".format(self.systemd), "")
        if verb == "cat":
            return Result(0, "[Unit]\nConditionVirtualization=!container\n", "")
        if verb == "show":
            return Result(0, "\n".join(self._block(name) for name in names), "")
        unit = self.units[names[0]]
        if verb in ("enable", "disable", "mask", "unmask"):
            unit[0] = {"enable": "enabled", "disable": "disabled", "mask": "masked", "unmask": "disabled"}[verb]
        else:
            unit[1] = verb == "restart" and names[0] not in self.broken
        return Result(0, "", "")

    def _block(self, name):
        name = {"chronyd.service": "chrony.service"}.get(name, name)  # an alias tells the unit's own name
        unit = self.units.get(name)
        load = "not-found" if unit is None else "masked" if unit[0] == "masked" else "loaded"
        return "Id={0}\nLoadState={1}\nActiveState={2}\nUnitFileState={3}\n".format(
            name, load, "active" if unit and unit[1] else "inactive", unit[0] if unit else "")


def host_below(root, commands):
    """The files of that host."""
    for zone in ("Etc/UTC", "Europe/Berlin"):
        place = root / "usr/share/zoneinfo" / zone
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("TZif2")
    (root / "etc").mkdir(exist_ok=True)
    (root / "etc/localtime").symlink_to("/usr/share/zoneinfo/Etc/UTC")
    (root / "etc/timezone").write_text("Etc/UTC\n")
    return Host(commands, str(root))
