"""One pass over the data: everything about each example that the measures need.

Maps are described on the device and dropped; what is kept is a few vectors an example and level,
so that memory is bounded by the number of examples and not by the size of the maps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fgjax.analysis import geometry, parts, probes, similarity
from fgjax.ops import boxes
from fgjax.preprocessing import Preprocessing
from fgjax.vocabulary import Hierarchy

Batch = dict[str, np.ndarray]
Rows = dict[str, Any]  # of arrays whose first axis is the examples

# Channels that enter a second-order feature: 128 give 8,256 numbers an example and level.
SECOND_ORDER_CHANNELS = 128
# Features at every part of every example would outgrow all else; this many examples are enough.
EXAMPLES_WITH_PARTS = 1500


def normalize(images: Array, preprocessing: Preprocessing) -> Float[Array, "b h w 3"]:
    """Images of 0..255 as the network expects them."""
    mean, std = (jnp.asarray(x, jnp.float32) for x in (preprocessing.mean, preprocessing.std))
    return (images.astype(jnp.float32) / 255 - mean) / std


def coarsen(images: Array, share: float = 2 / 3) -> Float[Array, "b h w 3"]:
    """Images with the detail left that they had at ``share`` of their resolution."""
    shape = images.shape
    small = (shape[0], round(shape[1] * share), round(shape[2] * share), 3)
    shrunk = jax.image.resize(images.astype(jnp.float32), small, "bilinear")
    return jax.image.resize(shrunk, shape, "bilinear")


def describe(
    hierarchy: Hierarchy, placed: Float[Array, "b p 3"], box: Float[Array, "b 4"], size: int
) -> dict[str, Rows]:
    """What is kept of each level: see the keys. ``placed`` and ``box`` are in pixels of the image.

    ``object`` is the average over the box; it equals ``average`` where there is no box.
    """
    return {
        level: {
            "average": probes.average(maps),
            "object": _average_inside(maps, box, size),
            "second_order": probes.second_order(maps, limit=SECOND_ORDER_CHANNELS),
            "peak": geometry.peaks(maps),
            "at_parts": parts.at_points(maps, placed[..., :2], size),
        }
        for level, maps in hierarchy.items()
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
    apply: Callable[[Float[Array, "b h w 3"]], Any],
    batches: Iterable[Batch],
    preprocessing: Preprocessing,
    twins: dict[str, Callable[[Float[Array, "b h w 3"]], Any]],
) -> Rows:
    """Describes every example of ``batches`` by ``apply``, and briefly by each of its twins.

    Args:
        apply: normalised images to ``Outputs``.
        batches: as of ``data.pipeline.eval_batches``; masked rows are dropped.
        preprocessing: of the network.
        twins: other networks to set beside it; ``{"random": ...}`` is the control.

    Returns:
        ``index, label, box, parts, logits, embedding`` by example, box and parts in pixels of the
        network's image; ``levels``: see :func:`describe`; ``object``, ``at_parts`` and ``peak``
        included; ``coarsened`` and ``twins``: name -> level -> average (and second-order)
        features; ``octaves``: energy by frequency; ``alignment``: CKA sums over
        ``alignment_names``; ``top``: greatest responses of every unit.
    """

    @jax.jit
    def run(image, mask, placed, box):
        size = image.shape[1]
        outputs = apply(normalize(image, preprocessing))
        others = {name: twin(normalize(image, preprocessing)) for name, twin in twins.items()}
        coarse = apply(normalize(coarsen(image), preprocessing))
        weight = mask[:, None, None, None]
        rows = {
            "logits": outputs.logits,
            "embedding": outputs.embedding,
            "levels": describe(outputs.hierarchy, placed, box, size),
            "coarsened": {k: probes.average(m) for k, m in coarse.hierarchy.items()},
            "twins": {
                name: {
                    k: {
                        "average": probes.average(m),
                        "second_order": probes.second_order(m, limit=SECOND_ORDER_CHANNELS),
                    }
                    for k, m in other.hierarchy.items()
                }
                for name, other in others.items()
            },
        }
        hierarchies = [outputs.hierarchy, *(other.hierarchy for other in others.values())]
        grams = jnp.stack([similarity.gram(m) for h in hierarchies for m in h.values()])
        octaves = {k: geometry.octaves(m * weight) for k, m in outputs.hierarchy.items()}
        return rows, grams, octaves

    kept, octaves, alignment, top, with_parts = [], None, None, {}, 0
    for batch in batches:
        real = batch["mask"] > 0
        size = batch["image"].shape[1]
        placed = boxes.map_parts(batch["affine"], batch["parts"], size)
        box = np.clip(boxes.map_boxes(batch["affine"], batch["box"]), 0, size)
        rows, grams, energy = jax.device_get(run(batch["image"], batch["mask"], placed, box))
        annotations = {
            "index": batch["index"],
            "label": batch["label"],
            "box": box,
            "parts": placed,
        }
        rows = jax.tree.map(lambda x, real=real: np.asarray(x)[real], {**annotations, **rows})
        for level, row in rows["levels"].items():
            value, *where = row["peak"]
            top[level] = geometry.merge_top(top.get(level), value, rows["index"], *where)
            row["peak"] = tuple(place.astype(np.uint16) for place in where)
            if with_parts >= EXAMPLES_WITH_PARTS:
                row["at_parts"] = row["at_parts"][:0]
        with_parts += real.sum()
        if real.sum() >= 4:
            alignment = similarity.accumulate(alignment, grams[:, real][:, :, real])
        octaves = energy if octaves is None else jax.tree.map(np.add, octaves, energy)
        kept.append(rows)
    collected = jax.tree.map(lambda *x: np.concatenate(x), *kept)
    names = [(name, level) for name in ("network", *twins) for level in collected["levels"]]
    return collected | {
        "octaves": octaves,
        "alignment": alignment,
        "alignment_names": names,
        "top": top,
    }


def gather(batches: Iterable[Batch], indices: Iterable[int]) -> Batch:
    """The rows of the examples ``indices``, in that order."""
    wanted = {int(index): place for place, index in enumerate(indices)}
    rows: list = [None] * len(wanted)
    for batch in batches:
        for row, index in enumerate(batch["index"]):
            if batch["mask"][row] > 0 and int(index) in wanted:
                rows[wanted[int(index)]] = {key: value[row] for key, value in batch.items()}
    return {key: np.stack([row[key] for row in rows]) for key in rows[0]} if rows else {}
