# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A host's account files, and the programs that change them, as far as shadow-utils 4.13 of Debian 12 does what is asked of them here."""
import argparse
import os

from ansible_collections.dgxops.fleet.plugins.module_utils.host.commands import Commands, Result
from ansible_collections.dgxops.fleet.plugins.module_utils.host.host import Host

PASSWD = "root:x:0:0:root:/root:/bin/bash\nslurm:x:64030:64030::/nonexistent:/usr/sbin/nologin\nbob:x:1000:1000:Bob:/home/bob:/bin/sh\n+::::::\n"
GROUP = "root:x:0:\nslurm:x:64030:\nbob:x:1000:\nsudo:x:27:bob\n"
SHADOW = "root:*:19000:0:99999:7:::\nslurm:!:19000::::::\nbob:$6$salt$bobshash:19000:0:99999:7:::\n"


class AccountPrograms(Commands):
    """Runs useradd and its kind on the files below a root. ``dies_at`` cuts a run short before the named program."""

    def __init__(self, root):
        super().__init__()
        self.root = str(root)
        self.asked = []
        self.dies_at = ""

    def run(self, argv, timeout=None, text_in=None):
        self.asked.append(" ".join(argv))
        if self.dies_at and self.asked[-1].startswith(self.dies_at):
            raise KeyboardInterrupt
        return getattr(self, argv[0])(argv[1:], text_in) or Result(0, "", "")

    def _load(self, name):
        with open(os.path.join(self.root, "etc", name)) as handle:
            return [line.split(":") for line in handle.read().splitlines()]

    def _save(self, name, rows):
        with open(os.path.join(self.root, "etc", name), "w") as handle:
            handle.write("".join(":".join(row) + "\n" for row in rows))

    def _parse(self, argv, values, flags=()):
        parser = argparse.ArgumentParser(allow_abbrev=False)
        for word in values:
            parser.add_argument("--" + word)
        for word in flags:
            parser.add_argument("--" + word, action="store_true")
        parser.add_argument("name")
        return parser.parse_args(argv)

    def groupadd(self, argv, _text):
        asked = self._parse(argv, ["gid"], ["system"])
        self._group(asked.name, asked.gid or ("999" if asked.system else "1500"))

    def _group(self, name, gid):
        self._save("group", self._load("group") + [[name, "x", gid, ""]])

    def useradd(self, argv, _text):
        asked = self._parse(argv, ["gid", "uid", "comment", "home-dir", "shell", "groups"], ["create-home", "no-create-home", "user-group"])
        uid = asked.uid or str(1 + max(int(row[2]) for row in self._load("passwd") if row[2:3] != [""] and int(row[2]) < 60000))
        if asked.user_group:
            self._group(asked.name, uid)
        gid = self._gid(asked.gid or asked.name)
        home = asked.home_dir or "/home/" + asked.name
        self._save("passwd", self._load("passwd") + [[asked.name, "x", uid, gid, asked.comment or "", home, asked.shell or "/bin/sh"]])
        self._save("shadow", self._load("shadow") + [[asked.name, "!", "20000", "0", "99999", "7", "", "", ""]])
        self._join(asked.name, asked.groups or "")
        if asked.create_home:
            os.makedirs(self.root + home, exist_ok=True)

    def usermod(self, argv, _text):
        asked = self._parse(argv, ["gid", "comment", "home", "shell", "groups"], ["append"])
        rows = self._load("passwd")
        for row in rows:
            if row[0] == asked.name:
                row[3:] = [self._gid(asked.gid) if asked.gid else row[3], *(now if new is None else new for new, now in zip(
                    (asked.comment, asked.home, asked.shell), row[4:]))]
        self._save("passwd", rows)
        if asked.groups is not None:
            self._join(asked.name, asked.groups, not asked.append)

    def _gid(self, group):
        return next(row[2] for row in self._load("group") if row[0] == group)

    def _join(self, user, groups, only=False):
        rows = self._load("group")
        for row in rows:
            members = [name for name in row[3].split(",") if name and not (only and name == user)]
            row[3] = ",".join(members + [user] * (row[0] in groups.split(",") and user not in members))
        self._save("group", rows)

    def chpasswd(self, argv, text):
        assert list(argv) == ["--encrypted"]
        name, password = text.rstrip("\n").split(":", 1)
        self._save("shadow", [[name, password, "20001"] + row[3:] if row[0] == name else row for row in self._load("shadow")])

    def chage(self, argv, _text):
        words = ["lastday", "mindays", "maxdays", "warndays", "inactive", "expiredate"]
        asked = vars(self._parse([word.replace("-1", "none") if word == "-1" else word for word in argv], words))
        fields = [asked[word].replace("none", "") for word in words]
        self._save("shadow", [row[:2] + fields + [""] if row[0] == asked["name"] else row for row in self._load("shadow")])

    def userdel(self, argv, _text):
        asked = self._parse(argv, [], ["remove"])
        for name in ("passwd", "shadow"):
            self._save(name, [row for row in self._load(name) if row[0] != asked.name])
        self._join(asked.name, "", True)
        self._save("group", [row for row in self._load("group") if row[0] != asked.name])

    def groupdel(self, argv, _text):
        if argv[0] not in [row[0] for row in self._load("group")]:
            return Result(6, "", "groupdel: group '{0}' does not exist".format(argv[0]))
        self._save("group", [row for row in self._load("group") if row[0] != argv[0]])
        return None


def host_below(root):
    """The files of a host with a user bob, and its programs."""
    (root / "etc").mkdir()
    for name, text in (("passwd", PASSWD), ("group", GROUP), ("shadow", SHADOW)):
        (root / "etc" / name).write_text(text)
    (root / "home" / "bob").mkdir(parents=True)
    return Host(AccountPrograms(root), str(root))


def texts(host):
    return {name: open(host.path("etc/" + name)).read() for name in ("passwd", "group", "shadow")}


def params(users=(), groups=()):
    return {"users": list(users), "groups": list(groups)}
