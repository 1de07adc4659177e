"""Where the truth is known: does attribution find it, and are planted causes of errors named?

    python -m benchmarks.truth --workdir runs/quickstart [--birds SEED]

The run must be one on ``synthetic_birds``, where it is known which parts separate which species.
``--birds`` draws other test birds than the run's own: on these the choices were made.

Attribution: for every test image that is told rightly, the evidence for its species against every
other of its family, where a part that separates the two is visible. Three ways to score the peak:
within 15 pixels (at 224) of such a part as it was drawn, the customary tolerance of the pointing
game; within 31 pixels of the part's midpoint; and the first, against the closest rival only, which
counts every image once. Beside it a point drawn anywhere from the bird's box.

Causes: every test image gets one of five fates at random: left alone, label flipped within the
family, separating parts hidden, resolution cut to a fifth, or conv4 blurred behind the read-out of
conv4. Of the errors that the plant made (the network is right without it), recall is the share
whose main cause is the planted one; precision is over the same errors.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
from scipy import ndimage

import fgjax
from fgjax import experiment, workdir
from fgjax.analysis import attribution, errors, evidence, explain, features, mistakes, parts, study
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

FATES = {
    "none": None,
    "flip": "label doubt",
    "hide": "pose, scale or occlusion",
    "coarse": "low resolution",
    "blur": "over-compression",
}


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
        causes = list(errors.CAUSES)
        print("\n| planted | errors | recall | precision |", " | ".join(causes), "|")
        print("|---|---|---|---|" + "---|" * len(causes))
        for name, row in planted_causes(recogniser, data.train, data.test).items():
            named = " | ".join(str(row["named"][cause]) for cause in causes)
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


class Planted:
    """A source whose images meet the fates ``fate`` (names of :data:`FATES`, by index)."""

    def __init__(self, source: Any, fate: np.ndarray):
        self.source, self.fate, self.info = source, fate, source.info
        self.names, self.skip_broken = source.names, False

    def __len__(self) -> int:
        return len(self.source)

    def annotations(self, index: int) -> dict[str, np.ndarray]:
        """With another label of the family, or without the parts that separate it."""
        row = dict(self.source.annotations(index))
        if self.fate[index] == "flip":
            family = np.flatnonzero(self.info.coarse_of == self.info.coarse_of[row["label"]])
            others = family[family != row["label"]]
            row["label"] = np.int32(others[index % len(others)])
        if self.fate[index] == "hide":
            row["parts"] = row["parts"] * np.where(self._telling(row)[:, None], [1, 1, 0], 1)
        return row

    def resized(self, index: int, short_side: int, interpolation: str) -> tuple:
        """With the separating parts painted over, without fine detail, or marked for blurring."""
        image, scale = self.source.resized(index, short_side, interpolation)
        if self.fate[index] == "coarse":
            height, width = image.shape[:2]
            soft = Image.Resampling.BILINEAR
            small = Image.fromarray(image).resize((width // 5, height // 5), soft)
            image = np.asarray(small.resize((width, height), soft))
        if self.fate[index] == "hide":
            row = self.source.annotations(index)
            points = row["parts"][self._telling(row) & (row["parts"][:, 2] > 0), :2] * scale
            for point in points:
                found = parts.occlude(
                    image[None].astype(np.float32), point[None], 1.5 * parts.RADIUS * short_side
                )
                image = np.asarray(found[0]).round().astype(np.uint8)
        if self.fate[index] == "blur":
            image = image.copy()
            # Whatever the crop, the mark is in its corner: it is a frame of one colour.
            edge = round(0.0625 * short_side)
            image[: edge + 2, : edge + 2] = (255, 0, 255)
        return image, scale

    def _telling(self, row) -> np.ndarray:
        """Parts that separate the species from any other of its family."""
        name, known = self.info.classes[row["label"]], birds.separating_parts()
        telling = {part for pair, found in known.items() if name in pair for part in found}
        return np.isin(self.info.part_names, list(telling))


@dataclasses.dataclass(frozen=True)
class Blurred:
    """A recogniser that blurs conv4, behind what is seen of it, in images with a marked corner."""

    inner: Any

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def apply(self, images):
        """Outputs whose hierarchy shows conv4 as it was before the blur."""
        known, entered = self._entered(images)
        outputs = self.inner.apply_from("conv5", entered)
        return outputs.replace(hierarchy=known | {"conv5": outputs.hierarchy["conv5"]})

    def _entered(self, images):
        known = self.inner.apply(images).hierarchy
        known = {level: maps for level, maps in known.items() if level != "conv5"}
        red, green, blue = jnp.moveaxis(images[:, 0, 0], -1, 0)
        marked = (red > green + 1.5) & (blue > green + 1.5)
        blurred = known["conv4"]
        for _ in range(3):
            blurred = _box_blur(blurred)
        maps = jnp.where(marked[:, None, None, None], blurred, known["conv4"])
        return known, known | {"conv4": maps}


def _box_blur(maps, width: int = 5):
    edge = width // 2
    maps = jnp.pad(maps, ((0, 0), (edge, edge), (edge, edge), (0, 0)), mode="edge")
    return jax.lax.reduce_window(
        maps, 0.0, jax.lax.add, (1, width, width, 1), (1,) * 4, "VALID"
    ) / (width**2)


def planted_causes(recogniser: Any, train: Any, test: Any, seed: int = 0) -> dict[str, dict]:
    """Recall and precision of each planted cause, over the errors that the plants made."""
    fate = np.random.default_rng(seed).choice(list(FATES), len(test))
    planted = Planted(test, fate)
    network = subject(recogniser, recogniser.preprocessing.image_size)
    score = jax.jit(lambda x: network.decide(network.apply(x)))
    clean = np.concatenate(
        [
            (np.asarray(score(b["image"])).argmax(1) == b["label"])[b["mask"] > 0]
            for b in study.batches(test, recogniser.preprocessing)
        ]
    )
    found = study.observe(Blurred(recogniser), {}, train, planted)
    named = {e["row"]: e["causes"][0] for e in _explained(found, recogniser.preprocessing, planted)}
    made = [row for row in named if clean[row] and fate[row] != "none"]
    result = {}
    for name, cause in FATES.items():
        if cause is not None:
            mine = [row for row in made if fate[row] == name]
            so_named = [row for row in made if named[row] == cause]
            result[f"{name}: {cause}"] = {
                "errors": len(mine),
                "recall": np.isin(mine, so_named),
                "precision": np.isin(so_named, mine),
                "named": {c: sum(named[row] == c for row in mine) for c in errors.CAUSES},
            }
    return result


def _explained(found: study.Study, preprocessing: Any, planted: Planted) -> list[dict]:
    """The errors with their causes, as the report gives them."""
    rows = found.rows
    wrong = rows["logits"].argmax(1) != rows["label"]
    some_right = np.flatnonzero(~wrong)[:96]
    which = np.union1d(np.flatnonzero(wrong), some_right)
    batch = features.gather(study.batches(planted, preprocessing), rows["index"][which])
    images = {int(i): image for i, image in zip(batch["index"], batch["image"], strict=True)}
    separates = explain.separator(found)
    return errors.explain(
        mistakes.witnesses(rows, found.scores, found.votes),
        mistakes.circumstances(found.train, rows, found.size, separates),
        explain.on_parts_of(found, images, which, separates),
    )


if __name__ == "__main__":
    main()
