"""Convolutions, each written in the way that is fast on the backend at hand.

On GPU and TPU that is always the library's convolution. XLA's CPU backend is fast for the dense
k×k forward pass and its input gradient only. There a 1×1 convolution is a matrix product, a
depthwise one a sum over its taps, and every weight gradient is written by hand, because XLA
transposes whole maps for it. The numbers are the same up to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from fgjax.ops.linear import linear_in

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
            return pointwise(x[:, :: strides[0], :: strides[1]], kernel[0, 0])
        geometry = {"strides": strides, "pads": pads, "dilation": dilation}
        if groups == x.shape[-1] == kernel.shape[-1]:
            return depthwise(x, kernel, **geometry)
        if groups == 1:
            return dense(x, kernel, **geometry)
    return _library(x, kernel, strides, pads, dilation, groups)


def _library(x, kernel, strides, pads, dilation, groups=1):
    return lax.conv_general_dilated(
        x, kernel, strides, pads,
        rhs_dilation=dilation, dimension_numbers=_LAYOUT, feature_group_count=groups,
    )  # fmt: skip


def _pointwise_input_gradient(g, x, kernel):
    return (g @ kernel.T).astype(x.dtype)


def _pointwise_kernel_gradient(g, x, kernel):
    rows, against = (a.reshape(-1, a.shape[-1]) for a in (x, g))
    return _sum_of_products(rows, against).astype(kernel.dtype)


@linear_in({0: _pointwise_input_gradient, 1: _pointwise_kernel_gradient})
def pointwise(x: Float[Array, "b h w i"], kernel: Float[Array, "i o"]) -> Float[Array, "b h w o"]:
    """1×1 convolution: a matrix product over the last axis."""
    return x @ kernel


def _sum_of_products(a: Float[Array, "n i"], b: Float[Array, "n o"]) -> Float[Array, "i o"]:
    """``a.T @ b`` in float32 at least.

    XLA:CPU is twice as fast with the narrower matrix on the left. Turned the other way round, as
    automatic differentiation has it, it even writes a transposed copy of the wider one first.
    """
    if a.shape[-1] > b.shape[-1]:
        # Without the barrier the compiler would turn the product back.
        return lax.optimization_barrier(_sum_of_products(b, a)).T
    dtype = jnp.promote_types(a.dtype, jnp.float32)
    return jnp.matmul(a.T, b, preferred_element_type=dtype)


def _dense_input_gradient(g, x, kernel, *, strides, pads, dilation):
    def forward(x):
        return _library(x, kernel, strides, pads, dilation)

    return jax.linear_transpose(forward, x)(g)[0]


def _dense_kernel_gradient(g, x, kernel, *, strides, pads, dilation):
    return _product_with_taps(_pad(x, pads), g, kernel, strides, dilation)


@linear_in({0: _dense_input_gradient, 1: _dense_kernel_gradient})
def dense(
    x: Float[Array, "b h w i"],
    kernel: Float[Array, "kh kw i o"],
    *,
    strides: Pair,
    pads: tuple[Pair, Pair],
    dilation: Pair,
) -> Float[Array, "b hh ww o"]:
    """The library's convolution, with a weight gradient of its own."""
    return _library(x, kernel, strides, pads, dilation)


