# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The drive every machine of the lab starts from: made of the distribution's packages, kept by a digest of its recipe."""
import contextlib
import hashlib
import io
import json
import os
import shlex
import shutil
import tarfile
import tempfile
from pathlib import Path
from typing import List, NamedTuple, Sequence

from . import places
from .programs import LabError, run

#: What decides what is in the image, beside the release of the distribution.
_RECIPE = ("packages.txt", "excluded-paths.txt", "customize.sh", "rootfs", "image.py")
_FILE_SYSTEM_UUID = "5afe1ab0-0000-4000-8000-000000000001"
_FILE_SYSTEM_BYTES = 6 * 2**30
#: Room behind the file system for the superblock of a RAID-1 over the whole drive.
DRIVE_BYTES = _FILE_SYSTEM_BYTES + 2**20


class Image(NamedTuple):
    """A built image: the drive, GRUB in the shape of a kernel, and the keys to log in with."""

    directory: Path

    @property
    def key(self) -> str:
        return self.directory.name

    @property
    def drive(self) -> Path:
        return self.directory / "drive.raw"

    @property
    def boot(self) -> Path:
        return self.directory / "grub.lnx"

    @property
    def login_key(self) -> Path:
        return self.directory / "login"

    @property
    def known_hosts(self) -> Path:
        return self.directory / "known_hosts"


class Distribution(NamedTuple):
    """What this machine runs, and where it takes its packages from: the image is made of the same."""

    name: str
    codename: str
    sources: Sequence[str]


def this_distribution(sources: str) -> Distribution:
    """From /etc/os-release, and lines of sources.list that name the archive of this release."""
    fields = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    name, codename = (fields.get(field, "").strip('"') for field in ("ID", "VERSION_CODENAME"))
    lines = [line for line in sources.splitlines() if line.startswith("deb ")]
    if name not in ("debian", "ubuntu"):
        raise LabError(f"The lab's machine is made of Debian's or Ubuntu's packages; this system is {name or 'neither'}.")
    if not lines:
        raise LabError("apt knows no archive of this release. Run 'apt-get update' once, then try again.")
    return Distribution(name, codename, lines)


def packages_of(text: str, distribution: str) -> List[str]:
    """The packages of a packages.txt for one distribution."""
    names: List[str] = []
    for line in text.splitlines():
        words = line.split("#", 1)[0].split()
        only = words.pop()[1:-1] if words and words[-1].startswith("[") else distribution
        names += words if only == distribution else []
    return names


def recipe_digest(distribution: Distribution, here: Path = places.HERE) -> str:
    """Changes when the content of the image would; where the packages come from does not matter."""
    digest = hashlib.sha256(f"{distribution.name} {distribution.codename}".encode())
    for name in _RECIPE:
        top = here / name
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if path.is_file():
                digest.update(str(path.relative_to(here)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def existing(distribution: Distribution) -> Image:
    """The image for this recipe, whether it is built or not."""
    return Image(places.images() / recipe_digest(distribution))


def ensure(distribution: Distribution) -> Image:
    """The image, built now if the recipe changed; images of other recipes are removed."""
    image = existing(distribution)
    if not image.directory.exists():
        _build(image, distribution)
        for other in places.images().iterdir():
            if other != image.directory:
                shutil.rmtree(other)
    return image


def _build(image: Image, distribution: Distribution) -> None:
    places.images().mkdir(parents=True, exist_ok=True)
    # An image appears under its name when it is whole. Without root, the users of a user namespace must reach the directory.
    work = Path(tempfile.mkdtemp(prefix="building-", dir="/var/tmp" if os.geteuid() else places.images()))
    try:
        work.chmod(0o755)
        product = work / "image"
        product.mkdir()
        _make_keys(product)
        _install(work, product, distribution)
        _make_drive(work, product)
        (product / "image.json").write_text(json.dumps({"distribution": distribution.name, "codename": distribution.codename}) + "\n")
        shutil.copytree(product, image.directory.with_suffix(".part"), copy_function=_copy_sparse, dirs_exist_ok=True)
        os.replace(image.directory.with_suffix(".part"), image.directory)
    finally:
        # What the root of a user namespace has written only it can remove; the directory itself is ours again when it is empty.
        with contextlib.suppress(LabError):
            _as_builder(["find", str(work / "root"), "-mindepth", "1", "-delete"], timeout=120)
        shutil.rmtree(work, ignore_errors=True)


def _copy_sparse(source: str, target: str) -> None:
    """An image copied or, on one file system, linked: the drive has holes that a plain copy would fill."""
    try:
        os.link(source, target)
    except OSError:
        run(["cp", "--sparse=always", "--preserve=mode", source, target], timeout=300)


def _make_keys(product: Path) -> None:
    """A pair of keys to log in with, another by which the machine is known: nobody is asked to trust an unknown host."""
    for name in ("login", "host"):
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "dgxops-lab", "-f", str(product / name)], timeout=30)
    (product / "known_hosts").write_text("dgxops-lab " + (product / "host.pub").read_text())


