"""The errors of a network on collected rows: which classes are confused, and who can testify."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy import special

from fgjax.analysis import calibration, causes
from fgjax.analysis.features import Rows
from fgjax.evaluation import confusions, metrics
from fgjax.vocabulary import MIDDLE


def decision(
    logits: Float[np.ndarray, "n k"],
    labels: Int[np.ndarray, " n"],
    classes: tuple[str, ...],
    coarse_of: Int[np.ndarray, " k"] | None,
) -> dict[str, Any]:
    """Accuracy, calibration and confused pairs of the network itself.

    Args:
        logits: of the evaluated examples.
        labels: their classes.
        classes: names.
        coarse_of: family of each class; None where the data have no families.
    """
    predictions = logits.argmax(1)
    result = metrics.summarize(logits, labels, coarse_of)
    result["reliability"] = calibration.reliability(special.softmax(logits, axis=1), labels)
    result["pairs"] = confusions.most_confused(labels, predictions, classes, 10, coarse_of)
    if coarse_of is not None:
        result["errors_within_family"] = confusions.errors_within_family(
            labels, predictions, coarse_of
        )
    return result


def witnesses(
    rows: Rows,
    scores: Mapping[tuple[str, str], Mapping[str, np.ndarray]],
    votes: Mapping[str, np.ndarray],
) -> causes.Witnesses:
    """The witnesses of :class:`causes.Witnesses`, from collected rows and their read-outs.

    Args:
        rows: of the evaluated examples.
        scores: of the read-outs: (level, kind) -> target -> scores.
        votes: of the nearest neighbors: level -> share of each class.
    """
    last = list(rows["levels"])[-1]
    late = [(last, "average"), (last, "second_order"), ("embedding", "average")]
    middle = [
        (level, kind)
        for level in rows["levels"]
        if level in MIDDLE
        for kind in ("second_order", "average")
    ]
    return causes.Witnesses(
        labels=rows["label"],
        predictions=rows["logits"].argmax(1),
        probabilities=special.softmax(rows["logits"], axis=1),
        middle={_name(*key): scores[key]["fine"] for key in middle},
        late={_name(*key): scores[key]["fine"] for key in late},
        neighbors=votes["embedding"],
    )


def _name(level: str, kind: str) -> str:
    return f"{level}, {kind.replace('_', ' ')}"


def rivals(
    logits: Float[np.ndarray, "n k"], labels: Int[np.ndarray, " n"]
) -> Int[np.ndarray, " n"]:
    """The highest-scored class of each example that is not its label."""
    others = np.where(np.arange(logits.shape[1]) == labels[:, None], -np.inf, logits)
    return others.argmax(1)


def count_causes(explained: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """How often each cause is the main one, and how often it applies at all."""
    main = Counter(error["causes"][0] for error in explained)
    applies = Counter(cause for error in explained for cause in error["causes"])
    return {cause: {"main": main[cause], "applies": applies[cause]} for cause in causes.CAUSES}
