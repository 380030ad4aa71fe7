# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Looks at all RAID arrays, records how they are, and alerts when that has changed for the worse, or back.

mdadm --monitor does not watch a RAID-0, since it has no redundancy that could be lost: of its failure, nobody would hear. The verdicts are those of
the module dgxops.fleet.md_array_info. A program named by --program is called as mdadm calls its own: EVENT DEVICE [DETAIL].
"""
import argparse
import json
import os
import re
import socket
import subprocess
import sys
import time

#: How many members each level may lose.
MAY_LOSE = {"raid0": 0, "linear": 0, "raid4": 1, "raid5": 1, "raid6": 2}
EVENTS = {
    "healthy": "Healthy", "degraded": "DegradedArray", "inactive": "Inactive", "broken": "Broken", "missing": "DeviceDisappeared", "unmounted": "Unmounted",
}
TIME_LIMIT = 60


def read(*parts):
    """The text of a file; empty if it cannot be read."""
    try:
        with open(os.path.join(*parts), "rb") as handle:
            return handle.read().decode("utf-8", "replace").strip()
    except OSError:
        return ""


def entries(path):
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []


def number(text):
    match = re.match(r"\d+", text)
    return int(match.group(0)) if match else 0


def is_here(member, array):
    """Whether a member's drive is still in the machine and still the array's; its own state goes on saying so when it was pulled."""
    block = os.path.join(member, "block")
    holders = os.path.join(block, "holders")
    return os.path.exists(os.path.join(block, "dev")) and (not os.path.isdir(holders) or os.path.lexists(os.path.join(holders, array)))


def judge(root, name):
    """The verdict on an array, and why; None for what holds no data of its own."""
    place = os.path.join(root, "sys/block", name, "md")
    state, level, metadata = read(place, "array_state"), read(place, "level"), read(place, "metadata_version")
    members = [os.path.join(place, entry) for entry in entries(place) if entry.startswith("dev-")]
    if level == "container" or metadata.startswith("external:") and not metadata.startswith("external:/") or state == "clear" and not members:
        return None
    if state in ("inactive", "clear"):
        return "inactive", "It does not run: {0} members are there.".format(len([one for one in members if is_here(one, name)]))
    good = [one for one in members if is_here(one, name) and set(read(one, "state").split(",")) & {"in_sync"} and "faulty" not in read(one, "state")]
    disks = number(read(place, "raid_disks"))
    lost = sorted(set(range(disks)) - {number(read(one, "slot")) for one in good if read(one, "slot").isdigit()})
    gone = ", ".join(os.path.basename(one)[4:] for one in members if not is_here(one, name))
    told = "slot {0} of {1} is lost{2}.".format(", ".join(map(str, lost)), disks, " ({0})".format(gone) if gone else "") if lost else "a member is lost."
    if state == "broken" or len(lost) > MAY_LOSE.get(level, max(disks - 1, 0)):
        return "broken", "Data is missing: {0} What is mounted only seems to work.".format(told)
    return ("degraded", "It works with less redundancy: {0}".format(told)) if lost else ("healthy", "")


def uuid_of(root, name):
    """In plain digits; from udev where the kernel does not tell."""
    digits = re.sub(r"[^0-9a-f]", "", read(root, "sys/block", name, "md/uuid").lower())
    if not digits.strip("0"):
        known = re.search(r"^E:MD_UUID=(\S+)", read(root, "run/udev/data/b" + read(root, "sys/block", name, "dev")), re.MULTILINE)
        digits = re.sub(r"[^0-9a-f]", "", known.group(1).lower()) if known else ""
    return digits


def expected(root):
    """The paths of the arrays in mdadm.conf, by UUID."""
    text = read(root, "etc/mdadm/mdadm.conf") or read(root, "etc/mdadm.conf")
    found = {}
    for line in re.sub(r"\n[ \t]+", " ", text).splitlines():
        match = re.match(r"(?i)array\s+(\S+).*\buuid=([0-9a-f:.-]+)", line)
        if match and match.group(1) != "<ignore>":
            found[re.sub(r"[^0-9a-f]", "", match.group(2).lower())] = match.group(1)
    return found


def look(root, mounts):
    """All that is watched, by what it is called: verdict and reason."""
    found = {}
    known = set()
    for name in entries(os.path.join(root, "sys/block")):
        told = judge(root, name) if re.match(r"md(\d+|_\S+)$", name) and os.path.isdir(os.path.join(root, "sys/block", name, "md")) else None
        if told:
            known.add(uuid_of(root, name))
            found["/dev/" + name] = told
    unknown = "" in known or any(verdict in ("broken", "inactive") for verdict, _reason in found.values())
    for uuid, path in expected(root).items():
        if uuid not in known and not unknown:  # the kernel forgets the UUID of an array that does not run
            found[path] = ("missing", "mdadm.conf names it, but it was not assembled.")
    places = [line.split(" ")[4] for line in read(root, "proc/self/mountinfo").splitlines()]
    for path in mounts:
        found[path] = ("healthy", "") if path in places else ("unmounted", "Nothing is mounted there.")
    return found


def volumes(program):
    """The volumes of hardware RAID, as StorCLI tells of them."""
    try:
        told = subprocess.run([program, "/call", "show", "J"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=TIME_LIMIT, check=True).stdout
        found = {}
        for controller in json.loads(told.decode("utf-8", "replace"))["Controllers"]:
            number = controller.get("Command Status", {}).get("Controller", "?")
            for volume in (controller.get("Response Data") or {}).get("VD LIST", []):
                state = volume.get("State", "unknown")
                verdict = {"Optl": "healthy", "OfLn": "broken"}.get(state, "degraded")
                what = "/c{0}/v{1}".format(number, str(volume.get("DG/VD", "?")).rpartition("/")[2])
                found[what] = (verdict, "" if verdict == "healthy" else "The {0} volume is in state {1}.".format(volume.get("TYPE", "RAID"), state))
        return found or {program: ("missing", "It knows of no volume.")}
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError, AttributeError) as error:
        return {program: ("missing", "It does not tell of any volume: {0}".format(error))}


def alert(options, what, verdict, reason, ways):
    """Tell those who are to be told in these ways, ``program`` and ``mail``; the ways that failed. One that fails keeps no other from being tried."""
    text = "{0} is {1}. {2}".format(what, verdict, reason).strip()
    print("<{0}>{1}".format(5 if verdict == "healthy" else 3, text), file=sys.stderr)
    host = socket.gethostname()
    calls, failed = {}, []
    if options.program and "program" in ways:
        calls["program"] = [options.program, EVENTS[verdict], what] + ([reason] if reason else []), b""
    if options.mail and "mail" in ways:
        mail = "From: {0}\nTo: {1}\nSubject: {2} event on {3}:{4}\n\n{5}\n".format(
            options.mail_from or "root", options.mail, EVENTS[verdict], what, host, text)
        calls["mail"] = [options.sendmail, "-t"], mail.encode()
    for way, (argv, text_in) in sorted(calls.items()):
        try:
            subprocess.run(argv, input=text_in, timeout=TIME_LIMIT, check=True)
        except (OSError, subprocess.SubprocessError) as error:
            print("<3>The alert could not be sent by {0}, and will be tried again: {1}".format(argv[0], error), file=sys.stderr)
            failed.append(way)
    return failed


def record(directory, found, before, untold):
    """Write down how all is now, in one step, and in the history what is different. ``untold`` is who has yet to hear of what."""
    os.makedirs(directory, exist_ok=True)
    now = int(time.time())
    status = {"checked": now, "healthy": all(verdict == "healthy" for verdict, _reason in found.values()),
              "watched": {what: {"verdict": verdict, "reason": reason} for what, (verdict, reason) in sorted(found.items())},
              "untold": untold}
    different = {what: entry for what, entry in status["watched"].items() if before.get(what, {}).get("verdict") != entry["verdict"]}
    with open(os.path.join(directory, "status.json.part"), "w") as handle:
        json.dump(status, handle, indent=1, sort_keys=True)
        handle.write("\n")
    os.replace(os.path.join(directory, "status.json.part"), os.path.join(directory, "status.json"))
    if different:
        with open(os.path.join(directory, "history.jsonl"), "a") as handle:
            handle.write(json.dumps({"time": now, "watched": different}, sort_keys=True) + "\n")
    return status["healthy"]


def remembered(directory):
    """How all was at the last look, and who has yet to hear of what."""
    try:
        status = json.loads(read(directory, "status.json") or "{}")
        before = {what: {"verdict": entry["verdict"]} for what, entry in status.get("watched", {}).items()}
        return before, {what: [str(way) for way in ways] for what, ways in status.get("untold", {}).items()}
    except (ValueError, AttributeError, TypeError, KeyError):
        return {}, {}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--directory", default="/var/lib/dgxops/md-health", help="where status.json and history.jsonl are kept")
    parser.add_argument("--mail", default="", help="who gets mail, by sendmail")
    parser.add_argument("--mail-from", default="", help="its sender")
    parser.add_argument("--sendmail", default="/usr/sbin/sendmail", help="the program that takes mail")
    parser.add_argument("--program", default="", help="a program to call: EVENT DEVICE [DETAIL]")
    parser.add_argument("--mount", action="append", default=[], help="a path where something has to be mounted")
    parser.add_argument("--storcli", default="", help="the path of StorCLI, to watch hardware RAID too")
    parser.add_argument("--root", default="/", help="the directory below which sys, proc, run and etc are")
    options = parser.parse_args()
    before, untold = remembered(options.directory)
    found = look(options.root, options.mount)
    found.update(volumes(options.storcli) if options.storcli else {})
    due = {what: ["mail", "program"] if before.get(what, {}).get("verdict", "healthy") != verdict else untold[what]
           for what, (verdict, _reason) in sorted(found.items()) if before.get(what, {}).get("verdict", "healthy") != verdict or what in untold}
    healthy = record(options.directory, found, before, due)  # first, so that an alert that is cut short is made up for
    left = {what: alert(options, what, found[what][0], found[what][1], ways) for what, ways in sorted(due.items())}
    if due:
        record(options.directory, found, {what: {"verdict": verdict} for what, (verdict, _reason) in found.items()},
               {what: ways for what, ways in left.items() if ways})
    return 0 if healthy else 1


if __name__ == "__main__":
    sys.exit(main())
