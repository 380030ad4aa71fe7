# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A host's GPUs checked without DCGM: by what nvidia-smi tells of them, or else by what the kernel does. These checks disturb no job, and find less."""
import glob
import os
import re
from typing import Dict, List, Optional, Tuple
from xml.etree import ElementTree

from ..host.errors import FleetError
from .dcgm import Diagnosis, Result

_PCI = "sys/bus/pci/devices"
_DRIVER = "proc/driver/nvidia/gpus"


def by_nvidia_smi(text: str) -> Diagnosis:
    """The health that ``nvidia-smi -q -x`` shows; raises :class:`FleetError` if that is not what it prints."""
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise FleetError("nvidia-smi -q -x was expected to print XML, but printed: {0} ({1})".format(" ".join(text.split())[:300] or "nothing", error))
    results: List[Result] = []
    for at, gpu in enumerate(root.findall("gpu")):
        number = _text(gpu, "minor_number")
        results += _gpu_results(gpu, number if number.isdigit() else str(at))
    attached = _text(root, "attached_gpus")
    shown = len(root.findall("gpu"))
    if attached.isdigit() and int(attached) != shown:
        results.append(Result("Driver", "GPUs", "", "fail", ("nvidia-smi counts {0} GPUs, but shows {1}.".format(attached, shown),)))
    if not results:
        results.append(Result("Driver", "GPUs", "", "fail", ("nvidia-smi shows no GPU.",)))
    return Diagnosis(tuple(results), "", _text(root, "driver_version"))


def _gpu_results(gpu: ElementTree.Element, name: str) -> List[Result]:
    def result(test: str, status: str, message: str = "") -> Result:
        return Result("GPU", test, name, status, (message,) if message else ())

    found = []
    ill = sorted({"{0} = {1}".format(element.tag, (element.text or "").strip()) for element in gpu.iter() if "ERR!" in (element.text or "")})
    found.append(result("Driver", "fail", "The driver cannot read {0}. The GPU may have fallen off the bus.".format(", ".join(ill[:4]))) if ill
                 else result("Driver", "pass"))
    errors = sum(_counts(gpu, "ecc_errors/volatile", ("uncorrect", "double_bit/total")))
    lost = "{0} uncorrectable errors since the driver was loaded.".format(errors)
    found.append(result("Memory errors", "fail", lost) if errors else result("Memory errors", "pass"))
    pending = [tag for tag in ("remapped_rows/remapped_row_pending", "retired_pages/pending_retirement", "retired_pages/pending_blacklist")
               if _text(gpu, tag).lower() == "yes"]
    found.append(result("Memory repair", "warn", "A repair ({0}) waits for a reset of the GPU.".format(pending[0].split("/")[1])) if pending
                 else result("Memory repair", "pass"))
    if _text(gpu, "remapped_rows/remapped_row_failure").lower() == "yes":
        found.append(result("Memory repair", "fail", "Row remapping has failed: replace the GPU."))
    link, most = (_text(gpu, "pci/pci_gpu_link_info/link_widths/" + tag) for tag in ("current_link_width", "max_link_width"))
    narrow = link.rstrip("x").isdigit() and most.rstrip("x").isdigit() and int(link.rstrip("x")) < int(most.rstrip("x"))
    found.append(result("PCIe", "warn", "The link has {0} lanes of {1}.".format(link.rstrip("x"), most.rstrip("x"))) if narrow else result("PCIe", "pass"))
    hot = [tag for tag in ("hw_thermal_slowdown", "hw_power_brake_slowdown") if any(
        element.tag.endswith(tag) and (element.text or "").strip() == "Active" for element in gpu.iter())]
    found.append(result("Slowdown", "warn", "The hardware slows the GPU down: {0}.".format(", ".join(hot))) if hot else result("Slowdown", "pass"))
    return found


