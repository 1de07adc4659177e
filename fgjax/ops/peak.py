"""Maxima whose whole gradient goes to one value."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float


def maximum(x: Float[Array, ...], axis: int) -> Float[Array, ...]:
    """Maximum along one axis; of equal values the first gets the gradient.

    ``jnp.max`` divides its gradient among the values that equal the maximum. A compiler may compute
    the values a second time for that comparison, and round them otherwise: then no value equals
    the maximum, and the gradient is 0 / 0.
    """
    place = jnp.expand_dims(jnp.argmax(x, axis), axis)
    return jnp.take_along_axis(x, place, axis).squeeze(axis)


def maximum_over_places(x: Float[Array, "b h w c"]) -> Float[Array, "b c"]:
    """Maximum over the locations of a map."""
    return maximum(x.reshape(x.shape[0], -1, x.shape[-1]), 1)
