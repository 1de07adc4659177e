"""Parameter tree -> groups: which leaves train or freeze as one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from flax import traverse_util

from fgjax.errors import UserError
from fgjax.vocabulary import GROUPS

Rules = Sequence[tuple[str, str]]
Leaves = dict[str, Any]  # path "conv1/stem/kernel" -> leaf

# The top-level key of a path is its group.
DEFAULT_RULES: Rules = tuple((rf"{group}/.*", group) for group in GROUPS)


def flatten(tree: Mapping) -> Leaves:
    """Nested dictionaries -> {path: leaf}, paths joined by "/"."""
    return traverse_util.flatten_dict(tree, sep="/")


def unflatten(leaves: Leaves) -> dict:
    """The inverse of :func:`flatten`."""
    return traverse_util.unflatten_dict(leaves, sep="/")


def assign(tree: Mapping, rules: Rules = ()) -> dict[str, str]:
    """The group of every leaf: {path: group}. The first rule that matches a whole path wins.

    Args:
        tree: parameters, as nested dictionaries.
        rules: (regular expression, group) pairs, tried before the nine default groups.

    Raises:
        UserError: a rule that matches no path, or a path that no rule covers.
    """
    compiled = [(re.compile(pattern), group) for pattern, group in (*rules, *DEFAULT_RULES)]
    assignment, used = {}, set()
    for path in flatten(tree):
        index = next((i for i, (regex, _) in enumerate(compiled) if regex.fullmatch(path)), None)
        if index is None:
            raise UserError(
                f"the parameter {path!r} belongs to no group; add a (pattern, group) rule for it"
            )
        used.add(index)
        assignment[path] = compiled[index][1]
    for index, (pattern, group) in enumerate(rules):
        if index not in used:
            raise UserError(
                f"the pattern {pattern!r} of group {group!r} matches no parameter that an earlier "
                "pattern has not taken; correct it or remove it"
            )
    return assignment


def split(tree: Mapping, assignment: Mapping[str, str]) -> dict[str, Leaves]:
    """A tree -> {group: {path: leaf}}, groups in the order of their first leaf."""
    parts: dict[str, Leaves] = {}
    for path, leaf in flatten(tree).items():
        parts.setdefault(assignment[path], {})[path] = leaf
    return parts


def join(parts: Mapping[str, Leaves]) -> dict:
    """The inverse of :func:`split`."""
    return unflatten({path: leaf for leaves in parts.values() for path, leaf in leaves.items()})


def batch_norm_paths(batch_stats: Mapping) -> frozenset[str]:
    """Paths of every batch-norm layer's scale and bias: those beside running statistics."""
    layers = {path.rpartition("/")[0] for path in flatten(batch_stats)}
    return frozenset(f"{layer}/{name}" for layer in layers for name in ("scale", "bias"))


def counts(tree: Mapping, assignment: Mapping[str, str]) -> dict[str, int]:
    """Number of parameters of each group."""
    return {
        group: sum(leaf.size for leaf in leaves.values())
        for group, leaves in split(tree, assignment).items()
    }
