"""The errors of a network on collected rows: who is taken for whom, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import special

from fgjax.analysis import calibration, causes
from fgjax.evaluation import confusions, metrics
from fgjax.vocabulary import MIDDLE

Rows = dict[str, Any]
# A part separates two classes if it alone tells them apart this often; three at most count.
SEPARATES = 0.75
SEPARATING = 3


def decision(
    logits: Float[np.ndarray, "n k"],
    labels: Int[np.ndarray, " n"],
    classes: tuple[str, ...],
    coarse_of: Int[np.ndarray, " k"] | None,
) -> dict[str, Any]:
    """Accuracy, calibration and confused pairs of the network itself."""
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
    """Who can testify on each example; see :class:`causes.Witnesses`."""
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
        neighbours=votes["embedding"],
    )


def _name(level: str, kind: str) -> str:
    return f"{level}, {kind.replace('_', ' ')}"


def circumstances(
    train: Rows, rows: Rows, size: int, separates: Callable[[int, int], Float[np.ndarray, " p"]]
) -> dict[str, Bool[np.ndarray, " n"]]:
    """What about each example is unlike nearly all training data; see :func:`causes.unusual`."""

    def figures(r, pose):
        return {
            "detail": r["detail"],
            "scale": causes.scale(r["box"], size),
            "visible parts": r["parts"][..., 2].mean(1) if r["parts"].shape[1] else None,
            "pose": pose,
        }

    usual = figures(
        train, causes.pose_likeness(train["parts"], train["parts"], leave_self_out=True)
    )
    here = figures(rows, causes.pose_likeness(train["parts"], rows["parts"]))
    odd = {
        name: causes.unusual(values, here[name])
        for name, values in usual.items()
        if values is not None
    }
    return odd | {"telling parts hidden": _telling_parts_hidden(rows, separates)}


def _telling_parts_hidden(rows, separates) -> Bool[np.ndarray, " n"]:
    """Errors in which no part is visible that tells the label from the prediction."""
    predictions, hidden = rows["logits"].argmax(1), np.zeros(len(rows["label"]), bool)
    for row in np.flatnonzero(predictions != rows["label"]):
        telling_ones = telling(separates(int(rows["label"][row]), int(predictions[row])))
        visible = rows["parts"][row, :, 2] > 0
        hidden[row] = telling_ones.any() and not (telling_ones & visible).any()
    return hidden


def rivals(
    logits: Float[np.ndarray, "n k"], labels: Int[np.ndarray, " n"]
) -> Int[np.ndarray, " n"]:
    """The highest-scored class of each example that is not its label."""
    others = np.where(np.arange(logits.shape[1]) == labels[:, None], -np.inf, logits)
    return others.argmax(1)


def telling(accuracy: Float[np.ndarray, " p"]) -> Bool[np.ndarray, " p"]:
    """The parts that tell two classes apart, by how well each does so alone."""
    accuracy = np.nan_to_num(accuracy)
    best = np.argsort(-accuracy, kind="stable")[:SEPARATING]
    return np.isin(np.arange(len(accuracy)), best) & (accuracy >= SEPARATES)


def count_causes(explained: list[dict]) -> dict[str, dict[str, int]]:
    """How often each cause is the main one, and how often it applies at all."""
    main = Counter(error["causes"][0] for error in explained)
    applies = Counter(cause for error in explained for cause in error["causes"])
    return {cause: {"main": main[cause], "applies": applies[cause]} for cause in causes.CAUSES}
