"""What an NFS server's figures mean, and what is advised."""
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.dgxops.fleet.plugins.module_utils.storage import nfsd

from . import nfs_texts as texts


def server(**changes):
    usual = nfsd.Server(True, 8, [8], [], None, ["3", "4.2"], [nfsd.Listener("tcp", 2049)], 1048576, [], [])
    return usual._replace(**changes)


def test_too_few_threads_show_by_those_that_had_to_wait():
    before, (after,) = nfsd.parse_pools(texts.POOLS.format(432, 430))[0], nfsd.parse_pools(texts.POOLS.format(501, 444))
    assert (before.waited, after.waited, after.waited_share) == (2, 57, 0.1138)
    (said,) = nfsd.advice(server(pools=[nfsd.Pool(0, 2000, 400, 1600)]))
    assert "400 of 2000 times (20%)" in said and "from 8 to 16" in said


def test_before_linux_5_only_those_that_had_to_wait_were_put_into_the_queue():
    (pool,) = nfsd.parse_pools("# pool ...\n0 1000 50 950 0\n", queues_all=False)
    assert (pool.waited, pool.waited_share) == (50, 0.05)


def test_little_work_and_idle_threads_are_no_reason_for_advice():
    assert nfsd.advice(server(pools=[nfsd.Pool(0, 90, 80, 10)])) == []
    assert nfsd.advice(server(pools=[nfsd.Pool(0, 9000, 80, 8920)])) == []
    assert nfsd.advice(server(running=False, pools=[nfsd.Pool(0, 9000, 9000, 0)])) == []


def test_listeners_are_told_once_for_both_families_and_nothing_else_is_an_error():
    assert nfsd.parse_listeners("rdma 20049\nrdma 20049\nudp 2049\ntcp 2049\n\nrdma-20049\ntcp 2049 1\n") == [("rdma", 20049), ("tcp", 2049), ("udp", 2049)]


@pytest.mark.parametrize("export, said", [
    (nfsd.Export("/x", "10.0.0.0/8", ("rw", "async")), "What is in its memory is lost"),
    (nfsd.Export("/x", "*", ("rw", "sync")), "any host that reaches this server can write"),
    (nfsd.Export("/x", "*", ("ro", "no_root_squash")), "root of any host is root here"),
])
def test_exports_that_are_dangerous_are_told(export, said):
    assert any(said in text for text in nfsd.advice(server(exports=[export])))


def test_counters_are_read_and_the_histogram_is_told_as_what_it_is():
    found = nfsd.parse_counters(texts.NFSD)
    assert (found.threads, found.bytes_read, found.bytes_written, found.calls, found.bad_calls, found.cache_hits, found.connections) == (
        16, 50302976, 4096, 312, 3, 2, 9)
    assert found.histogram == (0.0,) * 10
    assert nfsd.parse_counters("") is None and nfsd.parse_counters("net\n") is None


@pytest.mark.parametrize("histogram, said", [
    ("100 50 20 10 5 5 5 5 30 40", "For 70 of 270 busy seconds nearly all threads were needed (the last two numbers of the line th). Raise the threads from 8"),
    ("100 50 20 10 5 5 0 0 0 0", "The last 4 of 10 numbers of the line th are 0"), ("100 50 20 10 5 5 1 1 1 0", ""), ("0 0 0 0 0 0 0 0 0 0", ""), ("", ""),
])
def test_a_histogram_that_is_kept_is_judged_as_the_document_does(histogram, said):
    counters = nfsd.parse_counters("th 8 0 {0}\nrpc 9 0 0 0 0\n".format(histogram))
    found = nfsd.advice(server(counters=counters))
    assert len(found) == bool(said) and all(text.startswith(said) for text in found)


def test_exports_in_force_and_clients_are_read():
    first, second = nfsd.parse_etab(texts.ETAB)
    assert (first.path, first.client, "async" in first.options) == ("/srv/data", "127.0.0.1", True)
    assert (second.path, second.client) == ("/srv/two words", "*")
    assert nfsd.parse_client(texts.CLIENT) == ("Linux NFSv4.2 dgx01", "127.0.0.1:931", "4.2")


ALL = texts.NFSD + texts.ETAB + texts.CLIENT + texts.POOLS
WORDS = st.lists(st.sampled_from(ALL.split() + ["\n", "(", ")", "th", "io", "9" * 30, "1.5.2", "\u0663"]), max_size=60).map(" ".join)


@given(st.one_of(st.text(), WORDS))
def test_no_text_is_an_error(text):
    for parse in (nfsd.parse_pools, nfsd.parse_counters, nfsd.parse_etab, nfsd.parse_client, nfsd.parse_listeners):
        parse(text)
