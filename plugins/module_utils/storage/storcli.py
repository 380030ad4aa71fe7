# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Hardware RAID as StorCLI tells it in JSON (``show all J``): controllers, volumes, drives; and which volume is the NFS cache.

A DGX-1 has an LSI controller with one volume for the system and a RAID-0 of four drives for the cache (section 2.1.3). Keys and words are those of
StorCLI 1.21 to 7.x: Optl, Dgrd and so on for volumes, Onln, UGood and so on for drives.
"""
import json
import os
import re
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ..host.commands import Commands, program_path
from ..host.errors import FleetError
from .md import BROKEN, DEGRADED, HEALTHY, REBUILT, UNKNOWN, WARNING

#: Where the packages of the vendors put it, outside of any path.
PLACES = ("storcli64", "storcli", "/opt/MegaRAID/storcli/storcli64", "/opt/MegaRAID/storcli/storcli", "perccli64", "perccli",
          "/opt/MegaRAID/perccli/perccli64", "/opt/MegaRAID/perccli/perccli")

_VOLUME_STATES = {"Optl": HEALTHY, "Pdgd": DEGRADED, "Dgrd": DEGRADED, "Rec": REBUILT, "OfLn": BROKEN, "HD": BROKEN, "Cac": UNKNOWN}
_DRIVE_STATES = {"Onln": HEALTHY, "UGood": HEALTHY, "GHS": HEALTHY, "DHS": HEALTHY, "JBOD": HEALTHY, "Rbld": REBUILT, "Cpybck": REBUILT}
_UNITS = {"B": 1, "KB": 2 ** 10, "MB": 2 ** 20, "GB": 2 ** 30, "TB": 2 ** 40, "PB": 2 ** 50}


class PhysicalDrive(NamedTuple):
    """A drive in a slot: ``slot`` is enclosure and slot, ``group`` the drive group, empty if it is in none."""

    slot: str
    state: str
    group: str
    size_bytes: int
    interface: str
    medium: str
    model: str


class Volume(NamedTuple):
    """A virtual drive, as the controller calls what the system sees as a drive: ``device`` is that drive's path, ``wwn`` its lasting name."""

    controller: int
    number: int
    group: str
    level: str
    state: str
    size_bytes: int
    name: str
    device: str
    wwn: str
    strip_bytes: int
    drives: Tuple[str, ...]


class Controller(NamedTuple):
    """A controller with all that hangs on it."""

    number: int
    model: str
    serial: str
    firmware: str
    state: str
    volumes: Tuple[Volume, ...] = ()
    drives: Tuple[PhysicalDrive, ...] = ()


def find_program(named: str = "") -> str:
    """StorCLI's path; raises :class:`FleetError` if there is none."""
    for place in (named,) if named else PLACES:
        found = program_path(place)
        if found:
            return found
    raise FleetError("StorCLI was not found{0}. Install the package storcli of the controller's vendor, or give the program's path.".format(
        " at {0}".format(named) if named else ""))


def read(program: str, commands: Commands) -> List[Controller]:
    """All controllers. Raises :class:`FleetError` if StorCLI does not answer with its JSON."""
    shown = _answers(commands.run((program, "/call", "show", "all", "J"), timeout=120).out, program)
    details = _answers(commands.run((program, "/call/vall", "show", "all", "J"), timeout=120).out, program)
    return parse(shown, details)


def _answers(text: str, program: str) -> List[Mapping[str, Any]]:
    try:
        controllers = json.loads(text, strict=False)["Controllers"]  # names of drives may have tabs and worse in them
        if not isinstance(controllers, list) or not all(isinstance(one, dict) for one in controllers):
            raise TypeError
        return controllers
    except (ValueError, KeyError, TypeError):
        said = " ".join(text.split())[:200] or "nothing"
        raise FleetError("{0} was expected to print JSON with a list of Controllers, but printed: {1}".format(program, said))


def parse(shown: Sequence[Mapping[str, Any]], details: Sequence[Mapping[str, Any]]) -> List[Controller]:
    """The controllers from what ``/call show all J`` and ``/call/vall show all J`` answered. What an answer lacks stays empty."""
    more = {_number(one): _part(one, "Response Data") for one in details}
    found = []
    for one in shown:
        number, data = _number(one), _part(one, "Response Data")
        if number < 0 or not data:
            continue  # "No Controller found" is an answer too
        basics, version, status = (_part(data, name) for name in ("Basics", "Version", "Status"))
        found.append(Controller(
            number, _text(basics, "Model"), _text(basics, "Serial Number"), _text(version, "Firmware Version"), _text(status, "Controller Status"),
            tuple(_volume(number, row, more.get(number, {})) for row in _rows(data, "VD LIST")),
            tuple(_drive(row) for row in _rows(data, "PD LIST")),
        ))
    return found


