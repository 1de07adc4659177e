"""What each level knows: read-outs of every level, and figures of its features."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from fgjax.analysis import compression, probes, transferability
from fgjax.analysis.features import Rows
from fgjax.evaluation import intervals

# Features of more numbers than this get no score that decomposes their covariance: its time grows
# with the cube of the number, and the score serves only to rank levels.
WIDE = 4096


def representations(rows: Rows) -> dict[tuple[str, str], Float[np.ndarray, "n d"]]:
    """Every set of features that is read out, by (level, kind), from collected rows.

    Kinds are ``average`` and ``second_order``; those of a twin bear its name, as in ``random
    average``. What the head reads counts as the average of a level ``embedding``.
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
    """Fits a probe of every representation for every target, and scores the evaluation examples.

    Args:
        train: rows that the probes are fitted to.
        evaluation: rows that they score.
        coarse_of: family of each class; None where the data have no families.

    Returns:
        Scores by (level, kind) and target, which is ``fine`` or, with families, ``coarse``; and by
        (level, kind) the probe for the fine classes.
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
    """Accuracy of a read-out by target, with Wilson bounds.

    Args:
        scores: by target.
        labels: fine classes of the examples.
        coarse_of: family of each class; None where the data have no families.

    Returns:
        ``fine``; with families ``coarse`` and ``coarse_shared``, which leaves out the examples of
        families with a single class: to name these is to name the class.
    """
    result = {"fine": intervals.share(scores["fine"].argmax(1) == labels)._asdict()}
    if coarse_of is None:
        return result
    families = np.asarray(coarse_of)[labels]
    right = scores["coarse"].argmax(1) == families
    shared = np.bincount(coarse_of)[families] > 1
    result["coarse"] = intervals.share(right)._asdict()
    if shared.any():
        result["coarse_shared"] = intervals.share(right[shared])._asdict()
    return result


def neighbors(train: Rows, evaluation: Rows, classes: int) -> dict[str, np.ndarray]:
    """Share of each class among the nearest training examples, at every level and the embedding."""
    known, queries = (
        {level: row["average"] for level, row in rows["levels"].items()}
        | {"embedding": rows["embedding"]}
        for rows in (train, evaluation)
    )
    return {
        name: probes.nearest_neighbors(features, train["label"], queries[name], classes)
        for name, features in known.items()
    }


def scores_without_training(
    features: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"]
) -> dict[str, float]:
    """LogME, H-score and TransRate of training features; empty for very wide ones."""
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
    right: Mapping[str, Bool[np.ndarray, " n"]], order: Sequence[str]
) -> list[dict[str, Any]]:
    """What is lost and gained from each stage of ``order`` to the next.

    Args:
        right: by stage, which examples its read-out tells rightly.
        order: the stages.
    """
    return [
        {"from": before, "to": after, **compression.lost(right[before], right[after])}
        for before, after in itertools.pairwise(order)
    ]
