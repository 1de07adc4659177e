"""What each error has to do with.

A cause is named only on evidence that is independent of the network's own decision: read-outs of
other levels, neighbours, part annotations, the training data's own spread. An error can have
several causes; the first that applies, in the order of :data:`CAUSES`, is its main one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

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


# A read-out that is right about two classes this often can be believed about them.
RELIABLE = 0.75


class Witnesses(NamedTuple):
    """What is known of n examples besides the network's decision.

    Attributes:
        labels: given classes.
        predictions: the network's classes.
        probabilities: the network's, calibrated.
        middle: scores of the read-outs of the middle levels.
        late: scores of the other read-outs that are as good as the network.
        neighbours: share of each class among the nearest training examples.
    """

    labels: Int[np.ndarray, " n"]
    predictions: Int[np.ndarray, " n"]
    probabilities: Float[np.ndarray, "n k"]
    middle: Mapping[str, Float[np.ndarray, "n k"]]
    late: Mapping[str, Float[np.ndarray, "n k"]]
    neighbours: Float[np.ndarray, "n k"]


def label_doubt(witnesses: Witnesses) -> Bool[np.ndarray, " n"]:
    """Confident learning (Northcutt et al., 2021), sharpened: all witnesses against the label.

    The network's probability of its class is above the mean of the examples that bear that label,
    every read-out and a majority of the neighbours name the same class, and no more than one in
    ten neighbours bears the given label.
    """
    rows = np.arange(len(witnesses.labels))
    named = witnesses.predictions
    own = witnesses.probabilities[rows, witnesses.labels]
    usual = np.array(
        [
            own[witnesses.labels == c].mean() if (witnesses.labels == c).any() else 1.0
            for c in range(witnesses.probabilities.shape[1])
        ]
    )
    unanimous = np.all(
        [scores.argmax(1) == named for scores in witnesses.late.values()], axis=0
    ) & (witnesses.neighbours[rows, named] > 0.5)
    confident = witnesses.probabilities[rows, named] >= usual[named]
    unsupported = witnesses.neighbours[rows, witnesses.labels] <= 0.1
    return (named != witnesses.labels) & unanimous & confident & unsupported


def over_compression(witnesses: Witnesses) -> list[str | None]:
    """For each example the read-out of a middle level that gets the network's error right, if any.

    A read-out is heard only on two classes that it tells apart with accuracy :data:`RELIABLE`:
    one that guesses is right now and then. The most reliable one is named.
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


def unusual(
    training: Float[np.ndarray, " n"], examples: Float[np.ndarray, " m"], tail: float = 0.02
) -> Bool[np.ndarray, " m"]:
    """Where a figure lies below the ``tail`` quantile of the training data; False where nan.

    Figures are such that low means difficult: scale, share of visible parts, likeness of pose.
    """
    known = training[np.isfinite(training)]
    threshold = np.quantile(known, tail) if len(known) else -np.inf
    return np.nan_to_num(examples, nan=np.inf) < threshold


def scale(box: Float[np.ndarray, "n 4"], size: int) -> Float[np.ndarray, " n"]:
    """Square root of the object's share of the image; nan without a box."""
    height, width = np.maximum(box[:, 2] - box[:, 0], 0), np.maximum(box[:, 3] - box[:, 1], 0)
    return np.sqrt(height * width) / size


