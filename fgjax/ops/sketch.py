"""Sketches of the second-order statistic: Tensor Sketch and Random Maclaurin.

Compact bilinear pooling (Gao et al. 2016) maps every feature x_p to φ(x_p) in d dimensions, such
that E⟨φ(x), φ(y)⟩ = ⟨x, y⟩², and sums over the N locations. Both maps φ are linear in the outer
product x xᵀ, so that the sum is a linear function of the Gram matrix G: one matrix product, then

    Tensor Sketch      z_k = Σ s₁(i) s₂(j) G_ij over the pairs with (h₁(i) + h₂(j)) mod d = k
    Random Maclaurin   z_k = d^{-1/2} u_kᵀ G v_k

This needs no Fourier transform and nothing of size d at each location. With very many channels C,
C² being large against N d log d, another way is cheaper: sketch x_p twice, by counting into d
buckets, multiply the Fourier transforms of the two, sum over locations, and transform back once.
``algorithm="auto"`` chooses (:func:`gram_is_cheaper`).
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
    """Two independent random functions from channels to buckets, and two to signs.

    The hashes say in which of d buckets a channel falls; the members say the same from the side of
    the buckets, so that a bucket can be summed by reads in a fixed order. (Scattering by the hashes
    adds in an order that changes from run to run on a GPU.)

    Attributes:
        hashes_x: bucket of each channel of the first map.
        hashes_y: bucket of each channel of the second map.
        signs_x: 1 or -1 for each channel of the first map.
        signs_y: 1 or -1 for each channel of the second map.
        members_x: column k lists the channels of the first map in bucket k, filled up with an
            index one past the last channel.
        members_y: the same for the second map.
        members: the same for pairs of channels, numbered row by row.
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
    """Draws a sketch of length ``d`` for maps of ``channels`` and ``channels_y`` channels.

    The hash and sign of a channel depend on seed, d and the channel's number alone, so that levels
    of different width share them.

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
        algorithm: "gram" (through the Gram matrix), "fft" (through Fourier transforms) or "auto".
            The transform makes an error of ε of the *largest* value in every value, so that the two
            agree only to √ε once a square root is taken.

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
        # An empty bucket holds nothing but rounding, which a square root would magnify.
        occupied = sketch.members[0] < sketch.hashes_x.size * sketch.hashes_y.size
        return jnp.where(occupied, pooled, 0)
    raise ValueError(f'unknown algorithm {algorithm!r}: use "gram", "fft" or "auto"')


def gram_is_cheaper(locations: int, channels: int, channels_y: int, d: int) -> bool:
    """Whether Tensor Sketch is faster through the Gram matrix than through Fourier transforms.

    Measured on two CPU cores at d = 8192 (``python -m benchmarks.pooling``): the two are equally
    fast where C² is about a tenth of N d log₂ d.

    Args:
        locations: N, of the maps.
        channels: of the first map.
        channels_y: of the second map.
        d: length of the sketch.
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
    """Tensor Sketch at every location, not pooled; it takes d numbers for each of them."""
    check_maps(x, y)
    return jnp.fft.irfft(_location_spectra(x, y, sketch), n=sketch.d)


def _location_spectra(x: Array, y: Array | None, sketch: TensorSketch) -> Array:
    """Fourier transform of the sketch of x_p ⊗ y_p, at every location.

    It is the product of the transforms of two count sketches, of x_p and of y_p: the sketch of an
    outer product is their circular convolution (Pham & Pagh 2013).
    """
    y = x if y is None else y
    dtype = jnp.promote_types(x.dtype, jnp.float32)  # there is no FFT below float32
    x, y = x.astype(dtype) * sketch.signs_x, y.astype(dtype) * sketch.signs_y
    return jnp.fft.rfft(_bucket_sum(x, sketch.hashes_x, sketch.members_x)) * jnp.fft.rfft(
        _bucket_sum(y, sketch.hashes_y, sketch.members_y)
    )


def _members(buckets: Int[np.ndarray, " m"], d: int) -> Int[np.ndarray, "l d"]:
    """Column k lists the entries in bucket k, filled up with m, the index past the last entry."""
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

    Its transpose is :func:`_bucket_read`, which gathers; each is the gradient of the other, so that
    neither direction scatters.
    """
    # A zero past the last entry, for the indices that fill up the members.
    padded = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, 1)])

    def add(rank, total):
        return total + padded.at[..., members[rank]].get(mode="promise_in_bounds")

    zero = jnp.zeros((*x.shape[:-1], members.shape[-1]), x.dtype)
    return jax.lax.fori_loop(0, members.shape[0], add, zero)


@linear_in({0: lambda g, _, *tables: _bucket_sum(g, *tables)})
def _bucket_read(
    z: Float[Array, "*b d"], buckets: Int[Array, " m"], members: Int[Array, "l d"]
) -> Float[Array, "*b m"]:
    """For each entry, the value of the bucket that it falls into."""
    return jnp.take(z, buckets, axis=-1, mode="clip")
