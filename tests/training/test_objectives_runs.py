"""Every objective trains a network from a config, and what it carries survives in checkpoints."""

import json

import numpy as np
import pytest
import tiny_run

from fgjax import commands
from fgjax.errors import UserError
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
    commands.train(config(tmp_path / "cache", objective, **attention), str(tmp_path / "run"))
    where = tmp_path / "run"
    centers = checkpoints.read(where, checkpoints.steps(where)[-1])["aux"]["centers"]
    assert centers.shape == (CLASSES, width)
    assert (np.linalg.norm(centers, axis=1) > 0).all()  # every class was seen
    lines = [json.loads(line) for line in (where / "metrics.jsonl").read_text().splitlines()]
    assert all(np.isfinite(line["center"]) for line in lines)


def test_new_views_cannot_be_made_of_stored_features(tmp_path):
    c = config(tmp_path / "cache", {"name": "wsdan"}, name="bilinear_attention", maps=4)
    c.model.attention.levels = ("conv3",)
    c.schedule = (dict(name="head", train={"attention": 0.1, "head": 0.1}, views=("center",)),)
    with pytest.raises(UserError, match="'wsdan' makes new views .* train at least one level"):
        commands.train(c, str(tmp_path / "run"))


@pytest.mark.parametrize("name", objectives.OBJECTIVES)
def test_an_unknown_option_is_named(name):
    with pytest.raises(UserError, match=f"{name}.*options.*'wieght'"):
        objectives.create(name, wieght=1.0)
    with pytest.raises(UserError, match="unknown objective 'triplet'; choose one of cross_entropy"):
        objectives.create("triplet")
