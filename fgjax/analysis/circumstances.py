"""What is unlike the training data about an image: detail, scale, pose, hidden parts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float

from fgjax.analysis.features import Rows

# A part tells two classes apart if a read-out of it alone does so this often (0.5 is guessing).
# Three at most count: with more, the evidence would hardly miss them all.
SEPARATES = 0.75
SEPARATING = 3


def circumstances(
    train: Rows, rows: Rows, size: int, separates: Callable[[int, int], Float[np.ndarray, " p"]]
) -> dict[str, Bool[np.ndarray, " n"]]:
    """What is unlike nearly all training data about each example, by name; see :func:`unusual`.

    Args:
        train: rows of the training examples.
        rows: rows of the examples that are judged.
        size: side of the network's input, pixels.
        separates: from two classes to how well each part alone tells them apart.

    Returns:
        Flags by name: "detail", "scale", "pose", where there are parts "visible parts", and for
        errors "telling parts hidden": no part is visible that tells the label from the prediction.
    """
    usual = _figures(train, size) | {
        "pose": pose_likeness(train["parts"], train["parts"], leave_self_out=True)
    }
    here = _figures(rows, size) | {"pose": pose_likeness(train["parts"], rows["parts"])}
    odd = {name: unusual(values, here[name]) for name, values in usual.items()}
    return odd | {"telling parts hidden": _telling_parts_hidden(rows, separates)}


def _figures(rows: Rows, size: int) -> dict[str, Float[np.ndarray, " n"]]:
    """Figures that are low where an image is difficult."""
    found = {"detail": rows["detail"], "scale": scale(rows["box"], size)}
    if rows["parts"].shape[1]:
        found["visible parts"] = rows["parts"][..., 2].mean(1)
    return found


def _telling_parts_hidden(rows, separates) -> Bool[np.ndarray, " n"]:
    predictions, hidden = rows["logits"].argmax(1), np.zeros(len(rows["label"]), bool)
    for row in np.flatnonzero(predictions != rows["label"]):
        wanted = telling(separates(int(rows["label"][row]), int(predictions[row])))
        visible = rows["parts"][row, :, 2] > 0
        hidden[row] = wanted.any() and not (wanted & visible).any()
    return hidden


def telling(accuracy: Float[np.ndarray, " p"]) -> Bool[np.ndarray, " p"]:
    """Which parts tell two classes apart: the best few, if :data:`SEPARATES` or better.

    Args:
        accuracy: how well each part alone tells the two apart; nan where that is not known.
    """
    accuracy = np.nan_to_num(accuracy)
    best = np.argsort(-accuracy, kind="stable")[:SEPARATING]
    return np.isin(np.arange(len(accuracy)), best) & (accuracy >= SEPARATES)


def unusual(
    training: Float[np.ndarray, " n"], examples: Float[np.ndarray, " m"], tail: float = 0.02
) -> Bool[np.ndarray, " m"]:
    """Where a figure lies below the ``tail`` quantile of the training data; False where nan.

    Low must mean difficult, as for scale, share of visible parts and likeness of pose.
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
    """How like the pose is to the most alike training pose: 0 is the same, lower is less alike.

    Minus the distance between the layouts of visible parts, each centered and divided by its own
    spread, or the mirror image of one of them, whichever is less. The distance is the root mean
    square over the parts that both images show; nan where no training image shares three.

    Args:
        training: parts of the training images, (y, x, visible).
        examples: parts of the examples.
        leave_self_out: the examples are the training images; none is compared with itself.
        block: examples compared at once, which bounds memory.
    """
    if not training.shape[1]:
        return np.full(len(examples), np.nan)
    known, seen = _layouts(training), _layouts(examples)
    nearest = np.full(len(examples), np.inf)
    for start in range(0, len(examples), block):
        chunk = slice(start, start + block)
        for mirror in (1.0, -1.0):
            other = known * np.array([1.0, mirror])
            square = np.sum((seen[chunk, None] - other[None]) ** 2, -1)
            both = np.isfinite(square)
            distance = np.sqrt(np.nansum(square, -1) / np.maximum(both.sum(-1), 1))
            # Two points, centered and scaled, always coincide but for their direction.
            distance[both.sum(-1) < 3] = np.inf
            if leave_self_out:
                rows = np.arange(len(distance))
                distance[rows, start + rows] = np.inf
            nearest[chunk] = np.minimum(nearest[chunk], distance.min(1))
    return np.where(np.isfinite(nearest), -nearest, np.nan)


def _layouts(points: Float[np.ndarray, "n p 3"]) -> Float[np.ndarray, "n p 2"]:
    """Visible parts, centered and divided by their spread; nan where a part is hidden."""
    visible = points[..., 2:] > 0
    placed = np.where(visible, points[..., :2], np.nan)
    count = np.maximum(visible.sum(1, keepdims=True), 1)
    centered = placed - np.nansum(placed, 1, keepdims=True) / count
    spread = np.sqrt(np.nansum(centered**2, (1, 2), keepdims=True) / count)
    return centered / np.maximum(spread, 1e-9)
