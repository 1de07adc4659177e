"""Where the truth is known: does attribution find it, and are planted causes of errors named?

    python -m benchmarks.truth --workdir runs/quickstart [--birds SEED]

The run must be one on ``synthetic_birds``, where it is known which parts separate which species.
``--birds`` draws other test birds than the run's own: on these the choices were made.

Attribution: for every test image that is told rightly, the evidence for its species against every
other of its family, where a part that separates the two is visible. Three ways to score the peak:
within 15 pixels (at 224) of such a part as it was drawn, the customary tolerance of the pointing
game; within 31 pixels of the part's midpoint; and the first, against the closest rival only, which
counts every image once. Beside it a point drawn anywhere from the bird's box.

Causes: see :mod:`benchmarks.planted`.
"""

from __future__ import annotations

import argparse
import functools
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy import ndimage

import fgjax
from benchmarks.planted import planted_causes
from fgjax.analysis import attribution, causes, evidence, parts, study
from fgjax.analysis.subject import (
    Subject,
    difference_map,
    evidence_level,
    level_gradient,
    subject,
)
from fgjax.data import birds
from fgjax.evaluation import intervals
from fgjax.ops import boxes
from fgjax.run import experiment, workdir


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--birds", type=int, help="seed of other test birds than the run's")
    parser.add_argument("--only", choices=("peaks", "causes"))
    arguments = parser.parse_args()
    config = workdir.read_config(arguments.workdir.absolute())
    if arguments.birds is not None:
        with config.unlocked():
            config.data.seed = arguments.birds
    recogniser = fgjax.load(arguments.workdir)
    data = experiment.load_data(config, "train", "test")
    if arguments.only != "causes":
        print("\n| evidence | on the part | near its midpoint | on the part, closest rival |")
        print("|---|---|---|---|")
        found = peaks(recogniser, data.test, config.data)
        for name, hits in found.items():
            print("|", name, "|", " | ".join(map(_share, hits)), "|")
        print("| n |", " | ".join(str(len(hit)) for hit in hits), "|")
    if arguments.only != "peaks":
        names = list(causes.CAUSES)
        print("\n| planted | errors | recall | precision |", " | ".join(names), "|")
        print("|---|---|---|---|" + "---|" * len(names))
        for name, row in planted_causes(recogniser, data.train, data.test).items():
            named = " | ".join(str(row["named"][cause]) for cause in names)
            shares = " | ".join(map(_share, (row["recall"], row["precision"])))
            print(f"| {name} | {row['errors']} | {shares} | {named} |")


def _share(hit: np.ndarray) -> str:
    found = intervals.wilson(int(hit.sum()), len(hit)) if len(hit) else None
    return "–" if found is None else f"{found.value:.3f} ({found.low:.2f}–{found.high:.2f})"


class Pairs(NamedTuple):
    """Rightly told images, each against a rival of its family.

    Attributes:
        images: as the network sees them.
        classes: their species.
        others: the rivals.
        closest: whether the rival is the one with the highest score.
        placed: parts, in pixels of the image.
        counted: the parts that separate the two and are visible.
        away: distance of each pixel to the nearest of these parts as they were drawn.
        box: of the bird.
    """

    images: np.ndarray
    classes: np.ndarray
    others: np.ndarray
    closest: np.ndarray
    placed: np.ndarray
    counted: np.ndarray
    away: np.ndarray
    box: np.ndarray


def peaks(recogniser: Any, source: Any, drawing: Any) -> dict[str, tuple[np.ndarray, ...]]:
    """Which peaks are hits in the three ways, by kind of evidence, and by chance."""
    size = recogniser.preprocessing.image_size
    network = subject(recogniser, size)
    last = list(network.doors)[-1]

    def grad_cam(images, classes, others):
        return attribution.grad_cam(*level_gradient(network, images, last, classes, others))

    methods = {
        f"gradient times maps of the difference, {evidence_level(network)}": functools.partial(
            difference_map, network
        ),
        f"exact class difference, {last}": lambda *x: network.contributions(*x),
        f"Grad-CAM of the difference, {last}": grad_cam,
    }
    pairs = _pairs(network, source, recogniser.preprocessing, drawing)
    result = {}
    for name, method in methods.items():
        maps = evidence.maps_of(jax.jit(method), pairs.images, pairs.classes, pairs.others)
        points = parts.to_pixels(*attribution.peak(maps), maps.shape[1], size)
        result[name] = _hits(points, pairs, size)
    low, high = pairs.box[:, :2], pairs.box[:, 2:]
    anywhere = low + np.random.default_rng(0).random((len(low), 2)) * (high - low)
    return result | {"a point of the bird's box (chance)": _hits(anywhere, pairs, size)}


def _hits(points: np.ndarray, pairs: Pairs, size: int) -> tuple[np.ndarray, ...]:
    row, column = np.clip(points.astype(int), 0, size - 1).T
    on_part = pairs.away[np.arange(len(points)), row, column] <= parts.RADIUS * size
    midpoints = parts.hits(points[:, None], pairs.placed[..., :2], 31 / 224 * size)
    return on_part, (midpoints & pairs.counted).any(1), on_part[pairs.closest]


def _pairs(network: Subject, source: Any, preprocessing: Any, drawing: Any) -> Pairs:
    names, known = source.info.classes, birds.separating_parts()
    score = jax.jit(lambda x: network.decide(network.apply(x)))
    rows = []
    for batch in study.batches(source, preprocessing):
        size = batch["image"].shape[1]
        logits = np.asarray(score(batch["image"]))
        right = (logits.argmax(1) == batch["label"]) & (batch["mask"] > 0)
        placed = boxes.map_parts(batch["affine"], batch["parts"], size)
        box = boxes.map_boxes(batch["affine"], batch["box"])
        for i in np.flatnonzero(right):
            label = int(batch["label"][i])
            family = [k for k, name in enumerate(names) if (names[label], name) in known]
            drawn = _drawn_parts(names[label], batch["index"][i], drawing, batch["affine"][i], size)
            for other in family:
                telling = np.isin(birds.PARTS, known[names[label], names[other]])
                counted = telling & (placed[i, :, 2] > 0)
                if counted.any():
                    away = _distance(np.isin(drawn, 1 + np.flatnonzero(counted)))
                    closest = logits[i, other] == logits[i, family].max()
                    image = batch["image"][i]
                    rows.append((image, label, other, closest, placed[i], counted, away, box[i]))
    return Pairs(*(np.stack(column) for column in zip(*rows, strict=True)))


def _drawn_parts(species: str, index: int, drawing: Any, affine: np.ndarray, size: int):
    """Which part each pixel of a test image shows: the bird drawn again, as the network sees it."""
    seed = (drawing.seed, 1, int(index))
    scene = birds.render(species, seed, drawing.size, drawing.difficulty)
    y, x = (
        np.clip((np.arange(size) + 0.5 - shift) / scale, 0, drawing.size - 1).astype(int)
        for scale, shift in zip(affine[:2], affine[2:], strict=True)
    )
    return scene.part_map[np.ix_(y, x)]


def _distance(mask: np.ndarray) -> np.ndarray:
    """Of each pixel to the mask; infinite where it is empty."""
    far = np.full(mask.shape, np.inf)
    return ndimage.distance_transform_edt(~mask) if mask.any() else far


if __name__ == "__main__":
    main()
