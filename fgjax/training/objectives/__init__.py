"""Objectives: what a step minimises, as functions. ``base`` says what an objective is."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp

from fgjax.checking.options import fitted, number, whole
from fgjax.errors import UserError
from fgjax.ops import losses
from fgjax.training.objectives.base import Aux, Measure, Objective, unmeasured
from fgjax.training.objectives.cal import cal
from fgjax.training.objectives.centers import center_loss
from fgjax.training.objectives.mutual_channel import mutual_channel
from fgjax.training.objectives.pairwise_confusion import pairwise_confusion
from fgjax.training.objectives.pmg import pmg
from fgjax.training.objectives.wsdan import wsdan


def cross_entropy(
    measure: Measure = unmeasured, /, *, class_weights: tuple[float, ...] | None = None
) -> Objective:
    """Cross-entropy with (smoothed, mixed) targets, optionally weighted by class."""
    weights = None if class_weights is None else jnp.asarray(class_weights, jnp.float32)

    def loss(apply, params, batch, key, axis_name=None):
        del key, axis_name
        outputs, batch_stats = apply(params, batch["inputs"])
        values = losses.cross_entropy(outputs.logits, batch["targets"], weights)
        metrics = measure(outputs.logits, batch["targets"])
        return values, Aux(batch_stats, metrics, batch["carried"])

    return Objective(loss)


OBJECTIVES: dict[str, Callable[..., Objective | tuple[Objective, ...]]] = {
    "cross_entropy": cross_entropy,
    "center_loss": center_loss,
    "pairwise_confusion": pairwise_confusion,
    "mutual_channel": mutual_channel,
    "wsdan": wsdan,
    "cal": cal,
    "pmg": pmg,
}
PAIRED = ("pairwise_confusion",)  # read neighbours of a batch together

_GIVEN = ("measure",)  # by the task
_SHARE = number(0, 1)
_KINDS = {
    "center_rate": _SHARE,
    "class_weights": number(),
    "crop": _SHARE,
    "drop": _SHARE,
    "pieces": whole(1, 64),
    "rate": _SHARE,
}


def create(name: str, measure: Measure = unmeasured, /, **options) -> tuple[Objective, ...]:
    """What ``config.train.objective`` names: one objective, or several to follow in turn.

    Args:
        name: of the objective.
        measure: what is logged beside the losses.
        **options: its own.

    Raises:
        UserError: unknown name or option.
    """
    if name not in OBJECTIVES:
        raise UserError(f"train.objective.name is {name!r}; choose one of {', '.join(OBJECTIVES)}")
    make = OBJECTIVES[name]
    made = make(measure, **fitted("train.objective", name, make, options, _KINDS, _GIVEN))
    return (made,) if isinstance(made, Objective) else made


def takes(name: str, option: str) -> bool:
    """Whether the objective of that name has such an option."""
    return name in OBJECTIVES and option in inspect.signature(OBJECTIVES[name]).parameters


def carried_at_start(
    objectives: Sequence[Objective], outputs: int, features: int
) -> dict[str, Any]:
    """What objectives carry from step to step, ``state.aux``, before the first one.

    Args:
        objectives: of the run.
        outputs: of the head.
        features: width of the embedding.
    """
    carried = (objective.init(outputs, features) for objective in objectives)
    return {name: value for part in carried for name, value in part.items()}
