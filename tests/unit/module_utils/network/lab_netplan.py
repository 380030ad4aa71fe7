# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A host whose netplan, ip and systemd are played, with real files below a directory of the test."""
import json

from ansible_collections.dgxops.fleet.plugins.module_utils.host.commands import Commands, Result
from ansible_collections.dgxops.fleet.plugins.module_utils.network.netplan_change import Wish
from ansible_collections.dgxops.fleet.plugins.module_utils.network.netplan_host import Host
from ansible_collections.dgxops.fleet.plugins.module_utils.network.netplan_links import Link

#: A DGX with two ports, and the port that it is managed by.
LINKS = {
    "lo": Link("lo", addresses=("127.0.0.1/8",)),
    "mgmt0": Link("mgmt0", mac="52:54:00:d6:00:00", driver="igb", max_mtu=9216, addresses=("10.0.2.15/24",)),
    "enp1": Link("enp1", mac="52:54:00:d6:01:00", driver="mlx5_core", max_mtu=9978, max_vfs=16),
    "enp2": Link("enp2", mac="52:54:00:d6:01:01", driver="mlx5_core", max_mtu=9978),
}

INSTALLER = """# This is the network config written by 'subiquity'
network:
  ethernets:
    mgmt0:
      addresses: [10.0.2.15/24]
      routes:
      - to: default
        via: 10.0.2.2
  version: 2
"""

BOND = {"interfaces": ["enp1", "enp2"], "parameters": {"mode": "802.3ad"}}
BRIDGE = {"interfaces": ["bond0"], "addresses": ["10.33.14.17/24"]}


def wish(network=None, **options):
    """A module's options, checked."""
    given = {"state": "present", "file": "60-dgxops.yaml", "network": network, "replaces": [], "detach": False}
    return Wish.from_params(dict(given, **options))


class NetHost(Commands):
    """Answers as ``ip``, ``netplan`` and ``systemd-run`` do, and remembers what was asked."""

    def __init__(self, links=None):
        super().__init__()
        self.links = dict(LINKS if links is None else links)
        self.asked = []
        self.fails = {}
        self.indexes = {}
        self.timers = set()

    def run(self, argv, timeout=None, text_in=None):
        words = tuple(argv)
        self.asked.append(words)
        for start, result in self.fails.items():
            if words[:len(start)] == start:
                return result
        if words[:3] == ("ip", "-details", "-json"):
            return Result(0, self.addresses(), "")
        if words[0] == "/usr/bin/python3":  # which reads YAML where this Python cannot
            return super().run(argv, timeout, text_in)
        if words[0] == "systemd-run":
            unit = next(word for word in words if word.startswith("--unit="))[len("--unit="):]
            if any(word.startswith("--on-active=") for word in words):
                self.timers.add(unit + ".timer")
            return Result(0, "", "")
        if words[:2] == ("systemctl", "is-active"):
            return Result(0, "active\n" if words[2] in self.timers else "inactive\n", "")
        if words[:2] == ("systemctl", "stop"):
            self.timers.discard(words[2])
            return Result(0, "", "")
        if words[0] in ("netplan", "ping"):
            return Result(0, "", "")
        return Result(127, "", "{0} is not played here".format(words[0]))

    def addresses(self):
        return json.dumps([
            {
                "ifname": link.name, "ifindex": self.indexes.setdefault(link.name, len(self.indexes) + 1), "mtu": link.mtu,
                "max_mtu": link.max_mtu, "address": link.mac, "master": link.master, "link": link.lower,
                "flags": ["UP"] if link.up else [], "linkinfo": {"info_kind": link.kind} if link.kind else {},
                "addr_info": [{"local": text.split("/")[0], "prefixlen": int(text.split("/")[1])} for text in link.addresses],
            }
            for link in self.links.values()
        ])


def host_below(path, commands=None, files=None):
    """A host with these netplan files, by their names in /etc/netplan."""
    for directory in ("etc/netplan", "etc/systemd/system", "run", "var/backups"):
        (path / directory).mkdir(parents=True, exist_ok=True)
    for name, text in (files if files is not None else {"50-installer.yaml": INSTALLER}).items():
        place = path / "etc/netplan" / name
        place.write_text(text)
        place.chmod(0o600)
    return Host(commands or NetHost(), str(path))