def _product_with_taps(padded, g, kernel, strides, dilation):
    """Block by block: what each tap meets, side by side, then one matrix product with ``g``.

    A block is a band of an image or a few whole images: so small that its copies stay in the cache,
    and so large that adding up the products, each as large as the kernel, costs little beside them.
    """
    kh, kw, channels, features = kernel.shape
    batch, height, width, _ = g.shape
    pixels = 3 * features
    band = _divisor(height, pixels // width)
    images = _divisor(batch, pixels // (height * width))
    reach = (band - 1) * strides[0] + (kh - 1) * dilation[0] + 1
    bands = height // band

    def add_block(total, number):
        image, row = number // bands * images, number % bands * band
        rows = lax.dynamic_slice(
            padded, (image, row * strides[0], 0, 0), (images, reach, *padded.shape[2:])
        )
        against = lax.dynamic_slice(g, (image, row, 0, 0), (images, band, width, features))
        taps = [
            tap(rows, i, j, (band, width), strides, dilation) for i in range(kh) for j in range(kw)
        ]
        columns = jnp.concatenate(taps, -1).reshape(-1, kh * kw * channels)
        return total + _sum_of_products(against.reshape(-1, features), columns), None

    zero = jnp.zeros((features, kh * kw * channels), jnp.promote_types(g.dtype, jnp.float32))
    total, _ = lax.scan(add_block, zero, jnp.arange(batch // images * bands))
    return total.reshape(features, kh, kw, channels).transpose(1, 2, 3, 0).astype(kernel.dtype)


def _divisor(number, limit):
    """The largest divisor of ``number`` that is at most ``limit``, or 1."""
    return max(d for d in range(1, number + 1) if number % d == 0 and d <= max(limit, 1))


def _pad(x, pads):
    return lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), *((*pad, 0) for pad in pads), (0, 0, 0)))


def _sum_of_taps(padded, kernel, strides, dilation):
    """What a "VALID" depthwise convolution gives, added up in float32 at least."""
    out = [
        (size - (k - 1) * d - 1) // s + 1
        for size, k, s, d in zip(
            padded.shape[1:3], kernel.shape[:2], strides, dilation, strict=True
        )
    ]
    narrow = jnp.result_type(padded, kernel)
    wide = jnp.promote_types(narrow, jnp.float32)
    padded, kernel = padded.astype(wide), kernel.astype(wide)
    total: Any = 0.0
    for i in range(kernel.shape[0]):
        for j in range(kernel.shape[1]):
            total += tap(padded, i, j, out, strides, dilation) * kernel[i, j, 0]
    return total.astype(narrow)


def tap(padded, i, j, out, strides, dilation):
    """The pixels that tap (i, j) of the kernel meets: [..., out height, out width, c]."""
    top, left = i * dilation[0], j * dilation[1]
    bottom = top + (out[0] - 1) * strides[0] + 1
    right = left + (out[1] - 1) * strides[1] + 1
    return padded[..., top : bottom : strides[0], left : right : strides[1], :]


def _depthwise_input_gradient(g, x, kernel, *, strides, pads, dilation):
    """The flipped kernel slides over the gradient, spread by the stride."""
    config = []
    for axis in (0, 1):
        extent = (kernel.shape[axis] - 1) * dilation[axis]
        before = extent - pads[axis][0]
        spread = (g.shape[1 + axis] - 1) * strides[axis] + 1
        config.append((before, x.shape[1 + axis] + extent - spread - before, strides[axis] - 1))
    spread = lax.pad(g, jnp.zeros((), g.dtype), ((0, 0, 0), *config, (0, 0, 0)))
    return _sum_of_taps(spread, kernel[::-1, ::-1], (1, 1), dilation).astype(x.dtype)


def _depthwise_kernel_gradient(g, x, kernel, *, strides, pads, dilation):
    """Row by row, each tap's products kept apart by image and column until the end.

    Elementwise sums are what XLA:CPU vectorises; a plain sum over batch, height and width of each
    tap's product is an order of magnitude slower.
    """
    padded = _pad(x, pads)
    kh, kw, _, channels = kernel.shape
    batch, height, width, _ = g.shape
    reach = (kh - 1) * dilation[0] + 1

    def add_row(totals, row):
        rows = lax.dynamic_slice_in_dim(padded, row * strides[0], reach, axis=1)
        against = lax.dynamic_slice_in_dim(g, row, 1, axis=1).astype(jnp.float32)
        taps = (
            tap(rows, i, j, (1, width), strides, dilation) for i in range(kh) for j in range(kw)
        )
        return [total + tap * against for total, tap in zip(totals, taps, strict=True)], None

    zero = jnp.zeros((batch, 1, width, channels), jnp.float32)
    totals, _ = lax.scan(add_row, [zero] * (kh * kw), jnp.arange(height))
    ones = jnp.ones((1, batch * width), jnp.float32)  # a product with ones is the fast sum
    sums = [ones @ total.reshape(batch * width, channels) for total in totals]
    return jnp.concatenate(sums).reshape(kernel.shape).astype(kernel.dtype)


@linear_in({0: _depthwise_input_gradient, 1: _depthwise_kernel_gradient})
def depthwise(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "kh kw 1 c"],
    *,
    strides: Pair,
    pads: tuple[Pair, Pair],
    dilation: Pair,
) -> Float[Array, "b hh ww c"]:
    """Depthwise convolution as one pass: each tap's strided slice times that tap's weights."""
    return _sum_of_taps(_pad(x, pads), kernel, strides, dilation)
