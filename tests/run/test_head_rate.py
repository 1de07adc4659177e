"""The head's rate in a schedule is that for features of length one."""

import json

import numpy as np
import pytest
import tiny_run

from fgjax.errors import UserError
from fgjax.finetune import lengths
from fgjax.finetune.schedule import resolve
from fgjax.run import experiment, head_rate, train
from fgjax.training import checkpoints, parallel

PHASES = resolve(
    [
        dict(name="head", train={"head": 1.0}, steps=5),
        dict(name="tune", train={"conv5": 0.01, "head": 0.3}, decay=1e-4),
    ],
    10,
)


def test_only_the_heads_rates_are_divided():
    for before, after in zip(PHASES, lengths.scaled(PHASES, {"head"}, 4.0), strict=True):
        for old, new in zip(before.intervals, after.intervals, strict=True):
            assert new == old._replace(rate=old.rate / (4.0 if old.group == "head" else 1.0))
    assert lengths.rates_of(PHASES, {"head"}) == {"head": [1.0, 0.3]}


def test_the_layer_before_the_pooling_keeps_its_rate_in_a_group_of_its_own():
    paths = {"conv5/kernel": "conv5", "head/kernel": "head", "head/bias": "bias"}
    paths |= {"head/expand/conv/kernel": "expand"}
    assert lengths.head_groups(paths) == {"head", "bias"}


def test_gradient_descent_takes_one_course_whatever_the_features_length():
    rng = np.random.default_rng(0)
    features, targets = rng.normal(size=(20, 5)), rng.normal(size=(20, 3))

    def fitted(scale):
        x, kernel = scale * features, np.zeros((5, 3))
        rate = lengths.scaled(PHASES, {"head"}, np.mean(np.sum(x**2, 1)))[0].intervals[0].rate
        for _ in range(10):
            kernel -= rate * x.T @ (x @ kernel - targets) / len(x)
        return x @ kernel

    np.testing.assert_allclose(fitted(30.0), fitted(1.0))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def config(cache, pooling="average", **changes):
    c = tiny_run.config(cache)
    c.model.pooling = {"name": pooling, "levels": ("conv3",)}
    c.update(changes)
    return c


def rates_and_words(c, initialized=True):
    data = experiment.load_data(c, "train", "test")
    model, said = experiment.build_model(c, len(data.info.classes)), []
    phases = resolve(c.schedule, 12)
    paths = {"head/kernel": "head", "head/bias": "head", "conv3/kernel": "conv3"}
    mesh = parallel.make_mesh(c.train.devices)
    variables = model.initialize(0) if initialized else {}
    found = head_rate.resolved(c, model, variables, data.train, phases, paths, mesh, said.append)
    return [{i.group: i.rate for i in phase.intervals} for phase in found], said


def test_the_length_is_measured_told_and_taken_into_account(cache):
    rates, (line,) = rates_and_words(config(cache))
    length = float(line.removeprefix("head: rate 1, 0.3 / ").split()[0])
    assert rates == [{"head": 1.0 / length}, {"conv3": 0.004, "head": 0.3 / length}]
    assert "(mean squared length of what it reads)" in line
    # However many devices share the work.
    assert rates_and_words(config(cache, train={"devices": 2})) == (rates, [line])


@pytest.mark.parametrize(
    "changes",
    [
        {"pooling": "compact_bilinear"},
        {"model": {"head": {"name": "cosine"}}},
        {"train": {"optimizer": {"name": "adamw"}}},
    ],
    ids=["length one", "a head that normalises", "Adam"],
)
def test_where_the_length_does_not_matter_nothing_is_measured(cache, changes, monkeypatch):
    monkeypatch.delattr(head_rate, "mean_squared_length")
    c = config(cache, changes.pop("pooling", "average"))
    for part, options in changes.items():
        for name, value in options.items():
            c[part][name] = value
    assert rates_and_words(c, initialized=False) == (
        [{"head": 1.0}, {"conv3": 0.004, "head": 0.3}],
        [],
    )


def test_features_that_are_all_zero_are_named(cache, monkeypatch):
    monkeypatch.setattr(head_rate, "mean_squared_length", lambda *_: 0.0)
    with pytest.raises(UserError, match="length of what the head reads is 0.0, so that no rate"):
        rates_and_words(config(cache), initialized=False)


def test_a_run_goes_on_at_the_rates_that_it_began_with(cache, tmp_path, monkeypatch):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    train.train(config(cache), str(whole))
    save = checkpoints.save

    def last_words(manager, state, *rest):
        save(manager, state, *rest)
        if int(state.step) == 8:
            manager.wait_until_finished()
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints, "save", last_words)
    with pytest.raises(KeyboardInterrupt):
        train.train(config(cache), str(killed))
    monkeypatch.undo()
    monkeypatch.setattr(head_rate, "mean_squared_length", lambda *_: 1.0)  # not asked again
    train.train(config(cache), str(killed))
    first, second = (json.loads((w / "results.json").read_text()) for w in (whole, killed))
    assert first["params_digest"] == second["params_digest"]
    assert first["phases"]["tune"]["rates"] == second["phases"]["tune"]["rates"]
