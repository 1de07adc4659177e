"""Parameter trees by path, and their digests."""

from __future__ import annotations

import hashlib
from typing import Any

import jax
import numpy as np


def by_path(tree: Any) -> dict[str, Any]:
    """{path: leaf} with paths such as "conv1/stem/kernel".

    A path does not say by which container a leaf is held, so that a tree and its restored copy,
    in which named tuples have become dictionaries, have the same paths.
    """
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def like(target: Any, leaves: dict[str, Any]) -> Any:
    """A tree of ``target``'s structure with the leaves of the same paths.

    Raises:
        KeyError: a path of the target is missing.
    """
    return jax.tree_util.tree_map_with_path(
        lambda path, _: leaves[jax.tree_util.keystr(path, simple=True, separator="/")], target
    )


def digest(tree: Any) -> str:
    """SHA-256 of a tree: equal exactly when paths, types, shapes and bits of all leaves are.

    Over the leaves sorted by path ("conv1/stem/conv/kernel"), the hash takes in path, dtype name
    and shape ("3,3,16"), each ended by a zero byte, then the bytes in little-endian C order.
    """
    sha = hashlib.sha256()
    for path, leaf in sorted(by_path(tree).items()):
        array = np.asarray(leaf)
        shape = ",".join(map(str, array.shape))
        sha.update(f"{path}\0{array.dtype.name}\0{shape}\0".encode())
        sha.update(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
    return sha.hexdigest()
