"""Counterfactual attention: what did the maps themselves add to the decision?

Rao et al., "Counterfactual Attention Learning for Fine-Grained Visual Categorization and
Re-Identification", ICCV 2021, on top of WS-DAN's three views.
"""

from __future__ import annotations

from typing import Any

import jax
from jaxtyping import Array, Float, Key

from fgjax.ops import losses
from fgjax.training.objectives.base import (
    Apply,
    Aux,
    Measure,
    Objective,
    example_keys,
    unmeasured,
)
from fgjax.training.objectives.centers import attention_centers, initial_centers
from fgjax.training.objectives.wsdan import Range, Views, classify_views, look_again


def cal(
    measure: Measure = unmeasured,
    /,
    *,
    crop: Range = (0.4, 0.6),
    drop: Range = (0.2, 0.5),
    level: str | None = None,
    effect_weight: float = 1.0,
    center_weight: float = 1.0,
    center_rate: float = 0.05,
) -> Objective:
    """WS-DAN's loss, and the cross-entropy of each view's total effect of attention.

    Arguments as in :func:`fgjax.training.objectives.wsdan.wsdan`, and ``effect_weight``, the weight
    of the mean cross-entropy of the effects.
    """

    def loss(apply, params, batch, key, axis_name=None):
        for_views, for_maps = jax.random.split(key)
        local = len(batch["label"])
        keys = example_keys(for_views, local, axis_name)
        views, batch_stats = look_again(apply, params, batch, keys, crop, drop, level)
        values, metrics = classify_views(views, batch, measure)
        keys = example_keys(for_maps, local, axis_name)
        effect = _effect_loss(apply, params, batch["targets"], views, keys)
        pull, centers = attention_centers(
            batch["carried"]["centers"],
            views.raw.embedding,
            batch["label"],
            batch["mask"],
            center_rate,
            axis_name,
        )
        values = values + effect_weight * effect + center_weight * pull
        metrics = metrics | {"center": pull, "effect": effect}
        return values, Aux(batch_stats, metrics, {**batch["carried"], "centers": centers})

    return Objective(loss, initial_centers)


def _effect_loss(
    apply: Apply, params: Any, targets: Float[Array, "b k"], views: Views, keys: Key[Array, " b"]
) -> Float[Array, " b"]:
    """Mean over the views of the cross-entropy of ``logits(maps) - logits(random maps)``."""

    def of_view(view, keys):
        random = counterfactual_maps(keys, view.maps)
        logits, _ = apply(params, (view.merged, random), method="reclassify")
        return losses.cross_entropy(view.logits - logits, targets)

    raw, crop, drop = map(of_view, views, jax.vmap(jax.random.split, (0, None), 1)(keys, 3))
    return (raw + crop + drop) / 3


def counterfactual_maps(
    keys: Key[Array, " b"], maps: dict[str, Float[Array, "b h w m"]]
) -> dict[str, Float[Array, "b h w m"]]:
    """Maps of the same shapes drawn uniformly from [0, 2), whose mean is that of no attention."""

    def draw(place, level):
        def one(key, x):
            return jax.random.uniform(jax.random.fold_in(key, place), x.shape, x.dtype, 0, 2)

        return jax.vmap(one)(keys, maps[level])

    return {level: draw(place, level) for place, level in enumerate(maps)}
