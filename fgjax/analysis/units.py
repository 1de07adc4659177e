"""Which units and levels find annotated parts: the measures of :mod:`parts`, on collected rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from fgjax.analysis import parts, probes
from fgjax.analysis.features import Rows
from fgjax.evaluation import intervals

# A read-out of parts is fitted to this many instances: more change no reported digit.
INSTANCES = 6000


def alignment(train: Rows, rows: Rows, names: Sequence[str], size: int) -> dict[str, Any]:
    """For every level and part, the unit whose peak falls on it most often.

    Args:
        train: rows that the units are chosen on.
        rows: rows that they are scored on.
        names: of the parts.
        size: side of the network's input, pixels.

    Returns:
        ``chance``: part -> share of points, drawn evenly from the object's box, that would hit it.
        ``levels``: level -> part -> ``unit``, ``pointing`` (its share of hits, with a Wilson
        interval) and ``pck`` (at 0.1). A part that no example shows is left out.
    """
    radius = parts.RADIUS * size
    visible = rows["parts"][..., 2] > 0
    boxed = np.isfinite(rows["box"]).all(1)
    by_chance = parts.chance(rows["parts"][boxed, :, :2], rows["box"][boxed], radius)
    # The mean over the examples that show the part; nan where none does.
    shown = visible[boxed].sum(0)
    hit = np.where(visible[boxed], by_chance, 0).sum(0)
    chance = np.where(shown > 0, hit / np.maximum(shown, 1), np.nan)
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
                "pointing": intervals.share(on_part[visible[:, i], i])._asdict(),
                "pck": float(pck[i]),
            }
            for i, name in enumerate(names)
            if visible[:, i].any()
        }
    return {"chance": dict(zip(names, chance.tolist(), strict=True)), "levels": levels}


def _map_size(rows: Rows, level: str) -> int:
    return int(rows["map_size"][level])


def _peak_points(rows: Rows, level: str, size: int) -> Float[np.ndarray, "n c 2"]:
    """Where each unit responds most, in pixels."""
    row, column = rows["levels"][level]["peak"]
    return parts.to_pixels(row, column, _map_size(rows, level), size)


def _unit_hits(
    rows: Rows, level: str, size: int, radius: float, block: int = 256
) -> Int[np.ndarray, "c p"]:
    """Hits of each unit on each part, counted over ``block`` examples at a time, for memory."""
    points, placed = _peak_points(rows, level, size), rows["parts"]
    blocks = [slice(i, i + block) for i in range(0, len(points), block)]
    return np.sum(
        [parts.unit_hits(points[b], placed[b, :, :2], placed[b, :, 2] > 0, radius) for b in blocks],
        axis=0,
    )


def identity(train: Rows, rows: Rows, seed: int = 0) -> dict[str, dict[str, float]]:
    """By level, how often the feature at a part tells which part it is, by a linear read-out.

    Args:
        train: rows that the read-outs are fitted to.
        rows: rows that they are scored on.
        seed: of the choice of instances.
    """
    result = {}
    for level in rows["levels"]:
        x, y = _instances(train, level, seed)
        probe = probes.fit(x, {"part": y})["part"]
        queries, labels = _instances(rows, level, seed)
        right = probes.read(probe, queries).argmax(1) == labels
        result[level] = intervals.share(right)._asdict()
    return result


def _instances(rows: Rows, level: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features at visible parts and the index of each part; :data:`INSTANCES` of them at most."""
    example, part = np.nonzero(rows["parts"][rows["with_parts"], :, 2] > 0)
    chosen = np.random.default_rng(seed).permutation(len(example))[:INSTANCES]
    features = rows["levels"][level]["at_parts"]
    return features[example[chosen], part[chosen]], part[chosen]


def class_scores(train: Rows, rows: Rows, level: str, classes: int) -> Float[np.ndarray, "p m k"]:
    """Scores of the classes read off each part alone.

    Args:
        train: rows that the read-outs are fitted to.
        rows: rows that they score; those ``with_parts``.
        level: whose features are read.
        classes: number of classes.

    Returns:
        Scores by part; -inf for a class whose training examples never show the part.
    """
    placed, labels = train["parts"][train["with_parts"]], train["label"][train["with_parts"]]
    fitted, scored = (r["levels"][level]["at_parts"] for r in (train, rows))
    return np.stack(
        [
            _part_scores(fitted[seen, part], labels[seen], scored[:, part], classes)
            for part, seen in enumerate(placed[..., 2].T > 0)
        ]
    )


def _part_scores(
    features: Float[np.ndarray, "n d"],
    labels: Int[np.ndarray, " n"],
    queries: Float[np.ndarray, "m d"],
    classes: int,
) -> Float[np.ndarray, "m k"]:
    scores = np.full((len(queries), classes), -np.inf)
    if len(labels):
        found = probes.read(probes.fit(features, {"fine": labels})["fine"], queries)
        known = np.unique(labels)
        scores[:, known] = found[:, known]
    return scores
