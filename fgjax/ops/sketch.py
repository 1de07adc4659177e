"""Sketches of the second-order statistic: Tensor Sketch and Random Maclaurin.

Compact bilinear pooling (Gao et al. 2016) maps every feature x_p to φ(x_p) in d dimensions with
E⟨φ(x), φ(y)⟩ = ⟨x, y⟩² and sums over locations. Both maps are linear in the outer product x xᵀ, so
the sum over locations is a linear function of the Gram matrix: one matrix product, then

    Tensor Sketch      z_k = Σ s₁(i) s₂(j) G_ij over the pairs with (h₁(i) + h₂(j)) mod d = k
    Random Maclaurin   z_k = d^{-1/2} u_kᵀ G v_k

No Fourier transform and nothing of size d at each location. Where the channels are so many that C²
is large against N d log d, transforming the count sketches, summing over locations in the frequency
domain and inverting once is cheaper; ``algorithm="auto"`` chooses (:func:`gram_is_cheaper`).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from fgjax.ops.gram import check_maps, gram
from fgjax.ops.linear import linear_in


class TensorSketch(NamedTuple):
    """Two independent hash and sign functions, and who falls into which of the d buckets.

    ``members`` lists the channels (or pairs of channels) of each bucket as a column, filled up with
    an index one past the last. They hold nothing that the hashes do not: they let a bucket be
    summed by reads in a fixed order, where a scatter on a GPU adds in whatever order it pleases.
    """

    hashes_x: Int[Array, " c"]
    hashes_y: Int[Array, " e"]
    signs_x: Float[Array, " c"]
    signs_y: Float[Array, " e"]
    members_x: Int[Array, "_lx d"]
    members_y: Int[Array, "_ly d"]
    members: Int[Array, "_l d"]

    @property
    def d(self) -> int:
        """Length of the sketch."""
        return self.members.shape[-1]


def draw_tensor_sketch(seed: int, channels: int, channels_y: int, d: int) -> TensorSketch:
    """The sketch of ``seed`` for maps of ``channels`` and ``channels_y`` channels.

    Sketches of one seed and one d agree on their common channels: levels share hashes.
    """
    if d < 1:
        raise ValueError(f"d is {d}: a sketch needs at least one dimension.")
    hashes, signs = [], []
    for side, c in enumerate((channels, channels_y)):
        hashes.append(np.random.default_rng((seed, side, 0)).integers(0, d, c, np.int32))
        bits = np.random.default_rng((seed, side, 1)).integers(0, 2, c, np.int32)
        signs.append((2 * bits - 1).astype(np.float32))
    pairs = (hashes[0][:, None] + hashes[1]) % d
    members = (_members(h, d) for h in (*hashes, pairs.ravel()))
    return TensorSketch(*map(jnp.asarray, (*hashes, *signs, *members)))


def tensor_sketch(
    x: Float[Array, "*b h w c"],
    y: Float[Array, "*b h w e"] | None,
    sketch: TensorSketch,
    weights: Float[Array, "*b h w"] | None = None,
    *,
    algorithm: str = "auto",
) -> Float[Array, "*b d"]:
    """Tensor Sketch (Pham & Pagh 2013) of x ⊗ y, or of x ⊗ x, summed over locations.

    Args:
        x: feature map.
        y: second feature map on the same grid, or None for ``x`` itself.
        sketch: from :func:`draw_tensor_sketch`.
        weights: weight of each location.
        algorithm: "gram", "fft" (pooled in the frequency domain) or "auto". The transform spreads
            its rounding, ε of the largest value, over all values: after a square root the two
            agree to √ε.

    Raises:
        ValueError: on an unknown algorithm or maps that do not match.
    """
    check_maps(x, y, weights)
    if algorithm == "auto":
        locations = x.shape[-3] * x.shape[-2]
        cheaper = gram_is_cheaper(locations, sketch.hashes_x.size, sketch.hashes_y.size, sketch.d)
        algorithm = "gram" if cheaper else "fft"
    if algorithm == "gram":
        return sketch_gram(gram(x, y, weights), sketch)
    if algorithm == "fft":
        spectrum = _location_spectra(x, y, sketch)
        if weights is not None:
            spectrum *= weights[..., None]
        pooled = jnp.fft.irfft(spectrum.sum((-3, -2)), n=sketch.d)
        # An empty bucket is zero, and not the rounding that a square root would magnify.
        occupied = sketch.members[0] < sketch.hashes_x.size * sketch.hashes_y.size
        return jnp.where(occupied, pooled, 0)
    raise ValueError(f'unknown algorithm {algorithm!r}: use "gram", "fft" or "auto".')


def gram_is_cheaper(locations: int, channels: int, channels_y: int, d: int) -> bool:
    """Whether Tensor Sketch is faster through the Gram matrix than in the frequency domain.

    Measured on two CPU cores at d = 8192 (``python -m benchmarks.pooling``): the paths break even
    where C² is about a tenth of N d log₂ d.
    """
    return channels * channels_y <= 0.1 * locations * d * math.log2(max(d, 2))


def sketch_gram(g: Float[Array, "*b c e"], sketch: TensorSketch) -> Float[Array, "*b d"]:
    """Tensor Sketch of a Gram matrix: each entry, signed, added to the bucket of its pair."""
    signed = g * (sketch.signs_x[:, None] * sketch.signs_y)
    buckets = (sketch.hashes_x[:, None] + sketch.hashes_y) % sketch.d
    return _bucket_sum(signed.reshape(*g.shape[:-2], -1), buckets.ravel(), sketch.members)


def tensor_sketch_map(
    x: Float[Array, "*b h w c"], y: Float[Array, "*b h w e"] | None, sketch: TensorSketch
) -> Float[Array, "*b h w d"]:
    """Tensor Sketch at every location, not pooled: the spatial output, and the costly way."""
    check_maps(x, y)
    return jnp.fft.irfft(_location_spectra(x, y, sketch), n=sketch.d)


def _location_spectra(x: Array, y: Array | None, sketch: TensorSketch) -> Array:
    """Fourier transform of the sketch of x_p ⊗ y_p: the product of two count sketches'."""
    y = x if y is None else y
    dtype = jnp.promote_types(x.dtype, jnp.float32)  # there is no FFT below float32
    x, y = x.astype(dtype) * sketch.signs_x, y.astype(dtype) * sketch.signs_y
    return jnp.fft.rfft(_bucket_sum(x, sketch.hashes_x, sketch.members_x)) * jnp.fft.rfft(
        _bucket_sum(y, sketch.hashes_y, sketch.members_y)
    )


