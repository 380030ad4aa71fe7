"""What the kernel says of NFS mounts and of the cache, on the kernels of DGX OS 4 to 7 and newer."""
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.dgxops.fleet.plugins.module_utils.host import mountinfo
from ansible_collections.dgxops.fleet.plugins.module_utils.storage import fscache, nfs

from . import nfs_texts as texts


def test_mounts_are_read_with_blanks_in_their_paths_and_in_the_order_in_which_they_were_made():
    mounts = [mount for mount in mountinfo.parse_mountinfo(texts.MOUNTINFO) if mount.is_nfs]
    assert [(mount.path, mount.source, mount.device, mount.options[0]) for mount in mounts] == [
        ("/mnt/data", "127.0.0.1:/srv/data", "0:44", "rw"), ("/mnt/two words", "[::1]:/srv/data", "0:42", "rw"),
    ]
    assert "fsc" in mounts[0].super_options and "nosuid" in mounts[1].options


def test_of_two_mounts_on_one_path_the_last_is_seen():
    mounts = mountinfo.parse_mountinfo("1 0 0:1 / /a rw - nfs4 one:/x rw\n2 1 0:2 / /a rw shared:1 master:2 - ext4 /dev/sda rw\n")
    assert mountinfo.seen_at(mounts, "/a").type == "ext4" and mountinfo.seen_at(mounts, "/b") is None


@given(st.text())
def test_a_path_survives_being_written_and_read(path):
    assert mountinfo.unescape(mountinfo.escape(path)) == path and not set(" \t\n") & set(mountinfo.escape(path))


def test_what_a_mount_has_done_is_counted():
    (found,) = nfs.parse_mountstats(texts.MOUNTSTATS)
    assert (found.path, found.type, found.age_s, found.bytes["server_read"], found.pages["read_ok"]) == ("/mnt/data", "nfs4", 17, 8388608, 2048)
    assert [(transport.protocol, transport.sends, transport.backlog, transport.max_slots) for transport in found.transports] == [
        ("tcp", 224, 0, 11), ("tcp", 21, 0, 2)]
    read = found.operations["READ"]
    assert (read.requests, read.bytes_received, read.average_ms, read.retransmitted, read.errors) == (16, 8390272, 6.062, 0, 0)


@pytest.mark.parametrize("line, expected", [
    ("xprt:\ttcp 875 1 1 0 0 10 9 1 9 5", [("tcp", 10, 9, 1, 5, None)]),  # 2.6.32
    ("xprt:\tudp 875 1 10 9 1 9 5 2 0 0", [("udp", 10, 9, 1, 5, 2)]),
    ("xprt:\trdma 0 0 1 0 11 100 99 0 500 7 64 0 0 0 0 0 0 0 0 0 0 0 0", [("rdma", 100, 99, 0, 7, 64)]),
    ("xprt:\ttcp", []), ("xprt:\t", []), ("xprt:\tlocal a b", []),
])
def test_each_kind_of_transport_is_read(line, expected):
    head = "device s:/x mounted on /x with fstype nfs\n\t"
    (found,) = nfs.parse_mountstats(head + line)
    assert [tuple(transport) for transport in found.transports] == expected


def test_kernels_without_figures_of_the_cache_tell_none():
    (found,) = nfs.parse_mountstats("\n".join(line for line in texts.MOUNTSTATS.splitlines() if "fsc:" not in line))
    assert found.pages == {}


def test_volumes_tell_what_the_cache_knows():
    volumes = nfs.parse_volumes(texts.VOLUMES)
    assert {device: volume.fsc for device, volume in volumes.items()} == {"0:44": True, "0:42": False}


def test_calls_of_the_client():
    assert nfs.parse_calls(texts.CALLS) == (49, 3, 52)
    assert nfs.parse_calls("") is None and nfs.parse_calls("rpc a b c\n") is None


def test_a_cache_without_a_daemon_is_none():
    assert fscache.parse_caches(texts.CACHE_IN_USE) == [("mycache", True)]
    assert fscache.parse_caches(texts.CACHE_ABSENT) == [] and fscache.parse_caches(None) is None


@pytest.mark.parametrize("text, expected", [
    (texts.CACHE_STATISTICS_OLD, (30, 10, 0.75)), (texts.CACHE_STATISTICS_68, (3, 1, 0.75)), (texts.CACHE_STATISTICS_612, (3, 1, 0.75)),
    (texts.CACHE_STATISTICS, None), ("", None), ("Retrvls: n=0 ok=0\n", (0, 0, None)),
], ids=["before 5.17", "6.8", "6.12", "6.1", "nothing", "never asked"])
def test_the_hit_rate_is_read_from_the_statistics_of_each_kernel_that_counts(text, expected):
    found = fscache.reads(fscache.parse_statistics(text))
    assert (found and (found.hits, found.misses, found.rate)) == expected


ALL = "\n".join(value for name, value in vars(texts).items() if name.isupper())
WORDS = st.lists(st.sampled_from(ALL.split() + ["\n", "\n\t", ":", "-", "", "\u0663", "9" * 30, "-1", "1e3", "="]), max_size=60).map(" ".join)


@given(st.one_of(st.text(), WORDS))
def test_no_text_is_an_error(text):
    for parse in (mountinfo.parse_mountinfo, nfs.parse_mountstats, nfs.parse_volumes, nfs.parse_calls, fscache.parse_caches):
        parse(text)
        parse("device a mounted on b with fstype nfs4\n" + text)
    fscache.reads(fscache.parse_statistics(text))
