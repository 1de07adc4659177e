"""A loss that grows past that of chance is told, once a phase, with the remedy."""

import math

import pytest

from fgjax.finetune.schedule import resolve
from fgjax.training import divergence, loop

HEAD, TUNE = resolve(
    [
        dict(name="head", steps=6, train={"head": 1.0}),
        dict(name="tune", steps=6, train={"conv5": 0.004, "head": 0.3}),
    ],
    12,
)
CHANCE = math.log(16)


def said(losses, chance=CHANCE, window=2):
    lines, steps = [], []
    noted = lambda *a: steps.append(a)  # noqa: E731
    watch = loop.Watch(print, noted, print, lines.append, bool)
    watch = divergence.watched(watch, chance, window)
    for step, loss in enumerate(losses, start=1):
        watch.progress(HEAD if step <= HEAD.stop else TUNE, step, {"loss": loss})
    assert len(steps) == len(losses)  # whoever watched before still does
    return lines


def test_a_loss_that_grows_past_chance_is_told_once_with_the_remedy():
    (line,) = said([CHANCE, 2, 2, 2, 1, 1, 1, 100, 150, 200, 100, 100])
    assert "phase 'tune'" in line
    assert "50.5" in line  # the mean of the window
    assert "2.77" in line
    assert "conv5 (now 0.004), head (now 0.3), or set train.clip_norm" in line


def test_every_phase_is_told_of():
    assert len(said([CHANCE, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9])) == 2


@pytest.mark.parametrize(
    "losses",
    [[CHANCE, 3, 2, 1, 0.5], [1.0, 5.4, 5.4, 5.4], [4 * CHANCE, 21, 20, 18]],
    ids=["learns", "noise", "several objectives"],
)
def test_a_loss_within_reach_of_chance_is_not_told_of(losses):
    assert said(losses) == []


def test_single_steps_are_not_told_of():
    assert said([CHANCE, 2, 2, 9, 2, 2, 2, 2], window=4) == []
