"""Objectives: what a step minimises, as functions. ``base`` says what an objective is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from fgjax.checking.options import fitted, number, whole
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
PAIRED = ("pairwise_confusion",)  # read neighbours of a batch together

_SHARE = number(0, 1)
_KINDS = {
    "center_rate": _SHARE,
    "class_weights": number(),
    "crop": _SHARE,
    "drop": _SHARE,
    "pieces": whole(1, 64),
    "rate": _SHARE,
}


def create(name: str, **options) -> tuple[Objective, ...]:
    """What ``config.train.objective`` names: one objective, or several to follow in turn.

    Raises:
        UserError: unknown name or option.
    """
    if name not in OBJECTIVES:
        raise UserError(f"train.objective.name is {name!r}; choose one of {', '.join(OBJECTIVES)}")
    made = OBJECTIVES[name](**fitted("train.objective", name, OBJECTIVES[name], options, _KINDS))
    return made if isinstance(made, tuple) else (made,)


def carried_at_start(name: str, classes: int, features: int) -> dict[str, Any]:
    """What the objective carries from step to step, ``state.aux``, before the first one.

    Args:
        name: of the objective.
        classes: number of classes.
        features: width of the embedding.
    """
    return initial_centers(classes, features) if name in WITH_CENTERS else {}
