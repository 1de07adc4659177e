"""Accuracies with their intervals, likelihood and calibration, from the logits of a whole split."""

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import log_softmax

from fgjax.errors import UserError
from fgjax.evaluation import intervals


def summarize(
    logits: Float[np.ndarray, "n k"],
    labels: Int[np.ndarray, "n"],
    coarse_of: Int[np.ndarray, "k"] | None = None,
) -> dict:
    """Every figure that is reported for a split.

    Args:
        logits: unnormalized scores, one row for each example.
        labels: true classes, in [0, k).
        coarse_of: family of each class; None where the data set has none.

    Returns:
        A nested dict of plain numbers.

        Fractions ``{"value", "low", "high", "n"}`` with 95 % bounds: ``top1``; ``top5`` (the label
        is among the first min(5, k) guesses); ``mean_per_class``, whose bounds are those of
        :func:`intervals.mean_of_proportions`, all others being Wilson's; with ``coarse_of``,
        ``coarse`` (the predicted class belongs to the true family).

        Numbers: ``n``, the examples; ``nll``, nats; ``expected_calibration_error``, a fraction.
        ``chance``: what uniform guesses would reach of each fraction.

    Raises:
        UserError: there is no example, or a logit is not finite.
        ValueError: logits and labels do not fit together.
    """
    logits, labels = _checked(logits, labels)
    n, classes = logits.shape
    predicted = logits.argmax(axis=1)
    correct = predicted == labels
    log_p = log_softmax(logits, axis=1)
    totals = np.bincount(labels, minlength=classes)
    estimates = {
        "top1": intervals.share(correct),
        "top5": intervals.share(rank_of_label(logits, labels) < 5),
        "mean_per_class": intervals.mean_of_proportions(
            np.bincount(labels[correct], minlength=classes), totals
        ),
    }
    chance = {"top1": 1 / classes, "top5": min(5, classes) / classes, "mean_per_class": 1 / classes}
    if coarse_of is not None:
        family = np.asarray(coarse_of)
        within = family[predicted] == family[labels]
        estimates["coarse"] = intervals.share(within)
        chance["coarse"] = float(np.mean(family[labels][:, None] == family[None, :]))
    return {
        "n": n,
        **{name: estimate._asdict() for name, estimate in estimates.items()},
        "nll": float(-log_p[np.arange(n), labels].mean()),
        "expected_calibration_error": expected_calibration_error(
            np.exp(log_p.max(axis=1)), correct
        ),
        "chance": chance,
    }


def rank_of_label(
    logits: Float[np.ndarray, "n k"], labels: Int[np.ndarray, "n"]
) -> Int[np.ndarray, "n"]:
    """How many classes are guessed before the true one; of equal logits, the lower class first.

    The same order as argmax's. Ties must not go to the true class: an untrained head, which gives
    every class the same logit, would then score 100 %.
    """
    own = np.take_along_axis(logits, labels[:, None], axis=1)
    earlier = np.arange(logits.shape[1]) < labels[:, None]
    return np.sum((logits > own) | ((logits == own) & earlier), axis=1)


def expected_calibration_error(
    confidence: Float[np.ndarray, "n"], correct: Bool[np.ndarray, "n"], bins: int = 15
) -> float:
    """Mean gap between confidence and accuracy over equal-width bins (Guo et al., 2017, eq. 3).

    Bins are weighed by their examples. Bin m holds confidences in ((m - 1) / bins, m / bins].
    """
    # The lowest bin takes a confidence of 0 too. A bin's weight, its count over n, cancels against
    # the count that its two means divide by: sums over the bin remain.
    bin_of = np.clip(np.ceil(np.asarray(confidence, np.float64) * bins).astype(int) - 1, 0, None)
    gap = np.bincount(bin_of, weights=confidence) - np.bincount(bin_of, weights=correct)
    return float(np.abs(gap).sum() / len(confidence))


def _checked(logits, labels) -> tuple[Float[np.ndarray, "n k"], Int[np.ndarray, "n"]]:
    logits, labels = np.asarray(logits, np.float64), np.asarray(labels)
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise ValueError(
            f"expected logits [n, k] and labels [n], got {logits.shape} and {labels.shape}"
        )
    if not len(labels):
        raise UserError("there is nothing to score: the split has no example; add some images")
    if labels.min() < 0 or labels.max() >= logits.shape[1]:
        raise ValueError(f"labels must lie in [0, {logits.shape[1]}), got {np.unique(labels)}")
    broken = int(np.sum(~np.isfinite(logits).all(axis=1)))
    if broken:
        raise UserError(
            f"the network's output is not finite for {broken} of {len(labels)} examples; it has "
            "diverged: lower the learning rate or go back to an earlier checkpoint"
        )
    return logits, labels
