"""The benchmark that tries odd inputs: whatever they do is seen, counted and kept."""

from collections import Counter

import numpy as np
import odd_inputs
import pytest

from benchmarks import fuzz

COUNT = 20


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz") / "fuzz.jsonl"


def tried(table, module="odd_inputs"):
    return fuzz.try_missing("odd", module, table, COUNT, seed=3, jobs=1, memory=2.0)


@pytest.fixture(scope="module")
def row(table):
    [row] = tried(table)
    return row


def drawn():
    return [int(np.random.default_rng((3, case)).integers(6)) for case in range(COUNT)]


def test_every_case_is_counted_once(row):
    counts = Counter(drawn())
    assert set(counts) == set(range(6))
    assert row["works"] == row["steps"] == counts[odd_inputs.WORKS]
    assert row["refused"] == counts[odd_inputs.REFUSED] + counts[odd_inputs.STRAYS]
    assert row["works"] + row["refused"] + len(row["faults"]) == COUNT
    assert row["peak_mib"] > 1


def test_a_traceback_a_death_and_a_runaway_are_faults_with_their_case(row):
    expected = {
        odd_inputs.RAISES: "KeyError: 'a traceback'",
        odd_inputs.DIES: "the process died with exit status 7",
        odd_inputs.GROWS: "MemoryError",
    }
    found = {fault["case"]: fault["text"] for fault in row["faults"]}
    faulty = {case: what for case, what in enumerate(drawn()) if what in expected}
    assert found.keys() == faulty.keys()
    assert all(expected[what] in found[case] for case, what in faulty.items())


def test_a_file_that_changes_outside_the_folder_of_a_case_is_named(row):
    strayed = [case for case, what in enumerate(drawn()) if what == odd_inputs.STRAYS]
    assert [change["case"] for change in row["changed"]] == strayed
    assert all(c["paths"] == ["inside/stray", "neighbor.txt"] for c in row["changed"])


def test_what_was_tried_is_not_tried_again(row, table):
    assert tried(table, module="no_such_module") == [row]
    assert fuzz.markdown([row]).splitlines()[-1].startswith(f"| odd | {COUNT} |")
