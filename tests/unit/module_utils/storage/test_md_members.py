# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Arrays with redundancy whose drives change: free places, replacements, spares and growth, and that no data is ever without a place."""
import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.storage.contents import Uses
from ansible_collections.dgxops.fleet.plugins.module_utils.storage.md import ACTIVE, FAILED, REBUILDING, SPARE, Member, Sync
from ansible_collections.dgxops.fleet.plugins.module_utils.storage.md_change import Wish, decide

from .lab_drives import FRESH, OURS, array, contents, drive, found, member_of, wish

MIRROR = array(range(2), level="raid1")


def member(number, role=SPARE, slot=None, flags=()):
    return Member(drive(number).device, role, slot, tuple(flags))


def mirror(*more, **changes):
    """Drives 0 and 1 as a mirror, and what else."""
    return MIRROR._replace(members=MIRROR.members + more)._replace(**changes)


def asked(running, drives, spares=(), named=True, carried=()):
    """What is done where these drives and spares are wanted: the commands without what they all begin with, and the warnings."""
    names = tuple(drive(number).serial for number in drives) if named else ()
    host = found(list(drives) + list(spares), carried=carried, arrays=[running], link="md127")
    host = host._replace(drives=host.drives[:len(drives)], spares=host.drives[len(drives):])
    change = decide(wish(level=running.level, drives=names), host, FRESH)
    return [" ".join(step.argv).replace("mdadm ", "").replace("--manage ", "").replace("/dev/md127 ", "").replace("/dev/", "") for step in change.steps], change


@pytest.mark.parametrize("running, drives, spares, commands", [
    (mirror(), [0, 1], [], []),
    (mirror(), [0, 1], [2], ["--add nvme2n1"]),
    (mirror(member(2)), [0, 1], [2], []),
    (mirror(member(2)), [0, 1], [], ["--remove nvme2n1"]),  # a spare that is no longer wanted
    (mirror(member(2)), [0, 1], [3], ["--remove nvme2n1", "--add nvme3n1"]),
    (mirror(), [0, 1, 2], [], ["--add nvme2n1", "--grow --raid-devices=3"]),
    (mirror(member(2)), [0, 1, 2], [], ["--grow --raid-devices=3"]),  # a run that was cut short after it had added the drive
    (mirror(), [0, 1, 2], [3], ["--add nvme2n1 nvme3n1", "--grow --raid-devices=3"]),
    (mirror(), [0, 2], [], ["--add nvme2n1", "--replace nvme1n1"]),
    (mirror(member(2, REBUILDING, 1, ["replacement"]), members=(
        member(0, ACTIVE, 0), member(1, ACTIVE, 1, ["want_replacement"]), member(2, REBUILDING, 1))), [0, 2], [], []),  # it is under way
    (mirror(members=(member(0, ACTIVE, 0), member(2, ACTIVE, 1), member(1, FAILED))), [0, 2], [], ["--remove nvme1n1"]),  # and this is its end
    (mirror(members=(member(0, ACTIVE, 0), member(1, FAILED))), [0, 2], [], ["--remove nvme1n1", "--add nvme2n1"]),
    (mirror(members=(member(0, ACTIVE, 0), member(2, ACTIVE, 1))), [0, 1], [2], ["--add nvme1n1"]),  # a spare has taken over; the drive is another now
    (mirror(members=(member(0, ACTIVE, 0), member(2, ACTIVE, 1))), [0, 2], [3], ["--add nvme3n1"]),
    (array(range(4), level="raid6"), [0, 1, 2, 3, 4], [], ["--add nvme4n1", "--grow --raid-devices=5"]),
    (array(range(4), level="raid10"), [0, 1, 2, 5], [4], ["--add nvme5n1 nvme4n1", "--replace nvme3n1"]),
])
def test_an_array_with_redundancy_follows_the_drives_that_are_named(running, drives, spares, commands):
    assert asked(running, drives, spares)[0] == commands


def test_an_array_that_was_never_written_to_is_woken_before_it_changes():
    assert asked(mirror(state="read-auto"), [0, 1, 2])[0] == ["--readwrite /dev/md127".replace("/dev/", ""), "--add nvme2n1", "--grow --raid-devices=3"]
    assert asked(mirror(state="read-auto"), [0, 1])[0] == []


def test_a_former_spare_in_the_place_of_a_failed_drive_is_as_good_as_what_was_asked_for():
    running = mirror(members=(member(0, ACTIVE, 0), member(2, ACTIVE, 1), member(1, FAILED)))
    steps, change = asked(running, [0, 1], [2])
    assert not steps and "nvme1n1 has failed, and is still asked for" in change.warnings[0]


