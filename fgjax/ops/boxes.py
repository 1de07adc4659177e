"""Axis-aligned affine maps, and what they do to points, boxes and parts.

A crop, a resize, a horizontal flip and any chain of them is one map per axis,

    y' = scale_y * y + shift_y,    x' = scale_x * x + shift_x,

held as the vector ``(scale_y, scale_x, shift_y, shift_x)``. Coordinates are continuous: the pixel
in row i and column j covers ``[i, i + 1) x [j, j + 1)`` and has its center at ``(i + .5, j + .5)``,
so that halving the resolution halves every coordinate. Every function takes NumPy or JAX arrays,
with any leading axes, and returns the same kind.
"""

from __future__ import annotations

from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np

AnyArray = TypeVar("AnyArray", np.ndarray, jax.Array)


def _numpy_of(array: AnyArray):
    return jnp if isinstance(array, jax.Array) else np


def compose(outer: AnyArray, inner: AnyArray) -> AnyArray:
    """The map that applies ``inner`` first and ``outer`` second.

    Args:
        outer: Float[... 4].
        inner: Float[... 4].

    Returns:
        Float[... 4].
    """
    scale = outer[..., :2] * inner[..., :2]
    shift = outer[..., :2] * inner[..., 2:] + outer[..., 2:]
    return _numpy_of(shift).concatenate([scale, shift], axis=-1)


def invert(affine: AnyArray) -> AnyArray:
    """The map back.

    Args:
        affine: Float[... 4]; no scale is zero.

    Returns:
        Float[... 4].
    """
    scale = 1 / affine[..., :2]
    return _numpy_of(scale).concatenate([scale, -affine[..., 2:] * scale], axis=-1)


def map_points(affine: AnyArray, points: AnyArray) -> AnyArray:
    """Points after a map.

    Args:
        affine: Float[... 4].
        points: Float[... p 2], (y, x) in pixels.

    Returns:
        Float[... p 2].
    """
    return points * affine[..., None, :2] + affine[..., None, 2:]


def map_boxes(affine: AnyArray, boxes: AnyArray) -> AnyArray:
    """Boxes after a map.

    Args:
        affine: Float[... 4].
        boxes: Float[... 4], (ymin, xmin, ymax, xmax) in pixels.

    Returns:
        Float[... 4], not clipped to any image.
    """
    # A flip swaps a box's sides: its lesser coordinates are again the first ones.
    first = boxes[..., :2] * affine[..., :2] + affine[..., 2:]
    second = boxes[..., 2:] * affine[..., :2] + affine[..., 2:]
    xnp = _numpy_of(first)
    return xnp.concatenate([xnp.minimum(first, second), xnp.maximum(first, second)], axis=-1)


def map_parts(affine: AnyArray, parts: AnyArray, size: int) -> AnyArray:
    """Part points after a map onto a square image; a part that leaves it is no longer visible.

    Args:
        affine: Float[... 4].
        parts: Float[... p 3], (y, x, visible) with y and x in pixels and visible 0 or 1.
        size: side of the square image the map leads to, in pixels.

    Returns:
        Float[... p 3].
    """
    points = map_points(affine, parts[..., :2])
    inside = ((points >= 0) & (points < size)).all(axis=-1)
    visible = parts[..., 2] * inside
    return _numpy_of(points).concatenate([points, visible[..., None]], axis=-1)
