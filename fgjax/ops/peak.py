"""Maxima whose gradient is that of the values that hold them."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float


def maximum(x: Float[Array, ...], axis: int) -> Float[Array, ...]:
    """Maximum along one axis; of equal values the first gets the gradient.

    ``jnp.max`` divides its gradient among the values that equal the maximum. Where a compiler
    computes the values a second time for that comparison and rounds them otherwise, none does, and
    the gradient is 0 / 0.
    """
    place = jnp.expand_dims(jnp.argmax(x, axis), axis)
    return jnp.take_along_axis(x, place, axis).squeeze(axis)


def maximum_over_places(x: Float[Array, "b h w c"]) -> Float[Array, "b c"]:
    """Maximum over the locations of a map."""
    return maximum(x.reshape(x.shape[0], -1, x.shape[-1]), 1)
