"""Exact attribution of a pooled score to locations.

A pooled vector is f(z) of a statistic z = Σ_p w_p q(x_p) that sums over locations, and a score is
⟨direction, f(z)⟩. Where f is the identity the shares w_p ⟨direction, q(x_p)⟩ are obvious. Signed
square root and l2 are of degree 0 together, so their tangent explains nothing: the gradient of the
score along z is zero. Their *secant* does: hold the factors f(z)_k / z_k = 1 / (√|z_k| ‖·‖) at the
point, which is a linear map that equals f there. The score is then x_pᵀ W x_p summed over
locations for a second-order statistic; shares add up to it exactly and pairs of locations appear
only where a covariance is centred, through the mean.
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
        pooled: linear in the weights of the locations, so that the derivative by a weight, times
            that weight, is what the location adds.
        weights: the weights of the locations.
        direction: what the pooled vector is multiplied by: a class's weights, or the difference of
            two classes'.
    """
    score, pull_back = jax.vjp(pooled, weights)
    (slope,) = pull_back(direction.astype(score.dtype))
    return weights * slope
