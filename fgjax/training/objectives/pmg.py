"""Progressive multi-granularity training: fine levels first, on images cut into small pieces.

Du et al., "Fine-Grained Visual Classification via Progressive Multi-Granularity Training of Jigsaw
Patches", ECCV 2020. One batch makes several steps of the optimiser, one after the other: each
level's classifier on a jigsaw of its own granularity, then the classifier of all levels on the
images as they are.
"""

from __future__ import annotations

import functools
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from fgjax.errors import UserError
from fgjax.ops import losses
from fgjax.ops.jigsaw import jigsaw
from fgjax.training.objectives.base import (
    Apply,
    Aux,
    Measure,
    Objective,
    example_keys,
    images_of,
    suffixed,
    unmeasured,
)


def pmg(
    measure: Measure = unmeasured, /, *, pieces: tuple[int, ...] = (8, 4, 2), weight: float = 2.0
) -> tuple[Objective, ...]:
    """One objective for each granularity, and one for the whole image: steps to take in turn.

    Every pass moves the batch-norm statistics, as in the authors' code.

    Args:
        pieces: rows and columns of the jigsaw of each level, fine to coarse.
        weight: of the last step's cross-entropy.
    """
    steps = [_of_pieces(measure, place, count, len(pieces)) for place, count in enumerate(pieces)]
    return (*steps, _of_all(measure, len(pieces), weight))


def _of_pieces(measure: Measure, place: int, count: int, levels: int) -> Objective:
    def loss(apply, params, batch, key, axis_name=None):
        images, targets = images_of(batch, "pmg"), batch["targets"]
        keys = example_keys(key, len(images), axis_name)
        logits, batch_stats = _logits(apply, params, shuffled(keys, images, count), levels)
        metrics = suffixed(measure(logits[place], targets), f"{count}x{count}")
        return losses.cross_entropy(logits[place], targets), Aux(
            batch_stats, metrics, batch["carried"]
        )

    return Objective(loss)


def _of_all(measure: Measure, levels: int, weight: float) -> Objective:
    def loss(apply, params, batch, key, axis_name=None):
        del key, axis_name
        images, targets = images_of(batch, "pmg"), batch["targets"]
        logits, batch_stats = _logits(apply, params, images, levels)
        metrics = measure(functools.reduce(jnp.add, logits), targets)
        values = weight * losses.cross_entropy(logits[-1], targets)
        return values, Aux(batch_stats, metrics, batch["carried"])

    return Objective(loss)


def shuffled(keys: Array, images: Float[Array, "b h w c"], pieces: int) -> Array:
    """The jigsaw of each image.

    Raises:
        UserError: the image cannot be cut into equal pieces.
    """
    if any(side % pieces for side in images.shape[1:3]):
        raise UserError(
            f"the objective 'pmg' cuts images into {pieces}x{pieces} equal pieces, and "
            f"data.image_size is {images.shape[1]}; choose a multiple of {pieces}"
        )
    return jigsaw(keys, images, pieces)


def _logits(apply: Apply, params: Any, images: Array, levels: int) -> tuple[tuple[Array, ...], Any]:
    logits, batch_stats = apply(params, images, method="granularities")
    if len(logits) != levels + 1:
        raise UserError(
            f"the objective 'pmg' has {levels} granularities, and the head {len(logits) - 1} "
            "levels; give train.objective.pieces and model.head.levels the same number"
        )
    return logits, batch_stats
