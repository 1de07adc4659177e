"""The benchmark that kills runs: it kills where it says, and sees a run that ends elsewhere."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import killing, kills
from benchmarks.killing import AFTER, BETWEEN, STEP, STEPPED, Event

ROOT = Path(__file__).parents[1]


def toy(what, folder, count=0):
    process = subprocess.run(
        [sys.executable, ROOT / "tests/helpers/killed_toy.py", what, folder, str(count)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


@pytest.fixture(scope="module")
def careful(tmp_path_factory):
    folder = tmp_path_factory.mktemp("careful")
    return folder, toy("careful", folder, 40)


def test_a_run_is_killed_in_every_stage_and_ends_at_the_same_bits(careful):
    _, found = careful
    assert {row["stage"] for row in found["rows"]} == set(killing.STAGES)
    assert all(map(kills.equal, found["rows"]))
    assert found["table"].endswith("| **all** | 40 | 40 | 0 |")
    assert sum(row["setting"].startswith("disk") for row in found["rows"]) >= 20


def test_a_stopped_benchmark_goes_on_with_the_kills_that_are_missing(careful):
    folder, found = careful
    table = folder / "kills.jsonl"
    lines = table.read_text().splitlines()
    table.write_text("\n".join(lines[:20]) + "\n")
    again = toy("careful", folder, 40)
    assert table.read_text().splitlines()[:20] == lines[:20]
    assert len(table.read_text().splitlines()) == 40
    assert [row["case"] for row in again["rows"]] == [row["case"] for row in found["rows"]]


def test_a_run_that_forgets_its_checkpoint_is_seen(tmp_path):
    rows = toy("careless", tmp_path, 30)["rows"]
    different = [row for row in rows if not kills.equal(row)]
    assert different
    assert all(row["checkpoint"] for row in different)
    assert all(kills.equal(row) for row in rows if row["checkpoint"] is None)


def test_a_file_that_takes_anothers_place_is_killed_half_written(tmp_path):
    sizes = toy("half", tmp_path)
    assert "results.json" not in sizes
    [half] = [size for name, size in sizes.items() if name.startswith(".results.json")]
    assert half == round(0.5 * len('{"params_digest": "", "test": {"top1": 0.5}}') + 32)


def test_the_time_after_the_last_step_is_not_between_two():
    steps = [(t, Event(kind)) for t in (0.0, 3.0) for t, kind in ((t, STEP), (t + 1, STEPPED))]
    found = killing.durations([*steps, (9.0, Event(killing.END))])
    assert found["in a step"] == {0: 1.0, 1: 1.0}
    assert found[BETWEEN] == {0: 2.0}
    assert found[AFTER] == {1: 5.0}
