"""The one representation of every schedule: who trains from which step to which, and how."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

SHAPES = ("constant", "cosine", "linear")
# Named batch-norm modes; any other choice of switches is written "affine+update".
SWITCHES = ("affine", "batch", "update")
BATCH_NORM = {"frozen": (), "affine": ("affine",), "train": SWITCHES}


class Interval(NamedTuple):
    """One group trains from ``start`` until before ``stop``.

    Attributes:
        group: the group.
        start: first step, counted over the whole run.
        stop: the step after the last.
        rate: base learning rate.
        decay: weight decay, of kernels only (no biases, no batch-norm parameters).
        bn: batch-norm mode: "frozen", "affine", "train", or switches joined by "+".
        shape: "constant", "cosine" (to zero) or "linear" (to zero).
        warmup: steps over which the rate rises linearly from zero.
        origin: step at which the rate's curve (warm-up, then its shape) begins.
        end: step at which the curve ends.
    """

    group: str
    start: int
    stop: int
    rate: float
    decay: float
    bn: str
    shape: str
    warmup: int
    origin: int
    end: int

    @property
    def switches(self) -> tuple[str, ...]:
        """What its batch norm does: train its "affine", use the "batch", "update" statistics."""
        return BATCH_NORM[self.bn] if self.bn in BATCH_NORM else tuple(self.bn.split("+"))


@dataclasses.dataclass(frozen=True)
class Phase:
    """A stretch of the run in which the same groups train, by one compiled step.

    Attributes:
        name: what the tables and logs call it.
        start: first step.
        stop: the step after the last.
        intervals: one for every group that trains.
        views: names of the finite views that replace random augmentation, or None for that.
        size: side of the images it trains on, in pixels, or None for that of every score.
        auto: rule that scales the rates at the phase's start ("rgn", "snr"), or None.
        batches: how many batches the rule looks at.
        patience: end the phase after so many validation scores without a new best, or None.
        restore_best: start from the best validated weights so far.
    """

    name: str
    start: int
    stop: int
    intervals: tuple[Interval, ...]
    views: tuple[str, ...] | None = None
    size: int | None = None
    auto: str | None = None
    batches: int = 5
    patience: int | None = None
    restore_best: bool = False

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups that train."""
        return tuple(interval.group for interval in self.intervals)


def rate_at(interval: Interval, step: Int[Array, ""]) -> Float[Array, ""]:
    """Learning rate of an interval at a step of the run: linear warm-up, then its shape."""
    done = jnp.asarray(step - interval.origin, jnp.float32)
    length = interval.end - interval.origin
    progress = jnp.clip((done - interval.warmup) / max(length - interval.warmup, 1), 0.0, 1.0)
    factor = {
        "constant": jnp.ones_like(progress),
        "cosine": 0.5 * (1.0 + jnp.cos(jnp.pi * progress)),
        "linear": 1.0 - progress,
    }[interval.shape]
    rising = jnp.minimum((done + 1.0) / max(interval.warmup, 1), 1.0)
    return interval.rate * jnp.where(done < interval.warmup, rising, factor)


def stopped(phases: Sequence[Phase], step: int) -> list[Phase]:
    """The phases from one that ended at ``step`` on: it is cut, the later ones come earlier.

    Their lengths stay, so that the run ends earlier. A rate's curve that began before the cut goes
    on as planned; one of a later phase begins earlier with it.
    """
    first, *later = phases
    return [
        dataclasses.replace(first, stop=step),
        *(_moved(phase, step - first.stop, first.stop) for phase in later),
    ]


def _moved(phase: Phase, by: int, cut: int) -> Phase:
    """The phase ``by`` steps later, with the curves that begin at ``cut`` or after it."""

    def moved(i: Interval) -> Interval:
        shift = by if i.origin >= cut else 0
        return i._replace(
            start=i.start + by, stop=i.stop + by, origin=i.origin + shift, end=i.end + shift
        )

    return dataclasses.replace(
        phase,
        start=phase.start + by,
        stop=phase.stop + by,
        intervals=tuple(map(moved, phase.intervals)),
    )


def to_record(phases: Sequence[Phase]) -> list[dict[str, Any]]:
    """Phases as JSON values, for the checkpoint."""
    return [
        dataclasses.asdict(phase)
        | {"intervals": [interval._asdict() for interval in phase.intervals]}
        for phase in phases
    ]


def from_record(record: Sequence[Mapping[str, Any]]) -> tuple[Phase, ...]:
    """The inverse of :func:`to_record`."""
    return tuple(
        Phase(
            **{
                **entry,
                "intervals": tuple(Interval(**interval) for interval in entry["intervals"]),
                "views": entry["views"] and tuple(entry["views"]),
            }
        )
        for entry in record
    )
