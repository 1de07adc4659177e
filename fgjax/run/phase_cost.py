"""What a phase's step costs: multiply-adds of an example, against forward and full training."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import numpy as np

from fgjax.finetune.intervals import Interval, Phase
from fgjax.models.context import Context
from fgjax.models.cost import multiply_adds
from fgjax.run.experiment import Model
from fgjax.training.state import TrainState
from fgjax.training.step import StepSettings, phase_gradients


def of_phases(
    model: Model, settings: Callable[[Phase], StepSettings], example: Mapping[str, Any]
) -> Callable[[Phase, TrainState], Mapping[str, int]]:
    """The function that counts multiply-adds of one example, without running anything.

    It returns ``step`` (loss and gradient of the phase, at its size, from stored features where the
    trunk is frozen and the views are finite), ``forward`` (one pass over an image) and ``full``
    (loss and gradient of every parameter); {} where an objective's loops have no known length.

    Args:
        model: the recogniser.
        settings: how a phase's steps are made.
        example: shapes of the targets, the annotations and the mask of one example.
    """
    image_size = model.preprocessing.image_size
    images = _image(image_size)
    network: dict[str, int] = {}  # what is the same in every phase

    def count(phase: Phase, state: TrainState) -> Mapping[str, int]:
        state = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), state)
        mine = settings(phase)
        everything = settings(_every_group(phase, mine.assignment))._replace(start=None)
        given = _image(phase.size or image_size)
        given = given if mine.start is None else _features(model, mine.start, state, given)
        try:
            if not network:
                forward = multiply_adds(partial(_logits, model), state.variables, images)
                full = _gradient_cost(everything, state, images, example)
                network.update(forward=forward, full=full)
            return {"step": _gradient_cost(mine, state, given, example), **network}
        except ValueError:
            return {}

    return count


def _image(size):
    return jax.ShapeDtypeStruct((1, size, size, 3), np.float32)


def _logits(model, variables, images):
    return model.recognizer.apply(variables, images, Context(dtype=model.dtype)).logits


def _features(model, start, state, images):
    """Shapes of the backbone's maps of an image that are read from ``start`` on."""
    hierarchy = jax.eval_shape(
        lambda variables, x: model.recognizer.apply(
            variables, x, Context(dtype=model.dtype), method="features"
        ),
        state.variables,
        images,
    )
    return {level: hierarchy[level] for level in model.recognizer.kept_levels(start)}


def _gradient_cost(
    settings: StepSettings, state: TrainState, inputs: Any, example: Mapping[str, Any]
) -> int:
    given = settings._replace(
        prepare=lambda batch, keys: (batch["inputs"], batch["targets"]), accumulate=1
    )
    batch = {"inputs": inputs, **example}
    return multiply_adds(partial(phase_gradients, settings=given, axis_name=None), state, batch)


def _every_group(phase: Phase, assignment: Mapping[str, str]) -> Phase:
    span = phase.start, phase.stop
    intervals = tuple(
        Interval(group, *span, 1.0, 0.0, "affine", "constant", 0, *span)
        for group in dict.fromkeys(assignment.values())
    )
    return dataclasses.replace(phase, intervals=intervals)
