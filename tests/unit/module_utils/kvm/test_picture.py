"""The picture of a plan says where everything is, in a terminal of 80 columns as in a log without colours."""
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.host.topology import Topology
from ansible_collections.dgxops.fleet.plugins.module_utils.kvm import picture, placement

from .hosts import GIB, dgx2, dgx_a100, guest_lists, policies, topologies

PER_GPU = 1516912640 // 16
MIXED = [
    {"name": "train-8g0-7", "gpus": list(range(8)), "vcpus": 46, "memory_kib": 8 * PER_GPU, "iothreads": 1},
    {"name": "train-4g8-11", "gpus": [8, 9, 10, 11], "vcpus": 22, "memory_kib": 4 * PER_GPU},
    {"name": "dev-2g12-13", "gpus": [12, 13], "vcpus": 10, "memory_kib": 2 * PER_GPU},
    {"name": "dev-1g14", "gpus": [14], "vcpus": 5, "memory_kib": PER_GPU},
    {"name": "dev-1g15", "gpus": [15], "vcpus": 5, "memory_kib": PER_GPU},
]
MIXED_PICTURE = """\
2 nodes, 48 cores, 96 CPUs, 16 GPUs. 5 guests, pinned to 88 CPUs of 45 cores.

node 0, socket 0
    CPU  0  1  2  3  4  5  6  7  8  9 10 11 12 13 14 15 16 17 18 19 20 21 22 23
         A  A  A  A  A  A  A  A  A  A  A  A  A  A  A  A  A  A  A  A  A  A  A  ○
         A  A  A  A  A  A  A  A  A  A  A  A  A  A  A  A  A  A  A  A  A  A  A  ○
        48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63 64 65 66 67 68 69 70 71
    GPU  0  1  2  3  4  5  6  7
         A  A  A  A  A  A  A  A
 memory  AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA·  723.3 of 754.4 GiB

node 1, socket 1
    CPU 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47
         B  B  B  B  B  B  B  B  B  B  B  C  C  C  C  C  D  D  D  E  E  E  ○  ○
         B  B  B  B  B  B  B  B  B  B  B  C  C  C  C  C  D  D  ○  E  E  ○  ○  ○
        72 73 74 75 76 77 78 79 80 81 82 83 84 85 86 87 88 89 90 91 92 93 94 95
    GPU  8  9 10 11 12 13 14 15
         B  B  B  B  C  C  D  E
 memory  BBBBBBBBBBBBBBBBBBBBBBCCCCCCCCCCDDDDDEEEEEE·  723.3 of 754.4 GiB

    guest         GPUs   vCPUs        topology  memory     node  emulator
 A  train-8g0-7   0-7    46 by core   1x23x2    723.3 GiB  0     23,71
 B  train-4g8-11  8-11   22 by core   1x11x2    361.7 GiB  1     46-47,90,93-95
 C  dev-2g12-13   12-13  10 by core   1x5x2     180.8 GiB  1     46-47,90,93-95
 D  dev-1g14      14     5 by thread  1x5x1     90.4 GiB   1     46-47,90,93-95
 E  dev-1g15      15     5 by thread  1x5x1     90.4 GiB   1     46-47,90,93-95
 ○ no vCPU, but emulator or I/O threads

 note: dev-1g14 is pinned by thread, not by core: its 5 vCPUs do not fill whole
   cores.
 note: dev-1g15 is pinned by thread, not by core: its 5 vCPUs do not fill whole
   cores."""


def drawn(topology, guests, policy=None, **options):
    return picture.draw(topology, placement.plan(topology, guests, policy).to_dict(), **options)


def marks_in(text):
    """Read a picture back: who is on each CPU whose number is in it, the first and the last thread of each core."""
    found = {}
    lines = text.splitlines()
    for at, line in enumerate(lines):
        if line.startswith("    CPU "):
            depth = next(offset for offset in range(1, 9) if not re.match(r"^ {8}.*[^\s\d]", (lines + ["", ""])[at + offset]))
            rows = [(line, lines[at + 1])]
            below = (lines + [""])[at + depth]
            if re.match(r"^[ \d]+$", below):
                rows.append((below, lines[at + depth - 1]))
            for numbers, marks in rows:
                for number in re.finditer(r"\d+", numbers):
                    found[int(number.group())] = marks[number.start() - 1:number.end() + 1].strip()
    return found


