"""Max pooling, with a gradient that XLA's CPU backend computes fast.

JAX's own gradient (select and scatter) takes five times as long there. Here the forward pass notes
which pixel of each window, which *tap*, holds the maximum, and the backward pass adds up, tap by
tap, the gradients of the windows that this tap has won.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int16

from fgjax.ops.convolution import Pair, tap
from fgjax.ops.linear import linear_in

Pads = tuple[Pair, Pair]


def max_pool(
    x: Float[Array, "b h w c"], window: Pair, strides: Pair, pads: Pads
) -> Float[Array, "b hh ww c"]:
    """The maximum over each window; of equal values the first, row by row, gets the gradient.

    Args:
        x: feature map.
        window: height and width of the window.
        strides: steps of the window, down and right.
        pads: locations added (top, bottom) and (left, right); they never hold the maximum.
    """
    if jax.default_backend() == "cpu":
        return _pool_by_taps(x, window, strides, pads)
    return _pool(x, window, strides, pads)


def _pool(
    x: Float[Array, "b h w c"], window: Pair, strides: Pair, pads: Pads
) -> Float[Array, "b hh ww c"]:
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
    out = y.shape[1], y.shape[2]
    find = functools.partial(_winner, window=window, strides=strides, pads=pads, out=out)
    return y, _at_the_winners(lax.map(find, x), dx, window=window, strides=strides, pads=pads)


def _winner(
    x: Float[Array, "h w c"], window: Pair, strides: Pair, pads: Pads, out: Pair
) -> Int16[Array, "hh ww c"]:
    """For one image, the number of the tap (row by row) that holds each window's first maximum."""
    padded = lax.pad(x, jnp.array(-jnp.inf, x.dtype), (*((*pad, 0) for pad in pads), (0, 0, 0)))
    best = jnp.full((*out, x.shape[-1]), -jnp.inf, x.dtype)
    winner = jnp.zeros(best.shape, jnp.int16)
    for number in range(window[0] * window[1]):
        i, j = divmod(number, window[1])
        met = tap(padded, i, j, out, strides, (1, 1))
        winner = jnp.where(met > best, jnp.int16(number), winner)
        best = jnp.maximum(met, best)
    return winner


def _spread(
    g: Float[Array, "b hh ww c"],
    winner: Int16[Array, "b hh ww c"],
    x: Float[Array, "b h w c"],
    *,
    window: Pair,
    strides: Pair,
    pads: Pads,
) -> Float[Array, "b h w c"]:
    """Each window's gradient goes to the pixel under its winning tap.

    Pixels are treated in phases: a phase is all pixels whose coordinates leave the same remainder
    when divided by the strides. Within a phase the same taps meet every pixel, and neighboring
    windows lie one pixel of the phase apart, so that shifts and sums are all it takes.
    """
    size = x.shape[1:3]
    batch, *out, channels = g.shape
    # Of a phase: enough for the padded image and for every window, whichever reaches farther.
    sizes = [
        max(-(-(n + sum(pad)) // s), o + (k - 1) // s)
        for n, pad, s, o, k in zip(size, pads, strides, out, window, strict=True)
    ]

    def phase(row: int, column: int) -> Array:
        total = jnp.zeros((batch, *sizes, channels), g.dtype)
        for i in range(row, window[0], strides[0]):
            for j in range(column, window[1], strides[1]):
                won = jnp.where(winner == i * window[1] + j, g, 0)
                above, left = i // strides[0], j // strides[1]
                below, right = sizes[0] - out[0] - above, sizes[1] - out[1] - left
                total += jnp.pad(won, ((0, 0), (above, below), (left, right), (0, 0)))
        return total

    # Interleaves the phases: their axes come between and behind those of the grid.
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
