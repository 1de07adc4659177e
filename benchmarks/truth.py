"""Where the truth is known: does attribution find it, and are planted causes of errors named?

    python -m benchmarks.truth --workdir runs/quickstart

The run must be one on ``synthetic_birds``, where it is known which parts separate which species.

Attribution: for every test image that is told rightly, the evidence for its species against every
other of its family; a hit is a peak on a visible part that separates the two, i.e. within 15
pixels (at 224) and half a cell of the map. Beside it: Grad-CAM of the same difference, and a point
drawn anywhere from the bird's box.

Causes: every test image gets one of five fates at random: left alone, label flipped within the
family, separating parts hidden, resolution cut to a fifth, or conv4 blurred behind the read-out of
conv4. Of the errors that the plant made (the network is right without it), recall is the share
whose main cause is the planted one; precision is over the same errors.
"""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

import fgjax
from fgjax import experiment, workdir
from fgjax.analysis import attribution, errors, evidence, explain, features, mistakes, parts, study
from fgjax.analysis.subject import Subject, difference_map, level_gradient, subject
from fgjax.data import birds
from fgjax.evaluation import intervals
from fgjax.models.context import Context
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
    parser.add_argument("--workdir", required=True)
    folder = parser.parse_args().workdir
    config = workdir.read_config(fgjax.workdir.Path(folder).absolute())
    recogniser = fgjax.load(folder)
    data = experiment.load_data(config, "train", "validation", "test")
    test = data.test or data.validation
    print("\n| evidence | peak on a separating part | 95 % interval | n |\n|---|---|---|---|")
    for name, found in peaks(recogniser, test).items():
        bounds = f"{found['low']:.2f}–{found['high']:.2f}"
        print(f"| {name} | {found['value']:.3f} | {bounds} | {found['n']} |")
    print("\n| planted | errors | recall | precision |\n|---|---|---|---|")
    for name, row in planted_causes(recogniser, data.train, test).items():
        print(f"| {name} | {row['errors']} | {row['recall']:.2f} | {row['precision']:.2f} |")


def peaks(recogniser: Any, source: Any) -> dict[str, dict[str, float]]:
    """Share of peaks on a separating part, by kind of evidence, and by chance."""
    size = recogniser.preprocessing.image_size
    network = subject(recogniser, size)
    level = list(network.doors)[-1]

    def grad_cam(images, classes, others):
        return attribution.grad_cam(*level_gradient(network, images, level, classes, others))

    methods = {
        "exact class difference": lambda *x: difference_map(network, *x),
        f"Grad-CAM of the difference, {level}": grad_cam,
    }
    rows = _pairs(network, source, recogniser.preprocessing)
    classes, others, images, placed, counted, box = rows
    result = {}
    for name, method in methods.items():
        maps = evidence.maps_of(jax.jit(method), images, classes, others)
        cells = maps.shape[1]
        radius = (parts.RADIUS + 0.5 / cells) * size
        points = parts.to_pixels(*attribution.peak(maps), cells, size)
        hit = (parts.hits(points[:, None], placed[..., :2], radius) & counted).any(1)
        result[name] = intervals.wilson(int(hit.sum()), len(hit))._asdict()
    result["a point of the box"] = _chance(placed, counted, box, radius)
    return result


def _chance(placed, counted, box, radius) -> dict[str, float]:
    rng = np.random.default_rng(0)
    points = box[:, None, :2] + rng.random((len(box), 200, 2)) * (box[:, 2:] - box[:, :2])[:, None]
    hit = (parts.hits(points[:, :, None], placed[:, None, :, :2], radius) & counted[:, None]).any(2)
    return intervals.wilson(int(hit.sum()), hit.size)._asdict() | {"n": len(box)}


def _pairs(network: Subject, source: Any, preprocessing: Any) -> tuple[np.ndarray, ...]:
    """Rightly told images against each rival of their family with a visible separating part."""
    names, known = source.info.classes, birds.separating_parts()
    score = jax.jit(lambda x: network.decide(network.apply(x)))
    rows = []
    for batch in study.batches(source, preprocessing):
        right = (np.asarray(score(batch["image"])).argmax(1) == batch["label"]) & (
            batch["mask"] > 0
        )
        placed = boxes.map_parts(batch["affine"], batch["parts"], batch["image"].shape[1])
        box = boxes.map_boxes(batch["affine"], batch["box"])
        for i in np.flatnonzero(right):
            label = int(batch["label"][i])
            for other, name in enumerate(names):
                telling = known.get((names[label], name), ())
                counted = np.isin(source.info.part_names, telling) & (placed[i, :, 2] > 0)
                if counted.any():
                    rows.append((label, other, batch["image"][i], placed[i], counted, box[i]))
    return tuple(np.stack(column) for column in zip(*rows, strict=True))


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
            small = Image.fromarray(image).resize((width // 5, height // 5), Image.BILINEAR)
            image = np.asarray(small.resize((width, height), Image.BILINEAR))
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
        return self.inner.apply_from("conv5", entered).replace(
            hierarchy=known | {"conv5": self.inner.apply_from("conv5", entered).hierarchy["conv5"]}
        )

    def contributions(self, images, classes, others=None):
        """The exact evidence, behind the blur."""
        model = self.inner.model
        return model.recognizer.apply(
            jax.tree.map(jnp.asarray, self.inner.variables),
            self._entered(images)[1],
            classes,
            Context(dtype=model.dtype),
            others,
            "conv5",
            method="contributions",
        )

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
    total = jax.lax.reduce_window(maps, 0.0, jax.lax.add, (1, width, width, 1), (1,) * 4, "SAME")
    count = jax.lax.reduce_window(
        jnp.ones_like(maps), 0.0, jax.lax.add, (1, width, width, 1), (1,) * 4, "SAME"
    )
    return total / count


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
            right = [row for row in so_named if fate[row] == name]
            result[f"{name}: {cause}"] = {
                "errors": len(mine),
                "recall": len(right) / max(len(mine), 1),
                "precision": len(right) / max(len(so_named), 1),
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
