import json
import math

import numpy as np
import pytest

from fgjax.errors import UserError
from fgjax.finetune.intervals import Interval, from_record, rate_at, to_record
from fgjax.finetune.schedule import resolve

HEAD = dict(name="head", share=3, train={"head": 1.0}, decay=1e-4, views=("center", "flip"))
TUNE = dict(
    name="tune",
    share=1,
    train={"conv4": 0.01, "conv5": dict(rate=0.02, bn="train"), "head": dict(rate=0.1, decay=0.0)},
    shape="constant",
    warmup=0.5,
)


def test_phases_divide_the_run_by_their_shares():
    head, tune = resolve((HEAD, TUNE), 80)
    assert (head.start, head.stop, tune.start, tune.stop) == (0, 60, 60, 80)
    assert head.views == ("center", "flip")
    assert head.intervals == (Interval("head", 0, 60, 1.0, 1e-4, "train", "cosine", 0, 0, 60),)
    assert tune.groups == ("conv4", "conv5", "head")
    assert [i.bn for i in tune.intervals] == ["frozen", "train", "train"]
    assert [i.warmup for i in tune.intervals] == [10, 10, 10]


def test_a_phase_may_have_its_own_image_size():
    phases = resolve(({**HEAD, "size": 160}, TUNE), 80)
    assert [phase.size for phase in phases] == [160, None]
    assert from_record(json.loads(json.dumps(to_record(phases)))) == phases


@pytest.mark.parametrize("total", [2, 3, 7])
def test_every_phase_has_a_step(total):
    long, short = resolve(({**HEAD, "share": 1000}, TUNE), total)
    assert (long.start, long.stop, short.start, short.stop) == (0, total - 1, total - 1, total)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("constant", [0.2, 0.4, 0.4, 0.4, 0.4, 0.4]),
        ("linear", [0.2, 0.4, 0.4, 0.3, 0.2, 0.1]),
        ("cosine", [0.2, 0.4] + [0.2 * (1 + math.cos(math.pi * t / 4)) for t in range(4)]),
    ],
)
def test_rates_rise_and_fall(shape, expected):
    interval = Interval("head", 10, 16, 0.4, 0.0, "train", shape, 2, 10, 16)
    rates = [float(rate_at(interval, np.int32(step))) for step in range(10, 16)]
    np.testing.assert_allclose(rates, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("clock", "curves"),
    [
        ("phase", [(0, 4), (4, 12), (12, 20), (20, 24)]),
        ("unfreeze", [(0, 4), (4, 20), (4, 20), (20, 24)]),
        ("run", [(0, 24)] * 4),
    ],
)
def test_a_rate_counts_from_where_its_clock_says(clock, curves):
    trained = [("head", 4), ("conv5", 8), ("conv5", 8), ("head", 4)]
    phases = resolve(
        [
            dict(name=str(i), steps=steps, train={group: 1.0}, shape="linear", clock=clock)
            for i, (group, steps) in enumerate(trained)
        ],
        24,
    )
    for phase, (origin, end) in zip(phases, curves, strict=True):
        [interval] = phase.intervals
        assert (interval.origin, interval.end) == (origin, end)
        np.testing.assert_allclose(
            rate_at(interval, np.int32(phase.start)),
            1 - (phase.start - origin) / (end - origin),
            rtol=1e-6,
        )


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ((), "has no phases"),
        ((HEAD,) * 9, "4 steps for 9 phases"),
        (({**HEAD, "train": {}},), "'head' freezes every group"),
        (({**HEAD, "share": 0},), r"schedule\[0\].share is 0; expected a number above 0"),
        (({**HEAD, "shape": "step"},), "choose one of constant, cosine, linear"),
        (({**HEAD, "warmup": 3},), r"schedule\[0\].warmup is 3; expected a number from 0 to 1"),
        (({**HEAD, "clock": "epoch"},), "'epoch'; choose one of phase, unfreeze, run"),
        (
            ({**HEAD, "length": 3},),
            r"schedule\[0\] has no option length; its options are name, train, share",
        ),
        (({**HEAD, "train": {"conv9": 1.0}},), "'conv9' of phase 'head' does not exist"),
        (({**HEAD, "train": {"head": {"decay": 1.0}}},), "no base rate"),
        (({**HEAD, "train": {"head": -1}},), "rate -1; it must be a positive number"),
        (({**HEAD, "train": {"head": {"rate": 1, "lr": 2}}},), r"unknown options \['lr'\]"),
        (({**HEAD, "bn": "eval"},), "choose one of frozen, affine, train, or some of affine"),
        (({**HEAD, "epochs": 1},), "has share and epochs; give it one of them"),
        ((dict(name="a", steps=4, train={"head": 1}), HEAD), "come to lie beyond its end"),
        (({**HEAD, "auto": "magic"},), "choose one of rgn, snr"),
        (({**HEAD, "auto": "rgn", "batches": 0},), "batches is 0; expected a whole number from 1"),
        (({**HEAD, "patience": 0},), "patience is 0; expected a whole number from 1"),
        (({**HEAD, "size": 0},), "size is 0; expected a whole number from 32"),
    ],
)
def test_a_bad_schedule_is_named(schedule, message):
    with pytest.raises(UserError, match=message):
        resolve(schedule, 4)
