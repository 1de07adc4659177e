"""Phases that train on images of their own size."""

import shutil

import pytest
import tiny_run

import fgjax
from fgjax.evaluation import results
from fgjax.run import evaluate, train
from fgjax.training import checkpoints


def _config(cache, image_size, head=None, tune=None):
    """A head on stored features of 48 pixels, then a level with it on images of 64."""
    c = tiny_run.config(cache, epochs=2.0)
    c.train.checkpoint_epochs = 0.5
    c.data.image_size = image_size
    c.schedule = tuple(
        {**phase, "share": 1, "size": size}
        for phase, size in zip(c.schedule, (head, tune), strict=True)
    )
    return c


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The same run said in two ways: scored at 64 pixels, and at 48."""
    cache = tmp_path_factory.mktemp("cache")
    configs = {"full": _config(cache, 64, head=48), "small": _config(cache, 48, tune=64)}
    folders = {name: tmp_path_factory.mktemp(name) for name in configs}
    for name, config in configs.items():
        train.train(config, str(folders[name]))
    return configs, folders


def test_a_phase_trains_as_if_its_size_were_that_of_the_data(runs):
    full, small = (results.read(folder) for folder in runs[1].values())
    assert full["params_digest"] == small["params_digest"]
    for phase in ("head", "tune"):
        assert (
            full["phases"][phase]["multiply_adds"]["step"]
            == small["phases"][phase]["multiply_adds"]["step"]
        )


def test_every_score_is_taken_at_the_size_of_the_data(runs):
    for folder, size in zip(runs[1].values(), (64, 48), strict=True):
        found = results.read(folder)
        assert fgjax.load(folder).preprocessing.image_size == size
        evaluate.evaluate(str(folder), "test")
        assert results.read(folder)["test"]["nll"] == found["test"]["nll"]
    full, small = (results.read(folder) for folder in runs[1].values())
    assert full["test"]["nll"] != small["test"]["nll"]


def test_a_run_goes_on_in_the_middle_of_such_a_phase(runs):
    configs, folders = runs
    where = folders["small"]
    digest = results.read(where)["params_digest"]
    assert checkpoints.steps(where) == [6, 8]
    shutil.rmtree(where / "checkpoints" / "8")
    train.train(configs["small"], str(where))
    assert checkpoints.steps(where)[-1] == 8
    assert results.read(where)["params_digest"] == digest
