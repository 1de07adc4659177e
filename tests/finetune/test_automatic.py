import json
import math

import numpy as np
import pytest

from fgjax.errors import UserError
from fgjax.finetune import automatic, recipes, resolve
from fgjax.finetune.intervals import from_record, stopped, to_record
from fgjax.training.loop import Plateau

[PHASE] = resolve([dict(name="tune", train={"conv5": 0.1, "head": 0.2}, auto="rgn")], 10)
TRAINED = {"conv5": {"conv5/w": np.float32([3, 4])}, "head": {"head/w": np.float32([1, 0])}}
GRADIENTS = [
    {"conv5": {"conv5/w": np.float32([1, 0])}, "head": {"head/w": np.float32([0, 2])}},
    {"conv5": {"conv5/w": np.float32([3, 0])}, "head": {"head/w": np.float32([0, 6])}},
]


def test_relative_gradient_norms_by_hand():
    found = automatic.relative_gradient_norm(GRADIENTS, TRAINED)
    assert found == pytest.approx({"conv5": 2 / 5, "head": 4 / 1})
    scale = automatic.multipliers("rgn", "tune", GRADIENTS, TRAINED)
    phase = automatic.resolved(PHASE, scale)
    assert {i.group: i.rate for i in phase.intervals} == pytest.approx({"conv5": 0.01, "head": 0.2})
    assert phase.auto is None


def test_signal_to_noise_by_hand():
    # Means 2 and 4, variances 1 and 4.
    found = automatic.signal_to_noise(GRADIENTS, TRAINED)
    assert found == pytest.approx({"conv5": 4.0, "head": 4.0})


@pytest.mark.parametrize("head", [0.0, 1.0])
def test_a_rule_that_has_nothing_to_go_by_says_so(head):
    trained = {"head": {"head/w": np.float32([head, 0])}}
    silent = [{"head": {"head/w": np.zeros(2, np.float32)}}]
    with pytest.raises(UserError, match="let a phase before it train"):
        automatic.multipliers("rgn", "tune", silent, trained)


def test_a_phase_that_settles_early_brings_the_later_ones_forward():
    run = dict(rate=1.0, clock="run")
    first, second = resolve(
        [dict(name="a", train={"head": 1.0}), dict(name="b", train={"conv5": 1.0, "conv4": run})],
        20,
    )
    cut, moved = stopped((first, second), 6)
    assert (cut.start, cut.stop, moved.start, moved.stop) == (0, 6, 6, 16)
    # The rates of the first go on as planned; those of the second start with it.
    assert cut.intervals == first.intervals
    assert [(i.start, i.origin, i.end) for i in moved.intervals] == [(6, 6, 16), (6, 0, 20)]
    assert from_record(json.loads(json.dumps(to_record((cut, moved))))) == (cut, moved)


def test_a_plateau_counts_the_scores_since_the_best():
    plateau = Plateau()
    for score, since in [(0.5, 0), (0.4, 1), (0.5, 2), (0.6, 0), (0.6, 1)]:
        plateau = plateau.after(score)
        assert plateau.since == since
    assert plateau.best == 0.6


def test_recipes_resolve_to_the_schedules_of_their_papers():
    rates = recipes.discriminative(1.0, ("conv4", "conv5", "head"))
    assert rates == pytest.approx({"conv4": 1 / 2.6**2, "conv5": 1 / 2.6, "head": 1.0})
    assert math.isclose(recipes.layerwise(0.1, 0.5)["conv1"], 0.1 * 0.5**5)
    phases = resolve(recipes.gradual(rates), 9)
    assert [set(p.groups) for p in phases] == [{"head"}, {"head", "conv5"}, set(rates)]
    phases = resolve(recipes.gradual(rates, refreeze=True), 8)
    assert [p.groups for p in phases[:3]] == [("head",), ("conv5",), ("conv4",)]
    assert set(phases[3].groups) == set(rates)
    probe, tune = resolve(recipes.surgical({"conv5": 0.1}, {"share": 3}), 8)
    assert (probe.groups, probe.stop, tune.groups) == (("head",), 6, ("conv5",))
