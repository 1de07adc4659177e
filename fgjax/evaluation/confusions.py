"""Which classes are taken for which."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from fgjax.evaluation import intervals


def confusion_matrix(
    labels: Int[np.ndarray, "n"], predictions: Int[np.ndarray, "n"], classes: int
) -> Int[np.ndarray, "k k"]:
    """Counts of examples by true class (row) and predicted class (column)."""
    flat = np.asarray(labels, np.int64) * classes + np.asarray(predictions, np.int64)
    return np.bincount(flat, minlength=classes**2).reshape(classes, classes)


def most_confused(
    labels: Int[np.ndarray, "n"],
    predictions: Int[np.ndarray, "n"],
    classes: Sequence[str],
    k: int = 10,
    coarse_of: Int[np.ndarray, "k"] | None = None,
) -> list[dict]:
    """The k pairs of classes that are most often taken for each other.

    Taking a for b and b for a counts as the same confusion. Pairs come in the order of their
    errors, pairs with equally many in the order of the classes; pairs without errors are left out.

    Args:
        labels: true classes.
        predictions: predicted classes.
        classes: names.
        k: number of pairs.
        coarse_of: family of each class; None where the data have no families.

    Returns:
        For each pair ``first`` and ``second`` (names), ``first_as_second`` and ``second_as_first``
        (errors of one kind), ``errors`` (of both), ``examples`` (of both classes) and, with
        ``coarse_of``, ``same_family``.
    """
    counts = confusion_matrix(labels, predictions, len(classes))
    i, j = np.triu_indices(len(classes), k=1)
    errors = counts[i, j] + counts[j, i]
    ranked = np.argsort(-errors, kind="stable")[:k]
    return [
        _pair(counts, classes, a, b, coarse_of)
        for a, b in zip(i[ranked], j[ranked], strict=True)
        if counts[a, b] + counts[b, a]
    ]


def errors_within_family(
    labels: Int[np.ndarray, "n"],
    predictions: Int[np.ndarray, "n"],
    coarse_of: Int[np.ndarray, "k"],
) -> dict | None:
    """Share of the errors that stay inside the true family, with its Wilson interval.

    Near 1, what is left to learn is fine-grained. None where there is no error.
    """
    labels, predictions, family = (np.asarray(x) for x in (labels, predictions, coarse_of))
    wrong = labels != predictions
    if not wrong.any():
        return None
    inside = family[labels[wrong]] == family[predictions[wrong]]
    return intervals.share(inside)._asdict()


def _pair(
    counts: Int[np.ndarray, "k k"],
    classes: Sequence[str],
    a: int,
    b: int,
    coarse_of: Int[np.ndarray, "k"] | None,
) -> dict:
    pair = {
        "first": classes[a],
        "second": classes[b],
        "first_as_second": int(counts[a, b]),
        "second_as_first": int(counts[b, a]),
        "errors": int(counts[a, b] + counts[b, a]),
        "examples": int(counts[a].sum() + counts[b].sum()),
    }
    return pair if coarse_of is None else pair | {"same_family": bool(coarse_of[a] == coarse_of[b])}
