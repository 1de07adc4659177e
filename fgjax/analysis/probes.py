"""What can be read off a level linearly: ridge probes and nearest neighbours.

A probe is an affine map fitted to frozen features (Alain & Bengio, 2016). Ridge regression on
one-hot targets has a closed form, so that the whole path of strengths costs one
eigendecomposition, and every target (species, family, part) shares it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

# Strengths in units of the features' total variance, so that one grid serves any scale.
STRENGTHS = tuple(10.0**exponent for exponent in range(-5, 5))


class Spectrum(NamedTuple):
    """Centred features and the coordinates in which ridge regression is diagonal.

    Attributes:
        mean: training mean.
        centred: the features less their mean.
        eigenvalues: of their scatter matrix, those above rounding error; r <= min(n, d).
        rotated: the centred features along the eigenvectors.
    """

    mean: Float[np.ndarray, " d"]
    centred: Float[np.ndarray, "n d"]
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
    centred = (features - mean).astype(np.float32 if features.dtype == np.float16 else np.float64)
    n, d = centred.shape
    eigenvalues, vectors = np.linalg.eigh(_gram(centred if n <= d else centred.T))
    # Below this, an eigenvalue is the rounding error of its own computation.
    kept = eigenvalues > eigenvalues[-1] * max(n, d) * np.finfo(np.float64).eps
    eigenvalues, vectors = eigenvalues[kept], vectors[:, kept]
    rotated = vectors * np.sqrt(eigenvalues) if n <= d else centred @ vectors
    return Spectrum(mean, centred, eigenvalues, rotated)


def _gram(x: np.ndarray, block: int = 8192) -> Float[np.ndarray, "n n"]:
    """``x @ x.T`` in float64, without a float64 copy of a wide ``x``."""
    starts = range(0, x.shape[1], block)
    parts = (x[:, i : i + block].astype(np.float64) for i in starts)
    return sum((part @ part.T for part in parts), start=np.zeros((len(x), len(x))))


def _lift(spectrum: Spectrum, coordinates: Float[np.ndarray, "r k"]) -> Float[np.ndarray, "d k"]:
    """Vectors given along the eigenvectors, in the space of the features."""
    combination = (spectrum.rotated / spectrum.eigenvalues) @ coordinates
    return spectrum.centred.T @ combination.astype(spectrum.centred.dtype)


def _solve(spectrum: Spectrum, targets: Float[np.ndarray, "n k"], strength: float) -> np.ndarray:
    """Ridge weights along the eigenvectors."""
    denominator = spectrum.eigenvalues + _penalty(spectrum, len(targets), strength)
    return spectrum.rotated.T @ targets / denominator[:, None]


def _penalty(spectrum: Spectrum, n: int, strength: float) -> float:
    return strength * spectrum.eigenvalues.sum() / n


def ridge(spectrum: Spectrum, labels: Int[np.ndarray, " n"], strength: float) -> Probe:
    """Ridge regression on one-hot targets with an unpenalised intercept.

    Minimises ``||Y - X W - b||^2 + strength * tr(cov(X)) * ||W||^2``.
    """
    targets = _one_hot(labels)
    weights = _lift(spectrum, _solve(spectrum, targets, strength))
    return Probe(weights, targets.mean(0) - spectrum.mean @ weights, strength)


def read(probe: Probe, features: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n k"]:
    """Class scores of the probe."""
    return features.astype(probe.weights.dtype) @ probe.weights + probe.bias


def fit(
    features: Float[np.ndarray, "n d"],
    targets: Mapping[str, Int[np.ndarray, " n"]],
    strengths: Sequence[float] = STRENGTHS,
) -> dict[str, Probe]:
    """A probe for each target, its strength chosen by leaving out one training example at a time.

    For each target, the strength whose :func:`leave_one_out` scores are right most often (the
    stronger of equals). Nothing but the training examples is looked at.
    """
    spectrum = decompose(features)

    def chosen(labels):
        def accuracy(strength):
            return np.mean(leave_one_out(spectrum, labels, strength).argmax(1) == labels)

        return max((accuracy(strength), strength) for strength in strengths)[1]

    return {name: ridge(spectrum, labels, chosen(labels)) for name, labels in targets.items()}


def leave_one_out(
    spectrum: Spectrum, labels: Int[np.ndarray, " n"], strength: float
) -> Float[np.ndarray, "n k"]:
    """Scores of each training example by the ridge regression fitted to all the others.

    In closed form: with the diagonal h of the hat matrix, ``(fitted - h y) / (1 - h)``. The
    penalty stays what it is for all examples.
    """
    targets = _one_hot(labels)
    fitted = spectrum.rotated @ _solve(spectrum, targets, strength) + targets.mean(0)
    denominator = spectrum.eigenvalues + _penalty(spectrum, len(targets), strength)
    leverage = (spectrum.rotated**2 / denominator).sum(1, keepdims=True) + 1 / len(targets)
    return (fitted - leverage * targets) / np.maximum(1 - leverage, 1e-9)


def _one_hot(labels: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n k"]:
    return np.eye(labels.max() + 1)[labels]


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


def folded(features: Float[Array, "b d"], limit: int = 8192, seed: int = 0) -> Float[Array, "b e"]:
    """Features wider than ``limit`` in that many numbers, so that those of 12,000 images fit.

    A count sketch (Charikar et al., 2002): each number goes, with a random sign, to a random
    place. Inner products, of which all read-outs are made, stay what they are in the mean.
    """
    d = features.shape[1]
    if d <= limit:
        return features
    rng = np.random.default_rng(seed)
    place, sign = rng.integers(limit, size=d), rng.choice((-1.0, 1.0), d)
    return jnp.zeros((len(features), limit)).at[:, place].add(features * sign)


def second_order(
    maps: Float[Array, "b h w c"], *, limit: int = 320, seed: int = 0
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
