# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How much was written to a solid state drive, and how much of its life that has cost: what write amplification, and TRIM against it, come down to.

NVMe drives tell it in the SMART log of the NVMe Base Specification (log page 02h), SATA drives in the device statistics of ATA (ACS-3, pages 1 and 7).
How many bytes went to the flash itself is in neither; makers have logs of their own for that.
"""
import json
from typing import Any, Dict, Mapping, NamedTuple, Optional

from ..host.commands import Commands
from ..host.errors import FleetError

#: The NVMe Base Specification counts data in thousands of 512 bytes.
_UNIT = 512000
_SECTORS, _USED = "Logical Sectors Written", "Percentage Used Endurance Indicator"


class Wear(NamedTuple):
    """``written_bytes`` were written by hosts over the drive's life; ``used_percent`` of that life is spent, and may be above 100.

    ``spare_percent`` of its reserve are left; ``media_errors`` are those that it could not put right. None for what the drive does not tell.
    """

    written_bytes: Optional[int] = None
    used_percent: Optional[int] = None
    spare_percent: Optional[int] = None
    media_errors: Optional[int] = None

    def to_dict(self) -> Dict[str, Any]:
        return dict(self._asdict())


def read_wear(drive: str, commands: Commands) -> Optional[Wear]:
    """Ask a whole drive, by the kernel's name, with nvme-cli or smartmontools; None if neither is there or the drive does not tell."""
    if drive.startswith("nvme"):
        return parse_nvme(_asked(("nvme", "smart-log", "/dev/" + drive, "--output-format=json"), commands))
    return parse_ata(_asked(("smartctl", "--json", "--log=devstat", "/dev/" + drive), commands))


def _asked(argv: Any, commands: Commands) -> str:
    try:
        return commands.run(argv).out
    except FleetError:  # the program is not installed, or did not answer in time
        return ""


def parse_nvme(text: str) -> Optional[Wear]:
    """What ``nvme smart-log`` prints as JSON; its counters are numbers or, from version 2 on, words."""
    log = _object(text)
    found = Wear(_whole(log.get("data_units_written"), _UNIT), _whole(log.get("percent_used", log.get("percentage_used"))), _whole(log.get("avail_spare")),
                 _whole(log.get("media_errors")))
    return found if found != Wear() else None


def parse_ata(text: str) -> Optional[Wear]:
    """What ``smartctl --log=devstat`` prints as JSON."""
    log = _object(text)
    sector = _whole(log.get("logical_block_size")) or 512
    values: Dict[str, Any] = {}
    for page in _list(_mapping(log.get("ata_device_statistics")).get("pages")):
        for row in _list(_mapping(page).get("table")):
            if _mapping(_mapping(row).get("flags")).get("valid", True):
                values[str(_mapping(row).get("name"))] = _mapping(row).get("value")
    found = Wear(_whole(values.get(_SECTORS), sector), _whole(values.get(_USED)))
    return found if found != Wear() else None


def _object(text: str) -> Mapping[str, Any]:
    try:
        return _mapping(json.loads(text))
    except ValueError:
        return {}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> Any:
    return value if isinstance(value, list) else []


def _whole(value: Any, unit: int = 1) -> Optional[int]:
    """A number that is none of nonsense, times its unit. JSON of nvme-cli before version 2 has large ones as 1.5e+20."""
    try:
        number = int(value) if not isinstance(value, bool) else -1
    except (TypeError, ValueError, OverflowError):
        return None
    return number * unit if number >= 0 else None
