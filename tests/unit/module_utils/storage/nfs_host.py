"""A client with NFS mounts that behaves as a kernel does, on a root of files."""
import os

from ansible_collections.dgxops.fleet.plugins.module_utils.host.commands import Commands, Result
from ansible_collections.dgxops.fleet.plugins.module_utils.host.host import Host
from ansible_collections.dgxops.fleet.plugins.module_utils.storage import nfs_mounts
from ansible_collections.dgxops.fleet.plugins.module_utils.storage import nfs_mounts_host as host

ROOT = "27 1 9:0 / / rw,relatime shared:1 - ext4 /dev/md0 rw\n"
_VFS = ("ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime")


class Kernel(Commands):
    """mount, umount and remount on a mountinfo; ``most`` is what the server grants for rsize, ``dead`` are sources that cannot be mounted."""

    def __init__(self, root, most=1048576):
        super().__init__()
        self.root, self.most, self.dead, self.asked, self.number = str(root), most, set(), [], 40
        self.shared = None  # connections to the server that are there already

    def run(self, argv, timeout=None, text_in=None):
        self.asked.append(tuple(argv))
        if argv[0] == "mount":
            words, source, path = argv[-3].split(","), argv[-2], argv[-1]
            return self.remount(path, words) if words[0] == "remount" else self.mount(source, path, words)
        if argv[0] == "umount":
            lines = self.lines()
            last = max((number for number, line in enumerate(lines) if line.split()[4] == argv[-1].replace(" ", "\\040")), default=None)
            if last is None:
                return Result(32, "", "not mounted")
            self.write(lines[:last] + lines[last + 1:])
        return Result(0, "", "")

    def mount(self, source, path, words):
        if source in self.dead:
            return Result(32, "", "mount.nfs: mounting {0} failed, reason given by server: No such file or directory".format(source))
        values = dict(word.split("=", 1) for word in words if "=" in word)
        size = min(int(values.get("rsize", self.most)), self.most)
        shown = ["vers=" + values.get("vers", "4.2"), "rsize={0}".format(size), "wsize={0}".format(size), "soft" if "soft" in words else "hard", "proto=tcp"]
        connections = self.shared or values.get("nconnect", "1")
        shown += ["nconnect=" + connections] * (connections != "1") + ["fsc"] * ("fsc" in words) + ["addr=192.0.2.9"]
        self.number += 1
        self.add_line(source, path, self.flags(words), ["ro" if "ro" in words else "rw"] + shown)
        place = os.path.join(self.root, "sys/class/bdi/0:{0}".format(self.number))
        os.makedirs(place, exist_ok=True)
        with open(place + "/read_ahead_kb", "w") as handle:
            handle.write("128\n")
        return Result(0, "", "")

    def remount(self, path, words):
        lines = self.lines()
        for number, line in enumerate(lines):
            parts = line.split(" ")
            if parts[4] == path.replace(" ", "\\040"):
                parts[5] = ",".join(self.flags(words))
                parts[-1] = ("ro" if "ro" in words else "rw") + parts[-1][2:]
                lines[number] = " ".join(parts)
        self.write(lines)
        return Result(0, "", "")

    @staticmethod
    def flags(words):
        found = [word for word in _VFS if word in words]
        return (["rw"] if "ro" not in words else []) + found + (["relatime"] if "noatime" not in words else [])

    def add_line(self, source, path, flags, shown, kind="nfs4"):
        line = "{0} 27 0:{0} / {1} {2} shared:9 - {3} {4} {5}".format(
            self.number, path.replace(" ", "\\040"), ",".join(flags), kind, source.replace(" ", "\\040"), ",".join(shown))
        self.write(self.lines() + [line])

    def lines(self):
        with open(self.root + "/proc/self/mountinfo") as handle:
            return handle.read().splitlines()

    def write(self, lines):
        with open(self.root + "/proc/self/mountinfo", "w") as handle:
            handle.write("".join(line + "\n" for line in lines))


def build(root, fstab="UUID=1 / ext4 defaults 0 1\n"):
    """A fresh client."""
    files = {"proc/self/mountinfo": ROOT, "etc/fstab": fstab, "proc/sys/kernel/osrelease": "6.1.0\n", "sbin/mount.nfs": "", "etc/udev/rules.d/README": ""}
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "proc/self/ns").mkdir()
    os.symlink("mnt:[1]", str(root / "proc/self/ns/mnt"))
    return Host(Kernel(root), str(root))


def wish(client, *mounts, **options):
    """Mounts are (path, source, options) or (path, source)."""
    entries = [{"path": entry[0], "src": entry[1], "options": list(entry[2:]), "mounted": True} for entry in mounts]
    params = {"mounts": entries, "options": [], "read_ahead_kib": None, "allow_async": False, "when_busy": "refuse", "state": "present"}
    return nfs_mounts.Wish.from_params(dict(params, **options), host.read_release(client.sysfs))


def plan(client, wanted):
    """What check mode does."""
    found = host.read(wanted, client)
    change = nfs_mounts.decide(wanted, found)
    return nfs_mounts.refuse_if_busy(change, wanted, found, host.read_busy(change, client)), found


def run(client, wanted):
    """What the module does; returns the change and its warnings."""
    change, found = plan(client, wanted)
    _now, warnings = host.carry_out(change, wanted, found, client)
    return change, warnings
