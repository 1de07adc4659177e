"""What a level keeps and what it throws away.

Effective dimension of the features, how tightly each class is drawn together (neural collapse,
Papyan et al., 2020), and how much of what could be read off one level can no longer be read off
the next.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

from fgjax.evaluation import intervals


def effective_rank(eigenvalues: Float[np.ndarray, " d"]) -> float:
    """Exponential of the entropy of the normalised spectrum (Roy & Vetterli, 2007)."""
    share = _shares(eigenvalues)
    share = share[share > 0]
    return float(np.exp(-np.sum(share * np.log(share))))


def participation_ratio(eigenvalues: Float[np.ndarray, " d"]) -> float:
    """``(sum l)^2 / sum l^2``: the number of equal directions with the same concentration."""
    return float(1.0 / np.sum(_shares(eigenvalues) ** 2))


def dimension(eigenvalues: Float[np.ndarray, " d"], share: float = 0.95) -> int:
    """How many principal directions hold ``share`` of the variance."""
    held = np.cumsum(np.sort(_shares(eigenvalues))[::-1])
    return int(np.searchsorted(held, share - 1e-12) + 1)


def _shares(eigenvalues: np.ndarray) -> np.ndarray:
    positive = np.maximum(np.asarray(eigenvalues, np.float64), 0.0)
    return positive / max(positive.sum(), 1e-300)


def spread(
    features: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "k d"], Float[np.ndarray, " k"]]:
    """Features less the mean of their class, centred class means, and shares of the classes.

    With ``r, m, p`` for these, ``r'r / n`` is the within-class covariance, ``m' diag(p) m`` the
    between-class one, and the two sum to the total.
    """
    features = np.asarray(features, np.float64)
    _, index, counts = np.unique(labels, return_inverse=True, return_counts=True)
    sums = np.zeros((len(counts), features.shape[1]))
    np.add.at(sums, index, features)
    means = sums / counts[:, None]
    return features - means[index], means - features.mean(0), counts / len(features)


def collapse(features: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"]) -> dict[str, float]:
    """Neural-collapse figures; each is 0 for features that have collapsed to a simplex.

    ``within_between``: tr(within) / tr(between). ``nc1``: tr(within pinv(between)) / k.
    ``equal_norm``: variation coefficient of the norms of the class means. ``equal_angle``: mean
    of |cosine + 1 / (k - 1)| between class means.
    """
    residual, means, shares = spread(features, labels)
    k = len(means)
    norms = np.linalg.norm(means, axis=1)
    unit = means / np.maximum(norms, 1e-300)[:, None]
    cosines = (unit @ unit.T)[~np.eye(k, dtype=bool)]
    # The between-class covariance has rank k - 1: its pseudo-inverse never needs d x d numbers.
    _, singular, directions = np.linalg.svd(means * np.sqrt(shares)[:, None], full_matrices=False)
    kept = singular > singular[0] * 1e-6
    whitened = residual @ directions[kept].T / singular[kept]
    return {
        "within_between": float(np.sum(residual**2) / len(residual) / np.sum(singular**2)),
        "nc1": float(np.sum(whitened**2) / len(residual) / k),
        "equal_norm": float(norms.std() / norms.mean()),
        "equal_angle": float(np.mean(np.abs(cosines + 1 / (k - 1)))),
    }


def nearest_mean(
    features: Float[np.ndarray, "n d"],
    labels: Int[np.ndarray, " n"],
    queries: Float[np.ndarray, "m d"],
) -> Int[np.ndarray, " m"]:
    """Label of the nearest class mean; its agreement with the network is collapse figure NC4."""
    classes = np.unique(labels)
    means = np.stack([features[labels == label].mean(0) for label in classes])
    distances = np.sum(means**2, 1) - 2 * queries @ means.T
    return classes[distances.argmin(1)]


def lost(
    before: Bool[np.ndarray, " n"], after: Bool[np.ndarray, " n"]
) -> dict[str, dict[str, float]]:
    """What a step of the network costs: was each example read rightly before and after it?

    Returns:
        ``lost``: share right before and wrong after. ``gained``: the reverse. ``net``: accuracy
        after minus before. Each with its 95 % interval.
    """
    before, after = np.asarray(before, bool), np.asarray(after, bool)
    return {
        "lost": intervals.wilson(np.sum(before & ~after), len(before))._asdict(),
        "gained": intervals.wilson(np.sum(~before & after), len(before))._asdict(),
        "net": intervals.paired_bootstrap(after, before)._asdict(),
    }
