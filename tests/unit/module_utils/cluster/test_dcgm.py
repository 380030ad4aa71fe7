"""What several versions of DCGM print, and what is read from it.

Written in November 2026 after NVIDIA's sources and documents (DCGM's nvvs/JsonOutput and JsonResult tests, the user guides of 1.7 to 4.2, section 5.1 of the
Best Practices) and after outputs that people have published.
"""
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.dgxops.fleet.plugins.module_utils.cluster.dcgm import STATUSES, Result, diagnosis_of, status_of, worst
from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError

TABLE_1_7 = """Successfully ran diagnostic for group.
+---------------------------+------------------------------------------------+
| Diagnostic                | Result                                         |
+===========================+================================================+
|-----  Deployment  --------+------------------------------------------------|
| Blacklist                 | Pass                                           |
| NVML Library              | Pass                                           |
| Page Retirement           | Pass                                           |
|-----  Hardware  ----------+------------------------------------------------|
| GPU Memory                | Pass - All                                     |
| Diagnostic                | Pass - All                                     |
|-----  Performance  -------+------------------------------------------------|
| SM Performance            | Fail - GPU: 2                                  |
|                           | Pass - GPUs: 0, 1, 3                           |
| Warning                   | GPU 2 reached 60 degrees and it is too hot to  |
|                           | go on                                          |
| Targeted Power            | Warn - All                                     |
+---------------------------+------------------------------------------------+
"""

TABLE_3_3 = """Successfully ran diagnostic for group.
+---------------------------+------------------------------------------------+
| Diagnostic                | Result                                         |
+===========================+================================================+
|-----  Metadata  ----------+------------------------------------------------|
| DCGM Version              | 3.3.9                                          |
| Driver Version Detected   | 535.183.01                                     |
| GPU Device IDs Detected   | 20b2,20b2                                      |
|-----  Deployment  --------+------------------------------------------------|
| Denylist                  | Pass                                           |
| Persistence Mode          | Fail                                           |
| Error                     | Persistence mode for GPU 0 is disabled.        |
| Page Retirement/Row Remap | Pass                                           |
+-----  Integration  -------+------------------------------------------------+
| PCIe                      | Skip - All                                     |
+-----  Hardware  ----------+------------------------------------------------+
| GPU Memory                | Fail - GPU: 1                                  |
|                           | Pass - GPU: 0                                  |
| Warning: GPU 1            | GPU 1 Detected 2 uncorrectable memory errors   |
| Info: GPU 0               | GPU 0 Allocated 78000000000 bytes (97.1%)      |
+---------------------------+------------------------------------------------+
"""

TABLE_4 = """Successfully ran diagnostic for group.
+---------------------------+------------------------------------------------+
| Diagnostic                | Result                                         |
+===========================+================================================+
|-----  Metadata  ----------+------------------------------------------------|
| DCGM Version              | 4.0.0                                          |
| Driver Version Detected   | 550.54.15                                      |
| GPU Device IDs Detected   | 0: 2330, 1: 2330                               |
|-----  Deployment  --------+------------------------------------------------|
| software                  | Pass                                           |
|                           | GPU0: Pass                                     |
|                           | GPU1: Pass                                     |
+-----  Hardware  ----------+------------------------------------------------+
| memory                    | Fail                                           |
|                           | GPU0: Pass                                     |
|                           | GPU1: Fail                                     |
| Warning: GPU1             | Detected 2 uncorrectable memory errors         |
+---------------------------+------------------------------------------------+
"""

