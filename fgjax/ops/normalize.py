"""Normalisations of pooled second-order vectors, with finite gradients everywhere.

The gradient of a root is infinite at zero, and a zero vector has no direction. The convention here:
the value is exact everywhere, the gradient is exact wherever it exists, and it is zero at zero. The
original compact-bilinear code replaced the gradient of the square root by 0.5 / (√|x| + 0.1);
``delta`` gives that (biased, bounded) form.
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

    Its derivative is exponent / (|x|^(1 - exponent) + delta): exact for ``delta`` = 0, where it is
    defined as 0 at x = 0, and at most exponent / delta otherwise.
    """
    return jnp.sign(x) * _safe_magnitude(x) ** exponent


@signed_power.defjvp
def _signed_power_jvp(exponent, delta, primals, tangents):
    (x,), (dx,) = primals, tangents
    slope = exponent / (_safe_magnitude(x) ** (1 - exponent) + delta)
    at_zero = exponent / delta if delta else 0.0
    return signed_power(x, exponent, delta), jnp.where(x == 0, at_zero, slope) * dx


def signed_sqrt(x: Float[Array, "*shape"], delta: float = 0.0) -> Float[Array, "*shape"]:
    """sign(x) √|x|, elementwise: ``signed_power`` with exponent 1/2 (Lin et al. 2015, eq. 4)."""
    return signed_power(x, 0.5, delta)


def l2_normalize(x: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
    """x / ‖x‖ over the last axis; a zero vector stays zero and has gradient zero.

    The vector is first divided by its largest magnitude, so that no scale that float32 holds
    overflows or underflows when squared. The quotient is of degree 0 in x: the divisor is constant
    as far as the gradient is concerned.
    """
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(x), axis=-1, keepdims=True))
    present = largest >= jnp.finfo(x.dtype).tiny
    x = x / jnp.where(present, largest, 1)
    square = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    return jnp.where(present, x * jax.lax.rsqrt(jnp.where(present, square, 1)), 0)


def _safe_magnitude(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """|x|, and 1 where x is 0, so that no power of it has an infinite derivative."""
    return jnp.abs(jnp.where(x == 0, 1, x))
