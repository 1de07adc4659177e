"""Well-known fine-tuning schedules, as the phases that a config would write out.

    c.schedule = recipes.surgical({"conv3": 0.01, "conv4": 0.01, "conv5": 0.01, "head": 0.3})
    c.schedule = recipes.surgical(recipes.layerwise(0.03, 0.65))
    c.schedule = recipes.gradual(dict.fromkeys(LEVELS, 0.01) | {"head": 0.3})

Options that are passed through are those of a phase; see ``fgjax.finetune.schedule``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fgjax.vocabulary import LEVELS

Rates = Mapping[str, Any]  # group -> base rate, or a mapping with rate, decay, bn, ...
Phases = tuple[dict[str, Any], ...]


def probe(rate: float = 1.0, **options: Any) -> dict[str, Any]:
    """The head alone on the frozen trunk; two finite views, so that features can be stored."""
    return {"name": "head", "train": {"head": rate}, "views": ("center", "flip"), **options}


def surgical(train: Rates, first: Mapping[str, Any] | None = None, **options: Any) -> Phases:
    """A probe, then any set of groups from that head on.

    With every level it is LP-FT (Kumar et al., "Fine-Tuning can Distort Pretrained Features and
    Underperform Out-of-Distribution", ICLR 2022), with conv3-conv5 middle-layer fine-tuning, with
    one level surgical fine-tuning (Lee et al., ICLR 2023).

    Args:
        train: what the second phase trains.
        first: options of the probe.
        **options: of the second phase.
    """
    return probe(**(first or {})), {"name": "tune", "train": dict(train), **options}


def gradual(train: Rates, refreeze: bool = False, **options: Any) -> Phases:
    """One more group each phase, from the last to the first (ULMFiT: Howard & Ruder, ACL 2018).

    Args:
        train: the groups in the order of the network, each with its rate.
        refreeze: train one group a phase only, and all of them in a last phase.
        **options: of every phase.
    """
    order = list(train)[::-1]
    steps = [order[i : i + 1] if refreeze else order[: i + 1] for i in range(len(order))]
    if refreeze:
        steps.append(order)
    return tuple(
        {
            "name": groups[-1] if len(groups) < len(order) else "all",
            "train": {group: train[group] for group in groups},
            **options,
        }
        for groups in steps
    )


def layerwise(
    rate: float, gamma: float = 0.65, groups: Sequence[str] = (*LEVELS, "head")
) -> dict[str, float]:
    """Rates that fall by ``gamma`` a group, from ``rate`` of the last group down."""
    last = len(groups) - 1
    return {group: rate * gamma ** (last - place) for place, group in enumerate(groups)}


def discriminative(rate: float, groups: Sequence[str] = (*LEVELS, "head")) -> dict[str, float]:
    """Rates that fall by 2.6 a group (ULMFiT)."""
    return layerwise(rate, 1 / 2.6, groups)
