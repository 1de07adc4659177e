"""Convolutions, each written in the way that is fast on the backend at hand.

On GPU and TPU that is always the library's convolution. XLA's CPU backend is fast for the dense
k×k forward pass only; there a 1×1 convolution is a matrix product, and a depthwise one a sum over
its taps, with its own weight gradient. The numbers are the same up to rounding.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

Pair = tuple[int, int]
Padding = str | int | tuple[Pair, Pair]

_LAYOUT = ("NHWC", "HWIO", "NHWC")


def explicit_padding(
    padding: Padding, size: Sequence[int], kernel: Sequence[int], strides: Pair, dilation: Pair
) -> tuple[Pair, Pair]:
    """Padding before and after, per axis; "SAME" is TensorFlow's, which pads more at the end."""
    if isinstance(padding, int):
        return ((padding, padding), (padding, padding))
    if not isinstance(padding, str):
        return padding
    if padding == "VALID":
        return ((0, 0), (0, 0))
    if padding != "SAME":
        raise ValueError(f"padding must be 'SAME', 'VALID', an int or two pairs, not {padding!r}")
    extents = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    rows, columns = lax.padtype_to_pads(size, extents, strides, "SAME")
    return rows, columns


def convolve(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "kh kw i o"],
    strides: Pair = (1, 1),
    padding: Padding = "SAME",
    groups: int = 1,
    dilation: Pair = (1, 1),
) -> Float[Array, "b hh ww o"]:
    """Cross-correlation of ``x`` with ``kernel``, where i = c / groups."""
    window = kernel.shape[:2]
    pads = explicit_padding(padding, x.shape[1:3], window, strides, dilation)
    if jax.default_backend() == "cpu":
        if window == (1, 1) and groups == 1 and pads == ((0, 0), (0, 0)):
            return x[:, :: strides[0], :: strides[1]] @ kernel[0, 0]
        if groups == x.shape[-1] == kernel.shape[-1]:
            return depthwise(x, kernel, strides, pads, dilation)
    return lax.conv_general_dilated(
        x, kernel, strides, pads,
        rhs_dilation=dilation, dimension_numbers=_LAYOUT, feature_group_count=groups,
    )  # fmt: skip


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def depthwise(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "kh kw 1 c"],
    strides: Pair,
    pads: tuple[Pair, Pair],
    dilation: Pair,
) -> Float[Array, "b hh ww c"]:
    """Depthwise convolution as one pass: each tap's strided slice times that tap's weights."""
    return _sum_of_taps(_pad(x, pads), kernel, strides, dilation)


def _pad(x, pads):
    return lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), *((*pad, 0) for pad in pads), (0, 0, 0)))


def _sum_of_taps(padded, kernel, strides, dilation):
    """What a "VALID" depthwise convolution gives."""
    out = [
        (size - (k - 1) * d - 1) // s + 1
        for size, k, s, d in zip(
            padded.shape[1:3], kernel.shape[:2], strides, dilation, strict=True
        )
    ]
    total = 0.0
    for i in range(kernel.shape[0]):
        for j in range(kernel.shape[1]):
            total += _tap(padded, i, j, out, strides, dilation) * kernel[i, j, 0]
    return total


def _tap(padded, i, j, out, strides, dilation):
    """The pixels that tap (i, j) of the kernel meets: [..., out height, out width, c]."""
    top, left = i * dilation[0], j * dilation[1]
    bottom = top + (out[0] - 1) * strides[0] + 1
    right = left + (out[1] - 1) * strides[1] + 1
    return padded[..., top : bottom : strides[0], left : right : strides[1], :]


def _depthwise_forward(x, kernel, strides, pads, dilation):
    return depthwise(x, kernel, strides, pads, dilation), (x, kernel)


def _depthwise_backward(strides, pads, dilation, residuals, g):
    x, kernel = residuals
    return (
        _depthwise_input_gradient(g, kernel, x.shape, strides, pads, dilation),
        _depthwise_kernel_gradient(_pad(x, pads), g, kernel, strides, dilation),
    )


def _depthwise_input_gradient(g, kernel, shape, strides, pads, dilation):
    """The flipped kernel slides over the gradient, spread by the stride."""
    config = []
    for axis in (0, 1):
        extent = (kernel.shape[axis] - 1) * dilation[axis]
        before = extent - pads[axis][0]
        spread = (g.shape[1 + axis] - 1) * strides[axis] + 1
        config.append((before, shape[1 + axis] + extent - spread - before, strides[axis] - 1))
    spread = lax.pad(g, jnp.zeros((), g.dtype), ((0, 0, 0), *config, (0, 0, 0)))
    return _sum_of_taps(spread, kernel[::-1, ::-1], (1, 1), dilation)


def _depthwise_kernel_gradient(padded, g, kernel, strides, dilation):
    """Row by row, each tap's products kept apart by image and column until the end.

    Elementwise sums are what XLA:CPU vectorises; a plain sum over batch, height and width of each
    tap's product is an order of magnitude slower.
    """
    kh, kw, _, channels = kernel.shape
    batch, height, width, _ = g.shape
    reach = (kh - 1) * dilation[0] + 1

    def add_row(totals, row):
        rows = lax.dynamic_slice_in_dim(padded, row * strides[0], reach, axis=1)
        against = lax.dynamic_slice_in_dim(g, row, 1, axis=1).astype(jnp.float32)
        taps = (
            _tap(rows, i, j, (1, width), strides, dilation) for i in range(kh) for j in range(kw)
        )
        return [total + tap * against for total, tap in zip(totals, taps, strict=True)], None

    zero = jnp.zeros((batch, 1, width, channels), jnp.float32)
    totals, _ = lax.scan(add_row, [zero] * (kh * kw), jnp.arange(height))
    ones = jnp.ones((1, batch * width), jnp.float32)  # a product with ones is the fast sum
    sums = [ones @ total.reshape(batch * width, channels) for total in totals]
    return jnp.concatenate(sums).reshape(kernel.shape).astype(kernel.dtype)


depthwise.defvjp(_depthwise_forward, _depthwise_backward)
