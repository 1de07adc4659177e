"""Whole runs: trained, scored, restored, asked about photos, killed and resumed."""

import csv
import json
import os
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import tiny_run
from PIL import Image

import fgjax
from fgjax.errors import UserError
from fgjax.run import evaluate, predict, train
from fgjax.training import checkpoints


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def run(tmp_path_factory, cache):
    where = tmp_path_factory.mktemp("runs") / "tiny"
    train.train(tiny_run.config(cache), str(where))
    return where


def results(where):
    return json.loads((where / "results.json").read_text())


def test_results_are_complete(run):
    found = results(run)
    test = found["test"]
    for name in ("top1", "top5", "mean_per_class", "coarse"):
        assert 0 <= test[f"{name}_low"] <= test[name] <= test[f"{name}_high"] <= 1
    assert test["n"] == 32
    assert len(found["params_digest"]) == 64
    assert min(found["seconds"], found["images_per_second"]) > 0
    assert found["evaluations"] == {"test": 1}
    assert list(found["phases"]) == ["head", "tune"]


def test_frozen_is_frozen_and_trained_is_trained(run):
    phases = results(run)["phases"]
    assert {"conv1", "conv2", "conv3", "conv3 (statistics)"} <= set(phases["head"]["frozen"])
    assert {"conv1", "conv2", "conv3 (statistics)"} <= set(phases["tune"]["frozen"])
    assert phases["tune"]["moved"]["conv3"] > 0
    # Momentum for what trains, nothing for what does not: the head has 16 x (256 + 1) weights.
    assert phases["head"]["optimizer_bytes"] == 4 * 16 * (256 + 1)


