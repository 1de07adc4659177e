"""Max pooling, with a gradient that XLA's CPU backend computes fast.

The library's (select and scatter) takes five times as long there as what stands here.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from fgjax.ops.convolution import Pair, tap
from fgjax.ops.linear import linear_in


def max_pool(
    x: Float[Array, "b h w c"], window: Pair, strides: Pair, pads: tuple[Pair, Pair]
) -> Float[Array, "b hh ww c"]:
    """The maximum over ``window``; of equal values the first, row by row, has the gradient."""
    if jax.default_backend() == "cpu":
        return _pool_by_taps(x, window, strides, pads)
    return _pool(x, window, strides, pads)


def _pool(x, window, strides, pads):
    return lax.reduce_window(
        x, -jnp.inf, lax.max, (1, *window, 1), (1, *strides, 1), ((0, 0), *pads, (0, 0))
    )


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2, 3))
def _pool_by_taps(x, window, strides, pads):
    return _pool(x, window, strides, pads)


@_pool_by_taps.defjvp
def _along_the_winners(window, strides, pads, primals, tangents):
    (x,), (dx,) = primals, tangents
    y = _pool(x, window, strides, pads)
    # A loop over images, because outside of one the compiler finds the winners anew for each tap.
    find = functools.partial(_winner, window=window, strides=strides, pads=pads, out=y.shape[1:3])
    return y, _at_the_winners(lax.map(find, x), dx, window=window, strides=strides, pads=pads)


def _winner(x, window, strides, pads, out):
    """For one image, the number of the tap that holds each window's first maximum."""
    padded = lax.pad(x, jnp.array(-jnp.inf, x.dtype), (*((*pad, 0) for pad in pads), (0, 0, 0)))
    best = jnp.full((*out, x.shape[-1]), -jnp.inf, x.dtype)
    winner = jnp.zeros(best.shape, jnp.int16)
    for number in range(window[0] * window[1]):
        i, j = divmod(number, window[1])
        met = tap(padded, i, j, out, strides, (1, 1))
        winner = jnp.where(met > best, jnp.int16(number), winner)
        best = jnp.maximum(met, best)
    return winner


def _spread(g, winner, x, *, window, strides, pads):
    """Each gradient goes to its window's winner; the pixels of one phase of the strides at a time.

    Pixels whose coordinates leave the same rest are met by the same taps, always at unit stride.
    """
    size = x.shape[1:3]
    batch, *out, channels = g.shape
    sizes = [
        max(-(-(n + sum(pad)) // s), o + (k - 1) // s)
        for n, pad, s, o, k in zip(size, pads, strides, out, window, strict=True)
    ]

    def phase(row, column):
        total = jnp.zeros((batch, *sizes, channels), g.dtype)
        for i in range(row, window[0], strides[0]):
            for j in range(column, window[1], strides[1]):
                won = jnp.where(winner == i * window[1] + j, g, 0)
                above, left = i // strides[0], j // strides[1]
                below, right = sizes[0] - out[0] - above, sizes[1] - out[1] - left
                total += jnp.pad(won, ((0, 0), (above, below), (left, right), (0, 0)))
        return total

    rows = [
        jnp.stack([phase(row, column) for column in range(strides[1])], 3)
        for row in range(strides[0])
    ]
    shape = batch, sizes[0] * strides[0], sizes[1] * strides[1], channels
    top, left = pads[0][0], pads[1][0]
    spread = jnp.stack(rows, 2).reshape(shape)
    return spread[:, top : top + size[0], left : left + size[1]]


@linear_in({1: _spread})
def _at_the_winners(winner, x, *, window, strides, pads):
    """The values of ``x`` at each window's winner."""
    padded = lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), *((*p, 0) for p in pads), (0, 0, 0)))
    out, total = winner.shape[1:3], jnp.zeros(winner.shape, x.dtype)
    for number in range(window[0] * window[1]):
        i, j = divmod(number, window[1])
        met = tap(padded, i, j, out, strides, (1, 1))
        total = jnp.where(winner == number, met, total)
    return total
