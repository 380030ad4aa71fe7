# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""dgx-watch: one pane of tmux per host, each showing its GPUs or containers as they are now (sections 5.2 and 5.3 of the Best Practices for DGX).

The role monitoring_tools puts this very file on a node; it needs Python, tmux and ssh, and nothing else of the collection.
"""
import argparse
import fnmatch
import os
import shlex
import socket
import subprocess
import sys
from typing import List, Sequence

HOSTS_FILE = "/etc/dgxops/watch-hosts"
COMMANDS = {"gpus": "watch -d -n 1 nvidia-smi", "containers": "ctop"}
#: More panes in a window are too small to read; further hosts get further windows.
PANES = 9


def choose(listed: Sequence[str], patterns: Sequence[str]) -> List[str]:
    """The hosts that are meant: all that are listed, those that a pattern fits, or names that are not listed; each once, in this order."""
    found: List[str] = []
    for pattern in patterns or ["*"]:
        fitting = fnmatch.filter(listed, pattern)
        if not fitting and not set(pattern) & set("*?[") and not pattern.startswith("-"):
            fitting = [pattern]
        if not fitting:
            raise ValueError("No host fits {0!r}. {1} lists: {2}.".format(pattern, HOSTS_FILE, ", ".join(listed) or "none"))
        found += [host for host in fitting if host not in found]
    return found


def pane_command(host: str, command: str, here: Sequence[str]) -> str:
    """What a pane runs: the command on that host, by ssh unless it is this one. When it ends, what it said stays, and Enter begins again."""
    what = command if host in here else "ssh -t -o ConnectTimeout=10 -- {0} {1}".format(shlex.quote(host), shlex.quote(command))
    loop = "while :; do {0}; status=$?; echo; echo \"Ended with status $status. Enter begins again.\"; read -r again || exit; done".format(what)
    return "sh -c " + shlex.quote(loop)


def arrange(session: str, hosts: Sequence[str], command: str, here: Sequence[str] = (), panes: int = PANES) -> List[List[str]]:
    """The commands of tmux that make the session, detached. A pane whose host cannot be reached stays, with what ssh said."""
    steps: List[List[str]] = []
    for start in range(0, len(hosts), panes):
        part = list(hosts[start:start + panes])
        window = "{0}:{1}".format(session, start // panes)
        name = part[0] if len(part) == 1 else "{0}..{1}".format(part[0], part[-1])
        what = pane_command(part[0], command, here)
        if start == 0:
            steps.append(["new-session", "-d", "-s", session, "-n", name, "-x", "220", "-y", "60", what])
            steps += [["set-option", "-t", session, "base-index", "0"], ["move-window", "-r", "-t", session]]
            steps.append(["set-option", "-t", session, "mouse", "on"])
        else:
            steps.append(["new-window", "-d", "-t", window, "-n", name, what])
        steps += [["set-option", "-w", "-t", window, option, value] for option, value in (
            ("remain-on-exit", "on"), ("pane-border-status", "top"), ("pane-border-format", " #{pane_title} "), ("allow-rename", "off"))]
        steps.append(["select-pane", "-t", window, "-T", part[0]])
        for host in part[1:]:
            steps.append(["split-window", "-t", window, pane_command(host, command, here)])
            steps += [["select-pane", "-t", window, "-T", host], ["select-layout", "-t", window, "tiled"]]
    steps.append(["select-window", "-t", session + ":0"])
    return steps


def read_hosts(path: str) -> List[str]:
    """The hosts of a file, one a line."""
    try:
        with open(path, encoding="utf-8") as handle:
            lines = [line.partition("#")[0].strip() for line in handle]
    except OSError:
        return []
    return [line for line in lines if line]


def _tmux(arguments: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    # This file runs alone on a host.
    return subprocess.run(["tmux"] + list(arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True, check=False)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="dgx-watch", description="One pane of tmux per host: its GPUs or containers as they are now.")
    parser.add_argument("hosts", nargs="*", help="names, or patterns such as 'dgx0*' for hosts that are listed; all of those if there are none")
    parser.add_argument("--containers", action="store_true", help="show containers (ctop) instead of GPUs")
    parser.add_argument("--command", help="show this instead")
    parser.add_argument("--file", default=HOSTS_FILE, help="the list of hosts (%(default)s)")
    parser.add_argument("--session", default="dgx-watch", help="name of the session (%(default)s)")
    parser.add_argument("--panes", type=int, default=PANES, help="panes per window (%(default)s)")
    parser.add_argument("--again", action="store_true", help="end a session of this name and begin a new one")
    parser.add_argument("--detached", action="store_true", help="only start it")
    return parser.parse_args(arguments)


def _say(text: str) -> None:
    sys.stderr.write("dgx-watch: {0}\n".format(text))


def main(arguments: Sequence[str]) -> int:
    """Start the session, or come back to the one that runs."""
    options = _options(arguments)
    if options.panes < 1 or not options.session or set(options.session) & set(":. "):
        _say("--panes must be at least 1, and --session a word without '.', ':' and blanks.")
        return 2
    try:
        running = _tmux(["has-session", "-t", "=" + options.session]).returncode == 0
        if running and options.again:
            _tmux(["kill-session", "-t", "=" + options.session])
        if not running or options.again:
            hosts = choose(read_hosts(options.file), options.hosts)
            command = options.command or COMMANDS["containers" if options.containers else "gpus"]
            names = socket.gethostname()
            for step in arrange(options.session, hosts, command, (names, names.partition(".")[0], "localhost"), options.panes):
                done = _tmux(step)
                if done.returncode:
                    _tmux(["kill-session", "-t", "=" + options.session])
                    raise ValueError("tmux {0} said: {1}".format(" ".join(step), done.stdout.strip()))
        elif options.hosts:
            _say("the session {0} runs already and is shown as it is; --again begins a new one.".format(options.session))
    except ValueError as error:
        _say("{0}".format(error))
        return 1
    except OSError as error:
        _say("tmux cannot be run: {0}".format(error.strerror))
        return 1
    if not options.detached:
        os.execvp("tmux", ["tmux", "attach-session", "-t", "=" + options.session])
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
