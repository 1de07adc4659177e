"""WS-DAN: train on the image, on a crop where it attends, and with that part dropped.

Hu et al., "See Better Before Looking Closer: Weakly Supervised Data Augmentation Network for
Fine-Grained Visual Classification", arXiv 1901.09891.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Float, Key

from fgjax.ops import losses
from fgjax.ops.attention_crop import attention_boxes, choose_maps, crop_and_resize, drop_masks
from fgjax.training.objectives.base import (
    Apply,
    Aux,
    Batch,
    Measure,
    Objective,
    example_keys,
    images_of,
    maps_of,
    suffixed,
    unmeasured,
)
from fgjax.training.objectives.centers import attention_centers, initial_centers

Range = tuple[float, float]


class Views(NamedTuple):
    """The outputs for an image, for the crop it asked for, and for what is left without it."""

    raw: Any
    crop: Any
    drop: Any


def wsdan(
    measure: Measure = unmeasured,
    /,
    *,
    crop: Range = (0.4, 0.6),
    drop: Range = (0.2, 0.5),
    level: str | None = None,
    center_weight: float = 1.0,
    center_rate: float = 0.05,
) -> Objective:
    """Mean cross-entropy of the three views, and attention regularisation of the raw one.

    Args:
        crop: range of the thresholds θ_c, one drawn for each image.
        drop: range of the thresholds θ_d.
        level: whose attention maps are followed; may be left out where one level has some.
        center_weight: weight of the attention regularisation.
        center_rate: β, how far a centre moves to the mean of its class in the batch.
    """

    def loss(apply, params, batch, key, axis_name=None):
        keys = example_keys(key, len(batch["label"]), axis_name)
        views, batch_stats = look_again(apply, params, batch, keys, crop, drop, level)
        values, metrics = classify_views(views, batch, measure)
        pull, centers = attention_centers(
            batch["carried"]["centers"],
            views.raw.embedding,
            batch["label"],
            batch["mask"],
            center_rate,
            axis_name,
        )
        carried = {**batch["carried"], "centers": centers}
        return values + center_weight * pull, Aux(batch_stats, metrics | {"center": pull}, carried)

    return Objective(loss, initial_centers)


def look_again(
    apply: Apply,
    params: Any,
    batch: Batch,
    keys: Key[Array, " b"],
    crop: Range,
    drop: Range,
    level: str | None,
) -> tuple[Views, Any]:
    """The three passes and the statistics after them; the network sees its own views as data."""
    images = images_of(batch, "wsdan")
    size = images.shape[1:3]
    raw, stats = apply(params, images)
    maps = maps_of(raw, level, "wsdan")
    chosen, to_crop, to_drop = jax.vmap(jax.random.split, (0, None), 1)(keys, 3)
    maps = jax.lax.stop_gradient(choose_maps(chosen, maps, 2))
    boxes = attention_boxes(maps[..., 0], _thresholds(to_crop, crop), size)
    masks = drop_masks(maps[..., 1], _thresholds(to_drop, drop), size)
    cropped, stats = apply(params, crop_and_resize(images, boxes, size), stats)
    dropped, stats = apply(params, images * masks.astype(images.dtype), stats)
    return Views(raw, cropped, dropped), stats


def classify_views(
    views: Views, batch: Batch, measure: Measure
) -> tuple[Float[Array, " b"], dict[str, Float[Array, " b"]]]:
    """Mean cross-entropy of the three views, and what to log."""
    targets = batch["targets"]
    raw, crop, drop = (losses.cross_entropy(view.logits, targets) for view in views)
    metrics = measure(views.raw.logits, targets)
    metrics |= suffixed(measure(views.crop.logits, targets), "crop")
    metrics |= suffixed(measure(views.drop.logits, targets), "drop")
    return (raw + crop + drop) / 3, metrics


def _thresholds(keys: Key[Array, " b"], between: Range) -> Float[Array, " b"]:
    low, high = between
    return jax.vmap(lambda key: jax.random.uniform(key, minval=low, maxval=high))(keys)
