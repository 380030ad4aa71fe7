# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The answer of the planner, as data: placements, refusals, and what the host has left."""
from typing import Any, Dict, List, Mapping, NamedTuple, Tuple

from ..host import cpuset
from .requests import HUGE_PAGES, Guest

_PAGE_NAMES = {size: name for name, size in HUGE_PAGES.items()}


class Cell(NamedTuple):
    """A NUMA cell of a guest: its vCPUs and its memory, and the host node that both come from."""

    id: int
    vcpus: Tuple[int, ...]
    memory_kib: int
    node: int


class GuestTopology(NamedTuple):
    """What the guest sees; the product is its number of vCPUs."""

    sockets: int
    cores: int
    threads: int


class Placement(NamedTuple):
    """Where one guest goes. ``pages`` are huge pages by node; ``kept`` tells that its pins were there before."""

    guest: Guest
    gpus: Tuple[int, ...]
    nodes: Tuple[int, ...]
    pinning: str
    pins: Mapping[int, int]
    topology: GuestTopology
    cells: Tuple[Cell, ...]
    emulator: Tuple[int, ...]
    iothreads: Mapping[int, Tuple[int, ...]]
    pages: Mapping[int, int]
    kept: bool

    def to_dict(self) -> Dict[str, Any]:
        guest = self.guest
        return {
            "name": guest.name,
            "gpus": list(self.gpus),
            "vcpus": guest.vcpus,
            "memory_kib": guest.memory_kib,
            "pinning": self.pinning,
            "hugepages": _PAGE_NAMES[guest.page_kib],
            "kept": self.kept,
            "nodes": list(self.nodes),
            "vcpupin": dict(self.pins),
            "topology": self.topology._asdict(),
            "cells": [dict(cell._asdict(), vcpus=cpuset.show(cell.vcpus)) for cell in self.cells],
            "emulatorpin": cpuset.show(self.emulator),
            "iothreads": guest.iothreads,
            "iothreadpin": {number: cpuset.show(cpus) for number, cpus in self.iothreads.items()},
            "pages": {str(guest.page_kib): dict(self.pages)} if self.pages else {},
        }


class Refusal(NamedTuple):
    """Why a guest got no place: the rule, in words, and what was asked, is free, and would fit."""

    guest: str
    rule: str
    message: str
    asked: Mapping[str, Any]
    free: Mapping[str, Any]
    fits: Mapping[str, Any]

    def to_dict(self) -> Dict[str, Any]:
        return {key: dict(value) if isinstance(value, Mapping) else value for key, value in self._asdict().items()}


class Plan(NamedTuple):
    """Every guest has either a placement or a refusal, each list by name."""

    placements: List[Placement]
    refusals: List[Refusal]
    warnings: List[str]
    free: Tuple[int, ...]
    reserved: Tuple[int, ...]

    @property
    def pages(self) -> Dict[int, Dict[int, int]]:
        """The huge pages the host must have for these guests: by size in KiB, then by node."""
        wanted: Dict[int, Dict[int, int]] = {}
        for placement in self.placements:
            for node, count in placement.pages.items():
                pool = wanted.setdefault(placement.guest.page_kib, {})
                pool[node] = pool.get(node, 0) + count
        return wanted

    def to_dict(self) -> Dict[str, Any]:
        return {
            "guests": [placement.to_dict() for placement in self.placements],
            "host": {
                "free_cpus": cpuset.show(self.free),
                "reserved_cpus": cpuset.show(self.reserved),
                "pages": {str(size): dict(sorted(pools.items())) for size, pools in sorted(self.pages.items())},
            },
            "refused": [refusal.to_dict() for refusal in self.refusals],
            "warnings": list(self.warnings),
        }
