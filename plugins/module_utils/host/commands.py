# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Running a program with a time limit; the one door through which module_utils start anything.

Functions that need a program take a runner (``Commands`` or ``Recorded``), so that a test hands over what the program said
on a real machine instead of the program.
"""
import contextlib
import os
import shutil
import signal
import subprocess
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from .errors import FleetError

#: Programs of the system live here even where a login shell of a plain user does not look.
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: Seconds that systemctl and the like wait for an answer (systemd's docs/ENVIRONMENT.md). Their own 25 are too few where systemd reads hundreds of units anew,
#: or gets its share of a host that is fully busy.
_SYSTEMD = "120"


def search_path() -> str:
    """Where programs are looked for: the user's own path, then the system's."""
    return ":".join(part for part in (os.environ.get("PATH", ""), SYSTEM_PATH) if part)


def program_path(name: str) -> str:
    """Where a program is, also for a user whose path does not lead there; empty if it is not installed."""
    return shutil.which(name, path=search_path()) or ""


class Result(NamedTuple):
    """What a program answered."""

    rc: int
    out: str
    err: str


class Commands:
    """Runs programs for real, in the C locale, without a shell. They do not see variables that begin with one of ``unseen``: a user's preferences."""

    def __init__(self, timeout: float = 180.0, unseen: Tuple[str, ...] = ()) -> None:
        self.timeout = timeout
        self.unseen = unseen

    def run(self, argv: Sequence[str], timeout: Optional[float] = None, text_in: Optional[str] = None) -> Result:
        """Run ``argv`` and return its answer, whatever the exit status.

        ``timeout`` is in seconds. Raises :class:`FleetError` if the program is missing or does not end in time.
        """
        limit = self.timeout if timeout is None else timeout
        seen = {name: value for name, value in os.environ.items() if not name.startswith(self.unseen)}
        environment = dict(seen, LC_ALL="C", LANGUAGE="C", PATH=search_path(), SYSTEMD_BUS_TIMEOUT=_SYSTEMD)
        try:
            # This package knows no Ansible, and so not its run_command.
            process = subprocess.Popen(  # pylint: disable=ansible-bad-function
                list(argv),
                stdin=subprocess.DEVNULL if text_in is None else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                start_new_session=True,
            )
        except FileNotFoundError:
            raise _missing(argv)
        except PermissionError:
            raise FleetError("The program {0} may not be run by this user. Run the task with become: true.".format(argv[0]))
        with process:
            try:
                out, err = process.communicate(None if text_in is None else text_in.encode("utf-8"), limit)
            except subprocess.TimeoutExpired:
                _stop(process)
                raise FleetError("{0} did not end within {1:g} s and was stopped.".format(" ".join(argv), limit))
            except BaseException:
                _stop(process)
                raise
        return Result(process.returncode, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"))

    def output(self, argv: Sequence[str], timeout: Optional[float] = None, text_in: Optional[str] = None) -> str:
        """Run ``argv`` and return what it printed; raises :class:`FleetError` with its words if it fails."""
        result = self.run(argv, timeout, text_in)
        if result.rc != 0:
            said = (result.err.strip() or result.out.strip() or "nothing").replace("\n", "; ")
            how = "failed with status {0}".format(result.rc) if result.rc > 0 else "was ended by signal {0}".format(-result.rc)
            raise FleetError("{0} {1} and said: {2}".format(" ".join(argv), how, said))
        return result.out


class Recorded(Commands):
    """Answers from a table instead of running anything, and remembers what was asked, in order."""

    def __init__(self, answers: Mapping[Tuple[str, ...], Result]) -> None:
        super().__init__()
        self.answers: Dict[Tuple[str, ...], Result] = dict(answers)
        self.asked: List[Tuple[str, ...]] = []

    def run(self, argv: Sequence[str], timeout: Optional[float] = None, text_in: Optional[str] = None) -> Result:
        key = tuple(argv)
        self.asked.append(key)
        if key not in self.answers:
            raise _missing(argv)
        return self.answers[key]


def _missing(argv: Sequence[str]) -> FleetError:
    return FleetError("The program {0} is not installed on this host. Install the package that brings it.".format(argv[0]))


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """End a program and all that it started, which might otherwise hold the pipes, and with them us, for as long as it likes."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
