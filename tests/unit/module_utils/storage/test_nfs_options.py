"""Mount options: what is asked for, what is in force, and lines of fstab."""
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.dgxops.fleet.plugins.module_utils.host import mountinfo
from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.storage import fstab
from ansible_collections.dgxops.fleet.plugins.module_utils.storage import nfs_options as options

#: What Linux 6.1 shows of a mount with vers=4.2,nconnect=2,fsc.
SHOWN = ("vers=4.2,rsize=524288,wsize=524288,namlen=255,hard,proto=tcp,nconnect=2,timeo=600,retrans=2,sec=sys,clientaddr=127.0.0.1,fsc,local_lock=none,"
         "addr=127.0.0.1")


def mounted(shown=SHOWN, flags="rw,relatime"):
    return mountinfo.Mounted(2, 1, "0:44", "/data", tuple(flags.split(",")), "nfs4", "s:/x", ("rw",) + tuple(shown.split(",")))


def unlike(wanted, mount=None, asked=None):
    split = None if asked is None else asked.split(",")
    return {entry.key: (entry.wanted, entry.in_force, entry.live) for entry in options.differences(wanted.split(","), mount or mounted(), split)}


@pytest.mark.parametrize("wanted", [
    "vers=4.2,nconnect=2,fsc", "nfsvers=4,nconnect=2,fsc", "v4.2,nconnect=2,fsc", "vers=4,minorversion=2,nconnect=2,fsc,hard,rw,async,tcp,sec=sys:krb5",
    "nconnect=2,fsc,_netdev,nofail,x-systemd.requires=openibd.service,bg,retry=1,nouser,auto,defaults,suid,dev,exec",
    "nconnect=2,fsc,lookupcache=all,acregmin=3,actimeo=60,acregmin=3,acdirmin=30", "nconnect=2,fsc,port=2049,local_lock=none,relatime,timeo=600,nolock,noacl",
])
def test_what_means_the_same_is_no_difference(wanted):
    assert unlike(wanted) == {}


@pytest.mark.parametrize("wanted, expected", [
    ("nconnect=8,fsc", {"nconnect": ("8", "2", False)}),
    ("fsc", {"nconnect": ("1", "2", False)}),
    ("nconnect=2", {"fsc": ("off", "on", False)}),
    ("nconnect=2,fsc,ro", {"ro": ("on", "off", True)}),
    ("nconnect=2,fsc,noatime,nosuid", {"atime": ("noatime", "relatime", True), "nosuid": ("on", "off", True)}),
    ("nconnect=2,fsc,soft", {"soft": ("soft", "hard", False)}),
    ("nconnect=2,fsc,vers=3", {"vers": ("3", "4.2", False)}),
    ("nconnect=2,fsc,vers=4.0", {"vers": ("4.0", "4.2", False)}),
    ("nconnect=2,fsc,rdma", {"proto": ("rdma", "tcp", False)}),
    ("nconnect=2,fsc,rsize=1048576", {"rsize": ("1048576", "524288", False)}),
    ("nconnect=2,fsc,sync", {"sync": ("on", "off", True)}),
    ("nconnect=2,fsc,noac", {"noac": ("on", "off", False)}),
    ("nconnect=2,fsc,port=20049", {"port": ("20049", "not known", False)}),
])
def test_what_is_otherwise_is_found_with_whether_a_remount_does(wanted, expected):
    assert unlike(wanted) == expected


def test_an_option_that_is_not_asked_for_any_more_has_to_go():
    assert unlike("nconnect=2,fsc", asked="nconnect=2,fsc,rsize=524288") == {"rsize": ("what server and kernel choose", "524288", False)}
    assert unlike("nconnect=2,fsc", asked="nconnect=2,fsc,port=20049") == {"port": ("off", "20049", False)}
    assert unlike("nconnect=2,fsc,xprtsec=tls", asked="nconnect=2,fsc,xprtsec=tls") == {}


