"""A DGX-2 and guests on it as nvidia-vm makes them, in the words of dgx_facts and libvirt_domain_info."""
from ansible_collections.dgxops.fleet.plugins.module_utils.kvm.domain_settings import read_settings
from ansible_collections.dgxops.fleet.plugins.module_utils.kvm.domain_xml import DomainDocument
from ansible_collections.dgxops.fleet.plugins.module_utils.kvm.tuning import decide
from ansible_collections.dgxops.fleet.tests.lab import nvidia_vm

from .hosts import DGX2_BUSES, dgx2

GPUS = ["0000:{0}:00.0".format(bus) for bus in DGX2_BUSES]


def facts(pages=None, **more):
    """The facts of a DGX-2; ``pages`` are (total, free) by size in KiB and node."""
    described = dgx2().to_dict()
    for node in described["nodes"]:
        pools = {2048: (0, 0), 1048576: (0, 0)}
        pools.update((pages or {}).get(node["id"], {}))
        node["pages"] = {str(size): {"total": total, "free": free} for size, (total, free) in pools.items()}
    return dict({"topology": described, "kernel_release": "5.15.0-1042-nvidia", "numa_balancing": 1, "hugetlbfs": {"2048": "/dev/hugepages"}}, **more)


def vm(count, first, prefix="vm", running=False, autostart=False, **configured):
    """A guest of some GPUs as nvidia-vm makes it; ``configured`` settings are other than it makes them."""
    guest = nvidia_vm.Guest(prefix, first, count)
    settings = read_settings(DomainDocument(nvidia_vm.domain_xml(guest, GPUS[first:first + count])))
    settings.update(configured)
    return {
        "name": guest.name, "running": running, "autostart": autostart, "persistent": True, "vcpus": settings["vcpus"] or guest.vcpus,
        "memory_kib": settings["memory_kib"] or guest.memory_kib, "configured": settings, "differences": ["topology"] if running else [],
        "pci": [device["pci"] for device in settings["hostdevs"]],
    }  # fmt: skip


def tune(domains, pages=None, **wanted):
    """The role's decision about these domains, with these variables."""
    return decide(facts(pages), domains, wanted).to_dict()


def settings_of(decision, name):
    """What is wanted of one domain."""
    return next(domain for domain in decision["domains"] if domain["name"] == name)


def configured_as(domain, settings):
    """The domain after libvirt_domain made it so; a disk keeps what is not tuned."""
    drivers = {disk["target"]: disk["driver"] for disk in settings.get("disks", [])}
    disks = [
        dict(disk, driver={key: value for key, value in dict(disk["driver"], **drivers.get(disk["target"], {})).items() if value not in (0, "default")})
        for disk in domain["configured"]["disks"]
    ]
    return dict(domain, configured=dict(domain["configured"], **dict(settings, disks=disks)))
