"""Objectives: what a step minimises, as functions.

An objective is ``(apply, params, batch, key) -> (losses, Aux)``. ``apply(params, inputs)`` runs
the recogniser in the phase's context and returns ``(outputs, batch_stats)``; ``batch`` holds
``inputs``, ``targets`` and ``label``; ``losses`` has one value per example, so that the step can
take the same masked mean on any number of devices.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from fgjax.errors import UserError
from fgjax.ops import losses


class Aux(NamedTuple):
    """What an objective hands on besides its losses.

    Attributes:
        batch_stats: the batch-norm statistics after the pass.
        metrics: per-example values to average and log.
        carried: new ``state.aux``, e.g. running feature centres.
    """

    batch_stats: Any
    metrics: dict[str, Any]
    carried: dict[str, Any]


Objective = Callable[..., tuple[Any, Aux]]


def cross_entropy(*, class_weights: tuple[float, ...] | None = None) -> Objective:
    """Cross-entropy with (smoothed, mixed) targets, optionally weighted by class."""
    weights = None if class_weights is None else jnp.asarray(class_weights, jnp.float32)

    def objective(apply, params, batch, key, axis_name=None):
        del key, axis_name
        outputs, batch_stats = apply(params, batch["inputs"])
        values = losses.cross_entropy(outputs.logits, batch["targets"], weights)
        correct = jnp.argmax(outputs.logits, -1) == jnp.argmax(batch["targets"], -1)
        metrics = {"accuracy": correct.astype(jnp.float32)}
        return values, Aux(batch_stats, metrics, batch["carried"])

    return objective


OBJECTIVES = {"cross_entropy": cross_entropy}


def create(name: str, **options) -> Objective:
    """The objective named in ``config.train.objective``.

    Raises:
        UserError: unknown name or option.
    """
    if name not in OBJECTIVES:
        raise UserError(f"unknown objective {name!r}; choose one of {', '.join(OBJECTIVES)}")
    try:
        return OBJECTIVES[name](**options)
    except TypeError as error:
        raise UserError(f"the objective {name!r} does not take these options: {error}") from None
