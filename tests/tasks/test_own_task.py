"""A task that fgjax has never seen trains, scores and is recorded."""

import json

import numpy as np
import pytest
import tiny_run

import fgjax
from fgjax.run import evaluate, train
from fgjax.training import checkpoints, logs


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    where = tmp_path_factory.mktemp("own_task")
    config = tiny_run.config(where / "cache", "develop")
    config.task = "toy_task:TASK"
    train.train(config, str(where / "run"))
    return where / "run"


def test_it_trains_and_is_recorded_under_its_own_names(run):
    rows = logs.read(run)
    assert any("odd" in row for row in rows) and any("validation/parity" in row for row in rows)
    assert not any("accuracy" in row or "validation/top1" in row for row in rows)
    results = json.loads((run / "results.json").read_text())["validation"]
    assert results["parity_low"] <= results["parity"] <= results["parity_high"]
    kept = {
        step: checkpoints.recorded_score(run, step, "parity") for step in checkpoints.steps(run)
    }
    assert kept[checkpoints.chosen_step(run, "parity")] == max(
        score for score in kept.values() if score is not None
    )


def test_its_run_is_scored_and_loaded_by_its_folder_alone(run):
    before = json.loads((run / "results.json").read_text())["validation"]["parity"]
    assert evaluate.evaluate(str(run), "validation")["validation"]["parity"] == before
    recognizer = fgjax.load(run)
    photo = np.zeros((80, 80, 3), np.uint8)
    assert recognizer.predict(photo)[0][0][0] == "odd"
