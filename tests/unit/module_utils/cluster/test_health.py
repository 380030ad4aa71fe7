"""One report of a fleet: the sick first, the silent too, and nobody well who was not examined."""
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.dgxops.fleet.plugins.module_utils.cluster.health import report, summary
from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError

NOW = 1700000000.0
HOUR, DAY = 3600, 86400


def node(status="none", latest=(), trends=(), problems=(), level=0):
    return {"status": status, "backend": "dcgm", "version": "3.3.9", "latest": list(latest), "trends": list(trends), "problems": list(problems), "level": level}


def last(level, status, ago, diagnosed=0.0, verdict=""):
    found = {"level": level, "status": status, "started": NOW - ago, "backend": "dcgm"}
    return dict(found, diagnosed=NOW - ago if diagnosed == 0.0 else diagnosed, verdict=verdict or status)


TREND = {"level": 2, "test": "memory", "gpu": "1", "status": "fail", "ill": 3, "runs": 4, "since": NOW - 2 * DAY, "last": NOW, "message": "lost | twice\nor so"}
FLEET = {
    "well": node(latest=[last(1, "pass", HOUR), last(2, "pass", DAY)]),
    "sick": node(latest=[last(1, "pass", HOUR), last(2, "fail", DAY)], trends=[TREND]),
    "healed": node(latest=[last(1, "pass", HOUR)], trends=[dict(TREND, since=0)]),
    "working": node("busy", latest=[last(2, "busy", HOUR, NOW - DAY, "pass"), last(1, "pass", HOUR)]),
    "fresh": node(),
    "old": node(latest=[last(1, "pass", 30 * DAY)]),
    "sick, but working": node(latest=[last(2, "busy", HOUR, NOW - DAY, "fail")]),
    "never": node(latest=[last(2, "busy", HOUR, None, "none")]),
}


def test_every_node_is_where_it_belongs():
    assert summary(FLEET, ["well", "dead"], NOW) == {
        "pass": ["healed", "well", "working"], "fail": ["sick", "sick, but working"], "stale": ["fresh", "never", "old"], "no answer": ["dead"]}


def test_the_report():
    lines = report(FLEET, NOW, hosts=["dead"]).splitlines()
    assert lines[2] == "2023-11-14 22:13 UTC: 3 of 9 nodes are well."
    table = [line.split(" | ")[0][2:] for line in lines if line.startswith("| ") and "fail in" not in line][1:10]
    assert table == ["dead", "sick", "sick, but working", "fresh", "never", "old", "healed", "well", "working"]
    assert "| sick | FAIL | dcgm 3.3.9 | 1: pass 1 h ago, 2: fail 1 d ago |" in lines
    assert r"| sick | memory | 1 | 2 | fail | 3 of 4 runs | 2 d ago | lost \| twice or so |" in lines
    assert any(line.startswith("| healed | memory") and "| well again |" in line for line in lines)


def test_what_was_found_just_now_is_told_even_if_it_is_not_kept():
    found = node("warn", level=1, problems=[{"test": "PCIe", "gpu": "", "status": "warn", "messages": ["8 lanes", "of 16"]}])
    assert "| dgx01 | PCIe | all | 1 | warn | 1 of 1 runs | now | 8 lanes; of 16 |" in report({"dgx01": found}, NOW)


def test_what_a_node_says_stays_in_its_cell_and_is_no_html():
    found = dict(node("warn", level=1, problems=[{"test": "PCIe", "gpu": "", "status": "warn", "messages": ["a \\| <script>alert(1)</script> & b"]}]),
                 version="3 | x\n| all | PASS")
    lines = report({"dgx01": found}, NOW).splitlines()
    assert r"| dgx01 | WARN | dcgm 3 \| x \| all \| PASS | none |" in lines
    assert lines[-1].endswith(r"| a \\\| &lt;script>alert(1)&lt;/script> &amp; b |")


@pytest.mark.parametrize("nodes", [{"a": None}, {"a": "text"}])
def test_what_is_no_return_is_refused(nodes):
    with pytest.raises(FleetError, match="what dcgm_diag returned"):
        report(nodes, NOW)


@given(st.dictionaries(st.text(min_size=1, max_size=5), st.sampled_from(["pass", "warn", "fail", "busy", "broken", "something"]), max_size=6))
def test_nobody_is_left_out_and_nobody_sick_is_called_well(words):
    nodes = {name: node(word, latest=[last(1, word, HOUR)]) for name, word in words.items()}
    grouped = summary(nodes, [], NOW)
    assert sorted(name for names in grouped.values() for name in names) == sorted(nodes)
    assert all(words[name] in ("pass", "busy") for name in grouped.get("pass", []))
