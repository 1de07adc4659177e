"""What each level knows: read-outs of every level for every target, and what they add up to."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from fgjax.analysis import compression, probes, transferability
from fgjax.evaluation import intervals

Rows = dict[str, Any]
# Above this, a score that needs a decomposition of the features costs more than it tells.
WIDE = 4096


def representations(rows: Rows) -> dict[tuple[str, str], Float[np.ndarray, "n d"]]:
    """Every set of features that is read out, by (level, kind), from collected rows.

    Kinds: ``average``, ``second_order``; the same of a twin under ``random average``, ...;
    ``embedding`` is what the head reads.
    """
    features = {
        (level, kind): row[kind]
        for level, row in rows["levels"].items()
        for kind in ("average", "second_order")
    }
    for name, twin in rows["twins"].items():
        for level, row in twin.items():
            features |= {(level, f"{name} {kind}"): x for kind, x in row.items()}
    return features | {("embedding", "average"): rows["embedding"]}


def read_outs(
    train: Rows,
    evaluation: Rows,
    coarse_of: Int[np.ndarray, " k"] | None,
) -> tuple[dict[tuple[str, str], dict[str, np.ndarray]], dict[tuple[str, str], Any]]:
    """Scores of a probe of every representation for every target on the evaluation examples.

    Returns:
        ``scores[level, kind][target]`` with targets ``fine`` and, with families, ``coarse``; and
        the probes for the fine classes.
    """
    targets = {"fine": train["label"]}
    if coarse_of is not None:
        targets["coarse"] = np.asarray(coarse_of)[train["label"]]
    queries = representations(evaluation)
    scores, fitted = {}, {}
    for key, features in representations(train).items():
        found = probes.fit(features, targets)
        fitted[key] = found["fine"]
        scores[key] = {
            target: probes.read(probe, queries[key]).astype(np.float32)
            for target, probe in found.items()
        }
    return scores, fitted


def accuracies(
    scores: Mapping[str, Float[np.ndarray, "n k"]],
    labels: Int[np.ndarray, " n"],
    coarse_of: Int[np.ndarray, " k"] | None,
) -> dict[str, dict[str, float]]:
    """Accuracy by target, with Wilson bounds.

    ``coarse`` is over all families; ``coarse_shared`` leaves out the examples of families that
    hold a single class, for which the coarse question is the fine one.
    """
    result = {"fine": share(scores["fine"].argmax(1) == labels)}
    if coarse_of is None:
        return result
    families = np.asarray(coarse_of)[labels]
    right = scores["coarse"].argmax(1) == families
    shared = np.bincount(coarse_of)[families] > 1
    result["coarse"] = share(right)
    if shared.any():
        result["coarse_shared"] = share(right[shared])
    return result


def share(correct: Bool[np.ndarray, " n"]) -> dict[str, float]:
    """Accuracy with its Wilson bounds."""
    return intervals.wilson(int(np.sum(correct)), len(correct))._asdict()


def neighbours(train: Rows, evaluation: Rows, classes: int) -> dict[str, np.ndarray]:
    """Votes of the nearest training examples at every level and in the embedding."""
    names = {level: row["average"] for level, row in train["levels"].items()}
    queries = {level: row["average"] for level, row in evaluation["levels"].items()}
    names["embedding"], queries["embedding"] = train["embedding"], evaluation["embedding"]
    return {
        name: probes.nearest_neighbours(features, train["label"], queries[name], classes)
        for name, features in names.items()
    }


def scores_without_training(
    features: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"]
) -> dict[str, float]:
    """LogME, H-score and TransRate of training features."""
    if features.shape[1] > WIDE:
        return {}
    return {
        "log_me": transferability.log_me(features, labels),
        "h_score": transferability.h_score(features, labels),
        "trans_rate": transferability.trans_rate(features, labels),
    }


def spectrum_figures(
    features: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"]
) -> dict[str, float]:
    """Effective rank and dimension, and neural-collapse figures, of training features."""
    eigenvalues = probes.decompose(features).eigenvalues
    return {
        "effective_rank": compression.effective_rank(eigenvalues),
        "participation_ratio": compression.participation_ratio(eigenvalues),
        "dimension_95": compression.dimension(eigenvalues),
        **compression.collapse(features, labels),
    }


def passage(
    right_at: Mapping[str, Bool[np.ndarray, " n"]], order: Sequence[str]
) -> list[dict[str, Any]]:
    """What is lost and gained from each read-out of ``order`` to the next."""
    return [
        {"from": before, "to": after, **compression.lost(right_at[before], right_at[after])}
        for before, after in itertools.pairwise(order)
    ]
