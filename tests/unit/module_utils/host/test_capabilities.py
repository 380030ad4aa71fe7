# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""libvirt's capabilities tell of the same host as sysfs, and what is no capabilities XML is refused in words."""
from typing import Dict, List, Tuple

import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host import cpuset
from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.host.topology import Cpu, Node, Pages, Topology
from ansible_collections.dgxops.fleet.tests.lab import sysfs_tree

#: In the form of libvirt 9.0 on a machine of two sockets (shortened by hand).
TWO_SOCKETS = """<capabilities><host><uuid>x</uuid><cpu><arch>x86_64</arch><topology sockets='1' dies='1' cores='2' threads='2'/></cpu>
<topology><cells num='2'>
 <cell id='0'>
  <memory unit='KiB'>791061664</memory>
  <pages unit='KiB' size='4'>197765416</pages><pages unit='KiB' size='2048'>512</pages><pages unit='KiB' size='1048576'>0</pages>
  <distances><sibling id='0' value='10'/><sibling id='1' value='21'/></distances>
  <cpus num='2'>
   <cpu id='0' socket_id='0' die_id='0' core_id='0' siblings='0,2'/><cpu id='2' socket_id='0' die_id='0' core_id='0' siblings='0,2'/>
  </cpus>
 </cell>
 <cell id='1'>
  <memory unit='GiB'>2</memory>
  <distances><sibling id='0' value='21'/><sibling id='1' value='10'/></distances>
  <cpus num='2'>
   <cpu id='1' socket_id='1' die_id='0' core_id='0' siblings='1,3'/><cpu id='3' socket_id='1' die_id='0' core_id='0' siblings='1,3'/>
  </cpus>
 </cell>
</cells></topology>
<cache><bank id='1' level='3' type='both' size='33' unit='MiB' cpus='1,3'/><bank id='0' level='3' type='both' size='33' unit='MiB' cpus='0,2'/>
<bank id='0' level='2' type='both' size='1' unit='MiB' cpus='0,2'/></cache>
</host></capabilities>"""


def test_cpus_memory_pages_distances_and_caches_are_read():
    host = Topology.from_capabilities(TWO_SOCKETS)
    assert host.cpus[:2] == (Cpu(0, 0, 0, 0, 0, (0, 2), 0, True), Cpu(1, 1, 0, 0, 1, (1, 3), 1, True))
    assert host.nodes == (
        Node(0, 791061664, (10, 21), {2048: Pages(512, 512), 1048576: Pages(0, 0)}),
        Node(1, 2 * 1024 * 1024, (21, 10), {}),
    )
    assert host.devices == ()


def capabilities_of(machine):
    """What libvirt would say of a simulated machine: online CPUs, cache banks with the kernel's ids, ordinary pages among the huge ones."""
    cells = []
    caches: Dict[int, List[int]] = {}
    cores: Dict[Tuple[int, int, int], List[int]] = {}
    online = [thread for thread in machine.threads if thread.online]
    for thread in online:
        cores.setdefault((thread.socket, thread.core, thread.node), []).append(thread.id)
        caches.setdefault(thread.l3, []).append(thread.id)
    numbers = sorted(machine.memory_kib)
    for number in numbers:
        cpus = [
            "<cpu id='{0}' socket_id='{1}' die_id='{2}' core_id='{3}' siblings='{4}'/>".format(
                thread.id, thread.socket, thread.die, thread.core, cpuset.show(cores[thread.socket, thread.core, thread.node])
            )
            for thread in online
            if thread.node == number
        ]
        pages = (machine.pages or {}).get(number, {2048: (0, 0), 1048576: (0, 0)})
        row = (machine.distances or {}).get(number, [10 if other == number else 20 for other in numbers])
        cells.append(
            "<cell id='{0}'><memory unit='KiB'>{1}</memory><pages unit='KiB' size='4'>99</pages>{2}<distances>{3}</distances>"
            "<cpus num='{4}'>{5}</cpus></cell>".format(
                number,
                machine.memory_kib[number],
                "".join("<pages unit='KiB' size='{0}'>{1}</pages>".format(size, total) for size, (total, _free) in pages.items()),
                "".join("<sibling id='{0}' value='{1}'/>".format(other, value) for other, value in zip(numbers, row)),
                len(cpus),
                "".join(cpus),
            )
        )
    banks = "".join(
        "<bank id='{0}' level='3' type='both' size='16' unit='MiB' cpus='{1}'/>".format(4 * number, cpuset.show(cpus)) for number, cpus in caches.items()
    )
    return "<capabilities><host><topology><cells num='{0}'>{1}</cells></topology><cache>{2}</cache></host></capabilities>".format(
        len(cells), "".join(cells), banks
    )


