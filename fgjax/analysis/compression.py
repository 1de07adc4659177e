"""What a level keeps and what it throws away.

In how many directions the features vary, how tightly each class is drawn together (neural
collapse, Papyan et al., 2020), and how much of what could be read off one level can no longer be
read off the next.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

from fgjax.evaluation import intervals


def effective_rank(eigenvalues: Float[np.ndarray, " d"]) -> float:
    """Exponential of the entropy of the normalized spectrum (Roy & Vetterli, 2007)."""
    share = _shares(eigenvalues)
    share = share[share > 0]
    return float(np.exp(-np.sum(share * np.log(share))))


def participation_ratio(eigenvalues: Float[np.ndarray, " d"]) -> float:
    """``(sum l)^2 / sum l^2``; of m equal eigenvalues and no others, it is m."""
    return float(1.0 / np.sum(_shares(eigenvalues) ** 2))


def dimension(eigenvalues: Float[np.ndarray, " d"], share: float = 0.95) -> int:
    """How many principal directions hold ``share`` of the variance."""
    held = np.cumsum(np.sort(_shares(eigenvalues))[::-1])
    # Less a rounding error, so that a share that is reached exactly needs no further direction.
    return int(np.searchsorted(held, share - 1e-12) + 1)


def _shares(eigenvalues: np.ndarray) -> np.ndarray:
    """Share of the variance along each direction."""
    positive = np.maximum(np.asarray(eigenvalues, np.float64), 0.0)
    return positive / max(positive.sum(), 1e-300)


def spread(
    features: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "k d"], Float[np.ndarray, " k"]]:
    """The two sources of variance: features about their class mean, and class means about the mean.

    Returns:
        r, the features less the mean of their class; m, the class means less the mean of all; p,
        the share of each class. The covariance within classes is ``r'r / n``, that between classes
        ``m' diag(p) m``, and the two sum to the total.
    """
    features = np.asarray(features, np.float64)
    _, index, counts = np.unique(labels, return_inverse=True, return_counts=True)
    sums = np.zeros((len(counts), features.shape[1]))
    np.add.at(sums, index, features)
    means = sums / counts[:, None]
    return features - means[index], means - features.mean(0), counts / len(features)


def collapse(features: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"]) -> dict[str, float]:
    """Neural-collapse figures of features of k classes.

    Each is 0 where every feature equals its class mean and the means are the corners of a regular
    simplex. With W and B for the covariances within and between classes:

    Returns:
        ``within_between``: tr(W) / tr(B). ``nc1``: tr(W pinv(B)) / k. ``equal_norm``: standard
        deviation of the norms of the centered class means over their mean. ``equal_angle``: mean
        of |cosine + 1 / (k - 1)| over pairs of these.
    """
    residual, means, shares = spread(features, labels)
    k = len(means)
    norms = np.linalg.norm(means, axis=1)
    unit = means / np.maximum(norms, 1e-300)[:, None]
    cosines = (unit @ unit.T)[~np.eye(k, dtype=bool)]
    # B has rank k - 1 at most: with its singular vectors no matrix of d x d numbers is needed.
    _, singular, directions = np.linalg.svd(means * np.sqrt(shares)[:, None], full_matrices=False)
    kept = singular > singular[0] * 1e-6
    whitened = residual @ directions[kept].T / singular[kept]
    return {
        "within_between": float(np.sum(residual**2) / len(residual) / np.sum(singular**2)),
        "nc1": float(np.sum(whitened**2) / len(residual) / k),
        "equal_norm": float(norms.std() / norms.mean()),
        "equal_angle": float(np.mean(np.abs(cosines + 1 / (k - 1)))),
    }


def lost(
    before: Bool[np.ndarray, " n"], after: Bool[np.ndarray, " n"]
) -> dict[str, dict[str, float]]:
    """What a step of the network loses and gains.

    Args:
        before: which examples are told rightly before the step.
        after: which are told rightly after it.

    Returns:
        ``lost``: share right before and wrong after. ``gained``: the reverse. ``net``: accuracy
        after minus before. Each with its 95 % interval.
    """
    before, after = np.asarray(before, bool), np.asarray(after, bool)
    return {
        "lost": intervals.share(before & ~after)._asdict(),
        "gained": intervals.share(~before & after)._asdict(),
        "net": intervals.paired_bootstrap(after, before)._asdict(),
    }
