"""What can be read off a level linearly: ridge probes and nearest neighbours.

A probe is an affine map fitted to frozen features (Alain & Bengio, 2016). Ridge regression on
one-hot targets has a closed form, so that the whole path of strengths costs one
eigendecomposition, and every target (species, family, part) shares it.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

# Strengths in units of the features' total variance, so that one grid serves any scale.
STRENGTHS = tuple(10.0**exponent for exponent in range(-5, 5))


class Spectrum(NamedTuple):
    """Centred features in the coordinates where ridge regression is diagonal.

    Attributes:
        mean: training mean.
        basis: right singular vectors of the centred features, r <= min(n, d).
        eigenvalues: squared singular values.
        rotated: the centred features in that basis.
    """

    mean: Float[np.ndarray, " d"]
    basis: Float[np.ndarray, "d r"]
    eigenvalues: Float[np.ndarray, " r"]
    rotated: Float[np.ndarray, "n r"]


class Probe(NamedTuple):
    """An affine read-out ``features @ weights + bias`` and the strength it was fitted with."""

    weights: Float[np.ndarray, "d k"]
    bias: Float[np.ndarray, " k"]
    strength: float


def decompose(features: Float[np.ndarray, "n d"]) -> Spectrum:
    """Eigendecomposition of the smaller of the Gram and the scatter matrix of the features."""
    mean = features.mean(0, dtype=np.float64)
    centred = np.asarray(features - mean, np.float64)
    n, d = centred.shape
    eigenvalues, vectors = np.linalg.eigh(centred @ centred.T if n <= d else centred.T @ centred)
    # Below this, an eigenvalue is the rounding error of its own computation.
    kept = eigenvalues > eigenvalues[-1] * max(n, d) * np.finfo(np.float64).eps
    eigenvalues, vectors = eigenvalues[kept], vectors[:, kept]
    basis = centred.T @ vectors / np.sqrt(eigenvalues) if n <= d else vectors
    return Spectrum(mean, basis, eigenvalues, centred @ basis)


def ridge(
    spectrum: Spectrum, labels: Int[np.ndarray, " n"], classes: int, strength: float
) -> Probe:
    """Ridge regression on one-hot targets with an unpenalised intercept.

    Minimises ``||Y - X W - b||^2 + strength * tr(cov(X)) * ||W||^2``.
    """
    targets = np.eye(classes)[labels]
    penalty = strength * spectrum.eigenvalues.sum() / len(spectrum.rotated)
    shrunk = spectrum.rotated.T @ targets / (spectrum.eigenvalues + penalty)[:, None]
    weights = spectrum.basis @ shrunk
    return Probe(weights, targets.mean(0) - spectrum.mean @ weights, strength)


def read(probe: Probe, features: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n k"]:
    """Class scores of the probe."""
    return features @ probe.weights + probe.bias


def accuracy(
    probe: Probe, features: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"]
) -> float:
    """Share of examples whose best score is at their label."""
    return float(np.mean(read(probe, features).argmax(1) == labels))


def fit(
    spectrum: Spectrum,
    labels: Int[np.ndarray, " n"],
    held_out: Float[np.ndarray, "m d"],
    held_out_labels: Int[np.ndarray, " m"],
    classes: int,
    strengths: tuple[float, ...] = STRENGTHS,
) -> Probe:
    """The ridge probe whose strength is best on the held-out examples; the stronger of equals."""
    path = [ridge(spectrum, labels, classes, strength) for strength in sorted(strengths)]
    scores = [accuracy(probe, held_out, held_out_labels) for probe in path]
    best = max(range(len(path)), key=lambda i: (scores[i], path[i].strength))
    return path[best]


def nearest_neighbours(
    features: Float[np.ndarray, "n d"],
    labels: Int[np.ndarray, " n"],
    queries: Float[np.ndarray, "m d"],
    classes: int,
    *,
    k: int = 10,
    block: int = 1024,
) -> Float[np.ndarray, "m classes"]:
    """Share of each class among the ``k`` training features of highest cosine similarity."""
    unit = _unit(features)
    votes = [
        np.eye(classes)[labels[np.argpartition(-_unit(part) @ unit.T, k - 1, axis=1)[:, :k]]]
        for part in np.array_split(queries, max(1, -(-len(queries) // block)))
    ]
    return np.concatenate(votes).mean(1)


def _unit(x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


def average(maps: Float[Array, "b h w c"]) -> Float[Array, "b c"]:
    """The average-pooled feature: where things are is gone, and so is what occurs with what."""
    return maps.mean((1, 2))


def second_order(
    maps: Float[Array, "b h w c"], *, limit: int = 512, seed: int = 0
) -> Float[Array, "b d"]:
    """Bilinear feature (Lin et al., 2015): which channels fire together, anywhere.

    The mean outer product over locations, signed square root, unit length. Its upper triangle,
    with off-diagonal entries times sqrt(2), has the inner products of the full matrix at half its
    size. More than ``limit`` channels are first projected to ``limit`` by a fixed random
    orthonormal map, which keeps the feature within ``limit * (limit + 1) / 2`` numbers.
    """
    b, h, w, c = maps.shape
    x = maps.reshape(b, h * w, c).astype(jnp.float32)
    if c > limit:
        normal = np.random.default_rng(seed).standard_normal((c, limit))
        x = x @ np.linalg.qr(normal)[0].astype(np.float32)
    gram = jnp.einsum("bpi,bpj->bij", x, x, precision="highest") / (h * w)
    rows, columns = np.triu_indices(gram.shape[-1])
    root = jnp.sign(gram) * jnp.sqrt(jnp.abs(gram))
    feature = root[:, rows, columns] * np.where(rows == columns, 1.0, np.sqrt(2.0))
    return feature / jnp.maximum(jnp.linalg.norm(feature, axis=1, keepdims=True), 1e-12)
