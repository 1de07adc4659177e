"""Exact attribution of a pooled score to locations.

A pooled vector is f(z), where the statistic z = Σ_p w_p q(x_p) sums over locations p with weights
w_p, and a score is ⟨direction, f(z)⟩. If f is the identity, the share of a location is plainly
w_p ⟨direction, q(x_p)⟩. The usual f, signed square root followed by division by the length, does
not change when z is scaled (it is of degree 0), so that the gradient of the score along z is zero
and explains nothing. The *secant* is used instead: the linear map that multiplies z_k by
f(z)_k / z_k, with these factors held fixed. It equals f at this z, so that the shares of locations
add up to the score exactly. (Where a covariance is centered, locations also meet in pairs, through
the mean.)
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def secant(
    z: Float[Array, "b d"], value: Float[Array, "b d"]
) -> Callable[[Float[Array, "b d"]], Float[Array, "b d"]]:
    """The elementwise linear map that takes ``z`` to ``value``; 0 where ``z`` is 0."""
    factor = jnp.where(z == 0, 0, value / jnp.where(z == 0, 1, z))
    return lambda z: factor * z


def location_shares(
    pooled: Callable[[Float[Array, "b h w"]], Float[Array, "b d"]],
    weights: Float[Array, "b h w"],
    direction: Float[Array, "b d"],
) -> Float[Array, "b h w"]:
    """Share of each location in ⟨direction, pooled(weights)⟩; the shares of an image sum to it.

    Args:
        pooled: from the weights of the locations to the pooled vector, linearly: what a location
            adds is then its weight times the derivative by it.
        weights: of the locations.
        direction: what the pooled vector is multiplied by: the weights of a class in the head, or
            the difference between those of two classes.
    """
    score, pull_back = jax.vjp(pooled, weights)
    (slope,) = pull_back(direction.astype(score.dtype))
    return weights * slope