@pytest.mark.parametrize("running", [
    mirror(sync=Sync("resync", 12.5)),
    mirror(members=(member(0, ACTIVE, 0), member(1, REBUILDING, 1)), sync=Sync("recover", 50.0)),
])
def test_it_does_not_grow_while_it_is_rebuilt_and_says_so_on_every_run_until_then(running):
    steps, change = asked(running, [0, 1, 2, 3])
    assert steps == ["--add nvme2n1 nvme3n1"]
    assert "gets {0} places when what is lost has been rebuilt".format(4 if not running.lost_slots else 3) in change.warnings[0]
    waiting = running._replace(members=running.members + (member(2), member(3)))
    again, change = asked(waiting, [0, 1, 2, 3])
    assert again == [] and not change.steps and change.warnings


def test_drives_that_were_only_found_on_the_host_do_not_make_members_of_spares():
    assert asked(mirror(member(2)), [0, 1, 2], named=False)[0] == []


@pytest.mark.parametrize("running, drives", [
    (array(range(3), level="raid1"), [0, 1]),  # one less, and nothing in its place
    (array(range(4), level="raid5", lost=[3]), [0, 1, 4]),  # what is new goes into the place that is lost, so nothing replaces the third
    (mirror(members=(member(0, ACTIVE, 0), member(1, REBUILDING, 1))), [0, 2]),
])
def test_a_member_is_never_given_up_without_one_in_its_place(running, drives):
    with pytest.raises(FleetError, match="It was not touched"):
        asked(running, drives)


def test_a_drive_that_holds_something_is_no_spare_without_consent():
    mine = contents(2, uses=["is mounted at /data"])
    with pytest.raises(FleetError, match="is mounted at /data"):
        asked(mirror(), [0, 1], [2], carried=[mine])


def test_the_system_s_own_mirror_takes_no_drives():
    host = found([0, 1, 2], arrays=[mirror()], link="md127", uses={"md127": Uses((), (), True)})
    with pytest.raises(FleetError, match="holds the operating system"):
        decide(wish(level="raid1"), host, FRESH)


def test_an_array_of_somebody_else_gets_no_drives():
    host = found([0, 2], arrays=[mirror(name="dgx01:other")])
    with pytest.raises(FleetError, match="It was not touched"):
        decide(wish(level="raid1"), host, FRESH)


def test_an_array_is_made_with_its_spares():
    host = found(range(3))
    change = decide(wish(level="raid1"), host._replace(drives=host.drives[:2], spares=host.drives[2:]), FRESH)
    (made,) = change.steps
    assert "--raid-devices=2" in made.argv and "--spare-devices=1" in made.argv and made.argv[-1] == "/dev/nvme2n1"
    assert change.told[0].endswith("with the spare nvme2n1") and "spare: nvme-MZ_S2\n" in change.after


def test_one_that_does_not_run_is_assembled_with_its_spare_and_gets_what_is_new():
    def carrying(number, role):
        one = member_of(number, disks=2, level="raid1")
        return one._replace(superblock=one.superblock._replace(role=role))

    host = found(range(4), carried=[carrying(0, "active"), carrying(1, "active"), carrying(2, "spare")])
    change = decide(wish(level="raid1"), host._replace(drives=host.drives[:2], spares=host.drives[2:]), FRESH)
    assemble, add = change.steps
    assert assemble.argv[:2] == ("mdadm", "--assemble") and "--run" not in assemble.argv
    assert add.argv == ("mdadm", "--manage", "/dev/md/raid", "--add", "/dev/nvme3n1")
    lacking = found([0, 2], carried=[carrying(0, "active"), carrying(2, "spare")])
    assert "--run" in decide(wish(level="raid1"), lacking, FRESH).steps[0].argv


def test_the_diff_tells_who_joins_and_who_leaves():
    change = asked(mirror(), [0, 2])[1]
    (shown, _conf) = change.diffs
    assert "nvme1n1" in shown.before and "nvme-MZ_S2" in shown.after and OURS in shown.before


@pytest.mark.parametrize("options, why", [({"spares": ["S9"]}, "no copy of anything"), ({"level": "raid1", "spares": [""]}, "empty entry")])
def test_a_mistake_about_spares_is_told_in_words(options, why):
    params = {"name": "raid", "state": "present", "level": "raid0", "drives": None, "chunk_kib": 512, "drive_size_min": None, "wipe": []}
    with pytest.raises(FleetError, match=why):
        Wish.from_params(dict(params, **options))
