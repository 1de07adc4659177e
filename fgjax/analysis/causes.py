"""The likely causes of each error of a network.

A cause is named only on evidence that is independent of the network's own decision: read-outs of
other levels, neighbors among the training examples, part annotations, the spread of the training
data. An error can have several causes; the first of :data:`CAUSES` that applies is its main one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

# In this order: what is wrong with the example comes before what is wrong with the network, because
# no network could be blamed for a wrong label or a hidden bird.
CAUSES = {
    "label doubt": "every witness names one other class and none the label, on an image that shows "
    "what tells the two apart",
    "pose, scale or occlusion": "the object is smaller, more hidden or posed unlike nearly all "
    "training images, or the parts that tell the two classes apart are hidden",
    "low resolution": "the image holds less fine detail than nearly all training images",
    "over-compression": "a middle level still tells it rightly; the network does not",
    "missed part cue": "the evidence lies off the parts that tell the two classes apart",
    "look-alikes beyond the data": "no level tells the two classes apart reliably",
    "unexplained": "none of the above applies",
}

# A read-out that prefers the right one of two classes this often (0.5 is guessing) can be believed
# when it speaks about these two.
RELIABLE = 0.75


class Witnesses(NamedTuple):
    """The network's decision on n examples, and what else can testify about them.

    Attributes:
        labels: given classes.
        predictions: the network's classes.
        probabilities: the network's.
        middle: scores of the read-outs of middle levels, by name.
        late: scores of the read-outs of the last level and the embedding, by name: these read
            nearly what the network reads.
        neighbors: share of each class among the nearest training examples.
    """

    labels: Int[np.ndarray, " n"]
    predictions: Int[np.ndarray, " n"]
    probabilities: Float[np.ndarray, "n k"]
    middle: Mapping[str, Float[np.ndarray, "n k"]]
    late: Mapping[str, Float[np.ndarray, "n k"]]
    neighbors: Float[np.ndarray, "n k"]


def label_doubt(witnesses: Witnesses) -> Bool[np.ndarray, " n"]:
    """Which labels are in doubt, by confident learning (Northcutt et al., 2021) made stricter.

    All of this must hold. The network gives its class at least the mean probability that it gives
    that class on examples with that label (Northcutt's criterion). Every late read-out and more
    than half of the neighbors name the same class. At most a tenth of the neighbors has the given
    label.
    """
    rows = np.arange(len(witnesses.labels))
    named = witnesses.predictions
    own = witnesses.probabilities[rows, witnesses.labels]
    # A class without examples has no mean: 1, which no probability exceeds.
    usual = np.array(
        [
            own[witnesses.labels == c].mean() if (witnesses.labels == c).any() else 1.0
            for c in range(witnesses.probabilities.shape[1])
        ]
    )
    unanimous = np.all(
        [scores.argmax(1) == named for scores in witnesses.late.values()], axis=0
    ) & (witnesses.neighbors[rows, named] > 0.5)
    confident = witnesses.probabilities[rows, named] >= usual[named]
    unsupported = witnesses.neighbors[rows, witnesses.labels] <= 0.1
    return (named != witnesses.labels) & unanimous & confident & unsupported


def over_compression(witnesses: Witnesses) -> list[str | None]:
    """For each error, the middle read-out that names the label all the same; None if there is none.

    A read-out is believed only about two classes that it tells apart with accuracy
    :data:`RELIABLE`, because one that guesses is right now and then. Of several, the most reliable
    one is named.
    """
    labels = witnesses.labels
    found: list[str | None] = [None] * len(labels)
    for i in np.flatnonzero(witnesses.predictions != labels):
        pair = int(labels[i]), int(witnesses.predictions[i])
        heard = {
            name: pair_accuracy(scores, labels, *pair)
            for name, scores in witnesses.middle.items()
            if scores[i].argmax() == labels[i]
        }
        best = max(heard, key=heard.__getitem__, default=None)
        found[i] = best if best is not None and heard[best] >= RELIABLE else None
    return found


def pair_accuracy(
    scores: Float[np.ndarray, "n k"], labels: Int[np.ndarray, " n"], first: int, second: int
) -> float:
    """How often the scores prefer the right one of two classes, on the examples of these two.

    The mean of the two classes' shares, so that scores that always prefer one class get 0.5. nan
    where neither class has an example.
    """
    shares = [
        np.mean(scores[labels == a, a] > scores[labels == a, b])
        for a, b in ((first, second), (second, first))
        if (labels == a).any()
    ]
    return float(np.mean(shares)) if shares else float("nan")


def look_alikes(
    witnesses: Witnesses,
) -> tuple[Bool[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Errors between two classes that no read-out tells apart with accuracy :data:`RELIABLE`.

    Returns:
        Whether an example is such an error, and the best :func:`pair_accuracy` of any read-out on
        its label and prediction (nan where the network is right).
    """
    read_outs = [witnesses.probabilities, *witnesses.middle.values(), *witnesses.late.values()]
    best = np.full(len(witnesses.labels), np.nan)
    for i in np.flatnonzero(witnesses.predictions != witnesses.labels):
        pair = int(witnesses.labels[i]), int(witnesses.predictions[i])
        best[i] = max(pair_accuracy(scores, witnesses.labels, *pair) for scores in read_outs)
    return best < RELIABLE, best


def separating_parts(
    part_scores: Float[np.ndarray, "p n k"],
    visible: Bool[np.ndarray, "n p"],
    labels: Int[np.ndarray, " n"],
    first: int,
    second: int,
) -> Float[np.ndarray, " p"]:
    """How well each part alone tells two classes apart (accuracy, 0.5 = not at all).

    Args:
        part_scores: class scores read off the feature at each part, fitted to other examples.
        visible: which parts each example shows; a part is judged on the examples that show it.
        labels: classes of the examples.
        first: one class.
        second: the other.
    """
    return np.array(
        [
            pair_accuracy(scores[seen], labels[seen], first, second)
            for scores, seen in zip(part_scores, visible.T, strict=True)
        ]
    )


def explain(
    witnesses: Witnesses,
    odd: Mapping[str, Bool[np.ndarray, " n"]],
    on_parts: Float[np.ndarray, " n"],
) -> list[dict[str, Any]]:
    """For each error, every cause that applies, with its evidence.

    Args:
        witnesses: of all evaluated examples.
        odd: what is unusual about each example, by name: "detail" (of the image) and any others
            (of the object: scale, pose, visibility), such as "telling parts hidden".
        on_parts: share of the evidence for the label against its closest rival that lies on the
            parts which tell the two apart; nan where it was not measured. "Missed part cue"
            applies where it is below the lower quartile of the examples that the network gets
            right.

    Returns:
        One dict for each error: ``row`` (among the examples), ``label``, ``prediction``,
        ``confidence``, ``causes`` (main one first) and ``evidence``, the figures behind them.
    """
    doubt = label_doubt(witnesses)
    middle = over_compression(witnesses)
    alike, best = look_alikes(witnesses)
    missed = _low(on_parts, witnesses.predictions == witnesses.labels)
    explained = []
    for row in np.flatnonzero(witnesses.predictions != witnesses.labels):
        label, named = int(witnesses.labels[row]), int(witnesses.predictions[row])
        unusual = [name for name, flags in odd.items() if flags[row]]
        applies = {
            # An image without the detail or the parts cannot testify against its label.
            "label doubt": doubt[row] and not {"detail", "telling parts hidden"} & set(unusual),
            "pose, scale or occlusion": bool(set(unusual) - {"detail"}),
            "low resolution": "detail" in unusual,
            "over-compression": middle[row] is not None,
            "missed part cue": missed[row],
            "look-alikes beyond the data": alike[row],
        }
        explained.append(
            {
                "row": int(row),
                "label": label,
                "prediction": named,
                "confidence": float(witnesses.probabilities[row, named]),
                "causes": [cause for cause in CAUSES if applies.get(cause)] or ["unexplained"],
                "evidence": {
                    "label_share_of_neighbours": float(witnesses.neighbors[row, label]),
                    "unusual": unusual,
                    "right_at": middle[row],
                    "on_separating_parts": float(on_parts[row]),
                    "best_on_pair": float(best[row]),
                },
            }
        )
    return explained


def _low(values: Float[np.ndarray, " n"], usual: Bool[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    """Where a value is below the lower quartile of the usual ones; False where it is nan."""
    known = values[usual & np.isfinite(values)]
    quartile = np.quantile(known, 0.25) if len(known) else -np.inf
    return np.nan_to_num(values, nan=np.inf) < quartile
