"""Exact features of a frozen trunk, computed once for every example and finite view.

While the trunk is frozen and the augmentation is a finite set of views, its activations at the
freeze boundary never change: they are stored once, and the rest of the network trains from them.
A phase without the cache runs the same compiled trunk and gives the same parameters, bit for bit.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from fgjax.errors import UserError
from fgjax.files import replacing

Features = dict[str, np.ndarray]  # level -> [n, views, h, w, c]
Trunk = Callable[[Any, Mapping[str, Any]], Any]  # (variables, batch with image and view) -> maps


class Stored(NamedTuple):
    """A filled cache.

    Attributes:
        maps: {level: the maps of every example in every view}.
        readable: which examples have maps; the others are images that could not be read, and
            ``data.skip_broken`` skips them.
    """

    maps: Features
    readable: Bool[np.ndarray, " n"]


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
) -> Stored:
    """Run the trunk over every example in every view.

    Args:
        trunk: compiled; maps a batch with ``image`` and ``view`` to {level: maps}.
        variables: what it is applied to.
        batches: starts a pass over all examples; padded rows and unreadable images have ``mask`` 0.
        count: number of examples.
        views: number of views.
        folder: where to map the arrays to disk, or None to hold them in memory. A finished one
            of that name is used as it is; others beside it are removed.

    Raises:
        UserError: the disk has no room for them.
    """
    if folder is not None:
        evict(folder.parent, keep=folder.name)
        if (found := _finished(folder)) is not None:
            return found
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    features: Features = {}
    filled = np.zeros((count, views), bool)
    for view in range(views):
        for batch in batches():
            real = batch["mask"] > 0
            maps = trunk(variables, with_view(batch, np.full(len(real), view, np.int32)))
            maps = jax.device_get(maps)
            features = features or _allocated(folder, maps, count, views)
            rows = batch["index"][real]
            filled[rows, view] = True
            for level, values in maps.items():
                features[level][rows, view] = values[real]
    readable = np.logical_and.reduce(filled, axis=1)
    if folder is not None:
        with replacing(folder / FINISHED) as file:
            np.save(file, readable)
    return Stored(features, readable)


FINISHED = "complete"  # the file that is written last: which examples are readable


def _finished(folder: Path) -> Stored | None:
    """The cache in a folder, unless it was cut off."""
    try:
        readable = np.load(folder / FINISHED)
    except (OSError, ValueError, EOFError):
        return None
    return Stored(dict(_mapped(path) for path in sorted(folder.glob("*.npy"))), readable)


def evict(folder: Path, keep: str | None = None) -> None:
    """Remove every cache in a folder but one: their weights, data or views have changed."""
    for stale in folder.glob("*"):
        if stale.name != keep:
            shutil.rmtree(stale)


# NumPy's file format does not know bfloat16: files hold bits, and their names the type.
_BITS = {2: np.uint16, 4: np.uint32}


def _allocated(
    folder: Path | None, maps: Mapping[str, np.ndarray], count: int, views: int
) -> Features:
    """Room for the maps of all examples, of whose levels ``maps`` are some."""
    shapes = {level: (count, views, *rows.shape[1:]) for level, rows in maps.items()}
    if folder is None:
        return {level: np.empty(shape, maps[level].dtype) for level, shape in shapes.items()}
    try:
        return {level: _on_disk(folder, level, s, maps[level].dtype) for level, s in shapes.items()}
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        shutil.rmtree(folder, ignore_errors=True)
        needed = count * views * sum(rows[0].nbytes for rows in maps.values())
        raise UserError(
            f"the features of the frozen trunk take {needed:,} bytes, for which there is no room "
            f"in {folder.parent} ({error.strerror}); set train.feature_cache to memory or none, "
            "or choose a workdir on another disk"
        ) from error


def _on_disk(folder: Path, level: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    path, bits = folder / f"{level}-{dtype.name}.npy", np.dtype(_BITS[dtype.itemsize])
    header = {"descr": bits.str, "fortran_order": False, "shape": shape}
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        _reserve(file, int(np.prod(shape)) * bits.itemsize)
    return np.lib.format.open_memmap(path, "r+").view(dtype)


def _reserve(file: IO[bytes], size: int) -> None:
    """Take ``size`` bytes behind the file's end: a map onto bytes that are not there is fatal."""
    file.flush()
    start = file.tell()
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), start, size)
        return
    # macOS: what is free now.
    if shutil.disk_usage(os.path.dirname(file.name)).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    file.truncate(start + size)


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
