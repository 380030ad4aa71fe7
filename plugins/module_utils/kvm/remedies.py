# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What would fit in place of a guest that was refused: tried, not only reckoned, for behind one obstacle there may be another."""
from typing import Any, Callable, Dict, Mapping, NamedTuple, Optional, Union

from ..host import cpuset
from .obstacles import Obstacle
from .requests import Guest
from .seating import Seat

#: Each try meets an obstacle that the one before did not show, or the same one lower; six is the most that was ever seen.
_MOST_TRIES = 20


class Fit(NamedTuple):
    """What a guest would have to be like to find a place, the sentences that say so, and the guest as it would be; None if nothing would fit."""

    fits: Mapping[str, Any]
    remedy: str
    guest: Optional[Guest] = None


def fit(obstacle: Obstacle, guest: Guest, find: Callable[[Guest], Union[Seat, Obstacle]]) -> Fit:
    """What would fit in place of this guest; ``find`` looks for a seat.

    Where nothing does, what is found wanting is 0 or empty in ``fits``.
    """
    changes: Dict[str, Any] = {}
    barrier, tried = obstacle, guest
    for _try in range(_MOST_TRIES):
        asked = {key: value for key, value in barrier.fits.items() if key != "nodes"}
        if not asked or not all(asked.values()):
            return Fit(barrier.fits, _sentences(obstacle.remedy if barrier is obstacle else "Nothing would fit: {0}".format(barrier.reason), obstacle.hint))
        changes.update(barrier.fits)
        tried = _changed(tried, asked)
        found = find(tried)
        if isinstance(found, Seat):
            return _fit(obstacle, changes, tried, found)
        barrier = found
    return nothing(obstacle)


def nothing(obstacle: Obstacle) -> Fit:
    """Where all that was tried was in vain."""
    return Fit({"vcpus": 0, "nodes": []}, _sentences("Nothing was found that would fit.", obstacle.hint))


def _changed(guest: Guest, asked: Mapping[str, Any]) -> Guest:
    """The guest with what would fit in place of what it asked for. A list of GPUs is what it may choose from."""
    if "gpus" in asked:
        free = asked["gpus"] if isinstance(asked["gpus"], int) else len(asked["gpus"])
        guest = guest._replace(gpus=None, gpu_count=min(guest.gpu_count, free))
    return guest._replace(**{key: asked[key] for key in ("vcpus", "memory_kib", "emulator") if key in asked})


def _fit(obstacle: Obstacle, changes: Mapping[str, Any], guest: Guest, seat: Seat) -> Fit:
    fits = dict(changes)
    if isinstance(fits.get("gpus"), list):
        fits["gpus"] = list(seat.site.gpus)
        guest = guest._replace(gpus=seat.site.gpus)
    if "nodes" in fits:
        fits["nodes"] = list(seat.site.nodes)
    if "pages" in fits:
        fits["pages"] = guest.memory_kib // guest.page_kib
    as_said = all(key in obstacle.fits and (key in ("gpus", "nodes") or fits[key] == obstacle.fits[key]) for key in fits)
    return Fit(fits, _sentences(obstacle.remedy if as_said and obstacle.remedy else _in_words(fits), obstacle.hint), guest)


def _in_words(fits: Mapping[str, Any]) -> str:
    words = {
        "vcpus": "{0} vCPUs",
        "memory_kib": "{0} KiB of memory",
        "gpus": "{0} GPUs" if isinstance(fits.get("gpus"), int) else "GPU {0}",
        "emulator": "emulator: {0}",
        "move": "move: {0}",
    }
    parts = [text.format(cpuset.show(fits[key]) if isinstance(fits[key], list) else fits[key]) for key, text in words.items() if key in fits]
    return "With {0} it would fit.".format(" and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts))


def _sentences(*parts: str) -> str:
    return " ".join(part for part in parts if part)
