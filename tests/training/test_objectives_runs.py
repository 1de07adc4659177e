"""Every objective trains a network from a config, and what it carries survives in checkpoints."""

import json

import numpy as np
import pytest
import tiny_run

from fgjax.errors import UserError
from fgjax.run import train
from fgjax.training import checkpoints, objectives

CLASSES = 16


def config(cache, objective, **attention):
    c = tiny_run.config(cache, epochs=1.0)
    c.train.objective = objective
    c.schedule = (dict(name="all", train={"conv3": 0.01, "attention": 0.01, "head": 0.1}),)
    if attention:
        c.model.attention = attention
        c.model.pooling = {"name": "bilinear_attention", "levels": ("conv3",)}
    return c


@pytest.mark.parametrize(
    ("objective", "attention", "width"),
    [
        ({"name": "center_loss", "weight": 0.01}, {}, 256),
        ({"name": "cal"}, {"name": "bilinear_attention", "levels": ("conv3",), "maps": 4}, 4 * 16),
    ],
    ids=["center_loss", "cal"],
)
def test_centres_move_and_are_saved(tmp_path, objective, attention, width):
    train.train(config(tmp_path / "cache", objective, **attention), str(tmp_path / "run"))
    where = tmp_path / "run"
    centers = checkpoints.read(where, checkpoints.steps(where)[-1])["aux"]["centers"]
    assert centers.shape == (CLASSES, width)
    assert (np.linalg.norm(centers, axis=1) > 0).all()  # every class was seen
    lines = [json.loads(line) for line in (where / "metrics.jsonl").read_text().splitlines()]
    assert all(np.isfinite(line["center"]) for line in lines)


def test_granularities_train_in_one_run(tmp_path):
    c = config(tmp_path / "cache", {"name": "pmg"})
    levels = ("conv1", "conv2", "conv3")
    c.model.merge = {"name": "stage_blocks", "levels": levels, "hidden": 16, "features": 16}
    c.model.pooling = {"name": "max", "levels": levels}
    c.model.head = {"name": "multi_granularity", "hidden": 16}
    c.schedule = (dict(name="all", train={"conv3": 0.01, "merge": 0.1, "head": 0.1}),)
    train.train(c, str(tmp_path / "run"))
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    logged = [line for line in map(json.loads, lines) if "loss" in line]
    for name in ("accuracy_8x8", "accuracy_4x4", "accuracy_2x2", "accuracy"):
        assert all(0 <= line[name] <= 1 for line in logged)


def test_new_views_cannot_be_made_of_stored_features(tmp_path):
    c = config(tmp_path / "cache", {"name": "wsdan"}, name="bilinear_attention", maps=4)
    c.model.attention.levels = ("conv3",)
    c.schedule = (dict(name="head", train={"attention": 0.1, "head": 0.1}, views=("center",)),)
    with pytest.raises(UserError, match="'wsdan' makes new views .* train at least one level"):
        train.train(c, str(tmp_path / "run"))


@pytest.mark.parametrize("name", objectives.OBJECTIVES)
def test_an_unknown_option_is_named(name):
    with pytest.raises(UserError, match=f"{name}' has no option wieght; i"):
        objectives.create(name, wieght=1.0)
    with pytest.raises(
        UserError, match="train.objective.name is 'triplet'; choose one of cross_entropy"
    ):
        objectives.create("triplet")
