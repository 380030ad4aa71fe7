# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Running the host's programs for the lab: a time limit always, and words a person can act on when one fails."""
import subprocess
from pathlib import Path
from typing import Optional, Sequence


class LabError(Exception):
    """What the person at the command line is told; everything else that is raised is a defect of the lab."""


def run(argv: Sequence[str], timeout: float, cwd: Optional[Path] = None, text_in: Optional[str] = None, log: Optional[Path] = None) -> str:
    """Run a program and return what it printed (nothing if it prints into ``log``); :class:`LabError` if it fails or takes too long."""
    with open(log or "/dev/null", "ab") as sink:
        try:
            done = subprocess.run(
                list(argv),
                cwd=cwd,
                input=None if text_in is None else text_in.encode(),
                stdin=subprocess.DEVNULL if text_in is None else None,
                stdout=sink if log else subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=timeout,
                check=False,
            )
        except FileNotFoundError:
            raise LabError(f"The program {argv[0]} is not installed.") from None
        except subprocess.TimeoutExpired:
            raise LabError(f"{argv[0]} did not end within {timeout:g} s and was stopped." + _last_words(log)) from None
    said = (done.stdout or b"").decode("utf-8", "replace")
    if done.returncode != 0:
        raise LabError(f"{' '.join(argv[:4])} failed with status {done.returncode}." + (_last_words(log) or f"\n{said.strip()}"))
    return said


def _last_words(log: Optional[Path], lines: int = 20) -> str:
    """The end of a log file, as an appendix to an error."""
    if log is None:
        return ""
    text = log.read_text(errors="replace").splitlines()[-lines:]
    return "\n  " + "\n  ".join(text) + f"\nThe whole log is in {log}."
