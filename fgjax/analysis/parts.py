"""Do units and maps point at annotated parts? Pointing game, PCK, IoU, response maps, occlusion.

Points are (y, x) and boxes (top, left, bottom, right), in pixels of the image that the network
saw and in the continuous coordinates of ``fgjax.ops.boxes``: the centre of the first pixel is
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
    """Centre, in pixels, of a location of a map that covers the image."""
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
    """Chance that a point drawn evenly from the object's box is within ``radius`` of a part."""
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
    """Percentage of correct keypoints, as a share, over visible parts (Yang & Ramanan, 2013).

    Correct: within ``alpha * max(height, width)`` of the object's box. nan for a part that is
    nowhere visible.
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
    """How often each unit's peak falls on each visible part; sums over batches add up."""
    on_part = hits(points[:, :, None], targets[:, None], radius)
    return np.sum(on_part & visible[:, None], axis=0)


def iou(first: Bool[np.ndarray, "... h w"], second: Bool[np.ndarray, "... h w"]) -> np.ndarray:
    """Intersection over union of masks; 0 where both are empty."""
    both = np.sum(first & second, axis=(-2, -1))
    either = np.sum(first | second, axis=(-2, -1))
    return both / np.maximum(either, 1)


def box_masks(boxes: Float[np.ndarray, "b 4"], size: int) -> Bool[np.ndarray, "b s s"]:
    """Boxes of an image of ``size`` pixels as masks."""
    place = np.arange(size) + 0.5
    rows = (place >= boxes[:, :1]) & (place <= boxes[:, 2:3])
    columns = (place >= boxes[:, 1:2]) & (place <= boxes[:, 3:])
    return rows[:, :, None] & columns[:, None, :]


def disc_masks(points: Float[np.ndarray, "... 2"], size: int, radius: float) -> np.ndarray:
    """Discs around points as masks ``[... size size]``: what stands for a part without a mask."""
    y, x = np.mgrid[:size, :size] + 0.5
    return np.hypot(y - points[..., 0, None, None], x - points[..., 1, None, None]) <= radius


def unit_overlap(
    maps: Float[np.ndarray, "b h w c"],
    masks: Bool[np.ndarray, "b p h w"],
    thresholds: Float[np.ndarray, " c"],
) -> tuple[Int[np.ndarray, "c p"], Int[np.ndarray, "c p"]]:
    """Network dissection (Bau et al., 2017): counts of intersection and union; batches add up.

    ``thresholds`` is each unit's top 0.5 % quantile; masks are at the size of the maps, and their
    ratio over all images is the IoU of a unit with a concept.
    """
    active = (maps > thresholds).astype(np.int64)
    masks = masks.astype(np.int64)
    both = np.einsum("bhwc,bphw->cp", active, masks)
    either = active.sum((0, 1, 2))[:, None] + masks.sum((0, 2, 3)) - both
    return both, either


def upsample(maps: Float[Array, "b h w"], size: int) -> Float[Array, "b s s"]:
    """Maps at the size of the image, bilinear."""
    return jax.image.resize(maps, (maps.shape[0], size, size), "bilinear")


def at_points(
    maps: Float[Array, "b h w c"], points: Float[Array, "b p 2"], image_size: int
) -> Float[Array, "b p c"]:
    """Features of the location that holds each point; points outside take the nearest one."""
    height, width = maps.shape[1:3]
    scale = jnp.asarray([height, width]) / image_size
    place = jnp.clip(points * scale, 0, jnp.asarray([height, width]) - 1).astype(jnp.int32)
    return jax.vmap(lambda m, p: m[p[:, 0], p[:, 1]])(maps, place)


def occlude(
    images: Float[Array, "b h w 3"], points: Float[Array, "b 2"], radius: float
) -> Float[Array, "b h w 3"]:
    """Images with a soft-edged disc around a point replaced by the image's own mean colour.

    The edge falls off over a quarter of the radius: a sharp one would be a new feature.
    """
    y, x = jnp.mgrid[: images.shape[1], : images.shape[2]] + 0.5
    distance = jnp.hypot(y - points[:, 0, None, None], x - points[:, 1, None, None])
    cover = jnp.clip((radius - distance) / (radius / 4) + 0.5, 0, 1)[..., None]
    mean = images.mean((1, 2), keepdims=True)
    return images * (1 - cover) + mean * cover
