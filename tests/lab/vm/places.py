# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where the lab keeps its things: everything lies below one cache directory, which may be deleted whenever no machine runs."""
import os
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[2]


def lab_directory() -> Path:
    """The lab's part of the cache; ``DGXOPS_CACHE`` moves the cache elsewhere."""
    return Path(os.environ.get("DGXOPS_CACHE") or CHECKOUT / ".cache") / "lab"


def images() -> Path:
    return lab_directory() / "images"


def snapshots() -> Path:
    return lab_directory() / "snapshots"


def running() -> Path:
    return lab_directory() / "run"


def logs() -> Path:
    directory = lab_directory() / "logs"
    directory.mkdir(parents=True, exist_ok=True)
    return directory
