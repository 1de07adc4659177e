"""The logits of a whole split, each example exactly once, and the comparison of two runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Array, Float, Int

from fgjax.errors import UserError
from fgjax.evaluation import intervals
from fgjax.files import replacing

Batch = dict[str, np.ndarray]


class Predictions(NamedTuple):
    """Scores of n examples over k classes, ordered by the examples' index in their split."""

    logits: Float[np.ndarray, "n k"]
    labels: Int[np.ndarray, " n"]
    index: Int[np.ndarray, " n"]  # type: ignore[assignment]  # hides tuple.index


def predict(apply: Callable[[Batch], Float[Array, "c k"]], batches: Iterable[Batch]) -> Predictions:
    """Run a network over the batches of a split.

    Args:
        apply: a batch to its logits; a compiled function that returns before the device is done.
            Rows beyond those of the batch are dropped.
        batches: dicts with ``mask`` (1 for an example, 0 for padding), ``label`` and ``index``.
            Wrap them in a generator to report progress.

    Raises:
        ValueError: an example comes twice, or there is no batch.
    """
    rows, pending = [], None
    for batch in batches:
        # Fetch batch t - 1 only once batch t is under way: the device never waits for the host.
        current = (apply(batch), batch)
        if pending is not None:
            rows.append(_real_rows(*pending))
        pending = current
    if pending is None:
        raise ValueError("there is no batch to predict.")
    rows.append(_real_rows(*pending))
    logits, labels, index = (np.concatenate(column) for column in zip(*rows, strict=True))
    order = np.argsort(index, kind="stable")
    _check_unique(index[order])
    return Predictions(logits[order], labels[order], index[order])


def save(predictions: Predictions, path: str | os.PathLike) -> None:
    """Write predictions as a compressed ``.npz``, for later comparisons on the same examples."""
    with replacing(path) as file:
        np.savez_compressed(file, **predictions._asdict())


def load(path: str | os.PathLike) -> Predictions:
    """Read what ``save`` wrote.

    Raises:
        UserError: there is no such file, or it holds something else.
    """
    try:
        with np.load(path) as arrays:
            return Predictions(*(arrays[name] for name in Predictions._fields))
    except FileNotFoundError as error:
        raise UserError(f"there are no predictions at {path}; run the evaluation first") from error
    except (KeyError, ValueError, BadZipFile, EOFError) as error:
        raise UserError(
            f"{path} does not hold predictions of fgjax; run the evaluation again"
        ) from error


def compare(a: Predictions, b: Predictions) -> dict:
    """Accuracy of a minus accuracy of b on the same examples, both views of its uncertainty.

    Returns:
        ``difference`` ({"value", "low", "high", "n"}, paired bootstrap, 95 %) and ``mcnemar``
        ({"only_a", "only_b", "p_value"}).

    Raises:
        UserError: the two were not made on the same examples.
    """
    if not (np.array_equal(a.index, b.index) and np.array_equal(a.labels, b.labels)):
        raise UserError(
            "the two runs were scored on different examples; evaluate both on the same split of "
            "the same data"
        )
    correct_a, correct_b = (p.logits.argmax(axis=1) == p.labels for p in (a, b))
    return {
        "difference": intervals.paired_bootstrap(correct_a, correct_b)._asdict(),
        "mcnemar": intervals.mcnemar(correct_a, correct_b)._asdict(),
    }


def _real_rows(logits: Array, batch: Batch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    real = np.asarray(batch["mask"]) > 0
    return (
        np.asarray(logits, np.float32)[: len(real)][real],
        np.asarray(batch["label"])[real],
        np.asarray(batch["index"])[real],
    )


def _check_unique(ordered: np.ndarray) -> None:
    repeated = ordered[1:][ordered[1:] == ordered[:-1]]
    if repeated.size:
        raise ValueError(f"examples {np.unique(repeated)[:5]} were predicted more than once.")
