"""Whole runs on image pyramids: stored features, a trained trunk, and what is asked of them."""

import jax.numpy as jnp
import numpy as np
import pytest
import tiny_run
from PIL import Image

import fgjax
from fgjax.analysis import subject
from fgjax.evaluation import results
from fgjax.run import evaluate, predict, train

SCALES = (1.0, 0.5)


def config(cache, **changes):
    """Two epochs on the simulated devices: the head on stored features, then a level with it."""
    c = tiny_run.config(cache, epochs=2.0)
    c.model.scales = SCALES
    c.train.update(changes)
    return c


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def run(tmp_path_factory, cache):
    where = tmp_path_factory.mktemp("runs")
    train.train(config(cache, feature_cache="disk"), str(where))
    return where


def test_stored_features_of_all_scales_change_no_bit(run, cache, tmp_path):
    train.train(config(cache, feature_cache="none"), str(tmp_path))
    assert results.read(tmp_path)["params_digest"] == results.read(run)["params_digest"]
    stored = {path.stem for path in (run / "features").rglob("*.npy")}
    assert stored == {"conv3-float32", "conv3@0.5-float32"}


def test_other_scales_are_another_cache_and_another_cost(run):
    recognizer = fgjax.load(run).model.recognizer
    single = recognizer.clone(scales=(1.0,))
    assert recognizer.kept_levels("conv3") == ("conv2", "conv2@0.5")
    assert single.kept_levels("conv3") == ("conv2",)
    costs = results.read(run)["phases"]["tune"]["multiply_adds"]
    assert 0 < costs["step"] < costs["full"]


def test_what_was_trained_is_scored_and_shown_at_all_scales(run, tmp_path):
    before = results.read(run)["test"]["nll"]
    evaluate.evaluate(str(run), "test")
    assert results.read(run)["test"]["nll"] == before
    recogniser = fgjax.load(run)
    assert recogniser.model.recognizer.scales == SCALES
    Image.new("RGB", (90, 80), "firebrick").save(tmp_path / "photo.png")
    predict.predict_to_files(str(run), [str(tmp_path / "photo.png")])
    assert list((run / "predictions").glob("*.png"))


def test_the_analysis_enters_every_level_at_scale_one(run):
    recogniser = fgjax.load(run)
    network = subject.subject(recogniser, 64)
    assert list(network.doors) == ["conv1", "conv2", "conv3"]
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype(np.float32)
    outputs = network.apply(pixels)
    for level, enter in network.doors.items():
        again = enter(outputs, outputs.hierarchy[level])
        np.testing.assert_allclose(again.logits, outputs.logits, rtol=1e-4, atol=1e-5)
    maps = subject.difference_map(network, pixels, jnp.asarray([0, 1]), jnp.asarray([2, 3]))
    assert maps.shape == (2, 8, 8)
