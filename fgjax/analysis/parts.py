"""Do units and maps point at annotated parts? Pointing game, PCK, features at parts, occlusion.

Points are (y, x) and boxes (top, left, bottom, right), in pixels of the image that the network
saw and in the continuous coordinates of ``fgjax.ops.boxes``: the center of the first pixel is
(0.5, 0.5). Places on a map are turned into pixels by :func:`to_pixels`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

# The customary radius of the pointing game: 15 pixels at 224 (Zhang et al., 2016).
RADIUS = 15 / 224


def to_pixels(
    row: Int[np.ndarray, ...], column: Int[np.ndarray, ...], map_size: int, image_size: int
) -> Float[np.ndarray, "... 2"]:
    """Center, in pixels, of a location of a map that covers the image."""
    return (np.stack([row, column], -1) + 0.5) * (image_size / map_size)


def hits(
    points: Float[np.ndarray, "... 2"],
    targets: Float[np.ndarray, "... 2"],
    radius: float | Float[np.ndarray, ...],
) -> Bool[np.ndarray, ...]:
    """Pointing game: is the point within ``radius`` pixels of the target?"""
    return np.linalg.norm(points - targets, axis=-1) <= radius


def hits_box(
    points: Float[np.ndarray, "... 2"], boxes: Float[np.ndarray, "... 4"]
) -> Bool[np.ndarray, ...]:
    """Pointing game with a box as the target."""
    return np.all((points >= boxes[..., :2]) & (points <= boxes[..., 2:]), axis=-1)


def chance(
    targets: Float[np.ndarray, "b p 2"], boxes: Float[np.ndarray, "b 4"], radius: float
) -> Float[np.ndarray, "b p"]:
    """Chance that a point drawn evenly from the object's box is within ``radius`` of a part.

    Args:
        targets: places of the parts.
        boxes: of the objects.
        radius: in pixels.
    """
    # On a grid of 24 x 24 points instead of by integration: parts may lie near the box's edge.
    grid = (np.stack(np.meshgrid(*[np.arange(24)] * 2, indexing="ij"), -1) + 0.5).reshape(
        -1, 2
    ) / 24
    points = boxes[:, None, :2] + grid * (boxes[:, None, 2:] - boxes[:, None, :2])
    return hits(points[:, :, None], targets[:, None], radius).mean(1)


def pck(
    predicted: Float[np.ndarray, "n p 2"],
    targets: Float[np.ndarray, "n p 2"],
    visible: Bool[np.ndarray, "n p"],
    boxes: Float[np.ndarray, "n 4"],
    alpha: float = 0.1,
) -> Float[np.ndarray, " p"]:
    """PCK: share of the visible parts that were found (Yang & Ramanan, 2013), for each part.

    Args:
        predicted: points, one for each example and part.
        targets: where the parts are.
        visible: which parts each example shows.
        boxes: of the objects.
        alpha: a part is found within ``alpha * max(height, width)`` of the object's box.

    Returns:
        Shares in [0, 1]; nan for a part that no example shows.
    """
    side = np.max(boxes[:, 2:] - boxes[:, :2], axis=1)
    correct = hits(predicted, targets, (alpha * side)[:, None]) & visible
    count = visible.sum(0)
    return np.where(count > 0, correct.sum(0) / np.maximum(count, 1), np.nan)


def unit_hits(
    points: Float[np.ndarray, "b c 2"],
    targets: Float[np.ndarray, "b p 2"],
    visible: Bool[np.ndarray, "b p"],
    radius: float,
) -> Int[np.ndarray, "c p"]:
    """How many examples there are in which a unit's peak falls on a visible part, for each pair.

    Args:
        points: the peak of each unit.
        targets: where the parts are.
        visible: which parts each example shows.
        radius: in pixels.
    """
    on_part = hits(points[:, :, None], targets[:, None], radius)
    return np.sum(on_part & visible[:, None], axis=0)


def disc_masks(points: Float[np.ndarray, "... 2"], size: int, radius: float) -> np.ndarray:
    """Discs around points as masks ``[... size size]``; parts are annotated as points only."""
    y, x = np.mgrid[:size, :size] + 0.5
    return np.hypot(y - points[..., 0, None, None], x - points[..., 1, None, None]) <= radius


def at_points(
    maps: Float[Array, "b h w c"], points: Float[Array, "b p 2"], image_size: int
) -> Float[Array, "b p c"]:
    """Feature of the location that holds each point; of the nearest one if the point is outside."""
    height, width = maps.shape[1:3]
    scale = jnp.asarray([height, width]) / image_size
    place = jnp.clip(points * scale, 0, jnp.asarray([height, width]) - 1).astype(jnp.int32)
    return jax.vmap(lambda m, p: m[p[:, 0], p[:, 1]])(maps, place)


def occlude(
    images: Float[Array, "b h w 3"], points: Float[Array, "b 2"], radius: float
) -> Float[Array, "b h w 3"]:
    """Images with a disc around a point replaced by the image's own mean color.

    The disc fades out over a quarter of the radius: a sharp edge would itself be something to see.
    """
    y, x = jnp.mgrid[: images.shape[1], : images.shape[2]] + 0.5
    distance = jnp.hypot(y - points[:, 0, None, None], x - points[:, 1, None, None])
    cover = jnp.clip((radius - distance) / (radius / 4) + 0.5, 0, 1)[..., None]
    mean = images.mean((1, 2), keepdims=True)
    return images * (1 - cover) + mean * cover