@pytest.mark.parametrize("name", ["dgx-1", "dgx-2", "dgx-a100", "dgx-h100", "power9"])
def test_both_readers_tell_of_the_same_host(simulated, name):
    machine = sysfs_tree.machines()[name]()
    by_sysfs, by_libvirt = Topology.from_sysfs(simulated(name)), Topology.from_capabilities(capabilities_of(machine))
    assert by_libvirt == Topology(by_sysfs.cpus, by_sysfs.nodes)


def test_offline_cpus_are_all_that_libvirt_does_not_tell(simulated):
    machine = sysfs_tree.offline(sysfs_tree.dgx_2(), [3, 60])
    by_sysfs, by_libvirt = Topology.from_sysfs(simulated(machine)), Topology.from_capabilities(capabilities_of(machine))
    assert by_libvirt.cpus == by_sysfs.online


def changed(old, new):
    assert old in TWO_SOCKETS
    return TWO_SOCKETS.replace(old, new)


def test_a_libvirt_that_cannot_tell_where_cpus_are_gives_cores_of_one_thread():
    text = changed("<cpu id='2' socket_id='0' die_id='0' core_id='0' siblings='0,2'/>", "<cpu id='2'/>").replace(" siblings='0,2'", "")
    assert Topology.from_capabilities(text).cores() == [(0,), (2,), (1, 3)]


def test_siblings_that_are_not_there_do_not_count():
    assert Topology.from_capabilities(changed("siblings='0,2'", "siblings='0,2,4,7'")).cpu(0).siblings == (0, 2)


def test_the_only_size_of_pages_is_huge_if_it_is_larger_than_any_ordinary_one():
    assert Topology.from_capabilities(changed("<pages unit='KiB' size='4'>197765416</pages>", "")).node(0).pages[2048] == Pages(512, 512)


def test_64_kib_pages_are_ordinary_on_one_machine_and_huge_on_another():
    ordinary = changed("size='4'", "size='64'")
    assert sorted(Topology.from_capabilities(ordinary).node(0).pages) == [2048, 1048576]
    huge = changed("<pages unit='KiB' size='2048'>", "<pages unit='KiB' size='64'>7</pages><pages unit='KiB' size='2048'>")
    assert sorted(Topology.from_capabilities(huge).node(0).pages) == [64, 2048, 1048576]


@pytest.mark.parametrize(
    "text, complaint",
    [
        ("", "are not valid XML"),
        ("<capabilities><host>", "are not valid XML"),
        ("<domain/>", "The XML begins with <domain>, but <capabilities> is expected"),
        ("<capabilities><host/></capabilities>", "tell of no CPU in host/topology"),
        ("<capabilities><host><topology><cells num='0'/></topology></host></capabilities>", "tell of no CPU in host/topology"),
        (changed("<cpu id='2'", "<cpu id='two'"), "a <cpu> whose id is 'two'; a number is expected"),
        (changed("<cpu id='2'", "<cpu"), "a <cpu> whose id is None; a number is expected"),
        (changed("<cpu id='2'", "<cpu id='0'"), "name a cell or a CPU twice"),
        (changed("<cell id='1'>", "<cell id='0'>"), "name a cell or a CPU twice"),
        (changed("'KiB'>791061664<", "'KiB'>lots<"), "a <memory> of 'lots' KiB"),
        (changed("<memory unit='GiB'>", "<memory unit='pounds'>"), "a <memory> of '2' pounds"),
        (changed("siblings='1,3'", "siblings='1..3'"), "'1..3' in the CPU list"),
        (changed(">512<", ">some<"), "<pages> whose count is 'some'"),
    ],
)
def test_what_is_no_capabilities_xml_is_refused_in_words(text, complaint):
    with pytest.raises(FleetError) as caught:
        Topology.from_capabilities(text)
    assert complaint in caught.value.message
