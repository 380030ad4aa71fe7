# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""witness make: files of all kinds in a home. witness tell: all accounts of people and all that is in their homes, as JSON."""
import hashlib
import json
import os
import pwd
import stat
import struct
import sys

PEOPLE = ("alice", "bob", "operator")
#: As setfacl -m u:3333:rw has it (linux/posix_acl_xattr.h): a version, and tag, rights and id of each entry.
ACL = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in [
    (1, 6, 0xFFFFFFFF), (2, 6, 3333), (4, 6, 0xFFFFFFFF), (16, 6, 0xFFFFFFFF), (32, 0, 0xFFFFFFFF)])


def make():
    home = "/home/alice"
    os.makedirs(home + "/data/deep")
    with open(home + "/data/notes", "w") as handle:
        handle.write("x" * 5000)
    with open(home + "/data/shared with bob", "w") as handle:
        handle.write("for both")
    os.link(home + "/data/notes", home + "/data/deep/the same")
    os.symlink("notes", home + "/data/link")
    os.mkfifo(home + "/data/fifo")
    os.setxattr(home + "/data/notes", "user.project", b"dgx")
    os.setxattr(home + "/data/shared with bob", "system.posix_acl_access", ACL)
    for above, directories, files in os.walk(home + "/data"):
        for name in directories + files + [""]:
            os.chown(os.path.join(above, name), pwd.getpwnam("alice").pw_uid, pwd.getpwnam("alice").pw_gid, follow_symlinks=False)
    os.chown(home + "/data/shared with bob", pwd.getpwnam("alice").pw_uid, 3100)
    os.chmod(home + "/data/shared with bob", 0o2660)
    os.chmod(home + "/data/deep", 0o1700)
    os.utime(home + "/data/notes", (1e9, 1e9))


def describe(path):
    found = os.lstat(path)
    entry = [stat.filemode(found.st_mode), found.st_uid, found.st_gid, found.st_nlink if not stat.S_ISDIR(found.st_mode) else 0]
    if stat.S_ISREG(found.st_mode):
        with open(path, "rb") as handle:
            entry += [hashlib.sha256(handle.read()).hexdigest(), found.st_mtime]
        entry += [(name, os.getxattr(path, name).hex()) for name in sorted(os.listxattr(path)) if name.startswith(("user.", "system.posix_acl"))]
    if stat.S_ISLNK(found.st_mode):
        entry += [os.readlink(path)]
    return entry


def tell():
    files = {}
    for name in PEOPLE:
        for above, directories, names in os.walk("/home/" + name):
            for entry in [above] + [os.path.join(above, one) for one in directories + names]:
                files[entry] = describe(entry)
    lines = {}
    for name in ("passwd", "shadow"):
        with open("/etc/" + name) as handle:
            lines[name] = sorted(line for line in handle.read().splitlines() if line.split(":")[0] in PEOPLE)
    with open("/etc/group") as handle:
        groups = [line.split(":") for line in handle.read().splitlines()]
    lines["group"] = sorted(":".join(group) for group in groups if int(group[2]) >= 1000 and group[0] != "nogroup")
    lines["docker"] = sorted(",".join(group[3] for group in groups if group[0] == "docker").split(","))
    print(json.dumps({"files": files, "lines": lines}))


{"make": make, "tell": tell}[sys.argv[1]]()
