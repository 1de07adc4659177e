"""The advice put to the test: each option trained briefly, and how well the order was predicted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import stats

from fgjax.analysis.diagnosis import Option


def check(
    options: Sequence[Option],
    train_briefly: Callable[[Mapping[str, object]], float],
    unchanged: Mapping[str, object],
) -> dict[str, Any]:
    """Trains briefly with each option and with none, and compares gains with predictions.

    Args:
        options: to be tested.
        train_briefly: config changes -> accuracy on held-out examples.
        unchanged: config changes of the baseline: the schedule of the short training alone.

    Returns:
        ``baseline`` accuracy, ``options`` (name, predicted and measured gain) and ``tau``, their
        Kendall rank correlation with a bootstrap interval.
    """
    baseline = train_briefly(unchanged)
    gains = [train_briefly(option.changes) - baseline for option in options]
    scores = [option.gain for option in options]
    return {
        "baseline": float(baseline),
        "options": [
            {"name": option.name, "predicted": float(option.gain), "measured": float(gain)}
            for option, gain in zip(options, gains, strict=True)
        ],
        "tau": agreement(np.array([scores]), np.array([gains])),
    }


def agreement(
    scores: Float[np.ndarray, "settings options"],
    gains: Float[np.ndarray, "settings options"],
    *,
    draws: int = 2000,
    seed: int = 0,
) -> dict[str, float]:
    """Mean Kendall tau-b over settings, with its percentile bootstrap 95 % interval.

    The bootstrap draws settings; where there is only one, it draws that setting's options. A
    setting whose scores or gains are all equal counts as 0: it orders nothing.

    Args:
        scores: predicted gain of each option in each setting.
        gains: measured gain of the same.
        draws: bootstrap replicates.
        seed: of the draws.

    Returns:
        ``value``, ``low``, ``high`` and ``n``, the number of settings.
    """
    rng = np.random.default_rng(seed)
    settings, options = scores.shape
    values = np.array([kendall(s, g) for s, g in zip(scores, gains, strict=True)])
    if settings > 1:
        means = values[rng.integers(0, settings, (draws, settings))].mean(1)
    else:
        picks = rng.integers(0, options, (draws, options))
        means = np.array([kendall(scores[0, pick], gains[0, pick]) for pick in picks])
    low, high = np.percentile(means, [2.5, 97.5])
    return {"value": float(values.mean()), "low": float(low), "high": float(high), "n": settings}


def kendall(first: Float[np.ndarray, " n"], second: Float[np.ndarray, " n"]) -> float:
    """Kendall tau-b; 0 where one of the two is constant."""
    # SciPy's would be nan there, and one nan would take the mean over settings with it.
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(stats.kendalltau(first, second).statistic)