def _members(buckets: Int[np.ndarray, " m"], d: int) -> Int[np.ndarray, "l d"]:
    """Column k lists the entries that fall into bucket k, then m as often as needed."""
    counts = np.bincount(buckets, minlength=d)
    order = np.argsort(buckets, kind="stable")
    rank = np.arange(buckets.size) - np.repeat(np.cumsum(counts) - counts, counts)
    members = np.full((counts.max(), d), buckets.size, np.int32)
    members[rank, buckets[order]] = order
    return members


@linear_in({0: lambda g, _, *tables: _bucket_read(g, *tables)})
def _bucket_sum(
    x: Float[Array, "*b m"], buckets: Int[Array, " m"], members: Int[Array, "l d"]
) -> Float[Array, "*b d"]:
    """Sum of the entries of each bucket, always in the same order.

    Its transpose, :func:`_bucket_read`, is a plain gather; each is the gradient of the other, so
    neither direction scatters.
    """
    padded = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, 1)])

    def add(rank, total):
        return total + padded.at[..., members[rank]].get(mode="promise_in_bounds")

    zero = jnp.zeros((*x.shape[:-1], members.shape[-1]), x.dtype)
    return jax.lax.fori_loop(0, members.shape[0], add, zero)


@linear_in({0: lambda g, _, *tables: _bucket_sum(g, *tables)})
def _bucket_read(
    z: Float[Array, "*b d"], buckets: Int[Array, " m"], members: Int[Array, "l d"]
) -> Float[Array, "*b m"]:
    """The value of each entry's bucket."""
    return jnp.take(z, buckets, axis=-1, mode="clip")
