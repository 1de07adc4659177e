"""Parameter tree -> groups: which leaves train or freeze as one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from flax import traverse_util

from fgjax.errors import UserError
from fgjax.finetune.intervals import Phase
from fgjax.ops import trees
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


def assign(tree: Any, rules: Rules = ()) -> dict[str, str]:
    """The group of every leaf: {path: group}. The first rule that matches a whole path wins.

    Args:
        tree: parameters; a path joins keys, attributes and indices by "/".
        rules: (regular expression, group) pairs, tried before the nine default groups.

    Raises:
        UserError: a rule that is no pattern or matches no path, or a path that no rule covers.
    """
    compiled = [(_compiled(pattern), group) for pattern, group in (*rules, *DEFAULT_RULES)]
    assignment, used = {}, set()
    for path in trees.by_path(tree):
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


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise UserError(
            f"train.groups has the pattern {pattern!r}, which is no regular expression ({error}); "
            'write one such as "conv4/block5_.*"'
        ) from error


def levels_of(assignment: Mapping[str, str], names: Iterable[str]) -> set[str]:
    """The top-level keys under which the named groups have parameters."""
    names = set(names)
    return {path.partition("/")[0] for path, group in assignment.items() if group in names}


def check_statistics(assignment: Mapping[str, str], phases: Sequence[Phase]) -> None:
    """Raises UserError where a part of a level would use or move the statistics of all of it."""
    parts: dict[str, set[str]] = {}
    for path, group in assignment.items():
        parts.setdefault(path.partition("/")[0], set()).add(group)
    divided = {group for level, names in parts.items() if names != {level} for group in names}
    for phase in phases:
        for interval in phase.intervals:
            if interval.group in divided and {"batch", "update"} & set(interval.switches):
                raise UserError(
                    f"group {interval.group!r} of phase {phase.name!r} has bn {interval.bn!r}, but "
                    "batch-norm statistics belong to whole levels; choose frozen or affine for it"
                )


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