def _install(work: Path, product: Path, distribution: Distribution) -> None:
    """The packages and our files, as the directory root; without root in a user namespace."""
    names = packages_of((places.HERE / "packages.txt").read_text(), distribution.name)
    excluded = work / "dpkg.cfg"
    excluded.write_text("".join(line + "\n" for line in (places.HERE / "excluded-paths.txt").read_text().splitlines() if not line.startswith("#")))
    files = work / "files.tar"
    _pack(files, product)
    argv = ["mmdebstrap", f"--mode={'unshare' if os.geteuid() else 'root'}", "--variant=apt", "--format=directory", f"--include={','.join(names)}"]
    argv += ['--aptopt=APT::Install-Recommends "false"', f"--dpkgopt={excluded}", "--dpkgopt=force-confold", "--dpkgopt=force-unsafe-io"]
    # Nobody is there to say where GRUB shall go; it goes nowhere, see customize.sh.
    argv += ["--essential-hook=echo grub-pc grub-pc/install_devices_empty boolean true | chroot \"$1\" debconf-set-selections"]
    argv += [f"--essential-hook=tar-in {shlex.quote(str(files))} /", '--customize-hook=chroot "$1" sh /customize.sh']
    argv += [f"--customize-hook=copy-out /boot/grub/grub.lnx {shlex.quote(str(product))}", distribution.codename, str(work / "root"), *distribution.sources]
    run(argv, timeout=1500, log=places.logs() / "image.log")


def _pack(target: Path, product: Path) -> None:
    """Our files for the new root directory, owned by root whoever has checked them out."""
    with tarfile.open(target, "w") as archive:
        tree = places.HERE / "rootfs"
        for path in sorted(path for path in tree.rglob("*") if path.is_file()):
            mode = 0o600 if "netplan" in path.parts else 0o755 if "hooks" in path.parts else 0o644
            _add(archive, str(path.relative_to(tree)), path.read_bytes(), mode)
        _add(archive, "customize.sh", (places.HERE / "customize.sh").read_bytes(), 0o755)
        _add(archive, "root/.ssh/authorized_keys", (product / "login.pub").read_bytes(), 0o600)
        _add(archive, "etc/ssh/ssh_host_ed25519_key", (product / "host").read_bytes(), 0o600)
        _add(archive, "etc/ssh/ssh_host_ed25519_key.pub", (product / "host.pub").read_bytes(), 0o644)


def _add(archive: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    entry = tarfile.TarInfo("./" + name)
    entry.size, entry.mode = len(content), mode
    archive.addfile(entry, io.BytesIO(content))


def _make_drive(work: Path, product: Path) -> None:
    """A file system with everything in it, made without mounting anything."""
    drive = product / "drive.raw"
    drive.touch()
    os.truncate(drive, _FILE_SYSTEM_BYTES)
    drive.chmod(0o666)
    # Inode tables are written now: the kernel would do it in the background of the first tests.
    options = ["-t", "ext4", "-L", "root", "-U", _FILE_SYSTEM_UUID, "-N", "200000", "-E", "lazy_itable_init=0,lazy_journal_init=0"]
    _as_builder(["mke2fs", "-q", "-F", *options, "-d", str(work / "root"), str(drive)], timeout=300)
    os.truncate(drive, DRIVE_BYTES)
    drive.chmod(0o444)


def _as_builder(argv: List[str], timeout: float) -> None:
    """Run a program as the root that owns the new root directory: ourselves, or the root of mmdebstrap's user namespace."""
    helper = ["mmdebstrap", "--unshare-helper"] if os.geteuid() else []
    run([*helper, *argv], timeout=timeout)
