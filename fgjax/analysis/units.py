"""Which units and levels find annotated parts: the measures of ``parts``, on collected rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from fgjax.analysis import parts, probes
from fgjax.evaluation import intervals

Rows = dict[str, Any]
# Instances of parts to fit a part read-out to: more change the second digit of nothing.
INSTANCES = 6000


def alignment(train: Rows, rows: Rows, names: Sequence[str], size: int) -> dict[str, Any]:
    """For every level and part, the unit whose peak falls on it most often.

    The unit is chosen on the training rows; its pointing-game rate (Wilson interval) and its PCK
    at 0.1 are those on the evaluation rows.

    Returns:
        ``chance`` by part, for a point drawn evenly from the object's box, and for every level
        ``units``: part -> ``{"unit", "pointing", "pck"}``.
    """
    radius = parts.RADIUS * size
    visible = rows["parts"][..., 2] > 0
    boxed = np.isfinite(rows["box"]).all(1)
    by_chance = parts.chance(rows["parts"][boxed, :, :2], rows["box"][boxed], radius)
    chance = np.nanmean(np.where(visible[boxed], by_chance, np.nan), 0)
    levels = {}
    for level in rows["levels"]:
        best = _unit_hits(train, level, size, radius).argmax(0)
        points = _peak_points(rows, level, size)[:, best]
        on_part = parts.hits(points, rows["parts"][..., :2], radius) & visible
        pck = parts.pck(
            points[boxed], rows["parts"][boxed, :, :2], visible[boxed], rows["box"][boxed]
        )
        levels[level] = {
            name: {
                "unit": int(best[i]),
                "pointing": intervals.wilson(int(on_part[:, i].sum()), int(count))._asdict(),
                "pck": float(pck[i]),
            }
            for i, name in enumerate(names)
            if (count := visible[:, i].sum())
        }
    return {"chance": dict(zip(names, chance.tolist(), strict=True)), "levels": levels}


def _map_size(rows: Rows, level: str) -> int:
    return int(rows["map_size"][level])


def _peak_points(rows: Rows, level: str, size: int) -> Float[np.ndarray, "n c 2"]:
    """Where each unit responds most, in pixels."""
    row, column = rows["levels"][level]["peak"]
    return parts.to_pixels(row, column, _map_size(rows, level), size)


def _unit_hits(rows: Rows, level: str, size: int, radius: float) -> Int[np.ndarray, "c p"]:
    points, placed = _peak_points(rows, level, size), rows["parts"]
    counts = [
        parts.unit_hits(
            points[i : i + 256], placed[i : i + 256, :, :2], placed[i : i + 256, :, 2] > 0, radius
        )
        for i in range(0, len(points), 256)
    ]
    return np.sum(counts, 0)


def identity(train: Rows, rows: Rows, seed: int = 0) -> dict[str, dict[str, float]]:
    """By level: how well the feature at a part tells which part it is, by a linear read-out."""
    result = {}
    for level in rows["levels"]:
        x, y = _instances(train, level, seed)
        probe = probes.fit(x, {"part": y})["part"]
        queries, labels = _instances(rows, level, seed)
        right = probes.read(probe, queries).argmax(1) == labels
        result[level] = intervals.wilson(int(right.sum()), len(right))._asdict()
    return result


def _instances(rows: Rows, level: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features at visible parts and which part it is; at most :data:`INSTANCES`."""
    example, part = np.nonzero(rows["parts"][rows["with_parts"], :, 2] > 0)
    chosen = np.random.default_rng(seed).permutation(len(example))[:INSTANCES]
    features = rows["levels"][level]["at_parts"]
    return features[example[chosen], part[chosen]], part[chosen]


def class_scores(train: Rows, rows: Rows, level: str, classes: int) -> Float[np.ndarray, "p m k"]:
    """Scores of the classes read off each part alone; the rows are those ``with_parts``.

    -inf for a class whose training examples never show the part.
    """
    labels = train["label"][train["with_parts"]]
    result = []
    for part in range(rows["parts"].shape[1]):
        seen = train["parts"][train["with_parts"], part, 2] > 0
        y = labels[seen]
        probe = probes.fit(train["levels"][level]["at_parts"][seen, part], {"fine": y})
        scores = probes.read(probe["fine"], rows["levels"][level]["at_parts"][:, part])
        known = np.pad(scores, ((0, 0), (0, classes - scores.shape[1])))
        result.append(np.where(np.isin(np.arange(classes), y), known, -np.inf))
    return np.stack(result)
