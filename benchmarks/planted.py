"""Causes of errors, planted: are they named?

Every test image gets one of five fates at random: left alone, label flipped within the family,
separating parts hidden, resolution cut to a fifth, or conv4 blurred behind the read-out of conv4.
Of the errors that the plant made (the network is right without it), recall is the share whose main
cause is the planted one; precision is over the same errors.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from fgjax.analysis import causes, circumstances, explain, features, mistakes, parts, study
from fgjax.analysis.subject import subject
from fgjax.data import birds

# What is done to an image, and the cause that should be named.
FATES = {
    "none": None,
    "flip": "label doubt",
    "hide": "pose, scale or occlusion",
    "coarse": "low resolution",
    "blur": "over-compression",
}


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
        image, affine = self.source.resized(index, short_side, interpolation)
        if self.fate[index] == "coarse":
            height, width = image.shape[:2]
            soft = Image.Resampling.BILINEAR
            small = Image.fromarray(image).resize((width // 5, height // 5), soft)
            image = np.asarray(small.resize((width, height), soft))
        if self.fate[index] == "hide":
            row = self.source.annotations(index)
            points = row["parts"][self._telling(row) & (row["parts"][:, 2] > 0), :2] * affine[:2]
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
        return image, affine

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
                "named": {c: sum(named[row] == c for row in mine) for c in causes.CAUSES},
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
    return causes.explain(
        mistakes.witnesses(rows, found.scores, found.votes),
        circumstances.circumstances(found.train, rows, found.size, separates),
        explain.on_parts_of(found, images, which, separates),
    )
