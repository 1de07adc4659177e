"""What trains when: phases in the config, intervals for the trainer, rates at every step.

A schedule is a tuple of phases, each a mapping in the config::

    schedule = (
        dict(name="head", share=30, train={"head": 1.0}, views=("center", "flip")),
        dict(name="middle", share=8, train={"conv3": 0.002, "conv4": 0.002, "head": 0.3}),
    )

``share`` is the phase's part of the run, in proportion to the shares of the others. ``train``
names the groups that train; every other group is frozen: its parameters and its batch-norm
statistics stay bitwise as they are. A group's value is its base rate, or a mapping with ``rate``,
``decay`` and ``bn`` ("frozen", "affine" or "train"; if not given, the backbone's levels keep their
pretrained statistics and newly made parts train theirs).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from fgjax.errors import UserError
from fgjax.vocabulary import GROUPS, LEVELS

SHAPES = ("constant", "cosine", "linear")
BATCH_NORM = ("frozen", "affine", "train")


class Interval(NamedTuple):
    """One group trains from ``start`` until before ``stop``.

    Attributes:
        group: the group.
        start: first step, counted over the whole run.
        stop: the step after the last.
        rate: base learning rate.
        decay: weight decay, of kernels only (no biases, no batch-norm parameters).
        bn: batch-norm mode: "frozen", "affine" or "train".
        shape: "constant", "cosine" (to zero) or "linear" (to zero).
        warmup: steps over which the rate rises linearly from zero.
    """

    group: str
    start: int
    stop: int
    rate: float
    decay: float
    bn: str
    shape: str
    warmup: int


@dataclasses.dataclass(frozen=True)
class Phase:
    """A stretch of the run in which the same groups train, by one compiled step.

    Attributes:
        name: what the tables and logs call it.
        start: first step.
        stop: the step after the last.
        intervals: one for every group that trains.
        views: names of the finite views that replace random augmentation, or None for that.
    """

    name: str
    start: int
    stop: int
    intervals: tuple[Interval, ...]
    views: tuple[str, ...] | None = None

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups that train."""
        return tuple(interval.group for interval in self.intervals)


@dataclasses.dataclass(frozen=True)
class PhaseSpec:
    """A phase as the config writes it; see the module's docstring."""

    name: str
    train: Mapping[str, Any]
    share: float = 1.0
    shape: str = "cosine"
    warmup: float = 0.0
    decay: float = 0.0
    bn: str | None = None
    views: Sequence[str] | None = None

    def __post_init__(self):
        if not self.train:
            raise UserError(f"phase {self.name!r} freezes every group; name one under `train`")
        if not self.share > 0:
            raise UserError(f"phase {self.name!r} has share {self.share}; it must be positive")
        if not 0 <= self.warmup <= 1:
            raise UserError(
                f"phase {self.name!r} has warmup {self.warmup}; it is a share of the phase, 0 to 1"
            )
        if self.shape not in SHAPES:
            raise UserError(
                f"phase {self.name!r} has shape {self.shape!r}; choose one of {', '.join(SHAPES)}"
            )


def _phase_spec(entry: Mapping[str, Any] | PhaseSpec) -> PhaseSpec:
    if isinstance(entry, PhaseSpec):
        return entry
    try:
        return PhaseSpec(**entry)
    except TypeError:
        known = [field.name for field in dataclasses.fields(PhaseSpec)]
        raise UserError(
            f"the phase {dict(entry)} does not fit; a phase has a name, `train`, and of these: "
            f"{', '.join(known)}"
        ) from None


def _interval(
    spec: PhaseSpec, group: str, value: Any, start: int, stop: int, groups: Sequence[str]
) -> Interval:
    options = dict(value) if isinstance(value, Mapping) else {"rate": value}
    where = f"group {group!r} of phase {spec.name!r}"
    if group not in groups:
        raise UserError(f"{where} does not exist; the groups are {', '.join(groups)}")
    if "rate" not in options:
        raise UserError(f"{where} has no base rate; give it `rate`")
    if unknown := set(options) - {"rate", "decay", "bn"}:
        raise UserError(f"{where} has unknown options {sorted(unknown)}; it takes rate, decay, bn")
    rate = options["rate"]
    bn = options.get("bn") or spec.bn or ("frozen" if group in LEVELS else "train")
    if not isinstance(rate, int | float) or not rate > 0:
        raise UserError(f"{where} has rate {rate!r}; it must be a positive number")
    if bn not in BATCH_NORM:
        raise UserError(f"{where} has bn {bn!r}; choose one of {', '.join(BATCH_NORM)}")
    decay = float(options.get("decay", spec.decay))
    warmup = round(spec.warmup * (stop - start))
    return Interval(group, start, stop, float(rate), decay, bn, spec.shape, warmup)


def resolve(
    schedule: Sequence[Mapping[str, Any] | PhaseSpec],
    total_steps: int,
    groups: Sequence[str] = GROUPS,
) -> tuple[Phase, ...]:
    """The phases of a run of ``total_steps`` steps.

    Args:
        schedule: phases as the config writes them, in order.
        total_steps: length of the run.
        groups: the groups that exist.

    Raises:
        UserError: no phases, more phases than steps, an unknown group or option, a bad value.
    """
    if not schedule:
        raise UserError("the schedule has no phases; give at least one")
    if total_steps < len(schedule):
        raise UserError(
            f"the run has {total_steps} steps for {len(schedule)} phases; "
            "raise train.epochs or lower data.batch_size"
        )
    specs = [_phase_spec(entry) for entry in schedule]
    bounds = _bounds([spec.share for spec in specs], total_steps)
    return tuple(
        Phase(
            spec.name,
            start,
            stop,
            tuple(
                _interval(spec, group, value, start, stop, groups)
                for group, value in spec.train.items()
            ),
            tuple(spec.views) if spec.views is not None else None,
        )
        for spec, start, stop in zip(specs, bounds, bounds[1:], strict=False)
    )


def _bounds(shares: Sequence[float], total: int) -> list[int]:
    """Phase boundaries in proportion to the shares, at least one step each."""
    bounds = [0]
    for index in range(len(shares)):
        bound = round(total * sum(shares[: index + 1]) / sum(shares))
        later = len(shares) - index - 1
        bounds.append(min(max(bound, bounds[-1] + 1), total - later))
    return bounds


def rate_at(interval: Interval, step: Int[Array, ""]) -> Float[Array, ""]:
    """Learning rate of an interval at a step of the run: linear warm-up, then its shape."""
    done = jnp.asarray(step - interval.start, jnp.float32)
    length = interval.stop - interval.start
    progress = jnp.clip((done - interval.warmup) / max(length - interval.warmup, 1), 0.0, 1.0)
    factor = {
        "constant": jnp.ones_like(progress),
        "cosine": 0.5 * (1.0 + jnp.cos(jnp.pi * progress)),
        "linear": 1.0 - progress,
    }[interval.shape]
    rising = jnp.minimum((done + 1.0) / max(interval.warmup, 1), 1.0)
    return interval.rate * jnp.where(done < interval.warmup, rising, factor)
