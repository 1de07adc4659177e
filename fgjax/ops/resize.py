"""Resampling of feature maps to an exact size, any size to any other.

Pyramids add maps of different levels, whose sizes are odd as often as not, so every function here
takes the size that is wanted rather than a factor.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Size = Sequence[int]  # height, width


def resize_nearest(x: Float[Array, "b h w c"], size: Size) -> Float[Array, "b H W c"]:
    """Nearest neighbour: output ``i`` is input ``floor(i · h / H)``, along each axis.

    Where that is plain repetition (doubling, odd sizes such as 4 -> 7 included) nothing is
    gathered, and the backward pass is a sum of neighbours instead of a scatter.
    """
    for axis, length in zip((1, 2), size, strict=True):
        x = _repeat(x, axis, length)
    return x


def _repeat(x: Array, axis: int, length: int) -> Array:
    have = x.shape[axis]
    if have == length:
        return x
    source = np.arange(length) * have // length
    times = -(-length // have)
    if np.array_equal(source, np.arange(length) // times):
        return jax.lax.slice_in_dim(jnp.repeat(x, times, axis), 0, length, axis=axis)
    return jnp.take(x, source, axis=axis, indices_are_sorted=True, mode="clip")


def resize_bilinear(x: Float[Array, "b h w c"], size: Size) -> Float[Array, "b H W c"]:
    """Bilinear interpolation between pixel centres, without antialiasing."""
    if x.shape[1:3] == tuple(size):
        return x
    shape = (x.shape[0], *size, x.shape[-1])
    return jax.image.resize(x, shape, "bilinear", antialias=False)


def rescale(x: Float[Array, "b h w c"], scale: float) -> Float[Array, "b H W c"]:
    """Bilinear and antialiased, to ``scale`` times the sides, rounded to whole pixels."""
    height, width = (round(side * scale) for side in x.shape[1:3])
    return jax.image.resize(x, (len(x), height, width, x.shape[-1]), "bilinear")


def resize_average(x: Float[Array, "b h w c"], size: Size) -> Float[Array, "b H W c"]:
    """Adaptive average pooling: output ``i`` is the mean of ``floor(i·h/H) … ceil((i+1)·h/H)-1``.

    Both axes are averaged by a small matrix each, which suits any pair of sizes.
    """
    rows, columns = (_averages(n, m) for n, m in zip(x.shape[1:3], size, strict=True))
    return jnp.einsum("Hh,bhwc,Ww->bHWc", rows.astype(x.dtype), x, columns.astype(x.dtype))


def resize_total(x: Float[Array, "b h w"], size: Size) -> Float[Array, "b H W"]:
    """Every value is divided among the cells that it covers, by area; the total stays the same."""
    rows, columns = (_shares(n, m) for n, m in zip(x.shape[1:3], size, strict=True))
    return jnp.einsum("Hh,bhw,Ww->bHW", rows.astype(x.dtype), x, columns.astype(x.dtype))


def _averages(length: int, bins: int) -> np.ndarray:
    start = np.arange(bins) * length // bins
    stop = -(-(np.arange(bins) + 1) * length // bins)
    position = np.arange(length)
    inside = (start[:, None] <= position) & (position < stop[:, None])
    return (inside / inside.sum(axis=1, keepdims=True)).astype(np.float32)


def _shares(length: int, bins: int) -> np.ndarray:
    """Of every cell of an axis of ``length``, the share in each cell of one of ``bins``."""
    cell, edge = np.arange(length), np.arange(bins + 1) * length / bins
    covered = np.minimum(edge[1:, None], cell + 1) - np.maximum(edge[:-1, None], cell)
    return np.maximum(covered, 0).astype(np.float32)
