"""Which changes of a config bind a run, and in which words they are said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Where data and caches lie, on how many devices, and how often one looks, changes no training.
_FREE_KEYS = {f"data.{key}" for key in ("dir", "test_dir", "cache_dir", "cache", "cache_gib")}
_FREE_KEYS |= {"data.workers", "data.eval_batch_size"}
_FREE_KEYS |= {"train.log_steps", "train.feature_cache", "train.devices"}
_FREE_SECTION = "evaluate."


def between(old: Mapping, new: Mapping) -> list[str]:
    """What differs between the config of a run and another one that would go on with it.

    Args:
        old: the recorded config, nested.
        new: the other one.
    """
    old, new = _flat(old), _flat(new)
    return [
        f"{key} was {old.get(key)!r} and is {new.get(key)!r}"
        for key in sorted(old | new)
        if old.get(key) != new.get(key) and not (key in _FREE_KEYS or key.startswith(_FREE_SECTION))
    ]


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, Mapping) or not tree:
        return {prefix: tree}
    return {
        path: leaf
        for key, value in tree.items()
        for path, leaf in _flat(value, f"{prefix}.{key}" if prefix else key).items()
    }
