"""Rates from a few batches: which groups does the data ask to move?

Lee et al., "Surgical Fine-Tuning Improves Adaptation to Distribution Shifts", ICLR 2023. Their
rules look at each tensor; here a group has one rate, from the norms over all its trained leaves.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

import numpy as np

from fgjax.errors import UserError
from fgjax.finetune.groups import Leaves
from fgjax.finetune.intervals import Phase

Gradients = Mapping[str, Leaves]  # group -> {path: gradient}


def relative_gradient_norm(
    gradients: Iterable[Gradients], trained: Mapping[str, Leaves]
) -> dict[str, float]:
    """Auto-RGN: mean over the batches of each group's gradient norm over its parameter norm."""
    norms = [{group: _norm(leaves) for group, leaves in batch.items()} for batch in gradients]
    return {
        group: float(np.mean([batch[group] for batch in norms])) / _norm(leaves)
        if _norm(leaves)
        else np.inf
        for group, leaves in trained.items()
    }


def signal_to_noise(
    gradients: Iterable[Gradients], trained: Mapping[str, Leaves]
) -> dict[str, float]:
    """Squared norm of each group's mean gradient over its total variance between the batches."""
    batches = list(gradients)
    ratios = {}
    for group, leaves in trained.items():
        stacked = [np.stack([batch[group][path] for batch in batches]) for path in leaves]
        signal = sum(np.sum(np.square(g.mean(0, dtype=np.float64))) for g in stacked)
        noise = sum(np.sum(g.var(0, dtype=np.float64)) for g in stacked)
        ratios[group] = float(signal / noise) if noise else np.inf
    return ratios


RULES = {"rgn": relative_gradient_norm, "snr": signal_to_noise}


def multipliers(
    rule: str, phase: str, gradients: Iterable[Gradients], trained: Mapping[str, Leaves]
) -> dict[str, float]:
    """What a rule finds for each group, over the largest of them.

    Args:
        rule: one of ``RULES``.
        phase: what messages call the phase.
        gradients: of some batches.
        trained: the leaves that they belong to.

    Raises:
        UserError: a group about which the rule can say nothing.
    """
    found = RULES[rule](gradients, {g: leaves for g, leaves in trained.items() if leaves})
    for group, value in found.items():
        if not np.isfinite(value):
            raise UserError(
                f"the rule {rule!r} of phase {phase!r} cannot judge group {group!r}, "
                "whose weights or gradients are all zero; let a phase before it train the group, "
                "and look at two batches or more"
            )
    largest = max(found.values())
    if not largest:
        raise UserError(
            f"the rule {rule!r} of phase {phase!r} finds no gradient anywhere; let a "
            "phase before it train the head"
        )
    return {group: value / largest for group, value in found.items()}


def resolved(phase: Phase, scale: Mapping[str, float]) -> Phase:
    """The phase with its rates scaled, and nothing left to find out."""
    intervals = tuple(
        interval._replace(rate=interval.rate * scale.get(interval.group, 1.0))
        for interval in phase.intervals
    )
    return dataclasses.replace(phase, intervals=intervals, auto=None)


def _norm(leaves: Leaves) -> float:
    squares = (np.sum(np.square(leaf, dtype=np.float64)) for leaf in leaves.values())
    return float(np.sqrt(sum(squares)))
