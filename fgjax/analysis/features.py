"""One pass over the data: everything about each example that the measures need.

Maps are described on the device and dropped; what is kept is a few vectors an example and level,
so that memory is bounded by the number of examples and not by the size of the maps.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fgjax.analysis import geometry, parts, probes, similarity
from fgjax.analysis.subject import Subject
from fgjax.ops import boxes
from fgjax.ops.resize import rescale
from fgjax.vocabulary import Hierarchy

Batch = dict[str, np.ndarray]
Rows = dict[str, Any]  # of arrays whose first axis is the examples

# Memory for second-order features, of which an example has channels^2 / 2 at every level, two bytes
# each. It is met at 1,700 images with two twins; of 12,000, a third of the channels enter.
SECOND_ORDER_BYTES = 3e9
# Features at every part of every example would outgrow all else; this many examples are enough.
EXAMPLES_WITH_PARTS = 1500
# Of its sides, what an image keeps when it is asked how much its resolution matters.
SHRUNK = 2 / 3


def second_order_channels(examples: int, levels: int) -> int:
    """How many channels enter second-order features, so that all of them fit in memory."""
    return int(np.clip(np.sqrt(SECOND_ORDER_BYTES / (examples * levels)), 64, 320))


def concepts(part_names: Sequence[str]) -> dict[str, list[int]]:
    """Parts by what they are: left and right of the same thing are one concept."""
    merged: dict[str, list[int]] = {}
    for index, name in enumerate(part_names):
        merged.setdefault(name.removeprefix("left ").removeprefix("right "), []).append(index)
    return merged


def merge_sides(
    parts: Float[np.ndarray, "b p 3"], groups: Mapping[str, Sequence[int]]
) -> Float[np.ndarray, "b q 3"]:
    """Parts by concept: of several, the first that is visible."""
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
    """What is kept of each level: see the keys. ``placed`` and ``box`` are in pixels of the image.

    ``object`` is the average over the box; it equals ``average`` where there is no box.
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
    """Average and second-order feature; the latter in half precision, which is exact enough."""
    return {
        "average": probes.average(maps),
        "second_order": probes.second_order(maps, limit=channels).astype(jnp.float16),
    }


def _average_inside(maps, box, size):
    height, width = maps.shape[1:3]
    rows, columns = (jnp.arange(n) + 0.5 for n in (height, width))
    # A cell counts by the share of it that the box covers; a box is never quite empty.
    top, left, bottom, right = (jnp.nan_to_num(box, nan=0.0) / size).T
    has_box = jnp.isfinite(box).all(1)
    inside_rows = _covered(rows, top * height, bottom * height)
    inside_columns = _covered(columns, left * width, right * width)
    weight = inside_rows[:, :, None] * inside_columns[:, None, :] + 1e-6
    weight = jnp.where(has_box[:, None, None], weight, 1.0)
    return jnp.einsum("bhwc,bhw->bc", maps, weight) / weight.sum((1, 2))[:, None]


def _covered(centre, low, high):
    return jnp.clip(
        jnp.minimum(centre + 0.5, high[:, None]) - jnp.maximum(centre - 0.5, low[:, None]), 0, 1
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
        twins: other networks to set beside it, as functions from images to ``Outputs``.
        batches: as of ``data.pipeline.eval_batches``; masked rows are dropped.
        channels: that enter second-order features.
        groups: parts by concept, see :func:`concepts`.
        stride: features at parts are kept of the examples whose index is a multiple of it.

    Returns:
        By example: ``index, label, box, parts, logits, embedding, with_parts`` (whether features
        at parts are kept), ``detail`` (share of its contrast that shrinking takes); box and
        parts are in pixels of the image. ``levels``: level -> what
        :func:`describe` keeps; ``shrunk``: level -> average feature of the shrunk image;
        ``twins``: name -> level -> pooled features. Over all examples: ``octaves``, the energy
        by frequency of each level; ``alignment``, CKA sums over ``alignment_names``; ``top``, the
        greatest responses of every unit.
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


def _run(network, twins, channels, images, mask, placed, box):
    """Rows by example, Gram matrices of all networks' levels, energy by frequency."""
    outputs = network.apply(images)
    others = {name: twin(images).hierarchy for name, twin in twins.items()}
    small = rescale(images.astype(jnp.float32), SHRUNK)
    blurred = jax.image.resize(small, images.shape, "bilinear")
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
    unmasked = mask[:, None, None, None]
    octaves = {k: geometry.octaves(maps * unmasked) for k, maps in outputs.hierarchy.items()}
    return rows, grams, octaves


def _contrast(images: Array) -> Float[Array, " b"]:
    """Standard deviation of the pixels of each image, at least that of rounding."""
    return jnp.maximum(images.astype(jnp.float32).std((1, 2, 3)), 0.5)


def _add(totals: Rows, rows: Rows, grams: np.ndarray, energy: dict[str, np.ndarray]) -> None:
    """Adds a batch to what is over all examples; of the peaks, their places stay in the rows."""
    for level, row in rows["levels"].items():
        value, *place = row["peak"]
        totals["top"][level] = geometry.merge_top(
            totals["top"].get(level), value, rows["index"], *place
        )
        row["peak"] = tuple(x.astype(np.uint16) for x in place)
    if grams.shape[-1] >= 4:
        totals["alignment"] = similarity.accumulate(totals["alignment"], grams)
    known = totals["octaves"]
    totals["octaves"] = energy if known is None else jax.tree.map(np.add, known, energy)


def gather(batches: Iterable[Batch], indices: Iterable[int]) -> Batch:
    """The rows of the examples ``indices``, in that order."""
    wanted = [int(index) for index in indices]
    found = {
        int(index): {key: value[row] for key, value in batch.items()}
        for batch in batches
        for row, index in enumerate(batch["index"])
        if batch["mask"][row] > 0 and int(index) in wanted
    }
    return {key: np.stack([found[i][key] for i in wanted]) for key in found[wanted[0]]}