def by_kernel(root: str = "/") -> Diagnosis:
    """The health that the kernel shows of NVIDIA's GPUs on the PCI bus, and whether the driver has all of them; virtual functions count too."""
    results: List[Result] = []
    driven = {name.lower() for name in _entries(os.path.join(root, _DRIVER))}
    for address in _entries(os.path.join(root, _PCI)):
        place = os.path.join(root, _PCI, address)
        if _read(place, "vendor") != "0x10de" or not re.match(r"^0x030[02]", _read(place, "class")):
            continue
        driver = os.path.basename(os.path.realpath(os.path.join(place, "driver"))) if os.path.exists(os.path.join(place, "driver")) else ""
        if driver == "vfio-pci":
            continue  # a guest's: its own system looks after it
        mine = driver == "nvidia" and (address.lower() in driven or not driven)
        results.append(Result("GPU", "Driver", address, "pass" if mine else "fail",
                              () if mine else ("NVIDIA's driver does not have this GPU; dmesg says why, if it was loaded.",)))
        current, most = _read(place, "current_link_width"), _read(place, "max_link_width")
        narrow = current.isdigit() and most.isdigit() and int(current) < int(most)
        lanes = "The link has {0} lanes of {1}.".format(current, most)
        results.append(Result("GPU", "PCIe", address, "warn" if narrow else "pass", (lanes,) if narrow else ()))
        fatal = re.search(r"^TOTAL_ERR_FATAL (\d+)", _read(place, "aer_dev_fatal"), re.MULTILINE)
        if fatal and int(fatal.group(1)):
            results.append(Result("GPU", "PCIe errors", address, "warn", ("{0} fatal errors on the bus since the boot.".format(fatal.group(1)),)))
    version = re.search(r"(\d+\.\d+(?:\.\d+)?)", _read(os.path.join(root, "proc/driver/nvidia"), "version"))
    return Diagnosis(tuple(results), "", version.group(1) if version else "")


def _counts(gpu: ElementTree.Element, place: str, words: Tuple[str, ...]) -> List[int]:
    """The numbers below an element whose path holds one of these words; newer and older drivers name them differently."""
    base = gpu.find(place)
    found: Dict[str, int] = {}

    def walk(element: ElementTree.Element, path: str) -> None:
        for child in element:
            walk(child, path + "/" + child.tag)
        said = (element.text or "").strip()
        if said.isdigit() and any(word in path for word in words):
            found[path] = int(said)

    if base is not None:
        walk(base, "")
    return list(found.values())


def _text(element: ElementTree.Element, path: str) -> str:
    return (element.findtext(path) or "").strip()


def _read(place: str, name: str) -> str:
    try:
        with open(os.path.join(place, name), "rb") as handle:
            return handle.read().decode("utf-8", "replace").strip()
    except OSError:
        return ""


def _entries(place: str) -> List[str]:
    try:
        return sorted(os.listdir(place))
    except OSError:
        return []


def first_busy(root: str = "/", ignored: Tuple[str, ...] = ()) -> Optional[str]:
    """Who uses a GPU, or may at any moment: a process that has a device file open, or a job of Slurm's that has its control group; None if nobody.

    DCGM's own programs, monitors and the display do not count.
    """
    job = _slurm_job(root)
    if job:
        return "Slurm job {0}".format(job)
    for pid in _entries(os.path.join(root, "proc")):
        if not pid.isdigit():
            continue
        name = _read(os.path.join(root, "proc", pid), "comm")
        if name in _KEEPERS or name in ignored:
            continue
        for descriptor in _entries(os.path.join(root, "proc", pid, "fd")):
            try:
                target = os.readlink(os.path.join(root, "proc", pid, "fd", descriptor))
            except OSError:
                continue
            if re.match(r"^/dev/nvidia\d+\Z", target):
                return "process {0} ({1}), which has {2} open".format(pid, name, target)
    return None


#: comm, which the kernel cuts off after 15 letters. These hold device files open all the time.
_KEEPERS = frozenset((
    "nv-hostengine", "nvvs", "dcgmi", "dcgm-exporter", "nvidia-smi", "nvidia-persiste", "nv-fabricmanage", "nvsm_core", "nvsm", "nvidia-device-p", "Xorg",
    "gnome-shell", "nvtop"))


def _slurm_job(root: str) -> Optional[str]:
    """The first job in Slurm's control groups: ``…/job_17`` below slurmstepd.scope (version 2) or slurm/uid_… (version 1).

    The scope is in system.slice, or from 25.11 on in the one that CgroupSlice names; from 26.05 on a job's group may be called by its SLUID instead.
    """
    base = os.path.join(root, "sys/fs/cgroup")
    slices = [place for depth in ("", "*.slice", "*.slice/*.slice") for place in glob.glob(os.path.join(glob.escape(base), depth))]
    for scope in [os.path.join(place, name) for place in slices for name in _entries(place) if name.endswith("slurmstepd.scope")]:
        for name in _entries(scope):
            job = re.match(r"^(?:job_(\d+)|(s[0-9A-HJKMNP-TV-Z]{13}))\Z", name)
            if job:
                return job.group(1) or job.group(2)
    for controller in _entries(base):
        for top in _entries(os.path.join(base, controller)):
            if top == "slurm" or top.startswith("slurm_"):
                for user in _entries(os.path.join(base, controller, top)):
                    for name in _entries(os.path.join(base, controller, top, user)):
                        if user.startswith("uid_") and re.match(r"^job_\d+\Z", name):
                            return name[4:]
    return None
