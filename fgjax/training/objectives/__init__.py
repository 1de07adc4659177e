"""Objectives: what a step minimises, as functions. ``base`` says what an objective is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from fgjax.errors import UserError
from fgjax.ops import losses
from fgjax.training.objectives.base import Aux, Objective, correct
from fgjax.training.objectives.cal import cal
from fgjax.training.objectives.centers import center_loss, initial_centers
from fgjax.training.objectives.mutual_channel import mutual_channel
from fgjax.training.objectives.pairwise_confusion import pairwise_confusion
from fgjax.training.objectives.pmg import pmg
from fgjax.training.objectives.wsdan import wsdan


def cross_entropy(*, class_weights: tuple[float, ...] | None = None) -> Objective:
    """Cross-entropy with (smoothed, mixed) targets, optionally weighted by class."""
    weights = None if class_weights is None else jnp.asarray(class_weights, jnp.float32)

    def objective(apply, params, batch, key, axis_name=None):
        del key, axis_name
        outputs, batch_stats = apply(params, batch["inputs"])
        values = losses.cross_entropy(outputs.logits, batch["targets"], weights)
        metrics = {"accuracy": correct(outputs.logits, batch["targets"])}
        return values, Aux(batch_stats, metrics, batch["carried"])

    return objective


OBJECTIVES: dict[str, Callable[..., Objective | tuple[Objective, ...]]] = {
    "cross_entropy": cross_entropy,
    "center_loss": center_loss,
    "pairwise_confusion": pairwise_confusion,
    "mutual_channel": mutual_channel,
    "wsdan": wsdan,
    "cal": cal,
    "pmg": pmg,
}
WITH_CENTERS = ("center_loss", "wsdan", "cal")


def create(name: str, **options) -> tuple[Objective, ...]:
    """What ``config.train.objective`` names: one objective, or several to follow in turn.

    Raises:
        UserError: unknown name or option.
    """
    if name not in OBJECTIVES:
        raise UserError(f"unknown objective {name!r}; choose one of {', '.join(OBJECTIVES)}")
    try:
        made = OBJECTIVES[name](**options)
    except TypeError as error:
        raise UserError(f"the objective {name!r} does not take these options: {error}") from None
    return made if isinstance(made, tuple) else (made,)


def carried_at_start(name: str, classes: int, features: int) -> dict[str, Any]:
    """What the objective carries from step to step, ``state.aux``, before the first one.

    Args:
        name: of the objective.
        classes: number of classes.
        features: width of the embedding.
    """
    return initial_centers(classes, features) if name in WITH_CENTERS else {}
