"""How well features suit labels, without training: scores to rank levels and networks by.

All are computed in float64 from pooled features ``[n, d]`` and integer labels ``[n]``; the higher,
the better. They are comparable between features of the same examples only.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int


def log_me(features: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"]) -> float:
    """Log of maximum evidence per example and class (LogME; You et al., 2021).

    Whether an example is of a class, 0 or 1, is modeled as ``y = F w + noise``: features F,
    Gaussian weights w of precision alpha, Gaussian noise of precision beta. The evidence of y is
    maximized over both precisions; the score is the mean over classes.
    """
    features = np.asarray(features, np.float64)
    left, singular, _ = np.linalg.svd(features, full_matrices=False)
    eigenvalues = singular**2
    classes = np.unique(labels)
    targets = (labels[:, None] == classes).astype(np.float64)
    return float(np.mean([_evidence(left, eigenvalues, target) for target in targets.T]))


def _evidence(left: np.ndarray, eigenvalues: np.ndarray, target: np.ndarray) -> float:
    """Maximum log evidence per example of one target, by MacKay's fixed-point iteration."""
    n = len(target)
    projected = (left.T @ target) ** 2
    outside = max(target @ target - projected.sum(), 0.0)
    alpha, beta = 1.0, 1.0
    for _ in range(100):
        ratio = alpha / beta
        # How many weights the data determine, against the prior.
        freedom = (eigenvalues / (eigenvalues + ratio)).sum()
        weight = (eigenvalues * projected / (eigenvalues + ratio) ** 2).sum()
        residual = (projected / (1 + eigenvalues / ratio) ** 2).sum() + outside
        alpha, beta = freedom / max(weight, 1e-12), (n - freedom) / max(residual, 1e-12)
        if abs(alpha / beta - ratio) <= 1e-6 * ratio:
            break
    return log_evidence(eigenvalues, projected, outside, n, alpha, beta)


def log_evidence(
    eigenvalues: Float[np.ndarray, " r"],
    projected: Float[np.ndarray, " r"],
    outside: float,
    n: int,
    alpha: float,
    beta: float,
) -> float:
    """``log N(y; 0, I / beta + F F' / alpha) / n``.

    Args:
        eigenvalues: of ``F F'``.
        projected: squared coordinates of ``y`` along its eigenvectors.
        outside: squared norm of the rest of ``y``.
        n: number of examples.
        alpha: precision of the weights.
        beta: precision of the noise.
    """
    inside = 1 / beta + eigenvalues / alpha
    log_determinant = np.log(inside).sum() - (n - len(eigenvalues)) * np.log(beta)
    quadratic = (projected / inside).sum() + beta * outside
    return float(-(n * np.log(2 * np.pi) + log_determinant + quadratic) / (2 * n))


def h_score(features: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"]) -> float:
    """H-score with Ledoit-Wolf shrinkage (Bao et al., 2019; Ibrahim et al., 2021).

    ``(1 - a) tr(S^-1 B)``: S is the covariance of the features, shrunk by a, and B that of the
    class means. Shrinkage makes S regular where there are fewer examples than dimensions.
    """
    centered = np.asarray(features, np.float64) - np.mean(features, 0, dtype=np.float64)
    n, d = centered.shape
    shrinkage = ledoit_wolf(centered)
    covariance = centered.T @ centered / n
    shrunk = (1 - shrinkage) * covariance
    shrunk[np.diag_indices(d)] += shrinkage * np.trace(covariance) / d
    means, weights = _class_means(centered, labels)
    return float((1 - shrinkage) * np.sum(weights * (means @ np.linalg.pinv(shrunk) * means).T))


def ledoit_wolf(centered: Float[np.ndarray, "n d"]) -> float:
    """How far to shrink a covariance towards a multiple of the identity (Ledoit & Wolf, 2004).

    A share in [0, 1]: the estimated error of the covariance over its distance to that multiple.
    """
    n, d = centered.shape
    covariance = centered.T @ centered / n
    scale = np.trace(covariance) / d
    spread = np.sum(covariance**2) - d * scale**2
    # Sum over examples of ||x x' - S||^2 / n^2, expanded so that no n d d array is made.
    error = (np.sum(np.sum(centered**2, 1) ** 2) / n - np.sum(covariance**2)) / n
    return float(np.clip(error / spread, 0.0, 1.0)) if spread > 0 else 0.0


def trans_rate(
    features: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"], epsilon: float = 1e-4
) -> float:
    """TransRate (Huang et al., 2022): coding rate of all features less the mean within classes.

    ``epsilon`` is the distortion that the code may have, see :func:`coding_rate`.
    """
    centered = np.asarray(features, np.float64) - np.mean(features, 0, dtype=np.float64)
    within = sum(
        np.mean(labels == label) * coding_rate(centered[labels == label], epsilon)
        for label in np.unique(labels)
    )
    return float(coding_rate(centered, epsilon) - within)


def coding_rate(features: Float[np.ndarray, "n d"], epsilon: float) -> float:
    """``log det(I + Z'Z / (n epsilon)) / 2``: nats that code a feature at that distortion."""
    n, d = features.shape
    # ZZ' has the same determinant here and is smaller where there are fewer examples.
    small = features.T @ features if d <= n else features @ features.T
    return float(np.linalg.slogdet(np.eye(len(small)) + small / (n * epsilon))[1] / 2)


def _class_means(centered: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean of each class and its share of the examples."""
    classes, counts = np.unique(labels, return_counts=True)
    means = np.stack([centered[labels == label].mean(0) for label in classes])
    return means, counts / len(labels)
