"""Rank-one forms of the Gram matrix: z_k = Σ_p (u_kᵀ x_p)(v_kᵀ y_p) = u_kᵀ G v_k.

With learned u and v this is low-rank bilinear pooling in its Hadamard form: MLB (Kim et al. 2017),
MFB (Yu et al. 2017), hierarchical bilinear pooling (Yu et al. 2018). With random signs it is Random
Maclaurin (Kar & Karnick 2012), whose sketch has E⟨φ(x), φ(y)⟩ = ⟨x, y⟩².
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int8

from fgjax.ops.gram import check_maps, gram


def factorized(
    x: Float[Array, "*b h w c"],
    y: Float[Array, "*b h w e"] | None,
    u: Float[Array, "c d"],
    v: Float[Array, "e d"],
    weights: Float[Array, "*b h w"] | None = None,
    *,
    algorithm: str = "auto",
) -> Float[Array, "*b d"]:
    """The vector of all z_k: (uᵀ x_p) ∘ (vᵀ y_p), summed over locations, in float32 or better.

    Args:
        x: feature map.
        y: second feature map on the same grid, or None for ``x`` itself.
        u: projections of x.
        v: projections of y.
        weights: weight of each location.
        algorithm: "gram" (through the Gram matrix), "locations" (project every location) or
            "auto": whichever takes fewer multiplications, N c e + c e d or N (c + e) d, where N is
            the number of locations.

    Raises:
        ValueError: on an unknown algorithm or maps that do not match.
    """
    check_maps(x, y, weights)
    if algorithm == "auto":
        n, c, e, d = x.shape[-3] * x.shape[-2], u.shape[0], v.shape[0], u.shape[1]
        algorithm = "gram" if n * c * e + c * e * d <= n * (c + e) * d else "locations"
    if algorithm == "gram":
        return (_project(gram(x, y, weights), v) * u).sum(-2)
    if algorithm == "locations":
        products = _project(x, u) * _project(x if y is None else y, v)
        return (products if weights is None else products * weights[..., None]).sum((-3, -2))
    raise ValueError(f'unknown algorithm {algorithm!r}: use "gram", "locations" or "auto"')


def draw_random_maclaurin(
    seed: int, channels: int, channels_y: int, d: int
) -> tuple[Int8[Array, "c d"], Int8[Array, "e d"]]:
    """The random signs u and v of ``seed``; the sketch is :func:`factorized` with them, over √d.

    The signs of a channel depend on seed, d and the channel's number alone, so that levels of
    different width share them.

    Args:
        seed: of the draw.
        channels: c, of the first map.
        channels_y: e, of the second map.
        d: length of the sketch.

    Raises:
        ValueError: d is less than 1.
    """
    if d < 1:
        raise ValueError(f"d is {d}: a sketch needs at least one dimension")
    draws = (
        np.random.default_rng((seed, side)).integers(0, 2, (c, d), np.int8)
        for side, c in enumerate((channels, channels_y))
    )
    u, v = (jnp.asarray(2 * bits - 1) for bits in draws)
    return u, v


def _project(x: Float[Array, "... c"], kernel: Array) -> Float[Array, "... d"]:
    """``x @ kernel`` in the type of x, accumulated in float32 or better."""
    dtype = jnp.promote_types(x.dtype, jnp.float32)
    return jnp.matmul(
        x, kernel.astype(x.dtype), precision=jax.lax.Precision.HIGHEST, preferred_element_type=dtype
    )
