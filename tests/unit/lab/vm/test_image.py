"""The image is made anew when its recipe changed, and only then; what goes into it belongs to root."""
import shutil
import tarfile

import pytest

from ansible_collections.dgxops.fleet.tests.lab.vm import image, places
from ansible_collections.dgxops.fleet.tests.lab.vm.image import Distribution, packages_of, recipe_digest, this_distribution
from ansible_collections.dgxops.fleet.tests.lab.vm.programs import LabError

BOOKWORM = Distribution("debian", "bookworm", ["deb http://one.example/debian bookworm main"])

PACKAGES = """
# a comment
mdadm nvme-cli   # another
linux-image-amd64 [debian]
linux-image-generic linux-modules [ubuntu]

fio
"""


@pytest.mark.parametrize(
    "distribution, names",
    [
        ("debian", ["mdadm", "nvme-cli", "linux-image-amd64", "fio"]),
        ("ubuntu", ["mdadm", "nvme-cli", "linux-image-generic", "linux-modules", "fio"]),
    ],
)
def test_packages_may_belong_to_one_distribution(distribution, names):
    assert packages_of(PACKAGES, distribution) == names


def test_the_recipe_names_no_package_twice():
    for distribution in ("debian", "ubuntu"):
        names = packages_of((places.HERE / "packages.txt").read_text(), distribution)
        assert len(names) == len(set(names))


@pytest.fixture
def recipe(tmp_path):
    here = tmp_path / "vm"
    shutil.copytree(places.HERE, here, ignore=shutil.ignore_patterns("__pycache__"))
    return here


def test_another_mirror_is_no_other_image(recipe):
    elsewhere = BOOKWORM._replace(sources=["deb http://two.example/debian bookworm main"])
    assert recipe_digest(elsewhere, recipe) == recipe_digest(BOOKWORM, recipe) == recipe_digest(BOOKWORM)


@pytest.mark.parametrize("name", ["packages.txt", "excluded-paths.txt", "customize.sh", "rootfs/etc/fstab", "rootfs/etc/new.conf"])
def test_a_change_of_the_recipe_is_another_image(recipe, name):
    before = recipe_digest(BOOKWORM, recipe)
    with open(recipe / name, "a") as file:
        file.write("\n# changed\n")
    assert recipe_digest(BOOKWORM, recipe) != before


def test_another_release_is_another_image():
    assert recipe_digest(BOOKWORM._replace(codename="trixie")) != recipe_digest(BOOKWORM)


def test_without_an_archive_apt_update_is_advised():
    with pytest.raises(LabError, match="Run 'apt-get update' once"):
        this_distribution("# nothing here\n")


def test_our_files_belong_to_root_and_secrets_are_readable_by_root_only(tmp_path):
    for name in ("login.pub", "host", "host.pub"):
        (tmp_path / name).write_text(name)
    image._pack(tmp_path / "files.tar", tmp_path)
    with tarfile.open(tmp_path / "files.tar") as archive:
        entries = {entry.name: entry for entry in archive}
    assert {(entry.uid, entry.gid) for entry in entries.values()} == {(0, 0)}
    assert {name for name, entry in entries.items() if entry.mode == 0o600} == {
        "./etc/netplan/01-management.yaml",
        "./etc/ssh/ssh_host_ed25519_key",
        "./root/.ssh/authorized_keys",
    }
    assert {name for name, entry in entries.items() if entry.mode == 0o755} == {"./customize.sh", "./etc/initramfs-tools/hooks/lab"}
