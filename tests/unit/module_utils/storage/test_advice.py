"""Sizing storage before it is bought: the figures of chapter 2 and what follows from them."""
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.storage import advice

TB = 10 ** 12


def test_a_cold_first_epoch_of_a_hundred_costs_four_percent():
    """Section 2.1.1: five times slower once, then 99 epochs from the cache."""
    plan = advice.cache_plan("20TB", 8, "3.84TB")
    assert plan.adequate
    assert plan.capacity_bytes == 30720 * 10 ** 9
    assert plan.runtime_increase == pytest.approx(0.04)
    assert "4.0% longer" in plan.advice


def test_three_drives_of_550_mb_read_at_1650():
    """Section 2.1.2."""
    assert advice.cache_plan("1TB", [1.92 * TB] * 3).throughput_bytes_per_s == 1650 * 10 ** 6


def test_a_cache_that_is_too_small_is_paid_in_every_epoch_and_told_how_to_mend():
    plan = advice.cache_plan("40TB", 8, "3.84TB")
    assert not plan.adequate
    assert plan.runtime_increase > 1
    assert "4 more drives of 3.84 TB" in plan.advice
    assert advice.cache_plan("40TB", 12, "3.84TB").adequate


@given(st.integers(0, 200 * TB), st.integers(1, 32), st.integers(1, 8 * TB), st.integers(1, 1000), st.floats(1, 50))
def test_more_drives_never_make_it_worse(dataset, drives, size, epochs, slowdown):
    plan = advice.cache_plan(dataset, drives, size, epochs, slowdown)
    larger = advice.cache_plan(dataset, drives + 1, size, epochs, slowdown)
    assert larger.runtime_increase <= plan.runtime_increase
    assert (plan.cached_share == 1.0) >= plan.adequate
    assert plan.runtime_increase <= slowdown - 1 + 1e-9


@pytest.mark.parametrize(
    "text, expected", [("3.84TB", 3840 * 10 ** 9), ("1TiB", 2 ** 40), ("500 g", 500 * 10 ** 9), (7, 7), ("12", 12), ("2kB", 2000), ("5B", 5)]
)
def test_sizes_are_read_as_drives_are_labelled(text, expected):
    assert advice.size_bytes(text, "size") == expected


@pytest.mark.parametrize(
    "arguments, said",
    [
        (("much", 8, "3TB"), "dataset is 'much'"),
        (("1TB", 8), "drive_size is not given"),
        (("1TB", 0, "3TB"), "drives is 0"),
        (("1TB", []), "at least one drive"),
        (("1TB", ["3TB", "x"]), "drives[1] is 'x'"),
        (("1TB", 8, "3TB", 0), "epochs is 0"),
        (("1TB", 8, "3TB", 1.5), "epochs is 1.5"),
        (("1TB", 8, "3TB", 10, 0.5), "slowdown is 0.5"),
        (("1TB", 8, "3TB", 10, float("nan")), "slowdown is nan"),
        (("1TB", 8, True), "drive_size is True"),
        ((10 ** 400, 8, "3TB"), "dataset is 1000"),
        (("9" * 400 + "PB", 8, "3TB"), "dataset is '999"),
        (("1TB", 10 ** 400, "3TB"), "drives is 1000"),
        (("1TB", 10 ** 8, "3TB"), "at most 10000 are expected in one array"),
        (("1TB", 8, "3TB", 10, float("inf")), "slowdown is inf, but a number from 1 to 1e+09 is expected"),
    ],
)
def test_bad_sizes_are_named(arguments, said):
    with pytest.raises(FleetError) as caught:
        advice.cache_plan(*arguments)
    assert said in caught.value.message


@pytest.mark.parametrize(
    "use_case, lowest, highest",
    [
        ("dl_256", 40, 53),  # 30 times smaller than 1080p
        ("dl_1080p", 1200, 1600),  # 150-200 MB/s for each of 8 GPUs
        ("dl_4k", 4800, 6400),  # 4 times 1080p
        ("dl_uncompressed", 6000, 16000),  # 5 to 10 times 1080p
    ],
)
def test_bandwidth_follows_from_the_images_and_the_gpus(use_case, lowest, highest):
    found = advice.storage_advice(use_case, 8, 2)
    assert [rate // 10 ** 6 for rate in found.per_node] == [lowest, highest]
    assert found.total == tuple(2 * rate for rate in found.per_node)


def test_links_are_counted_and_the_one_that_does_is_named():
    found = advice.storage_advice("dl_1080p", 8)
    assert found.links_per_node == {"10 GbE": 2, "40 GbE": 1, "InfiniBand": 1}
    assert found.advice[0] == "A node needs up to 1.60 GB/s, more than one link of 10 GbE; one of 40 GbE or InfiniBand is enough."


def test_nfs_ends_at_ten_gigabytes_per_second():
    assert not any("parallel file system" in line for line in advice.storage_advice("dl_1080p", 8, 6).advice)
    assert any("parallel file system" in line for line in advice.storage_advice("dl_1080p", 8, 7).advice)


def test_without_a_figure_in_the_document_none_is_made_up():
    found = advice.storage_advice("hpc", 16).to_dict()
    assert (found["per_node"], found["links_per_node"]) == ([], {})
    assert found["networks"] == ["10 GbE", "40 GbE", "100 GbE", "InfiniBand"]


@pytest.mark.parametrize(
    "arguments, said", [(("video", 8), "use_case is 'video', but one of analytics, hpc"), (("hpc", 0), "gpus is 0"), (([], 1), "use_case")]
)
def test_unknown_use_cases_are_named(arguments, said):
    with pytest.raises(FleetError) as caught:
        advice.storage_advice(*arguments)
    assert said in caught.value.message
