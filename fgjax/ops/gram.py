"""The Gram matrix of a feature map: the one operation behind every second-order head."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from fgjax.ops.resize import resize_bilinear


def gram(
    x: Float[Array, "*b h w c"],
    y: Float[Array, "*b h w e"] | None = None,
    weights: Float[Array, "*b h w"] | None = None,
    *,
    center: bool = False,
    mean: bool = False,
) -> Float[Array, "*b c e"]:
    """Outer products of the features at every location, pooled: G = Σ_p w_p x_p y_pᵀ.

    Inputs in bfloat16 or float32 are accumulated in float32. Without ``y`` the map is multiplied by
    itself; G is then symmetric, and its gradient takes one matrix product, x (dG + dGᵀ), not two.

    Args:
        x: feature map.
        y: second feature map on the same grid (see :func:`align`), or None for ``x`` itself.
        weights: weight of each location (a mask, an attention map); all ones if None.
        center: subtract each map's (weighted) mean first, which makes G a covariance.
        mean: divide by the sum of the weights; without weights, by the number of locations.

    Raises:
        ValueError: on maps without the axes h, w, c, or maps and weights that do not match.
    """
    check_maps(x, y, weights)
    dtype = jnp.promote_types(x.dtype, jnp.float32)
    x, w = flatten_locations(x), None if weights is None else _column(weights, dtype)
    y = None if y is None else flatten_locations(y)
    total = x.shape[-2] if w is None else w.sum(-2, keepdims=True)
    if center:
        x = _centered(x, w, total, dtype)
        y = None if y is None else _centered(y, w, total, dtype)
    pooled = _self_product(x, w) if y is None else _product(x if w is None else x * w, y)
    return pooled / _nonzero(total) if mean else pooled


def triangle(matrix: Float[Array, "*b c c"]) -> Float[Array, "*b t"]:
    """Upper triangle with its diagonal, row by row and unscaled: t = c (c + 1) / 2 values."""
    rows, columns = np.triu_indices(matrix.shape[-1])
    return matrix.at[..., rows, columns].get(unique_indices=True, indices_are_sorted=True)


def align(maps: tuple[Float[Array, "b _h _w _c"], ...]) -> tuple[Float[Array, "b h w _c"], ...]:
    """Resize maps of several levels bilinearly to the grid of the finest, so no detail is lost."""
    finest = max(m.shape[1:3] for m in maps)
    return tuple(resize_bilinear(m, finest) for m in maps)


def check_maps(x: Array, y: Array | None = None, weights: Array | None = None) -> None:
    """Raise a ValueError unless ``x`` is a map (..., h, w, c) and the others lie on its grid."""
    for name, map_ in (("x", x), ("y", y)):
        if map_ is not None and map_.ndim < 3:
            raise ValueError(
                f"{name} has shape {map_.shape}: give a feature map with axes (..., h, w, c)"
            )
    if y is not None and y.shape[:-1] != x.shape[:-1]:
        raise ValueError(
            f"x has shape {x.shape} and y {y.shape}: batch and grid must be the same; "
            "resize maps of different levels with `align` first"
        )
    if weights is not None and weights.shape != x.shape[:-1]:
        raise ValueError(
            f"weights have shape {weights.shape}: give one per location, {x.shape[:-1]}"
        )


def flatten_locations(x: Float[Array, "*b h w c"]) -> Float[Array, "*b n c"]:
    """The same map with its grid as one axis of n = h w locations."""
    return x.reshape(*x.shape[:-3], -1, x.shape[-1])


@jax.custom_jvp
def _self_product(x: Array, w: Array | None) -> Array:
    return _product(x if w is None else x * w, x)


@_self_product.defjvp
def _self_product_jvp(primals, tangents):
    """The derivative as a product plus its transpose, dxᵀ x being that of xᵀ dx.

    In the backward pass JAX transposes this: the cotangent and its transpose are added first, and
    one product with x follows.
    """
    (x, w), (dx, dw) = primals, tangents
    half = _product(x if w is None else x * w, dx)
    tangent = half + jnp.swapaxes(half, -1, -2)
    if w is not None:
        tangent += _product(x * dw, x)
    return _self_product(x, w), tangent


def _product(x: Float[Array, "*b n c"], y: Float[Array, "*b n e"]) -> Float[Array, "*b c e"]:
    """xᵀ y, accumulated in float32 at least and, for float32, without reduced precision."""
    dtype = jnp.promote_types(jnp.promote_types(x.dtype, y.dtype), jnp.float32)
    return jnp.einsum(
        "...nc,...ne->...ce",
        x,
        y,
        precision=jax.lax.Precision.HIGHEST,
        preferred_element_type=dtype,
    )


def _centered(x: Array, w: Array | None, total: Array | int, dtype: jnp.dtype) -> Array:
    """The map less its weighted mean, in ``dtype``: bfloat16 is too coarse for the difference."""
    x = x.astype(dtype)
    return x - (x if w is None else x * w).sum(-2, keepdims=True) / _nonzero(total)


def _column(weights: Float[Array, "*b h w"], dtype) -> Float[Array, "*b n 1"]:
    """Weights of the locations as a column, to be multiplied with a flattened map."""
    return weights.reshape(*weights.shape[:-2], -1, 1).astype(dtype)


def _nonzero(total: Array | int) -> Array | int:
    """The total as a divisor: 1 in place of 0, so that a map without any weight gives zeros."""
    return jnp.where(total == 0, 1, total)
