"""A loss that is no number stops a run; one that grows past that of chance is named in time."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from fgjax.errors import UserError
from fgjax.finetune.intervals import Phase

FACTOR = 2.0  # over the loss of chance; a loss is noisy, and it may rise a little as a phase begins


def watched(watch: Any, chance: float, window: int) -> Any:
    """The same watch, which also says, once a phase, that the loss has grown past chance.

    It does so when the mean loss of ``window`` steps is more than ``FACTOR`` times the loss of a
    network that knows nothing: ``chance``, or that of the first step seen, if it is more (the sum
    of several objectives).

    Args:
        watch: a ``fgjax.training.loop.Watch``.
        chance: loss of a network to which all classes are equally likely.
        window: steps of a mean, those between two log lines.
    """
    losses: list[float] = []
    warned: set[str] = set()
    unknowing: float | None = None

    def progress(phase: Phase, step: int, values: Mapping[str, float]) -> None:
        nonlocal unknowing
        watch.progress(phase, step, values)
        if unknowing is None:
            unknowing = max(chance, values["loss"])
        losses.append(values["loss"])
        if step % window and step != phase.stop:
            return
        mean = float(np.mean(losses))
        losses.clear()
        if mean > FACTOR * unknowing and phase.name not in warned:
            warned.add(phase.name)
            watch.say(_sentence(phase, mean, unknowing))

    return dataclasses.replace(watch, progress=progress)


def check_finite(phase: Phase, step: int, values: Mapping[str, float]) -> None:
    """Raises UserError where the loss or the gradient's norm is infinite or no number."""
    for name in ("loss", "gradient_norm"):
        if not math.isfinite(values[name]):
            raise UserError(
                f"the {name.replace('_', ' ')} is {values[name]} at step {step} (phase "
                f"{phase.name!r}); training stopped and the last good checkpoint is kept: lower "
                "the rates of this phase, or set train.clip_norm, and start in a new workdir"
            )


def _sentence(phase: Phase, mean: float, chance: float) -> str:
    rates = ", ".join(f"{i.group} (now {i.rate:.3g})" for i in phase.intervals)
    return (
        f"phase {phase.name!r}: the loss has grown to {mean:.3g}, and that of chance is "
        f"{chance:.3g}; lower the rate of {rates}, or set train.clip_norm, and start in a new "
        "workdir"
    )
