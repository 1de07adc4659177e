"""Values for random configs: wrong ones, extreme ones, and plausible ones of other parts."""

from __future__ import annotations

from typing import Any

import numpy as np

from fgjax.data.augment import Augmentation
from fgjax.finetune import optimizer
from fgjax.models.attention import BLOCKS
from fgjax.models.heads import HEADS
from fgjax.models.merges import MERGES
from fgjax.models.pooling import POOLINGS
from fgjax.training import objectives
from fgjax.vocabulary import GROUPS

PARTS = (*POOLINGS, *HEADS, *MERGES, *BLOCKS, *objectives.OBJECTIVES, *optimizer.OPTIMIZERS)
BACKBONES = {  # by name, each with a small width
    "resnet18": 8,
    "vgg11": 0.25,
    "convnext_tiny": 8,
    "hrnet_w18_small": 8,
    "efficientnet_lite1": 0.25,
}
TABLES = {
    "backbone": BACKBONES,
    "merge": (*MERGES, "none"),
    "attention": (*BLOCKS, "bilinear_attention", "none"),
    "pooling": tuple(POOLINGS),
    "head": tuple(HEADS),
    "objective": tuple(objectives.OBJECTIVES),
    "optimizer": tuple(optimizer.OPTIMIZERS),
}
OPTIONS = (
    "name", "levels", "d", "features", "hidden", "project", "normalize", "root", "reduce", "attend",
    "rank", "scale", "dropout", "expand", "maps", "reduction", "heads", "repeats", "extra_levels",
    "norm", "fuse", "at", "version", "width", "depth", "depths", "last", "output_stride", "power",
    "algorithm", "sketch", "seed", "iterations", "damping", "factors", "exponent", "weight", "rate",
    "momentum", "b1", "pieces", "crop", "level", "class_weights", "classes", "weights", "views",
    "size", "steps", "epochs", "share", "auto", "patience", "bn", "clock", "shape", "warmup",
    *Augmentation.__dataclass_fields__,
)  # fmt: skip
WORDS = (
    "", "none", "default", "conv1", "conv3", "conv5", "conv9", "ten_crop", "center", "attention",
    "flip@0.5", "develop", "final", "cosine", "train", "affine+update", "rgn", "bicubic",
    "bfloat16", "pmap", "memory", "balanced", "image_folder", "tfds:", "Ünï©ødé", "a.b", "x" * 300,
    "(1, 2)", "l2", "newton_schulz", "sum", "fft", "[", "*", "/no/such/folder",
)  # fmt: skip
NUMBERS = (
    0, 1, -1, 2, 3, 5, 16, 33, 64, 300, 10**12, -(10**9), 2**63, 0.0, 0.5, 1.0, 1.5, -0.5, 1e-30,
    1e30, 1e300, float("nan"), float("inf"), -float("inf"),
)  # fmt: skip
COMPOUND: tuple[Any, ...] = (
    None, True, False, (), (1.0, 0.5), (0.5, 1.0), (1, 2, 3), ("conv3",), ("conv2", "conv3"),
    ("conv3", "conv3"), ("flip", "center"), ("attention",), ((".*", "all"),), (("(", "x"),), {},
    {"name": "gem"}, {"name": {"name": "gem"}}, {"name": None}, {"head": 1.0},
    {"conv3": {"rate": 1}},
    {"a": {"b": 1}}, [1, [2]], (None,), b"bytes", {"name": "average", "levels": "conv3"},
)  # fmt: skip


def replace(rng: np.random.Generator, tree: Any) -> None:
    """Replace, add or remove one key."""
    leaves = leaves_of(tree)
    path, _ = leaves[rng.integers(len(leaves))]
    named = [one for one, _ in leaves if one[-1] in TABLES]
    if rng.random() < 0.4 and named:
        path = named[rng.integers(len(TABLES)) % len(named)]
    elif len(path) > 1 and rng.random() < 0.2:
        path = path[:-1]
    node = tree
    for key in path[:-1]:
        node = node[key]
    draw = rng.random()
    if draw < 0.75:
        node[path[-1]] = plausible(rng, path, node[path[-1]])
    elif draw < 0.79 and isinstance(node, dict):
        del node[path[-1]]
    elif draw < 0.87 and isinstance(node, dict):
        node[str(rng.choice(OPTIONS))] = anything(rng)
    else:
        node[path[-1]] = anything(rng)


def plausible(rng: np.random.Generator, path: tuple, value: Any) -> Any:
    """A value of the same kind: another part, another name, a number not far off."""
    key = path[-1]
    if key in TABLES and rng.random() < 0.8:
        return _part(rng, str(key))
    if value is None:
        return [0.5, 1, 2, "auto"][rng.integers(4)]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        factor = rng.choice([0.25, 0.5, 2.0, 3.0])
        return type(value)(value * factor) if value else type(value)(1)
    if isinstance(value, str):
        return str(rng.choice(GROUPS if value in GROUPS else (*WORDS, value)))
    if isinstance(value, list):
        kept = [item for item in value if rng.random() < 0.7]
        more = ["conv2", "conv3"] if any(item in GROUPS for item in value if item != {}) else value
        return kept + mutable([more[rng.integers(len(more))]] if more else [])
    return value


def _part(rng: np.random.Generator, key: str) -> dict[str, Any]:
    """A part of the same place by another name, with some options of its own or of the former."""
    name = str(rng.choice(list(TABLES[key])))
    part: dict[str, Any] = {"name": name}
    if key == "backbone":
        last = str(rng.choice(["conv3", "conv5"]))
        part |= {"weights": None, "width": BACKBONES[name], "last": last}
    elif key in ("merge", "attention", "pooling") and rng.random() < 0.8:
        levels = (["conv3"], ["conv3"], ["conv2", "conv3"], ["conv1", "conv2", "conv3"])
        part["levels"] = levels[rng.integers(len(levels))]
    if rng.random() < 0.2:
        option = str(rng.choice(OPTIONS))
        part[option] = anything(rng)
    return part


def anything(rng: np.random.Generator) -> Any:
    """Any value, of any type."""
    pools = (PARTS, tuple(BACKBONES), WORDS, NUMBERS, NUMBERS, COMPOUND, GROUPS)
    pool = pools[rng.integers(len(pools))]
    value = pool[rng.integers(len(pool))]
    return mutable(value)


def leaves_of(tree: Any, path: tuple = ()) -> list[tuple[tuple, Any]]:
    """Every key below a tree, with its path; sequences are walked through."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    found = []
    for key, value in items:
        if isinstance(value, dict) or (isinstance(value, list) and value):
            found += leaves_of(value, (*path, key))
        found.append(((*path, key), value))
    return found


def mutable(value: Any) -> Any:
    """A copy with lists in the place of tuples, so that any of it can be replaced."""
    if isinstance(value, dict):
        return {key: mutable(item) for key, item in value.items()}
    return [mutable(item) for item in value] if isinstance(value, list | tuple) else value


def fixed(value: Any) -> Any:
    """The inverse of :func:`mutable`."""
    if isinstance(value, dict):
        return {key: fixed(item) for key, item in value.items()}
    return tuple(fixed(item) for item in value) if isinstance(value, list) else value
