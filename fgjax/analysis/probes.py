"""What can be read off a level linearly: ridge probes and nearest neighbors.

A probe is an affine map fitted to frozen features (Alain & Bengio, 2016). Ridge regression on
one-hot targets has a closed form: a single eigendecomposition of the features serves every
strength and every target (species, family, part).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from fgjax.ops.gram import gram, triangle

# Strengths of the penalty in units of the features' total variance, so that one grid serves any
# scale of the features.
STRENGTHS = tuple(10.0**exponent for exponent in range(-5, 5))


class Spectrum(NamedTuple):
    """Centered features and the coordinates in which ridge regression is diagonal.

    Attributes:
        mean: training mean.
        centered: the features less their mean.
        eigenvalues: of their scatter matrix ``X'X``, those above rounding error; r <= min(n, d).
        rotated: the centered features along the eigenvectors.
    """

    mean: Float[np.ndarray, " d"]
    centered: Float[np.ndarray, "n d"]
    eigenvalues: Float[np.ndarray, " r"]
    rotated: Float[np.ndarray, "n r"]


class Probe(NamedTuple):
    """An affine read-out ``features @ weights + bias`` and the strength it was fitted with."""

    weights: Float[np.ndarray, "d k"]
    bias: Float[np.ndarray, " k"]
    strength: float


def decompose(features: Float[np.ndarray, "n d"]) -> Spectrum:
    """Eigendecomposition of the Gram matrix or the scatter matrix, whichever is smaller.

    The two have the same eigenvalues but for zeros. Features in half precision are centered in
    single precision, for memory's sake; the matrix itself is always in double.
    """
    mean = features.mean(0, dtype=np.float64)
    centered = (features - mean).astype(np.float32 if features.dtype == np.float16 else np.float64)
    n, d = centered.shape
    eigenvalues, vectors = np.linalg.eigh(_inner_products(centered if n <= d else centered.T))
    # Below this, an eigenvalue is the rounding error of its own computation.
    kept = eigenvalues > eigenvalues[-1] * max(n, d) * np.finfo(np.float64).eps
    eigenvalues, vectors = eigenvalues[kept], vectors[:, kept]
    rotated = vectors * np.sqrt(eigenvalues) if n <= d else centered @ vectors
    return Spectrum(mean, centered, eigenvalues, rotated)


def _inner_products(x: Float[np.ndarray, "n m"], block: int = 8192) -> Float[np.ndarray, "n n"]:
    """``x @ x.T`` in float64, ``block`` columns at a time: no float64 copy of a wide ``x``."""
    starts = range(0, x.shape[1], block)
    blocks = (x[:, i : i + block].astype(np.float64) for i in starts)
    return sum((columns @ columns.T for columns in blocks), start=np.zeros((len(x), len(x))))


def _lift(spectrum: Spectrum, coordinates: Float[np.ndarray, "r k"]) -> Float[np.ndarray, "d k"]:
    """Vectors with these coordinates along the eigenvectors, in the space of the features."""
    combination = (spectrum.rotated / spectrum.eigenvalues) @ coordinates
    return spectrum.centered.T @ combination.astype(spectrum.centered.dtype)


def _solve(spectrum: Spectrum, targets: Float[np.ndarray, "n k"], strength: float) -> np.ndarray:
    """Ridge weights in the coordinates of the eigenvectors."""
    denominator = spectrum.eigenvalues + _penalty(spectrum, len(targets), strength)
    return spectrum.rotated.T @ targets / denominator[:, None]


def _penalty(spectrum: Spectrum, n: int, strength: float) -> float:
    """``strength`` times the features' total variance, ``tr(X'X) / n``."""
    return strength * spectrum.eigenvalues.sum() / n


def ridge(spectrum: Spectrum, labels: Int[np.ndarray, " n"], strength: float) -> Probe:
    """Ridge regression on one-hot targets with an unpenalized intercept.

    Minimizes ``||Y - X W - b||^2 + strength * tr(cov(X)) * ||W||^2``.
    """
    targets = _one_hot(labels)
    weights = _lift(spectrum, _solve(spectrum, targets, strength))
    return Probe(weights, targets.mean(0) - spectrum.mean @ weights, strength)


def read(probe: Probe, features: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n k"]:
    """Class scores of the probe; the highest is its answer."""
    return features.astype(probe.weights.dtype) @ probe.weights + probe.bias


def fit(
    features: Float[np.ndarray, "n d"],
    targets: Mapping[str, Int[np.ndarray, " n"]],
    strengths: Sequence[float] = STRENGTHS,
) -> dict[str, Probe]:
    """A probe for each target, its strength chosen by leaving out one training example at a time.

    The strength is that whose :func:`leave_one_out` scores are right most often, the greatest of
    equals: nothing but training examples decides on it.

    Args:
        features: of the training examples.
        targets: labels of the training examples by target.
        strengths: to choose from, see :func:`ridge`.
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

    In closed form, without a refit: ``(fitted - h y) / (1 - h)``, where y is the example's target
    and h its leverage, the weight of that target in its own fitted value (the diagonal of the hat
    matrix). The penalty is kept at that of all examples.
    """
    targets = _one_hot(labels)
    fitted = spectrum.rotated @ _solve(spectrum, targets, strength) + targets.mean(0)
    denominator = spectrum.eigenvalues + _penalty(spectrum, len(targets), strength)
    # 1 / n is the leverage of the intercept.
    leverage = (spectrum.rotated**2 / denominator).sum(1, keepdims=True) + 1 / len(targets)
    return (fitted - leverage * targets) / np.maximum(1 - leverage, 1e-9)


def _one_hot(labels: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n k"]:
    return np.eye(labels.max() + 1)[labels]


def nearest_neighbors(
    features: Float[np.ndarray, "n d"],
    labels: Int[np.ndarray, " n"],
    queries: Float[np.ndarray, "m d"],
    classes: int,
    *,
    k: int = 10,
    block: int = 1024,
) -> Float[np.ndarray, "m classes"]:
    """Share of each class among the ``k`` training features of highest cosine similarity.

    Args:
        features: of the training examples.
        labels: of the training examples.
        queries: features of the examples that are asked about.
        classes: number of classes.
        k: neighbors of each query; all training examples where there are fewer.
        block: queries compared at once, which bounds memory.
    """
    k = min(k, len(features))
    unit = unit_length(features)
    votes = [
        np.eye(classes)[labels[np.argpartition(-unit_length(q) @ unit.T, k - 1, axis=1)[:, :k]]]
        for q in np.array_split(queries, max(1, -(-len(queries) // block)))
    ]
    return np.concatenate(votes).mean(1)


def unit_length(x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """Rows divided by their length; a row of zeros stays zero."""
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


def average(maps: Float[Array, "b h w c"]) -> Float[Array, "b c"]:
    """The mean over locations: it forgets where channels fire, and which of them fire together."""
    return maps.mean((1, 2))


def folded(features: Float[Array, "b d"], limit: int = 8192, seed: int = 0) -> Float[Array, "b e"]:
    """Features of more than ``limit`` numbers, sketched to that many; narrower ones unchanged.

    A count sketch (Charikar et al., 2002): each number is added, with a random sign, to a random
    place. Inner products are all that read-outs depend on, and their expectation stays the same.
    At the default, the features of 12,000 images take 400 MB.
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
    """Bilinear feature (Lin et al., 2015): which channels fire together, anywhere in the image.

    The mean outer product over locations, then the signed square root, then division by the
    length. Only the upper triangle is kept; its off-diagonal entries, which stand for two, are
    multiplied by sqrt(2), so that inner products are those of the full matrices.

    Args:
        maps: of a level.
        limit: more channels than this are projected to as many by a random orthonormal map, the
            same for every image: a feature has at most ``limit * (limit + 1) / 2`` numbers.
        seed: of the projection.
    """
    c = maps.shape[-1]
    x = maps.astype(jnp.float32)
    if c > limit:
        normal = np.random.default_rng(seed).standard_normal((c, limit))
        x = x @ np.linalg.qr(normal)[0].astype(np.float32)
    outer = gram(x, mean=True)
    root = jnp.sign(outer) * jnp.sqrt(jnp.abs(outer))
    rows, columns = np.triu_indices(outer.shape[-1])
    feature = triangle(root) * np.where(rows == columns, 1.0, np.sqrt(2.0))
    return feature / jnp.maximum(jnp.linalg.norm(feature, axis=1, keepdims=True), 1e-12)