JSON_2 = """
\tWARNING: THIS SHOULD NOT HAPPEN
{
 "DCGM GPU Diagnostic" :
 {
  "test_categories" : [
   {"category" : "Deployment", "tests" : [
     {"name" : "Denylist", "results" : [{"gpu_ids" : "0,1", "status" : "PASS"}]}, null,
     {"name" : "Persistence Mode", "results" : [{"gpu_ids" : "0,1", "status" : "FAIL", "warnings" : ["Persistence mode for GPU 0 is disabled."]}]}]},
   {"category" : "Hardware", "tests" : [
     {"name" : "GPU Memory", "results" : [
       {"gpu_ids" : "0", "info" : ["GPU 0 Allocated 1 bytes"], "status" : "PASS"},
       {"gpu_ids" : "1", "status" : "FAIL", "warnings" : ["GPU 1 Detected 2 uncorrectable memory errors"]}]}]}],
  "version" : "2.2.9", "Driver Version Detected" : "470.57.02"
 }
}
"""

JSON_4 = json.dumps({
    "DCGM Diagnostic": {"test_categories": [
        {"category": "Deployment", "tests": [{
            "name": "software",
            "results": [{"entity_group": "GPU", "entity_group_id": 1, "entity_id": 0, "status": "Fail", "warnings": [
                {"error_category": 8, "error_id": 29, "error_severity": 5, "warning": "Persistence Mode: Persistence mode for GPU 0 is disabled."}]}],
            "test_summary": {"info": ["SRAM Threshold checking was skipped."], "status": "Fail"}}]},
        {"category": "Hardware", "tests": [{
            "name": "cpu_eud", "results": [{"entity_group": "CPU", "entity_id": 0, "status": "Skip"}],
            "test_summary": {"status": "Fail", "warnings": [{"warning": "The test did not start."}]}}]},
    ]},
    "entity_groups": [], "metadata": {"DCGM Version": "4.2.3", "Driver Version Detected": "580.82.09"},
})

ILL = "GPU 1 Detected 2 uncorrectable memory errors"


def ill(text):
    return [(result.test, result.gpu, result.status, result.messages) for result in diagnosis_of(text).problems]


@pytest.mark.parametrize("text, version, driver, problems", [
    (TABLE_1_7, "", "", [
        ("SM Performance", "2", "fail", ("GPU 2 reached 60 degrees and it is too hot to go on",)), ("Targeted Power", "", "warn", ())]),
    (TABLE_3_3, "3.3.9", "535.183.01", [
        ("Persistence Mode", "", "fail", ("Persistence mode for GPU 0 is disabled.",)), ("GPU Memory", "1", "fail", (ILL,))]),
    (TABLE_4, "4.0.0", "550.54.15", [("memory", "1", "fail", ("Detected 2 uncorrectable memory errors",))]),
    (JSON_2, "2.2.9", "470.57.02", [
        ("Persistence Mode", "", "fail", ("Persistence mode for GPU 0 is disabled.",)), ("GPU Memory", "1", "fail", (ILL,))]),
    (JSON_4, "4.2.3", "580.82.09", [
        ("software", "0", "fail", ("Persistence Mode: Persistence mode for GPU 0 is disabled.",)), ("cpu_eud", "", "fail", ("The test did not start.",))]),
])
def test_the_same_is_read_from_every_version(text, version, driver, problems):
    found = diagnosis_of(text)
    assert (found.version, found.driver, found.status) == (version, driver, "fail")
    assert sorted(ill(text)) == sorted(problems)


def test_every_test_of_a_table_is_there_with_its_category():
    found = {(result.category, result.test, result.gpu): result.status for result in diagnosis_of(TABLE_4).results}
    assert found == {
        ("Deployment", "software", "0"): "pass", ("Deployment", "software", "1"): "pass",
        ("Hardware", "memory", "0"): "pass", ("Hardware", "memory", "1"): "fail"}
    old = {(result.test, result.gpu): result.status for result in diagnosis_of(TABLE_1_7).results}
    assert old[("Diagnostic", "")] == "pass", "a test of that name, not the heading"
    assert {gpu for test, gpu in old if test == "SM Performance"} == {"0", "1", "2", "3"}


def test_nothing_tested_is_not_well():
    text = '{"DCGM GPU Diagnostic": {"test_categories": [{"category": "x", "tests": [{"name": "memory", "results": [{"status": "Skip"}]}]}]}}'
    assert diagnosis_of(text).status == "skip"