def test_attributes_that_are_not_cached_show_as_more_than_was_asked_for():
    shown = SHOWN.replace("hard", "acregmin=0,acregmax=0,acdirmin=0,acdirmax=0,hard,noac").replace("vers", "sync,vers", 1)
    assert unlike("nconnect=2,fsc,noac", mounted(shown)) == {}


def test_a_later_word_replaces_an_earlier_one_about_the_same():
    assert options.merge(["vers=4.2", "hard", "nconnect=8", "rw"], ["ro", "vers=3", "soft"]) == ("nconnect=8", "ro", "vers=3", "soft")
    assert options.merge(["defaults"], []) == ("defaults",) and options.merge(["defaults"], ["ro"]) == ("ro",)


@pytest.mark.parametrize("words, said", [
    (["a b"], "no blanks"), (["remount,ro"], "says how to mount"), (["rsize=big"], "a number is expected"), (["nconnect=17"], "1 to 16"),
    (["nconnect"], "a number is expected"), (["vers=5"], "versions of NFS"),
])
def test_options_that_mount_would_not_take_are_refused(words, said):
    with pytest.raises(FleetError, match=said):
        options.check(words, "The mount /data")


def test_what_a_kernel_does_not_know_is_left_out_and_told():
    kept, warnings = options.leave_out_new(("vers=4.1", "nconnect=8"), (4, 15))
    assert kept == ("vers=4.1",) and "from 5.3 on, and this host has 4.15" in warnings[0]
    assert options.leave_out_new(("nconnect=8",), (5, 3)) == (("nconnect=8",), [])


def test_a_mount_can_be_made_again_as_it_is():
    words = options.restorable(mounted(flags="ro,nosuid,relatime"))
    assert words[:3] == ("ro", "nosuid", "relatime") and "fsc" in words and "nconnect=2" in words
    assert not any(word.startswith(("addr", "clientaddr", "namlen")) for word in words) and "rw" not in words


@given(st.lists(st.text(max_size=12), max_size=8), st.lists(st.text(max_size=12), max_size=8))
def test_no_words_are_an_error(words, others):
    options.differences(options.merge(words, others), mounted(), others)
    options.same_words(words, others)


FSTAB = "# comment\nUUID=1 / ext4 defaults 0 1\n\nnfs01:/x /data nfs ro,vers=3 0 0\n/dev/sdb /data\\040two ext4 noauto"


def test_an_entry_is_replaced_in_its_place_and_given_back_to_the_byte():
    changed = fstab.replace(FSTAB, "/data", "nfs02:/y /data nfs rw 0 0")
    assert changed == FSTAB.replace("nfs01:/x /data nfs ro,vers=3 0 0", "nfs02:/y /data nfs rw 0 0")
    assert fstab.replace(changed, "/data", fstab.at(FSTAB, "/data").line) == FSTAB


def test_a_new_entry_gets_a_line_of_its_own_also_behind_a_line_without_an_end():
    line = fstab.line_of("nfs01:/a b", "/new one", ("ro", "fsc"))
    assert line == "nfs01:/a\\040b /new\\040one nfs ro,fsc 0 0"
    changed = fstab.replace(FSTAB, "/new one", line)
    assert changed == FSTAB + "\n" + line + "\n"
    assert fstab.at(changed, "/new one")[:4] == ("nfs01:/a b", "/new one", "nfs", ("ro", "fsc"))
    assert fstab.replace(changed, "/new one", None) == FSTAB + "\n"


def test_two_entries_for_one_path_are_refused():
    with pytest.raises(FleetError, match="2 entries for /data"):
        fstab.at(FSTAB + "\nnfs01:/y /data/ nfs ro 0 0\n", "/data")


@given(st.text(), st.text(min_size=1))
def test_any_file_is_read_and_what_is_not_ours_stays(text, path):
    try:
        fstab.at(text, "/data")
    except FleetError:
        pass
    line = fstab.line_of("s:/x", "/our path", ("ro",))
    if not any(entry.path == "/our path" for entry in fstab.parse(text)):
        assert fstab.replace(fstab.replace(text, "/our path", line), "/our path", None) in (text, text + "\n")
