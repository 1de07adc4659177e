"""Confidence intervals and paired tests for accuracies."""

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int
from scipy.stats import binom


class Estimate(NamedTuple):
    """A measured value with the bounds of its confidence interval and its number of examples."""

    value: float
    low: float
    high: float
    n: int


class McNemar(NamedTuple):
    """Examples that exactly one of two classifiers gets right, and the exact p-value."""

    only_a: int
    only_b: int
    p_value: float


def wilson(successes: int, n: int, confidence: float = 0.95) -> Estimate:
    """Score interval of a proportion (Wilson, 1927).

    Unlike the normal approximation it stays inside [0, 1] and keeps its coverage for proportions
    near the ends and for small n.

    Raises:
        ValueError: successes are not between 0 and n, or n is 0.
    """
    if not 0 <= successes <= n or n == 0:
        raise ValueError(f"a proportion needs 0 <= successes <= n and n > 0, got {successes}/{n}")
    z2 = _quantile(confidence) ** 2
    center = (successes + z2 / 2.0) / (n + z2)
    half = math.sqrt(z2 * (successes * (n - successes) / n + z2 / 4.0)) / (n + z2)
    value = successes / n
    # At 0 and at n successes the value is itself a bound, which rounding must not put beyond it.
    low, high = min(center - half, value), max(center + half, value)
    return Estimate(float(value), float(low), float(high), int(n))


def share(which: Bool[np.ndarray, "n"]) -> Estimate:
    """Share of the examples for which something holds, with its Wilson interval.

    Raises:
        ValueError: there is no example.
    """
    return wilson(int(np.sum(which)), len(which))


def mean_of_proportions(
    successes: Int[np.ndarray, "k"], n: Int[np.ndarray, "k"], confidence: float = 0.95
) -> Estimate:
    """Unweighted mean of the proportions of k independent strata (here: classes).

    The interval is normal, with the variance ``sum_c p_c (1 - p_c) / n_c / k^2``. In it p_c is
    ``(s_c + 1/2) / (n_c + 1)``, because the plain proportion ``s_c / n_c`` would count a class with
    every example right as certain. The bounds are clipped to [0, 1]; strata without examples are
    left out.

    Args:
        successes: s_c, of each stratum.
        n: examples of each stratum.
        confidence: of the interval.

    Raises:
        ValueError: no stratum has an example.
    """
    present = np.asarray(n) > 0
    if not present.any():
        raise ValueError("a mean over classes needs at least one class with examples")
    s, n = np.asarray(successes, np.float64)[present], np.asarray(n, np.float64)[present]
    smooth = (s + 0.5) / (n + 1.0)
    half = _quantile(confidence) * np.sqrt(np.sum(smooth * (1.0 - smooth) / n)) / len(n)
    mean = float(np.mean(s / n))
    return Estimate(mean, float(max(mean - half, 0)), float(min(mean + half, 1)), int(n.sum()))


def paired_bootstrap(
    correct_a: Bool[np.ndarray, "n"],
    correct_b: Bool[np.ndarray, "n"],
    *,
    replicates: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """Percentile bootstrap interval of accuracy(a) - accuracy(b) on the same examples.

    Of a resampled set only three counts matter: examples that a alone has right, that b alone has
    right, and the rest. They follow a multinomial distribution and are drawn from it directly.

    Args:
        correct_a: which examples a has right.
        correct_b: which examples b has right.
        replicates: of the bootstrap.
        confidence: of the interval.
        seed: of the draws.

    Raises:
        ValueError: the two arrays are not of one length, or are empty.
    """
    only_a, only_b, n = _disagreements(correct_a, correct_b)
    shares = np.array([only_a, only_b, n - only_a - only_b]) / n
    counts = np.random.default_rng(seed).multinomial(n, shares, size=replicates)
    differences = (counts[:, 0] - counts[:, 1]) / n
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(differences, [tail, 1.0 - tail])
    return Estimate((only_a - only_b) / n, float(low), float(high), n)


def mcnemar(correct_a: Bool[np.ndarray, "n"], correct_b: Bool[np.ndarray, "n"]) -> McNemar:
    """Exact two-sided McNemar test that two classifiers err equally often (McNemar, 1947).

    Under the null hypothesis each example on which exactly one is right is a fair coin.

    Raises:
        ValueError: the two arrays are not of one length, or are empty.
    """
    only_a, only_b, _ = _disagreements(correct_a, correct_b)
    p_value = 2.0 * binom.cdf(min(only_a, only_b), only_a + only_b, 0.5)
    return McNemar(only_a, only_b, min(1.0, float(p_value)))


def _quantile(confidence: float) -> float:
    """Half the width of the central interval of the standard normal distribution."""
    return NormalDist().inv_cdf(0.5 + confidence / 2.0)


def _disagreements(correct_a, correct_b) -> tuple[int, int, int]:
    """How many examples a alone has right, how many b alone, and how many there are."""
    a, b = np.asarray(correct_a, bool), np.asarray(correct_b, bool)
    if a.shape != b.shape or a.ndim != 1 or not a.size:
        raise ValueError(
            f"paired comparison needs two equally long arrays, got {a.shape} and {b.shape}"
        )
    return int(np.sum(a & ~b)), int(np.sum(b & ~a)), a.size