def test_logs_are_json_lines_and_events(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 12
    assert all(np.isfinite(line["loss"]) for line in lines)
    assert list((run / "tensorboard").glob("events.*"))


def test_the_same_config_gives_the_same_network(run, cache, tmp_path):
    train.train(tiny_run.config(cache), str(tmp_path))
    assert results(tmp_path)["params_digest"] == results(run)["params_digest"]
    assert results(tmp_path)["test"]["nll"] == results(run)["test"]["nll"]


def test_evaluating_again_agrees_and_is_counted(run):
    before = results(run)
    evaluate.evaluate(str(run), "test")
    after = results(run)
    assert after["test"]["nll"] == before["test"]["nll"]
    assert after["evaluations"]["test"] == before["evaluations"]["test"] + 1
    with pytest.raises(UserError, match="no validation split"):
        evaluate.evaluate(str(run), "validation")


def test_a_changed_config_is_refused(run, cache):
    with pytest.raises(UserError, match=r"train\.epochs was 3\.0 and is 4\.0"):
        train.train(tiny_run.config(cache, epochs=4.0), str(run))


def test_develop_keeps_the_best_and_never_opens_test(cache, tmp_path):
    train.train(tiny_run.config(cache, "develop"), str(tmp_path))
    found = results(tmp_path)
    assert "test" not in found
    assert found["validation"]["n"] == 16


def photos(folder):
    rng = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    pixels = rng.integers(0, 256, (90, 70, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "bird.png")
    Image.fromarray(pixels[..., 0]).save(folder / "grey.jpg")
    (folder / "broken.jpg").write_bytes((folder / "grey.jpg").read_bytes()[:200])
    (folder / "notes.txt").write_text("no photo")
    return folder


def test_predicting_photos(run, tmp_path, capsys):
    folder = photos(tmp_path / "photos")
    predict.predict_to_files(str(run), [str(folder)])
    said = capsys.readouterr().out
    assert "left out" in said
    assert "broken.jpg" in said.replace("\n", "")
    with open(run / "predictions" / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    best = [Path(row["path"]).name for row in rows if row["rank"] == "1"]
    assert best == ["bird.png", "grey.jpg"]
    assert len(list((run / "predictions").glob("*.png"))) == 2
    with pytest.raises(UserError, match=r"broken\.jpg"):
        predict.predict_to_files(str(run), [str(folder / "broken.jpg")])
    with pytest.raises(UserError, match="name files or folders"):
        predict.predict_to_files(str(run), [])
    with pytest.raises(UserError, match="there is no image or folder"):
        predict.predict_to_files(str(run), [str(tmp_path / "absent.jpg")])


def test_load_gives_the_recogniser_with_labels_and_preprocessing(run, tmp_path):
    recogniser = fgjax.load(run)
    assert len(recogniser.classes) == 16
    assert recogniser.preprocessing.image_size == 64
    path = photos(tmp_path / "photos") / "bird.png"
    [ranked] = recogniser.predict([path], top=16)
    image = recogniser.read(path)
    assert image.shape == (64, 64, 3)
    probabilities = recogniser.probabilities(image[None])[0]
    assert ranked[0][1] == probabilities.max()
    assert sum(p for _, p in ranked) == pytest.approx(1, abs=1e-5)


def test_shares_of_the_locations_add_up_to_the_score(run):
    recogniser = fgjax.load(run)
    images = np.random.default_rng(1).integers(0, 256, (2, 64, 64, 3), np.uint8)
    inputs = recogniser.normalize(images)
    classes = np.array([3, 5])
    outputs = recogniser.apply(inputs)
    shares = recogniser.contributions(inputs, classes)
    bias = recogniser.variables["params"]["head"]["bias"]
    scores = outputs.logits[np.arange(2), classes] - bias[classes]
    np.testing.assert_allclose(shares.sum((1, 2)), scores, rtol=1e-4, atol=1e-6)


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_checkpoint(cache, tmp_path):
    c = tiny_run.config(cache, epochs=6.0)
    c.train.checkpoint_epochs = 1.0
    head, tune = c.schedule
    c.schedule = (head, dict(tune, train={"conv3": 1e30, "head": 1e30}))
    expected = "is (nan|inf) at step .*phase 'tune'.*last good checkpoint is kept"
    with pytest.raises(UserError, match=expected):
        train.train(c, str(tmp_path))
    assert checkpoints.steps(tmp_path)[-1] >= 16  # the end of the head phase
    assert np.isfinite(fgjax.load(tmp_path).variables["params"]["head"]["kernel"]).all()


LONG = ("--config.train.epochs=45", "--config.train.checkpoint_epochs=1")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, cache):
    where = tmp_path_factory.mktemp("runs") / "uninterrupted"
    process = tiny_run.command(*tiny_run.quickstart_flags(cache, where, *LONG))
    said = process.communicate()[0]
    assert process.returncode == 0, said
    return results(where)["params_digest"]


def _kill_after(process, where, steps):
    """Kill -9 a moment after a checkpoint of at least so many steps is there."""
    while process.poll() is None:
        folder = where / "checkpoints"
        found = (
            [int(p.name) for p in folder.iterdir() if p.name.isdigit()] if folder.is_dir() else []
        )
        if found and max(found) >= steps:
            time.sleep(random.uniform(0, 0.2))
            break
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    return process.returncode


def test_killed_at_random_moments_a_run_ends_at_the_same_parameters(uninterrupted, cache, tmp_path):
    flags = tiny_run.quickstart_flags(cache, tmp_path, *LONG)
    for steps in (random.randint(4, 80), random.randint(124, 160)):
        # It reads the compiled programs and writes none, of which the kill could leave a half.
        process = tiny_run.command(*flags, JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="86400")
        assert _kill_after(process, tmp_path, steps) == -signal.SIGKILL
    newest = checkpoints.steps(tmp_path)[-1]
    damaged = max((tmp_path / "checkpoints" / str(newest) / "params").rglob("*"), key=_size)
    damaged.write_bytes(damaged.read_bytes()[: _size(damaged) // 2])
    process = tiny_run.command(*flags)
    said = process.communicate()[0]
    assert process.returncode == 0, said
    assert f"checkpoints/{newest}" in said.replace("\n", "")
    assert results(tmp_path)["params_digest"] == uninterrupted


def _size(path):
    return path.stat().st_size if path.is_file() else 0