def test_a_word_that_is_not_known_is_not_taken_for_a_pass():
    text = '{"DCGM Diagnostic": {"test_categories": [{"category": "x", "tests": [{"name": "memory", "results": [{"status": "Marvellous"}]}]}]}}'
    assert diagnosis_of(text).status == "unknown"
    assert status_of(None) == "unknown"


def test_a_runtime_error_counts():
    text = '{"DCGM GPU Diagnostic": {"runtime_error": "The nvvs process died."}}'
    assert ill(text) == [("DCGM", "", "fail", ("The nvvs process died.",))]


@pytest.mark.parametrize("text, words", [
    ("", "said: nothing"),
    ("Error: unable to establish a connection to the specified host: localhost\nError: Unable to connect to host engine. Host engine version mismatch.\n",
     "unable to establish a connection"),
    ('{"DCGM GPU Diagnostic": {"version": "4.2.3"}}', "expected to tell results"),
    ("{broken", "{broken"),
    ("[1, 2]", "expected to tell results"),
])
def test_no_diagnosis_is_told_with_dcgm_s_words(text, words):
    with pytest.raises(FleetError) as caught:
        diagnosis_of(text)
    assert words in caught.value.message


WORDS = st.sampled_from(["Pass", "Fail", "Warn", "Skip"])
TESTS = st.lists(st.tuples(st.sampled_from(["memory", "pcie", "diagnostic"]), st.integers(0, 15), WORDS), min_size=1, max_size=8)


@given(TESTS)
def test_json_of_old_and_new_says_the_same(tests):
    old = {"DCGM GPU Diagnostic": {"test_categories": [{"category": "c", "tests": [
        {"name": name, "results": [{"gpu_ids": str(gpu), "status": word.upper()}]} for name, gpu, word in tests]}]}}
    new = {"DCGM Diagnostic": {"test_categories": [{"category": "c", "tests": [
        {"name": name, "results": [{"entity_group": "GPU", "entity_id": gpu, "status": word}], "test_summary": {"status": word}}
        for name, gpu, word in tests]}]}}
    assert diagnosis_of(json.dumps(old)) == diagnosis_of(json.dumps(new, indent=3))
    assert diagnosis_of(json.dumps(old)).results == tuple(Result("c", name, str(gpu), word.lower()) for name, gpu, word in tests)


@given(st.text(alphabet=st.sampled_from("|+-= PassFilWGPU:0123,{}[]\"\n"), max_size=300))
def test_no_text_whatsoever_raises_anything_but_words(text):
    try:
        assert diagnosis_of(text).status in STATUSES
    except FleetError:
        pass


KEYS = st.sampled_from(["DCGM Diagnostic", "test_categories", "tests", "results", "status", "name", "warnings", "test_summary", "metadata", "entity_id"])
LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=5)


@given(st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4)))
def test_no_document_whatsoever_does_either(document):
    try:
        diagnosis_of(json.dumps(document))
    except FleetError:
        pass


@pytest.mark.parametrize("text", ['{"a":' * 100000, '{"DCGM Diagnostic":' + "[" * 100000, "{" * 200000, "\0" * 1000, "|" * 100000])
def test_what_no_program_should_print_is_no_diagnosis(text):
    with pytest.raises(FleetError, match="expected to tell results") as caught:
        diagnosis_of(text)
    assert len(caught.value.message) < 2000


def test_letters_that_no_file_takes_are_put_in_order():
    """Halves of characters, as JSON can spell them, and zero bytes: the history takes neither."""
    text = r'''{"DCGM Diagnostic": {"test_categories": [{"tests": [{"name": "a\ud800", "results": [{"status": "Fail", "warnings": ["b\u0000c"]}]}]}]}}'''
    assert ill(text) == [("a?", "", "fail", ("bc",))]


def test_the_illest_counts():
    assert worst(["pass", "skip"]) == "pass"
    assert worst(["warn", "fail", "pass"]) == "fail"
    assert worst([]) == "skip"