def test_a_full_dgx_2_fits_into_80_columns():
    assert drawn(dgx2(), MIXED, width=80) == MIXED_PICTURE


def test_a_wider_terminal_shows_where_emulators_and_io_threads_run():
    text = drawn(dgx2(), MIXED, width=110)
    assert " A  train-8g0-7   0-7    46 by core   1x23x2    723.3 GiB  0     23,71           1 on 23" in text.splitlines()
    assert " E  dev-1g15      15     5 by thread  1x5x1     90.4 GiB   1     46-47,90,93-95  -" in text.splitlines()


def test_nodes_with_many_cores_take_several_rows_of_equal_length():
    text = drawn(dgx_a100(), [{"name": "a", "gpus": [0], "vcpus": 16, "memory_kib": 8 * GIB}], width=60)
    rows = [line.split()[1:] for line in text.splitlines() if line.startswith("    CPU ")]
    assert [len(row) for row in rows] == [8, 8] * 8
    assert [int(number) for row in rows for number in row] == list(range(128))
    assert all(len(line) <= 60 for line in text.splitlines())


def test_cores_of_one_cache_stand_together():
    text = drawn(dgx_a100(), [], width=100)
    assert "    CPU  0   1   2   3    4   5   6   7    8   9   10  11   12  13  14  15" in text.splitlines()


def test_what_the_host_keeps_and_what_others_have_is_told_apart():
    stranger = {"name": "other", "vcpupin": {0: 2, 1: 50}}
    text = drawn(dgx2(), [{"name": "a", "vcpus": 2, "pinning": "core"}], {"reserved_cores": 1, "pinned": [stranger], "emulator": "none"}, width=80)
    assert marks_in(text)[0] == "▒"
    assert marks_in(text)[1] == marks_in(text)[49] == "A"
    assert marks_in(text)[2] == marks_in(text)[50] == "×"
    assert marks_in(text)[3] == "·"
    assert " · free   ▒ kept for the host   × other guests, outside this plan" in text.splitlines()


def test_two_guests_on_one_cpu_or_gpu_are_seen():
    """Not of the planner's making, but a picture of pins made by hand must show it."""
    guests = [{"name": "a", "vcpupin": {"0": "0-1", "1": "0-1"}, "gpus": [0]}, {"name": "b", "vcpupin": {0: 1}, "gpus": [0, 1]}]
    text = picture.draw(dgx2(), {"guests": guests}, width=80)
    assert [marks_in(text)[cpu] for cpu in (0, 1, 2)] == ["A", "!", "·"]
    assert "! pinned by two guests" in text
    assert "         !  B  ·" in text


def test_a_pin_to_a_cpu_that_is_gone_is_told():
    text = picture.draw(dgx2(), {"guests": [{"name": "a", "vcpupin": {0: 0, 1: 200}}]})
    assert " note: a is pinned to CPU 200, which is not online on this host." in text.splitlines()
    assert "1 guest, pinned to 1 CPU of 1 core." in text


def test_a_refusal_is_part_of_the_picture():
    text = drawn(dgx2(), [{"name": "big", "gpus": [0], "vcpus": 50}])
    assert "0 guests (1 more refused)" in text
    assert " no guests" in text.splitlines()
    assert re.search(r"refused: big asks for 50 vCPUs.*48 vCPUs would\s+fit", text, re.DOTALL)
    assert " refused: a is running." in picture.draw(dgx2(), {"guests": [], "refused": ["a is running."]}).splitlines()


def test_more_guests_than_letters_get_two_letters_each():
    cpus = [{"id": number, "socket": 0, "core": number, "node": 0} for number in range(120)]
    topology = Topology.from_dict({"cpus": cpus, "nodes": [{"id": 0, "memory_kib": GIB}]})
    text = drawn(topology, [{"name": "g{0:02}".format(number), "vcpus": 1} for number in range(100)])
    assert len(set(marks_in(text).values())) == 101
    assert "         AA  AB  AC  AD" in text


