"""Resampling of feature maps to an exact size, any size to any other.

Pyramids add maps of different levels. Their sizes are often odd, and then no multiples of each
other: every function but :func:`rescale` takes the size that is wanted and not a factor.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Size = Sequence[int]  # height, width


def resize_nearest(x: Float[Array, "b h w c"], size: Size) -> Float[Array, "b H W c"]:
    """Nearest neighbor: output ``i`` is input ``floor(i · h / H)``, along each axis.

    Often that repeats every value equally often (doubling, and such sizes as 4 -> 7, but for the
    last). It is then done by repetition, whose backward pass sums neighbors; that of a gather would
    be a scatter, which is slow.
    """
    for axis, length in zip((1, 2), size, strict=True):
        x = _repeat(x, axis, length)
    return x


def _repeat(x: Array, axis: int, length: int) -> Array:
    """Nearest neighbors along one axis."""
    have = x.shape[axis]
    if have == length:
        return x
    source = np.arange(length) * have // length
    times = -(-length // have)
    if np.array_equal(source, np.arange(length) // times):
        return jax.lax.slice_in_dim(jnp.repeat(x, times, axis), 0, length, axis=axis)
    return jnp.take(x, source, axis=axis, indices_are_sorted=True, mode="clip")


def resize_bilinear(x: Float[Array, "b h w c"], size: Size) -> Float[Array, "b H W c"]:
    """Bilinear interpolation between pixel centers, without antialiasing."""
    if x.shape[1:3] == tuple(size):
        return x
    shape = (x.shape[0], *size, x.shape[-1])
    return jax.image.resize(x, shape, "bilinear", antialias=False)


def resize_plane(x: Float[Array, "b h w"], size: Size) -> Float[Array, "b H W"]:
    """:func:`resize_bilinear` of maps without channels."""
    return resize_bilinear(x[..., None], size)[..., 0]


def rescale(x: Float[Array, "b h w c"], scale: float) -> Float[Array, "b H W c"]:
    """To ``scale`` times the sides, in whole pixels; bilinear, and antialiased if that is less."""
    height, width = (round(side * scale) for side in x.shape[1:3])
    return jax.image.resize(x, (len(x), height, width, x.shape[-1]), "bilinear")


def resize_average(x: Float[Array, "b h w c"], size: Size) -> Float[Array, "b H W c"]:
    """Adaptive average pooling: output ``i`` is the mean of ``floor(i·h/H) … ceil((i+1)·h/H)-1``.

    Bins may differ in length by one. A small matrix for each axis serves any pair of sizes.
    """
    rows, columns = (_averages(n, m) for n, m in zip(x.shape[1:3], size, strict=True))
    return jnp.einsum("Hh,bhwc,Ww->bHWc", rows.astype(x.dtype), x, columns.astype(x.dtype))


def resize_total(x: Float[Array, "b h w"], size: Size) -> Float[Array, "b H W"]:
    """Divides every value among the new cells that its own cell overlaps, by area.

    The total stays the same, as it must for shares of a score.
    """
    rows, columns = (_shares(n, m) for n, m in zip(x.shape[1:3], size, strict=True))
    return jnp.einsum("Hh,bhw,Ww->bHW", rows.astype(x.dtype), x, columns.astype(x.dtype))


def _averages(length: int, bins: int) -> np.ndarray:
    """Row i averages the values of an axis of ``length`` that fall into bin i."""
    start = np.arange(bins) * length // bins
    stop = -(-(np.arange(bins) + 1) * length // bins)
    position = np.arange(length)
    inside = (start[:, None] <= position) & (position < stop[:, None])
    return (inside / inside.sum(axis=1, keepdims=True)).astype(np.float32)


def _shares(length: int, bins: int) -> np.ndarray:
    """Row i holds the share of every cell of an axis of ``length`` that lies in bin i."""
    cell, edge = np.arange(length), np.arange(bins + 1) * length / bins
    covered = np.minimum(edge[1:, None], cell + 1) - np.maximum(edge[:-1, None], cell)
    return np.maximum(covered, 0).astype(np.float32)
