"""Do part-attention maps fall on annotated parts, more often than chance and than Grad-CAM?

    python -m benchmarks.ablate benchmarks/tables/parts.py --workdir runs/parts \
        --set data.dir=PATH/CUB_200_2011
    python -m benchmarks.part_attention --runs runs/parts --figure docs/part_attention.jpg

Pointing game (Zhang et al., ECCV 2016) on the validation images of each seed of the table
"parts": does the peak of a map fall on any visible part of the bird? The maps of the row "part
attention" (each of them, and their mean) and of "attention crop" against Grad-CAM of the plain
network's true class, and against a point drawn at random. The radius is 15 pixels at 224 and half a
location of conv4, for all alike; then half a location of conv5, which Grad-CAM's are.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from matplotlib.figure import Figure

import fgjax
from benchmarks.ablate import cell_folder
from fgjax.analysis import attribution, evidence, parts, study
from fgjax.analysis.subject import level_gradient, subject
from fgjax.evaluation import intervals
from fgjax.ops import boxes
from fgjax.run import experiment, workdir
from fgjax.show import overlay

PLAIN, ATTENTION, CROP = "late features, average", "part attention", "attention crop"
FIGURE_IMAGES = 5


class Birds(NamedTuple):
    """Validation images as the network sees them, with what is annotated there, in its pixels."""

    images: UInt8[np.ndarray, "n s s 3"]
    labels: Int[np.ndarray, " n"]
    parts: Float[np.ndarray, "n p 3"]
    boxes: Float[np.ndarray, "n 4"]

    def radius(self, stride: int) -> float:
        """Distance from a part that still counts, in pixels, for locations of so many pixels."""
        return parts.RADIUS * self.images.shape[1] + stride / 2


def main() -> None:
    """Print the table; draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--figure")
    flags = parser.parse_args()
    found: dict[str, dict[str, list[Bool[np.ndarray, "n m"]]]] = {}
    for seed in map(int, flags.seeds.split(",")):
        seen, maps = measured(flags.runs, seed)
        points = {name: peaks(x, seen.images.shape[1]) for name, x in maps.items()}
        for stride, level in ((16, "conv4"), (32, "conv5")):
            for name, spots in (points | chances(seen)).items():
                hit = on_a_part(seen, spots, seen.radius(stride))
                found.setdefault(level, {}).setdefault(name, []).append(hit)
        if flags.figure and seed == int(flags.seeds.split(",")[0]):
            overlay.save(figure(seen, maps, points), flags.figure, dpi=110)
    for level, rows in found.items():
        print(f"\nradius of {level}'s locations\n")
        print(table({name: np.concatenate(hits) for name, hits in rows.items()}))


def measured(runs: Path, seed: int) -> tuple[Birds, dict[str, Float[np.ndarray, "n h w m"]]]:
    """The validation images of a seed, and each network's maps of them."""
    folder = partial(cell_folder, runs, seed=seed)
    config = workdir.read_config(folder(PLAIN).absolute())
    data = experiment.load_data(config, "validation")
    plain = fgjax.load(folder(PLAIN))
    seen = birds(data.validation, plain.preprocessing)
    network = subject(plain, plain.preprocessing.image_size)

    def grad_cam(level, images, classes):
        return attribution.grad_cam(*level_gradient(network, images, level, classes))

    maps = {
        f"Grad-CAM of the plain network, {level}": evidence.maps_of(
            jax.jit(partial(grad_cam, level)), seen.images, seen.labels
        )[..., None]
        for level in ("conv4", "conv5")
    }
    for row in (ATTENTION, CROP):
        recogniser = fgjax.load(folder(row))

        def attend(images, recogniser=recogniser):
            return next(iter(recogniser.apply(recogniser.normalize(images)).maps.values()))

        each = evidence.maps_of(jax.jit(attend), seen.images)
        maps |= {f"{row}, mean map": each.mean(-1, keepdims=True), f"{row}, each map": each}
    return seen, maps


def birds(source: Any, preprocessing: Any) -> Birds:
    """All images of a source."""
    rows = []
    for batch in study.batches(source, preprocessing):
        real = batch["mask"] > 0
        placed = boxes.map_parts(batch["affine"], batch["parts"], batch["image"].shape[1])
        box = boxes.map_boxes(batch["affine"], batch["box"])
        rows.append([x[real] for x in (batch["image"], batch["label"], placed, box)])
    return Birds(*map(np.concatenate, zip(*rows, strict=True)))