def test_smt_4_offline_threads_and_places_without_a_node():
    cpus: list = [{"id": number, "socket": 0, "core": number // 4, "node": 0} for number in range(12)]
    cpus[7] = {"id": 7, "socket": -1, "core": -1, "node": 0, "online": False, "siblings": []}
    nodes = [{"id": 0, "memory_kib": GIB}, {"id": 1, "memory_kib": 0}]
    gpus = [{"pci": "0000:01:00.0", "kind": "gpu", "index": 0, "node": -1}]
    topology = Topology.from_dict({"cpus": cpus, "nodes": nodes, "devices": gpus})
    pins = {"guests": [{"name": "a", "vcpupin": dict(enumerate(range(5))), "gpus": [0]}]}
    assert picture.draw(topology, pins, unicode=False).splitlines()[2:15] == [
        "node 0, socket 0",
        "    CPU  0  4  8",
        "         A  A  .",
        "         A  .  .",
        "         A  .  .",
        "         A     .",
        "         3    11",
        "offline  CPU 7",
        " memory  ................................................  0 of 1 GiB",
        "",
        "node 1",
        "    CPU  none",
        " memory  none",
    ]
    assert "no node\n    GPU  0\n         A" in picture.draw(topology, pins)


@settings(max_examples=150)
@given(st.data())
def test_the_picture_can_be_read_back(data):
    """On any host: the mark at each CPU is the guest that the plan puts there, and no line is too long."""
    topology = data.draw(topologies())
    plan = placement.plan(topology, data.draw(guest_lists(len(topology.gpus))), data.draw(policies)).to_dict()
    width = data.draw(st.integers(60, 130))
    text = picture.draw(topology, plan, width=width)
    assert max(len(line) for line in text.splitlines()) <= width
    letters = {re.split("  +", line[3:].strip())[0]: line[1] for line in text.splitlines() if re.match(r"^ [A-Z]  g\d ", line)}
    holder = {cpu: letters[guest["name"]] for guest in plan["guests"] for cpu in guest["vcpupin"].values()}
    seen = marks_in(text)
    assert {cpu for core in topology.cores() for cpu in core[:1]} <= set(seen)
    for cpu, mark in seen.items():
        assert mark == holder.get(cpu, mark)
        assert cpu in holder or not mark.isalpha()


@given(st.data())
def test_colours_and_ascii_change_nothing_but_looks(data):
    topology = data.draw(topologies())
    plan = placement.plan(topology, data.draw(guest_lists(len(topology.gpus))), {}).to_dict()
    plain = picture.draw(topology, plan)
    assert [line.rstrip() for line in re.sub("\033\\[[0-9;]*m", "", picture.draw(topology, plan, colour=True)).splitlines()] == plain.splitlines()
    picture.draw(topology, plan, unicode=False).encode("ascii")


@pytest.mark.parametrize(
    "plan",
    [
        None,
        [],
        {},
        {"guests": None},
        {"guests": ["a"]},
        {"guests": [{}]},
        {"guests": [{"name": "a", "vcpupin": [0, 1]}]},
        {"guests": [{"name": "a", "gpus": ["x"]}]},
        {"guests": [{"name": "a", "cells": [{"node": 0}]}]},
        {"guests": [{"name": "a", "memory_kib": "much"}]},
        {"guests": [], "refused": [{"guest": "a"}]},
        {"guests": [], "host": "none"},
    ],
)
def test_what_is_no_plan_is_refused(plan):
    with pytest.raises(FleetError, match="This is not a plan as the filter dgxops.fleet.kvm_plan makes it"):
        picture.draw(dgx2(), plan)


def test_a_bad_cpu_list_is_named():
    with pytest.raises(FleetError, match="'0-x'"):
        picture.draw(dgx2(), {"guests": [{"name": "a", "vcpupin": {0: "0-x"}}]})


@pytest.mark.parametrize("width", [0, 59, 501, "100", True, None])
def test_a_width_that_cannot_be_is_refused(width):
    with pytest.raises(FleetError, match="from 60 to 500"):
        picture.draw(dgx2(), {"guests": []}, width=width)