def pose_likeness(
    training: Float[np.ndarray, "n p 3"],
    examples: Float[np.ndarray, "m p 3"],
    *,
    leave_self_out: bool = False,
    block: int = 64,
) -> Float[np.ndarray, " m"]:
    """Minus the distance to the most alike layout of parts in training, or in its mirror image.

    Layouts are centred and scaled by their own spread; the distance is the root mean square over
    parts visible in both, of which there must be three. nan where fewer are visible.
    """
    if not training.shape[1]:
        return np.full(len(examples), np.nan)
    known, seen = _layouts(training), _layouts(examples)
    nearest = np.full(len(examples), np.inf)
    for start in range(0, len(examples), block):
        part = slice(start, start + block)
        for mirror in (1.0, -1.0):
            other = known * np.array([1.0, mirror])
            square = np.sum((seen[part, None] - other[None]) ** 2, -1)
            both = np.isfinite(square)
            distance = np.sqrt(np.nansum(square, -1) / np.maximum(both.sum(-1), 1))
            distance[both.sum(-1) < 3] = np.inf
            if leave_self_out:
                rows = np.arange(len(distance))
                distance[rows, start + rows] = np.inf
            nearest[part] = np.minimum(nearest[part], distance.min(1))
    return np.where(np.isfinite(nearest), -nearest, np.nan)


def _layouts(points: np.ndarray) -> Float[np.ndarray, "n p 2"]:
    visible = points[..., 2:] > 0
    placed = np.where(visible, points[..., :2], np.nan)
    count = np.maximum(visible.sum(1, keepdims=True), 1)
    centred = placed - np.nansum(placed, 1, keepdims=True) / count
    spread = np.sqrt(np.nansum(centred**2, (1, 2), keepdims=True) / count)
    return centred / np.maximum(spread, 1e-9)


def pair_accuracy(
    scores: Float[np.ndarray, "n k"], labels: Int[np.ndarray, " n"], first: int, second: int
) -> float:
    """How often the scores prefer the right one of two classes, on the examples of these two.

    The mean of the two classes, so that a preference for one of them gains nothing.
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

    Also returns the best accuracy of any read-out on the pair, nan where there is no error.
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

    ``part_scores`` are read-outs of the features at that part, fitted on other examples.
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
) -> list[dict]:
    """For each error, every cause that applies, with its evidence.

    Args:
        witnesses: of all evaluated examples.
        odd: what is unusual about each example, by name; "detail" is the fineness of its image,
            all else has to do with the object's scale, pose and visibility, "telling parts hidden"
            among it.
        on_parts: share of the evidence for the label against its closest rival that lies on the
            parts which separate the two; nan where it was not measured. It is low where it is
            below the lower quartile of that share where the network is right.

    Returns:
        dicts with ``row`` (among the examples), ``label``, ``prediction``, ``confidence``,
        ``causes`` (main one first) and ``evidence`` (cause -> figures).
    """
    doubt = label_doubt(witnesses)
    right_at = over_compression(witnesses)
    alike, best = look_alikes(witnesses)
    usual = on_parts[(witnesses.predictions == witnesses.labels) & np.isfinite(on_parts)]
    least = np.quantile(usual, 0.25) if len(usual) else -np.inf
    missed = np.nan_to_num(on_parts, nan=np.inf) < least
    explained = []
    for row in np.flatnonzero(witnesses.predictions != witnesses.labels):
        label, named = int(witnesses.labels[row]), int(witnesses.predictions[row])
        unlike = [name for name, flags in odd.items() if flags[row]]
        found = {
            # An image without the detail or the parts cannot testify against its label.
            "label doubt": doubt[row] and not {"detail", "telling parts hidden"} & set(unlike),
            "pose, scale or occlusion": bool(set(unlike) - {"detail"}),
            "low resolution": "detail" in unlike,
            "over-compression": right_at[row] is not None,
            "missed part cue": missed[row],
            "look-alikes beyond the data": alike[row],
        }
        causes = [cause for cause, applies in found.items() if applies] or ["unexplained"]
        explained.append(
            {
                "row": int(row),
                "label": label,
                "prediction": named,
                "confidence": float(witnesses.probabilities[row, named]),
                "causes": causes,
                "evidence": {
                    "label_share_of_neighbours": float(witnesses.neighbours[row, label]),
                    "unusual": unlike,
                    "right_at": right_at[row],
                    "on_separating_parts": float(on_parts[row]),
                    "best_on_pair": float(best[row]),
                },
            }
        )
    return explained
