"""The head's rate, for features of whatever length.

A schedule gives the head's rate for features of length one. Let every feature be s times as long:
the weights of a linear head then have to be s times as small, and their gradient is s times as
long, so that gradient descent takes the same course if its rate is divided by s². The rates of what
comes before the head stay: the shorter weights make up for the longer features there.

Not scaled are the rates of AdamW, whose steps do not depend on the gradient's length, and those of
heads that are not linear in the vector: they normalise it, or read it through hidden layers. Weight
decay stays as it is written. ``train.clip_norm`` and ``auto="rgn"`` look at the gradients as
they are, that of the head being s times as long.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence

from fgjax.finetune.intervals import Phase


def head_groups(assignment: Mapping[str, str]) -> set[str]:
    """The groups of the classifier's parameters; its layer ``expand`` comes before the pooling.

    Args:
        assignment: {path: group} of every parameter.
    """
    expand = "head/expand/"
    return {
        group
        for path, group in assignment.items()
        if path.startswith("head/") and not path.startswith(expand)
    }


def rates_of(phases: Sequence[Phase], names: Collection[str]) -> dict[str, list[float]]:
    """The different rates of the named groups, {group: rates in the order of the phases}."""
    found: dict[str, list[float]] = {}
    for interval in (interval for phase in phases for interval in phase.intervals):
        if interval.group in names and interval.rate not in found.get(interval.group, ()):
            found.setdefault(interval.group, []).append(interval.rate)
    return found


def scaled(
    phases: Sequence[Phase], names: Collection[str], squared_length: float
) -> tuple[Phase, ...]:
    """The phases with the rates of the named groups divided by a mean squared length."""

    def rated(interval):
        if interval.group not in names:
            return interval
        return interval._replace(rate=interval.rate / squared_length)

    return tuple(
        dataclasses.replace(phase, intervals=tuple(map(rated, phase.intervals))) for phase in phases
    )