def _volume(controller: int, row: Mapping[str, Any], more: Mapping[str, Any]) -> Volume:
    group, _slash, digits = _text(row, "DG/VD").partition("/")
    number = int(digits) if digits.isdigit() else -1
    properties = _part(more, "VD{0} Properties".format(number))
    device = _text(properties, "OS Drive Name")
    return Volume(
        controller, number, group, _text(row, "TYPE").lower(), _text(row, "State"), size_bytes(_text(row, "Size")), _text(row, "Name"),
        device if device.startswith("/dev/") else "", _text(properties, "SCSI NAA Id"), size_bytes(_text(properties, "Strip Size")),
        tuple(_text(drive, "EID:Slt") for drive in _rows(more, "PDs for VD {0}".format(number))),
    )


def _drive(row: Mapping[str, Any]) -> PhysicalDrive:
    group = _text(row, "DG")
    return PhysicalDrive(_text(row, "EID:Slt").strip(), _text(row, "State"), "" if group == "-" else group, size_bytes(_text(row, "Size")),
                         _text(row, "Intf"), _text(row, "Med"), _text(row, "Model"))


def _number(answer: Mapping[str, Any]) -> int:
    number = _part(answer, "Command Status").get("Controller")
    return number if isinstance(number, int) and not isinstance(number, bool) else int(number) if isinstance(number, str) and number.isdigit() else -1


def _part(data: Mapping[str, Any], name: str) -> Dict[str, Any]:
    part = data.get(name)
    return part if isinstance(part, dict) else {}


def _rows(data: Mapping[str, Any], name: str) -> List[Mapping[str, Any]]:
    rows = data.get(name)
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _text(data: Mapping[str, Any], name: str) -> str:
    value = data.get(name, "")
    return str(value).strip() if isinstance(value, (str, int, float)) else ""


def size_bytes(text: str) -> int:
    """``1.745 TB`` in bytes. StorCLI's TB are 2^40; it rounds to three digits."""
    match = re.match(r"^(\d{1,9}(?:\.\d{1,6})?) ?([KMGTP]?B)\Z", text, re.ASCII)
    return int(float(match.group(1)) * _UNITS[match.group(2)]) if match else 0


def judge(controllers: Sequence[Controller]) -> List[str]:
    """A sentence for each thing that is not as it should be."""
    told = []
    for one in controllers:
        if one.state not in ("Optimal", "OK", ""):
            told.append("Controller {0} ({1}) is in state {2}.".format(one.number, one.model, one.state))
        for volume in one.volumes:
            if verdict(volume) != HEALTHY:
                told.append("The {0} volume /c{1}/v{2} ({3}) is {4} (state {5}). See storcli64 /c{1}/v{2} show all.".format(
                    volume.level, one.number, volume.number, volume.device or "no device", verdict(volume), volume.state))
        for drive in one.drives:
            if _DRIVE_STATES.get(drive.state) != HEALTHY:
                told.append("The drive {0} of controller {1} ({2}) is in state {3}.".format(drive.slot, one.number, drive.model, drive.state))
    return told


def verdict(volume: Volume) -> str:
    """Of a volume, in the words for software arrays."""
    return _VOLUME_STATES.get(volume.state, WARNING if volume.state else UNKNOWN)


def cache_volume(controllers: Sequence[Controller], system: Sequence[str], named: str = "") -> Optional[Volume]:
    """The volume for the cache: the one RAID-0 whose device holds nothing of the system; ``system`` are such devices' paths. Or the one that is named.

    Section 2.1.3: the volume of the system is a RAID-0 too where it has a single drive. Raises :class:`FleetError` if several would do.
    """
    fitting = [volume for one in controllers for volume in one.volumes if volume.level == "raid0" and volume.device and volume.device not in system]
    if named:
        return next((volume for volume in fitting if os.path.realpath(named) == volume.device), None)
    if len(fitting) > 1:
        raise FleetError("Several RAID-0 volumes could be the cache: {0}. Name the device of the one that is meant (raid_cache_device in the role).".format(
            ", ".join("/c{0}/v{1} ({2})".format(volume.controller, volume.number, volume.device) for volume in fitting)))
    return fitting[0] if fitting else None


def how_to_make(controllers: Sequence[Controller]) -> str:
    """What to type for a cache volume of the drives that are free; empty if there are none."""
    for one in controllers:
        free = [drive.slot for drive in one.drives if drive.state == "UGood" and not drive.group]
        if free:
            return "storcli64 /c{0} add vd type=raid0 drives={1} name=cache".format(one.number, ",".join(free))
    return ""
