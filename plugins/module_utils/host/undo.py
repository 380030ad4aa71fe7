# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""All or nothing: each step says how it is undone, and whatever was done is undone if a later step fails."""
from contextlib import contextmanager
from typing import Any, Callable, Iterator, List, NamedTuple

from .errors import FleetError


class _Step(NamedTuple):
    what: str
    undo: Callable[[], None]


class Undo:
    """The steps done so far, and how each is undone."""

    def __init__(self) -> None:
        self._steps: List[_Step] = []

    def later(self, what: str, undo: Callable[..., None], *arguments: Any) -> None:
        """Remember how to undo a step; ``what`` names what would come back, as ``the backup of vm1``."""
        self._steps.append(_Step(what, lambda: undo(*arguments)))

    @contextmanager
    def on_failure(self, done: Callable[[], str]) -> Iterator[None]:
        """Undo everything if the body fails. The error then says so, in the words of ``done`` if nothing was left over."""
        try:
            yield
        except FleetError as error:
            raise FleetError("{0} {1}".format(error.message, self._put_back(done)), **error.details)
        except OSError as error:
            error.strerror = "{0}. {1}".format(error.strerror, self._put_back(done))
            raise

    def _put_back(self, done: Callable[[], str]) -> str:
        failed = []
        while self._steps:
            step = self._steps.pop()  # the last step first
            try:
                step.undo()
            except (FleetError, OSError) as problem:
                failed.append("{0} ({1})".format(step.what, problem))
        return "Not everything could be put back: {0}.".format("; ".join(failed)) if failed else done()
