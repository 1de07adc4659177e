"""Exact features of a frozen trunk, computed once for every example and finite view.

While the trunk is frozen and the augmentation is a finite set of views, its activations at the
freeze boundary never change: they are stored once, and the rest of the network trains from them.
A phase without the cache runs the same compiled trunk and gives the same parameters, bit for bit.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from fgjax.models import scales
from fgjax.models.backbones.base import Backbone
from fgjax.models.recognizer import Recognizer

Features = dict[str, np.ndarray]  # level -> [n, views, h, w, c]
Trunk = Callable[[Any, Mapping[str, Any]], Any]  # (variables, batch with image and view) -> maps


def boundary(trained: Collection[str], backbone: Backbone) -> str | None:
    """Where a pass must start when ``trained`` levels train.

    The first of them, or the next stage before it at which the backbone can be entered; "merge" if
    the whole backbone is frozen, None if a pass must start from the images.
    """
    first = next((level for level in backbone.depths if level in trained), None)
    if first is None:
        return "merge"
    before = backbone.depths[: backbone.depths.index(first) + 1]
    return next((level for level in reversed(before) if level in backbone.entries), None)


def kept_levels(recognizer: Recognizer, start: str) -> tuple[str, ...]:
    """The levels before ``start`` that the rest of the recogniser reads, at every scale."""
    levels = recognizer.backbone.levels
    parts = (recognizer.merge, recognizer.attention, recognizer.pooling)
    read = {
        level for part in parts if part is not None for level in getattr(part, "levels", levels)
    }
    before = [level for level in levels if start == "merge" or level < start]
    entry = set() if start == "merge" else {before[-1]}
    kept = [level for level in before if level in read | entry]
    return tuple(scales.name(level, scale) for scale in recognizer.scales for level in kept)


def key(*parts: Any) -> str:
    """Name of a cache: a digest of everything that its content depends on."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def fill(
    trunk: Trunk,
    variables: Any,
    batches: Callable[[], Iterable[Mapping[str, np.ndarray]]],
    count: int,
    views: int,
    folder: Path | None = None,
) -> Features:
    """Run the trunk over every example in every view.

    Args:
        trunk: compiled; maps a batch with ``image`` and ``view`` to {level: maps}.
        variables: what it is applied to.
        batches: starts a pass over all examples, padded rows with ``mask`` 0.
        count: number of examples.
        views: number of views.
        folder: where to map the arrays to disk, or None to hold them in memory. A finished one
            of that name is used as it is; others beside it are removed.
    """
    if folder is not None:
        evict(folder.parent, keep=folder.name)
        if (folder / "complete").exists():
            return dict(_mapped(path) for path in sorted(folder.glob("*.npy")))
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    features: Features = {}
    for view in range(views):
        for batch in batches():
            real = batch["mask"] > 0
            maps = trunk(variables, with_view(batch, np.full(len(real), view, np.int32)))
            for level, rows in jax.device_get(maps).items():
                if level not in features:
                    shape = (count, views, *rows.shape[1:])
                    features[level] = _allocate(folder, level, shape, rows.dtype)
                features[level][batch["index"][real], view] = rows[real]
    if folder is not None:
        (folder / "complete").touch()
    return features


def evict(folder: Path, keep: str | None = None) -> None:
    """Remove every cache in a folder but one: their weights, data or views have changed."""
    for stale in folder.glob("*"):
        if stale.name != keep:
            shutil.rmtree(stale)


# NumPy's file format does not know bfloat16: files hold bits, and their names the type.
_BITS = {2: np.uint16, 4: np.uint32}


def _allocate(folder: Path | None, level: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    if folder is None:
        return np.empty(shape, dtype)
    path, bits = folder / f"{level}-{dtype.name}.npy", _BITS[dtype.itemsize]
    return np.lib.format.open_memmap(path, "w+", bits, shape).view(dtype)


def _mapped(path: Path) -> tuple[str, np.ndarray]:
    level, dtype = path.stem.split("-")
    return level, np.load(path, mmap_mode="r").view(jnp.dtype(dtype))


def with_view(batch: Mapping[str, Any], view: Int[np.ndarray, " b"]) -> dict[str, Any]:
    """The part of a host batch that a trunk reads."""
    return {"image": batch["image"], "view": view}


def choose_views(seed: int, step: int, count: int, views: int) -> Int[np.ndarray, " b"]:
    """The view of every example of a step's batch: a pure function of (seed, step)."""
    return np.random.default_rng((seed, step)).integers(views, size=count, dtype=np.int32)


def gather(
    features: Features, index: Int[np.ndarray, " b"], view: Int[np.ndarray, " b"]
) -> dict[str, Float[np.ndarray, "b h w c"]]:
    """The stored maps of a batch."""
    return {level: rows[index, view] for level, rows in features.items()}
