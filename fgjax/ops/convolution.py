"""Convolutions, each written in the way that is fast on the backend at hand.

On GPU and TPU that is always the library's convolution. XLA's CPU backend is fast for the dense
k×k forward pass and its input gradient only. There a 1×1 convolution is a matrix product, a
depthwise one a sum over its taps, and every weight gradient is written by hand, because XLA
transposes whole maps for it. The numbers are the same up to rounding.
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
            return pointwise(x[:, :: strides[0], :: strides[1]], kernel[0, 0])
        if groups == x.shape[-1] == kernel.shape[-1]:
            return depthwise(x, kernel, strides, pads, dilation)
        if groups == 1:
            return dense(x, kernel, strides, pads, dilation)
    return _library(x, kernel, strides, pads, dilation, groups)


def _library(x, kernel, strides, pads, dilation, groups=1):
    return lax.conv_general_dilated(
        x, kernel, strides, pads,
        rhs_dilation=dilation, dimension_numbers=_LAYOUT, feature_group_count=groups,
    )  # fmt: skip


@jax.custom_vjp
def pointwise(x: Float[Array, "b h w i"], kernel: Float[Array, "i o"]) -> Float[Array, "b h w o"]:
    """1×1 convolution: a matrix product over the last axis."""
    return x @ kernel


def _pointwise_forward(x, kernel):
    return x @ kernel, (x, kernel)


def _pointwise_backward(residuals, g):
    x, kernel = residuals
    rows, against = (a.reshape(-1, a.shape[-1]) for a in (x, g))
    return g @ kernel.T, _sum_of_products(rows, against).astype(kernel.dtype)


pointwise.defvjp(_pointwise_forward, _pointwise_backward)


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


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def dense(
    x: Float[Array, "b h w i"],
    kernel: Float[Array, "kh kw i o"],
    strides: Pair,
    pads: tuple[Pair, Pair],
    dilation: Pair,
) -> Float[Array, "b hh ww o"]:
    """The library's convolution, with a weight gradient of its own."""
    return _library(x, kernel, strides, pads, dilation)


def _dense_forward(x, kernel, strides, pads, dilation):
    return dense(x, kernel, strides, pads, dilation), (x, kernel)


def _dense_backward(strides, pads, dilation, residuals, g):
    x, kernel = residuals
    _, pull = jax.vjp(lambda x: _library(x, kernel, strides, pads, dilation), x)
    return *pull(g), _dense_kernel_gradient(_pad(x, pads), g, kernel, strides, dilation)


def _dense_kernel_gradient(padded, g, kernel, strides, dilation):
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


dense.defvjp(_dense_forward, _dense_backward)


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
            total += tap(padded, i, j, out, strides, dilation) * kernel[i, j, 0]
    return total


def tap(padded, i, j, out, strides, dilation):
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
            tap(rows, i, j, (1, width), strides, dilation) for i in range(kh) for j in range(kw)
        )
        return [total + tap * against for total, tap in zip(totals, taps, strict=True)], None

    zero = jnp.zeros((batch, 1, width, channels), jnp.float32)
    totals, _ = lax.scan(add_row, [zero] * (kh * kw), jnp.arange(height))
    ones = jnp.ones((1, batch * width), jnp.float32)  # a product with ones is the fast sum
    sums = [ones @ total.reshape(batch * width, channels) for total in totals]
    return jnp.concatenate(sums).reshape(kernel.shape).astype(kernel.dtype)


depthwise.defvjp(_depthwise_forward, _depthwise_backward)