def peaks(maps: Float[np.ndarray, "n h w m"], size: int) -> Float[np.ndarray, "n m 2"]:
    """Where each map is largest, in pixels."""
    n, cells, _, count = maps.shape
    flat = np.moveaxis(maps, -1, 1).reshape(n * count, cells, cells)
    return parts.to_pixels(*attribution.peak(flat), cells, size).reshape(n, count, 2)


def chances(seen: Birds, count: int = 200) -> dict[str, Float[np.ndarray, "n m 2"]]:
    """Random points of the image and of the bird's box, as much of it as is seen."""
    rng, size = np.random.default_rng(0), seen.images.shape[1]
    drawn = rng.random((len(seen.images), count, 2))
    box = np.clip(seen.boxes, 0, size)
    low, high = box[:, None, :2], box[:, None, 2:]
    return {
        "a random point of the image": drawn * size,
        "a random point of the bird's box": low + drawn * (high - low),
    }


def on_a_part(
    seen: Birds, points: Float[np.ndarray, "n m 2"], radius: float
) -> Bool[np.ndarray, "n m"]:
    """Whether each point falls on a visible part."""
    near = parts.hits(points[:, :, None], seen.parts[:, None, :, :2], radius)
    return (near & (seen.parts[:, None, :, 2] > 0)).any(-1)


def table(found: Mapping[str, Bool[np.ndarray, "n m"]]) -> str:
    """Hits by kind of map; single points against Grad-CAM at conv5, paired by image."""
    lines = ["| point | on a visible part | 95 % interval | against Grad-CAM, conv5 |"]
    lines += ["|---|---|---|---|"]
    reference = "Grad-CAM of the plain network, conv5"
    for name, hit in found.items():
        n = len(hit)
        share = intervals.wilson(round(hit.mean() * n), n)
        difference = ""
        if hit.shape[1] == 1 and name != reference:
            lead = intervals.paired_bootstrap(hit[:, 0], found[reference][:, 0])
            difference = f"{lead.value:+.3f} ({lead.low:+.3f} to {lead.high:+.3f})"
        lines.append(
            f"| {name} | {hit.mean():.3f} | {share.low:.3f} – {share.high:.3f} | {difference} |"
        )
    return "\n".join(lines)


def figure(seen: Birds, maps: Mapping[str, np.ndarray], points: Mapping[str, np.ndarray]) -> Figure:
    """The first image of every sixth class: its parts, Grad-CAM, mean attention and its peaks."""
    first = [int(np.flatnonzero(seen.labels == label)[0]) for label in np.unique(seen.labels)[::6]]
    drawn = Figure(figsize=(2.2 * 4, 2.3 * FIGURE_IMAGES), layout="compressed")
    gradient, mean = "Grad-CAM of the plain network, conv5", f"{ATTENTION}, mean map"
    for axes, i in zip(drawn.subplots(FIGURE_IMAGES, 4), first[:FIGURE_IMAGES], strict=True):
        top = i == first[0]
        for place, (title, background) in enumerate(
            {
                "Annotated parts": seen.images[i],
                "Grad-CAM, plain": _heat(seen.images[i], maps[gradient][i, ..., 0]),
                "Mean of the part maps": _heat(seen.images[i], maps[mean][i, ..., 0]),
                "Peak of each part map": seen.images[i],
            }.items()
        ):
            overlay.show(axes[place], background, title if top else "")
        placed = seen.parts[i, seen.parts[i, :, 2] > 0]
        each = points[f"{ATTENTION}, each map"][i]
        for place, spots in ((0, placed), (3, each)):
            look = {"c": "gold", "s": 28, "edgecolors": "black", "linewidths": 0.8}
            axes[place].scatter(spots[:, 1] - 0.5, spots[:, 0] - 0.5, **look)
        for place, name in ((1, gradient), (2, mean)):
            spot = points[name][i, 0] - 0.5
            axes[place].scatter(*spot[::-1], c="black", marker="x", s=40)
    return drawn


def _heat(image: UInt8[np.ndarray, "s s 3"], map_: Float[np.ndarray, "h w"]) -> np.ndarray:
    return overlay.heat_overlay(image, map_, overlay.evidence_scale(map_))


if __name__ == "__main__":
    main()
