"""How sure a figure is: intervals for proportions, paired differences and any statistic."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float

Z95 = 1.959963984540054  # two-sided 95 % of the normal distribution


def proportion(correct: Bool[np.ndarray, " n"]) -> dict[str, float]:
    """Share of successes with its Wilson 95 % bounds: ``{"value", "low", "high", "n"}``."""
    n = len(correct)
    if n == 0:
        return {"value": float("nan"), "low": 0.0, "high": 1.0, "n": 0}
    p, z2 = float(np.mean(correct)), Z95**2
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 * np.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return {"value": p, "low": float(centre - half), "high": float(centre + half), "n": n}


def paired_difference(
    first: Float[np.ndarray, " n"], second: Float[np.ndarray, " n"]
) -> dict[str, float]:
    """Mean of ``first - second`` over the same examples, with a normal 95 % interval."""
    difference = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    n = len(difference)
    half = Z95 * difference.std(ddof=1) / np.sqrt(n) if n > 1 else float("inf")
    mean = float(difference.mean())
    return {"value": mean, "low": float(mean - half), "high": float(mean + half), "n": n}


def bootstrap(
    samples: np.ndarray,
    statistic: Callable[[np.ndarray], float],
    *,
    draws: int = 2000,
    seed: int = 0,
) -> dict[str, float]:
    """``statistic`` of ``samples`` (first axis = examples) with its percentile 95 % interval."""
    rng = np.random.default_rng(seed)
    n = len(samples)
    values = [statistic(samples[rng.integers(0, n, n)]) for _ in range(draws)]
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return {"value": float(statistic(samples)), "low": float(low), "high": float(high), "n": n}
