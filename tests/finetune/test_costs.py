"""What a phase costs, against what the levels' figures and the groups' sizes predict."""

import dataclasses
import functools
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from fgjax import finetune
from fgjax.finetune import groups, optimizer
from fgjax.models import backbones, heads, pooling, recognizer
from fgjax.models.context import Context
from fgjax.ops.preprocessing import Preprocessing
from fgjax.run import phase_cost
from fgjax.training import objectives
from fgjax.training.state import initial_state
from fgjax.training.step import StepSettings
from fgjax.vocabulary import LEVELS

SIZE, CLASSES = 224, 30
PHASES = finetune.resolve(
    [
        dict(name="head", train={"head": 1.0}, views=("center",)),
        dict(name="late", train={"conv5": 0.1, "head": 1.0}),
        dict(name="middle", train={"conv3": 0.1, "conv4": 0.1, "head": 1.0}),
        dict(name="all", train=dict.fromkeys((*LEVELS, "head"), 0.1), bn="affine"),
    ],
    100,
)


@functools.cache
def _model(name):
    backbone = backbones.create(name)
    module = recognizer.Recognizer(
        backbone=backbone,
        pooling=pooling.create("average", levels=("conv5",)),
        head=heads.create("linear", classes=CLASSES),
    )
    images = jax.ShapeDtypeStruct((1, SIZE, SIZE, 3), np.float32)
    variables = jax.eval_shape(lambda x: module.init(jax.random.key(0), x, Context()), images)
    state = initial_state({"constants": {}} | dict(variables), False, {})
    model = SimpleNamespace(
        recognizer=module, preprocessing=Preprocessing(image_size=SIZE), dtype=np.float32
    )
    return model, state, backbones.level_info(backbone, SIZE)


def _settings(model, state):
    assignment = groups.assign(state.params)

    def settings(phase):
        trained = groups.levels_of(assignment, phase.groups)
        start = model.recognizer.backbone.boundary(trained) if phase.views else None
        return StepSettings(
            phase=phase,
            apply=model.recognizer.apply,
            start=start,
            prepare=None,
            objective=objectives.create("cross_entropy"),
            optimizer=optimizer.sgd(),
            assignment=assignment,
            batch_norm=groups.batch_norm_paths(state.batch_stats),
            dtype=np.float32,
            seed=0,
            clip_norm=None,
            ema_decay=None,
            accumulate=1,
        )

    return settings


def _predicted(phase, info, parameters):
    """Forward once; backward once for every trained kernel, and once through all from the first.

    That is too much by the gradients of the first trained layers' inputs, which nobody asks for.
    """
    costs = {level: i.multiply_adds for level, i in info.items()} | {"head": parameters["head"]}
    first = next(level for level in costs if level in phase.groups)
    behind = list(costs)[list(costs).index(first) :]
    kernels = sum(costs[group] for group in phase.groups)
    return sum(costs.values()) + kernels + sum(costs[level] for level in behind)


BACKBONES = ("resnet50", "efficientnet_lite0", "hrnet_w18")


EXAMPLE = {
    "targets": jax.ShapeDtypeStruct((1, CLASSES), np.float32),
    "label": jax.ShapeDtypeStruct((1,), np.int32),
    "mask": jax.ShapeDtypeStruct((1,), np.float32),
}


@pytest.mark.parametrize("name", BACKBONES)
def test_multiply_adds_of_a_step_are_as_predicted(name):
    model, state, info = _model(name)
    count = phase_cost.of_phases(model, _settings(model, state), EXAMPLE)
    parameters = groups.counts(state.params, groups.assign(state.params))
    for phase in PHASES:
        if phase.views:  # the head alone, from stored maps
            assert count(phase, state)["step"] < 0.01 * sum(i.multiply_adds for i in info.values())
            continue
        found = count(phase, state)["step"]
        assert found == pytest.approx(_predicted(phase, info, parameters), rel=0.05), phase.name


def test_a_step_on_smaller_images_costs_less():
    model, state, _ = _model("efficientnet_lite0")
    count = phase_cost.of_phases(model, _settings(model, state), EXAMPLE)
    phase = PHASES[1]
    whole, small = (count(dataclasses.replace(phase, size=size), state) for size in (None, 96))
    assert (small["forward"], small["full"]) == (whole["forward"], whole["full"])
    # From 7 x 7 places to 3 x 3, at every stage alike.
    assert small["step"] == pytest.approx(whole["step"] * 9 / 49, rel=0.05)


@pytest.mark.parametrize("name", BACKBONES)
def test_optimiser_bytes_are_four_for_every_weight_that_trains(name):
    _, state, _ = _model(name)
    assignment = groups.assign(state.params)
    parts = groups.split(state.params, assignment)
    batch_norm = groups.batch_norm_paths(state.batch_stats)
    sizes = groups.counts(state.params, assignment)
    frozen_affine = {
        group: sum(x.size for path, x in leaves.items() if path in batch_norm)
        for group, leaves in parts.items()
    }
    opt_state = {}
    for index, phase in enumerate(PHASES):
        held = optimizer.held_leaves(parts, PHASES, index, batch_norm)
        opt_state = jax.eval_shape(
            lambda old, held=held: optimizer.enter_phase(optimizer.sgd(), old, held), opt_state
        )
        ever = {i.group: i.bn for p in PHASES[: index + 1] for i in p.intervals}
        weights = sum(
            sizes[group] - (frozen_affine[group] if bn == "frozen" else 0)
            for group, bn in ever.items()
        )
        found = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(opt_state))
        assert found == 4 * weights, phase.name
