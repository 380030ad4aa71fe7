# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a module found before its first change, remembered below :data:`BACKUPS` as one JSON file, so that it can give a host back."""
import json
import os
from typing import Any, Dict, Mapping

from .errors import FleetError
from .files import BACKUPS, read_text, remove, remove_if_empty, write_atomic


def place(name: str, root: str = "/") -> str:
    """Where a record is."""
    return os.path.join(root, BACKUPS.lstrip("/"), name + ".json")


def read(name: str, root: str = "/") -> Dict[str, Any]:
    """A record, empty if there is none; raises :class:`FleetError` if the file is damaged."""
    text = read_text(place(name, root))
    if text is None:
        return {}
    try:
        found = json.loads(text)
    except ValueError:
        raise damaged(name)
    if not isinstance(found, dict):
        raise damaged(name)
    return found


def damaged(name: str) -> FleetError:
    """What to tell of a record that cannot be read."""
    return FleetError("{0} is damaged; it holds how this host was before the first change. Put it back from a backup, or remove it to take what is now for "
                      "that.".format(place(name)))


def write(name: str, record: Mapping[str, Any], root: str = "/") -> None:
    """Keep a record, for root only; one that is empty is dropped, and one that says the same is not written again."""
    where = place(name, root)
    if not record:
        drop(name, root)
        return
    text = json.dumps(record, sort_keys=True) + "\n"
    if text != read_text(where):
        os.makedirs(os.path.dirname(where), mode=0o700, exist_ok=True)
        write_atomic(where, text, 0o600)


def drop(name: str, root: str = "/") -> None:
    """Forget a record, once what it tells of is given back."""
    where = place(name, root)
    if remove(where):
        remove_if_empty(os.path.dirname(where))
