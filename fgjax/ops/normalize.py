"""Normalizations of pooled second-order vectors, with finite gradients everywhere.

The gradient of a root is infinite at zero, and a zero vector has no direction. Here the value is
exact everywhere, the gradient is exact wherever it exists, and at zero it is defined as zero. The
original code of compact bilinear pooling used 0.5 / (√|x| + 0.1) for the gradient of the square
root, which is bounded but not exact; ``delta=0.1`` gives that.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def signed_power(
    x: Float[Array, "*shape"], exponent: float = 0.5, delta: float = 0.0
) -> Float[Array, "*shape"]:
    """sign(x) |x|^exponent, elementwise, for 0 < exponent <= 1.

    Its derivative is taken to be exponent / (|x|^(1 - exponent) + delta). With ``delta`` = 0 that
    is exact, and defined as 0 at x = 0; otherwise it is at most exponent / delta.
    """
    return jnp.sign(x) * _safe_magnitude(x) ** exponent


@signed_power.defjvp
def _signed_power_jvp(
    exponent: float, delta: float, primals: tuple[Array], tangents: tuple[Array]
) -> tuple[Array, Array]:
    (x,), (dx,) = primals, tangents
    slope = exponent / (_safe_magnitude(x) ** (1 - exponent) + delta)
    at_zero = exponent / delta if delta else 0.0
    return signed_power(x, exponent, delta), jnp.where(x == 0, at_zero, slope) * dx


def signed_sqrt(x: Float[Array, "*shape"], delta: float = 0.0) -> Float[Array, "*shape"]:
    """sign(x) √|x|, elementwise: ``signed_power`` with exponent 1/2 (Lin et al. 2015, eq. 4)."""
    return signed_power(x, 0.5, delta)


def l2_normalize(x: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
    """x / ‖x‖ over the last axis; a zero vector stays zero and has gradient zero.

    The vector is first divided by its largest magnitude, lest its square overflow or underflow.
    x / ‖x‖ does not change with the scale of x, so that this divisor is a constant to the gradient.
    """
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(x), axis=-1, keepdims=True))
    present = largest >= jnp.finfo(x.dtype).tiny
    x = x / jnp.where(present, largest, 1)
    square = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    return jnp.where(present, x * jax.lax.rsqrt(jnp.where(present, square, 1)), 0)


def _safe_magnitude(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """|x|, and 1 where x is 0, so that no power of it has an infinite derivative."""
    return jnp.abs(jnp.where(x == 0, 1, x))
