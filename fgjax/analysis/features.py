"""One pass over the data: everything about each example that the measures need.

Maps are described on the device and dropped. A few vectors are kept of each example and level, so
that memory depends on the number of examples and not on the size of the maps.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from fgjax.analysis import geometry, parts, probes, similarity
from fgjax.analysis.subject import Subject
from fgjax.ops import boxes
from fgjax.ops.resize import rescale, resize_bilinear
from fgjax.vocabulary import Hierarchy

Batch = dict[str, np.ndarray]
Rows = dict[str, Any]  # of arrays whose first axis is the examples

# Memory for second-order features. Of c channels an example has c^2 / 2 at every level, two bytes
# each. Reached at 1,700 images with two twins; at 12,000 only a third of the channels fit.
SECOND_ORDER_BYTES = 3e9
# How many examples keep their features at parts: of all, these would take most of the memory.
EXAMPLES_WITH_PARTS = 1500
# An image is shrunk to this share of its sides, to see how much its resolution matters.
SHRUNK = 2 / 3


def second_order_channels(examples: int, levels: int) -> int:
    """How many channels enter second-order features, so that all features fit in memory.

    Args:
        examples: of both splits.
        levels: of the network and all twins together.
    """
    # Below 64 channels the features tell little; 320 is the width of EfficientNet-Lite0's conv5.
    return int(np.clip(np.sqrt(SECOND_ORDER_BYTES / (examples * levels)), 64, 320))


def concepts(part_names: Sequence[str]) -> dict[str, list[int]]:
    """Indices of the parts of each concept: a left and a right part are one."""
    merged: dict[str, list[int]] = {}
    for index, name in enumerate(part_names):
        merged.setdefault(name.removeprefix("left ").removeprefix("right "), []).append(index)
    return merged


def merge_sides(
    parts: Float[np.ndarray, "b p 3"], groups: Mapping[str, Sequence[int]]
) -> Float[np.ndarray, "b q 3"]:
    """One part for each concept: the first of its parts that is visible, else its first."""
    if not groups:
        return parts[:, :0]
    chosen = [
        np.take_along_axis(parts[:, members], parts[:, members, 2].argmax(1)[:, None, None], 1)
        for members in map(list, groups.values())
    ]
    return np.concatenate(chosen, axis=1)


def describe(
    hierarchy: Hierarchy,
    placed: Float[Array, "b p 3"],
    box: Float[Array, "b 4"],
    size: int,
    channels: int,
) -> dict[str, Rows]:
    """What is kept of each level.

    Args:
        hierarchy: maps by level.
        placed: parts, (y, x, visible), in pixels of the image.
        box: of the object, in pixels of the image; nan where there is none.
        size: side of the image, pixels.
        channels: that enter second-order features.

    Returns:
        For each level: ``object``, the average over the box (over everything where there is no
        box); ``peak``, the greatest response of each unit and its place; ``at_parts``, the feature
        at each part; ``average`` and ``second_order``, over the whole map.
    """
    return {
        level: {
            "object": _average_inside(maps, box, size),
            "peak": geometry.peaks(maps),
            "at_parts": parts.at_points(maps, placed[..., :2], size),
            **pooled(maps, channels),
        }
        for level, maps in hierarchy.items()
    }


def pooled(maps: Float[Array, "b h w c"], channels: int) -> Rows:
    """Average and second-order feature of maps."""
    # The second-order feature has length one and thousands of numbers: half precision keeps three
    # digits of each, and halves what takes most of the memory.
    return {
        "average": probes.average(maps),
        "second_order": probes.second_order(maps, limit=channels).astype(jnp.float16),
    }


def _average_inside(
    maps: Float[Array, "b h w c"], box: Float[Array, "b 4"], size: int
) -> Float[Array, "b c"]:
    height, width = maps.shape[1:3]
    rows, columns = (jnp.arange(n) + 0.5 for n in (height, width))
    # A cell counts by the share of it that the box covers. The little that is added to every cell
    # keeps the total from zero where a box is empty.
    top, left, bottom, right = (jnp.nan_to_num(box, nan=0.0) / size).T
    has_box = jnp.isfinite(box).all(1)
    inside_rows = _covered(rows, top * height, bottom * height)
    inside_columns = _covered(columns, left * width, right * width)
    weight = inside_rows[:, :, None] * inside_columns[:, None, :] + 1e-6
    weight = jnp.where(has_box[:, None, None], weight, 1.0)
    return jnp.einsum("bhwc,bhw->bc", maps, weight) / weight.sum((1, 2))[:, None]


def _covered(center, low, high):
    """Share of each cell, one wide and centered at ``center``, that lies between low and high."""
    return jnp.clip(
        jnp.minimum(center + 0.5, high[:, None]) - jnp.maximum(center - 0.5, low[:, None]), 0, 1
    )


def collect(
    network: Subject,
    twins: Mapping[str, Callable[[Array], Any]],
    batches: Iterable[Batch],
    *,
    channels: int,
    groups: Mapping[str, Sequence[int]],
    stride: int = 1,
) -> Rows:
    """Describes every example of ``batches``.

    Args:
        network: under analysis.
        twins: networks that it is compared with, as functions from images to ``Outputs``.
        batches: as ``data.pipeline.eval_batches`` makes them; rows of padding are dropped.
        channels: that enter second-order features.
        groups: indices of the parts of each concept, see :func:`concepts`.
        stride: features at parts are kept of the examples whose index is a multiple of it.

    Returns:
        With a row for each example: ``index``, ``label``, ``logits``, ``embedding``; ``box`` and
        ``parts``, in pixels of the image; ``detail``, the share of the image's contrast that is
        lost when it is shrunk; ``with_parts``, whether its features at parts are kept;
        ``levels``, by level what :func:`describe` gives (of a peak only its place);
        ``shrunk``, by level the average feature of the shrunk image; ``twins``, by name and level
        the pooled features.

        Over all examples: ``octaves``, by level the energy by frequency; ``top``, by level the
        greatest responses of every unit; ``alignment``, the sums of CKA between the levels
        ``alignment_names`` of all networks.
    """
    run = jax.jit(functools.partial(_run, network, twins, channels))
    kept: list[Rows] = []
    totals: Rows = {"octaves": None, "alignment": None, "top": {}}
    for batch in batches:
        real = batch["mask"] > 0
        size = batch["image"].shape[1]
        placed = boxes.map_parts(batch["affine"], merge_sides(batch["parts"], groups), size)
        box = np.clip(boxes.map_boxes(batch["affine"], batch["box"]), 0, size)
        rows, grams, energy = jax.device_get(run(batch["image"], batch["mask"], placed, box))
        rows |= {"index": batch["index"], "label": batch["label"], "box": box, "parts": placed}
        rows = jax.tree.map(lambda x, real=real: np.asarray(x)[real], rows)
        rows["with_parts"] = rows["index"] % stride == 0
        for level in rows["levels"].values():
            level["at_parts"] = level["at_parts"][rows["with_parts"]]
        _add(totals, rows, grams[:, real][:, :, real], energy)
        kept.append(rows)
    names = [(name, level) for name in ("network", *twins) for level in kept[0]["levels"]]
    return jax.tree.map(lambda *x: np.concatenate(x), *kept) | totals | {"alignment_names": names}


def _run(
    network: Subject,
    twins: Mapping[str, Callable[[Array], Any]],
    channels: int,
    images: Num[Array, "b s s 3"],
    mask: Float[Array, " b"],
    placed: Float[Array, "b p 3"],
    box: Float[Array, "b 4"],
) -> tuple[Rows, Float[Array, "r b b"], dict[str, Float[Array, " o"]]]:
    """Of a batch: rows, Gram matrices of the levels of all networks, energy by frequency."""
    outputs = network.apply(images)
    others = {name: twin(images).hierarchy for name, twin in twins.items()}
    small = rescale(images.astype(jnp.float32), SHRUNK)
    blurred = resize_bilinear(small, images.shape[1:3])
    rows = {
        "detail": jnp.sqrt(jnp.mean((images - blurred) ** 2, (1, 2, 3))) / _contrast(images),
        "logits": network.decide(outputs),
        "embedding": probes.folded(outputs.embedding),
        "levels": describe(outputs.hierarchy, placed, box, images.shape[1], channels),
        "shrunk": jax.tree.map(probes.average, network.apply(small).hierarchy),
        "twins": {
            name: {level: pooled(maps, channels) for level, maps in hierarchy.items()}
            for name, hierarchy in others.items()
        },
    }
    hierarchies = (outputs.hierarchy, *others.values())
    grams = jnp.stack([similarity.gram(maps) for h in hierarchies for maps in h.values()])
    # Padding has no energy once its maps are zero; its rows are dropped later, by the caller.
    real = mask[:, None, None, None]
    octaves = {k: geometry.octaves(maps * real) for k, maps in outputs.hierarchy.items()}
    return rows, grams, octaves


def _contrast(images: Array) -> Float[Array, " b"]:
    """Standard deviation of the pixels of each image."""
    # At least half a gray value, the error of rounding: an even image has no detail to lose.
    return jnp.maximum(images.astype(jnp.float32).std((1, 2, 3)), 0.5)


def _add(totals: Rows, rows: Rows, grams: np.ndarray, energy: dict[str, np.ndarray]) -> None:
    """Adds a batch to the totals over all examples; of its peaks, only their places are kept."""
    for level, row in rows["levels"].items():
        value, *place = row["peak"]
        totals["top"][level] = geometry.merge_top(
            totals["top"].get(level), value, rows["index"], *place
        )
        row["peak"] = tuple(x.astype(np.uint16) for x in place)  # no map is wider than 65,535
    totals["alignment"] = similarity.accumulate(totals["alignment"], grams)
    known = totals["octaves"]
    totals["octaves"] = energy if known is None else jax.tree.map(np.add, known, energy)


def gather(batches: Iterable[Batch], indices: Iterable[int]) -> Batch:
    """One batch of the examples with these indices, in that order; at least one."""
    wanted = [int(index) for index in indices]
    found = {
        int(index): {key: value[row] for key, value in batch.items()}
        for batch in batches
        for row, index in enumerate(batch["index"])
        if batch["mask"][row] > 0 and int(index) in wanted
    }
    return {key: np.stack([found[i][key] for i in wanted]) for key in found[wanted[0]]}
