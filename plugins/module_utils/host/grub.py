# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Kernel parameters by way of GRUB, as Debian and Ubuntu (hence DGX OS) have it: a drop-in below /etc/default/grub.d, then update-grub.

``grub-mkconfig`` reads /etc/default/grub and then /etc/default/grub.d/*.cfg by name; every menu entry's kernel gets
``GRUB_CMDLINE_LINUX GRUB_CMDLINE_LINUX_DEFAULT``, a recovery entry's only the first (/etc/grub.d/10_linux).
What has to be done is decided here, without side effects; :mod:`.grub_host` reads and does it.
"""
import re
from typing import Any, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from .errors import FleetError
from .files import Diff
from .kept import GRUB, GRUB_PREFIX
from .kernel import (
    HUGE_PAGE_KEYS,
    REPEATABLE_KEYS,
    Parameter,
    effect,
    huge_pages,
    in_force,
    pages_in,
    parameter,
    parse_line,
    size_kib,
    wanted_parameters,
)
from .shell_assignments import Settings, Source, evaluate

DEFAULTS = "/etc/default/grub"
DROP_INS = "/" + GRUB
GRUB_CFG = "/boot/grub/grub.cfg"

#: Whose command line a parameter goes on: every entry's, or the normal entries' so that the recovery entry starts without it.
VARIABLES = {"all": "GRUB_CMDLINE_LINUX", "normal": "GRUB_CMDLINE_LINUX_DEFAULT"}
LINE = ("GRUB_CMDLINE_LINUX", "GRUB_CMDLINE_LINUX_DEFAULT")

#: What /etc/grub.d/10_linux and GRUB write on the line by themselves.
SET_BY_GRUB = frozenset(["root", "ro", "BOOT_IMAGE", "initrd", "vt.handoff"])

#: COMMAND_LINE_SIZE of x86 and arm64, with the closing zero byte; the kernel cuts off what is longer. GRUB adds the image and the root device.
LONGEST_LINE = 2047

HEADER = "# Written by dgxops.fleet.kernel_cmdline, which owns this file. After a change: update-grub.\n"

_MENU_ENTRY = re.compile(r"^\s*menuentry\s.*?(?:\$menuentry_id_option|--id)\s+'([^']*)'")
_LINUX = re.compile(r"^\s*linux(?:16|efi)?\s+(\S+)\s*(.*)$")


class Entry(NamedTuple):
    """A boot menu entry: its id, the kernel image and the command line GRUB hands over."""

    id: str
    image: str
    line: Tuple[Parameter, ...]

    @property
    def recovery(self) -> bool:
        return "-recovery-" in self.id


class Found(NamedTuple):
    """Everything that decides about the kernel command line of a host, read once.

    ``sources`` are the files that GRUB reads, without ours; ``entries`` is None if there is no boot menu; ``record`` holds parameters set
    earlier that may still be in the boot menu or the running kernel; ``page_sizes`` in KiB and ``release`` (that of the kernel that boots
    next) are empty or (0, 0) if unknown; ``problem`` says why this host cannot be served.
    """

    sources: Tuple[Source, ...]
    drop_in: Optional[str]
    entries: Optional[Tuple[Entry, ...]]
    running: Tuple[Parameter, ...]
    record: Tuple[str, ...]
    memory_kib: int
    usual_page_kib: int
    page_sizes: Tuple[int, ...]
    release: Tuple[int, int]
    problem: str = ""


class Wish(NamedTuple):
    """What the user asked for: ``parameters`` (none to take them away), on whose entries, in the drop-in called ``name``."""

    name: str
    parameters: Tuple[Parameter, ...]
    entries: str = "normal"

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> "Wish":
        """The wish in the options of the module; raises :class:`FleetError` for a name or a parameter that cannot be."""
        if not re.match(r"[A-Za-z0-9][A-Za-z0-9_-]*\Z", params["name"]):
            raise FleetError("{0!r} is no name for a file. Use letters, digits, - and _, such as dgxops-slurm.".format(params["name"]))
        texts = params["parameters"] if params["state"] == "present" else []
        return cls(params["name"], wanted_parameters(texts), params["entries"])

    @property
    def path(self) -> str:
        # "zz-": behind 50-cloudimg-settings.cfg and the like, which set the variable anew and so drop what came before.
        return "{0}/{1}{2}.cfg".format(DROP_INS, GRUB_PREFIX, self.name)


class Change(NamedTuple):
    """What is to be done, and what it comes to. ``before`` and ``after`` are the drop-in's text, None for no drop-in."""

    wish: Wish
    changed: bool
    before: Optional[str]
    after: Optional[str]
    record: Tuple[str, ...]
    record_differs: bool
    configured: Tuple[Parameter, ...]
    missing: Tuple[Parameter, ...]
    reboot_required: bool
    warnings: Tuple[str, ...]

    @property
    def diff(self) -> Diff:
        return Diff(self.before or "", self.after or "", self.wish.path)


def decide(wish: Wish, found: Found) -> Change:
    """What has to be done so that the next boot has the parameters; raises :class:`FleetError` where that would fail or do harm."""
    if found.drop_in is not None and not found.drop_in.startswith(HEADER):
        raise FleetError("{0} is there, but was not written by this module. Rename it, or choose another name for this drop-in.".format(wish.path))
    if found.problem and (wish.parameters or found.drop_in):
        raise FleetError(found.problem)
    others = _evaluate(wish, found.sources, None)
    added = tuple(item for item in wish.parameters if not in_force(item, wish.parameters, _line(others)))
    after = _text(wish, added) if added else None
    settings = _evaluate(wish, found.sources, after)
    configured = _line(settings)
    _refuse_what_would_fail(wish, found, others, settings)
    previous = _line(_evaluate(wish, (), found.drop_in))
    of_ours = {item.text: item for item in wish.parameters + previous + tuple(parameter(text) for text in found.record)}
    normal = [entry for entry in found.entries or () if not entry.recovery]
    stale = [item for item in of_ours.values() if any(effect(item, entry.line) != effect(item, configured) for entry in normal)]
    pending = [item for item in of_ours.values() if effect(item, found.running) != effect(item, configured)]
    record = tuple(sorted({item.text for item in added} | {item.text for item in stale + pending}))
    return Change(
        wish=wish,
        # Without a change of the file, the boot menu is made anew where an earlier run was cut short before that.
        changed=found.drop_in != after or bool(stale) or (bool(added) and found.entries is None),
        before=found.drop_in,
        after=after,
        record=record,
        record_differs=record != found.record,
        configured=configured,
        missing=tuple(item for item in wish.parameters if not in_force(item, wish.parameters, found.running)),
        reboot_required=bool(pending),
        warnings=tuple(_warnings(wish, added, others)),
    )


def _evaluate(wish: Wish, sources: Sequence[Source], own: Optional[str]) -> Settings:
    """What the files come to, ours at its place among them."""
    chain = list(sources) + ([Source(wish.path, own)] if own is not None else [])
    return evaluate(sorted(chain, key=lambda source: (source.path != DEFAULTS, source.path)), frozenset(LINE))


def _line(settings: Settings) -> Tuple[Parameter, ...]:
    return parse_line(" ".join(settings.value(name) for name in LINE))


def _text(wish: Wish, added: Sequence[Parameter]) -> str:
    variable = VARIABLES[wish.entries]
    return '{0}{1}="${{{1}}} {2}"\n'.format(HEADER, variable, show(added))


def _refuse_what_would_fail(wish: Wish, found: Found, others: Settings, settings: Settings) -> None:
    for item in wish.parameters:
        if item.key in SET_BY_GRUB:
            raise FleetError("{0} cannot be set here: GRUB itself puts {1} on the line, from the disk it finds.".format(item.text, item.key))
    for name in LINE if wish.parameters else ():
        if "--" in others.value(name).split():
            raise FleetError(
                "{0} holds -- ({1}); what stands behind it goes to init and not to the kernel. Remove it there.".format(name, _origin(others, "--"))
            )
    for item in wish.parameters:
        if not in_force(item, wish.parameters, _line(settings)):
            raise FleetError(_why_overruled(item, wish, others, settings))
    length = len(show(_line(settings)))
    if wish.parameters and length > LONGEST_LINE:
        raise FleetError("The kernel command line would have {0} letters; the kernel reads {1}. Ask for fewer parameters.".format(length, LONGEST_LINE))
    _refuse_huge_pages([item for item in wish.parameters if item.key in HUGE_PAGE_KEYS], found)


def _why_overruled(item: Parameter, wish: Wish, others: Settings, settings: Settings) -> str:
    """What is in the way of a parameter that would have no effect, and where it was set."""
    if item.key in HUGE_PAGE_KEYS:
        rivals = [other for other in _line(others) if other.key in HUGE_PAGE_KEYS]
        why = "of the huge page parameters the kernel keeps the first and ignores a second for the same size"
    else:
        rivals = [other for other in _line(settings) if other.key == item.key and other.text != item.text]
        why = "it comes later on the line, so the kernel takes its value"
    if rivals:
        return "{0} cannot take effect, because {1} is set already ({2}): {3}. Remove it there, or ask for the same here.".format(
            item.text, show(rivals), _origin(settings, rivals[0].text), why
        )
    last = [setting for setting in settings.made if setting.name == VARIABLES[wish.entries]][-1]
    return "{0} would not reach the boot menu: {1}, line {2}, is read later and sets {3} anew. Let it begin with ${{{3}}}, or rename the file.".format(
        item.text, last.path, last.line, last.name
    )


def _refuse_huge_pages(wanted: Sequence[Parameter], found: Found) -> None:
    """Counts that the kernel to be booted would read otherwise, or that leave the host without memory."""
    asked = huge_pages(wanted, found.usual_page_kib)
    if found.memory_kib and asked.total_kib >= found.memory_kib:
        raise FleetError(
            "{0} asks for {1:.1f} GiB in huge pages, but this host has {2:.1f} GiB of memory: it would not come up again. Ask for fewer pages.".format(
                show(wanted), asked.total_kib / 1048576, found.memory_kib / 1048576
            )
        )
    for item in wanted:
        if item.key != "hugepages" and found.page_sizes and size_kib(item.value or "", item.text) not in found.page_sizes:
            raise FleetError(
                "{0}: this host's kernel offers no pages of that size, but of {1} KiB, and would ignore the parameter. Pages of 1 GiB need a CPU "
                "with the flag pdpe1gb (see /proc/cpuinfo).".format(item.text, ", ".join(str(size) for size in found.page_sizes))
            )
    known = found.release != (0, 0)
    by_node = [item for item in wanted if item.key == "hugepages" and ":" in (item.value or "")]
    # hugetlbpage.rst: the node format came with Linux 5.16; before, sscanf("%lu") read "0:48,1:48" as 0 pages.
    if known and found.release < (5, 16) and by_node:
        count = by_node[0].value or ""
        raise FleetError(
            "{0} counts by node, which kernels before 5.16 read as {1} pages; this host boots {2}.{3}. Ask for hugepages={4} (the kernel spreads "
            "them evenly), or let the module hugepages set the pages of each node at every boot.".format(
                by_node[0].text, count.split(":")[0], found.release[0], found.release[1], pages_in(count)
            )
        )
    # Commit 282f4214384e (Linux 5.8): before, gigantic pages were only allocated for a count that followed hugepagesz=.
    gigantic = asked.default_kib is not None and asked.default_kib >= 1048576
    if known and found.release < (5, 8) and gigantic and [item.key for item in wanted if item.key != "default_hugepagesz"][:1] == ["hugepages"]:
        raise FleetError(
            "{0} gives no pages at all on kernels before 5.8, and this host boots {1}.{2}. Write default_hugepagesz=1G hugepagesz=1G "
            "hugepages=COUNT: pages of 1 GiB are only set aside for a count that follows hugepagesz.".format(
                show(wanted), found.release[0], found.release[1]
            )
        )


def _warnings(wish: Wish, added: Sequence[Parameter], others: Settings) -> List[str]:
    found = []
    for item in (item for item in added if item.key not in REPEATABLE_KEYS and item.key not in HUGE_PAGE_KEYS):
        rivals = [other for other in _line(others) if other.key == item.key]
        if rivals:
            found.append(
                "{0} ({1}) stays on the kernel command line; the kernel takes the last value, which is {2}.".format(
                    rivals[-1].text, _origin(others, rivals[-1].text), item.text
                )
            )
    if wish.parameters:
        found.extend(
            "{0} is shell code that was not followed; a kernel parameter set there was not seen.".format(place) for place in others.unclear_places(LINE)
        )
    return found


def _origin(settings: Settings, text: str) -> str:
    """Where a parameter came onto the line."""
    for setting in settings.made:
        if setting.name in LINE and text in setting.value.split():
            return "{0}, line {1}".format(setting.path, setting.line)
    return DEFAULTS


def parse_entries(text: Optional[str]) -> Optional[Tuple[Entry, ...]]:
    """The entries that grub-mkconfig made for Linux on this host; None if there is no boot menu yet."""
    if text is None:
        return None
    found: List[Entry] = []
    entry = ""
    for line in text.splitlines():
        menu = _MENU_ENTRY.match(line)
        entry = menu.group(1) if menu else entry
        linux = _LINUX.match(line)
        # Other systems' entries (osprober-...) and the administrator's own have other ids; they do not use our variables.
        if linux and entry.startswith("gnulinux-"):
            found.append(Entry(entry, linux.group(1), parse_line(linux.group(2))))
    return tuple(found)


def show(parameters: Sequence[Parameter]) -> str:
    """The parameters as they stand on a line."""
    return " ".join(item.text for item in parameters)
