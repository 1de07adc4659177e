"""What trains when, as a config writes it: a tuple of phases, resolved to intervals.

A phase is a mapping::

    schedule = (
        dict(name="head", share=30, train={"head": 1.0}, views=("center", "flip")),
        dict(name="middle", share=8, train={"conv3": 0.002, "conv4": 0.002, "head": 0.3}),
    )

``share`` is the phase's part of the run, in proportion to the shares of the others; ``epochs`` or
``steps`` instead fix its length, and the shares divide what is left. ``train`` names the groups
that train; every other group is frozen: its parameters and its batch-norm statistics stay bitwise
as they are. A group's value is its base rate, or a mapping with ``rate`` and, where it differs from
the phase's, ``decay``, ``shape``, ``warmup``, ``clock`` and ``bn``: "frozen", "affine", "train", or
any of the switches affine, batch and update joined by "+". If ``bn`` is not given, the backbone's
levels keep their pretrained statistics and newly made parts train theirs.

The head's rate is that for features of length one. Where a pooling gives others, a run with SGD and
a linear head divides it by their mean squared length, so that one schedule suits every pooling; see
``fgjax.finetune.lengths``.

``clock`` says which steps the rate's curve spans, its warm-up (a share of the curve) and then its
shape: those of the "phase", those since the group's "unfreeze" (the phases without a gap in which
it trains), or those of the whole "run".

``size`` is the side in pixels of the images that a phase trains on, where that is not
``data.image_size`` (progressive resizing: Tan & Le, "EfficientNetV2", ICML 2021, section 4)::

    schedule = (
        dict(name="small", share=3, train={"conv5": 0.01, "head": 0.3}, size=160),
        dict(name="full", share=1, train={"conv5": 0.001, "head": 0.03}),
    )

The canvas from which they are cut shrinks with them. Every score is taken at ``data.image_size``.

What only the run can tell: ``auto="rgn"`` or ``"snr"`` scales the rates by a rule of
``fgjax.finetune.automatic`` over the phase's first ``batches`` batches, ``patience`` ends the phase
after so many validation scores without a new best, and ``restore_best`` starts a phase from the
best validated weights. What they came to is recorded in the checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fgjax.checking.options import TEXT, Kinds, check, or_none, shown
from fgjax.errors import UserError
from fgjax.finetune.intervals import BATCH_NORM, SHAPES, SWITCHES, Interval, Phase
from fgjax.finetune.phase_spec import KINDS, RATE, PhaseSpec, phase_spec
from fgjax.vocabulary import GROUPS, LEVELS

CLOCKS = ("phase", "unfreeze", "run")
OPTIONS = ("rate", "decay", "bn", "shape", "warmup", "clock")


# What a group's options may be, where they are not the name of something.
_OF_GROUP: Kinds = {
    "bn": or_none(TEXT),
    "clock": TEXT,
    "decay": KINDS["decay"],
    "shape": TEXT,
    "warmup": KINDS["warmup"],
}


def _options(spec: PhaseSpec, group: str, groups: Sequence[str]) -> dict[str, Any]:
    """A group's options in a phase, checked; what it does not say is the phase's."""
    value = spec.train[group]
    given = dict(value) if isinstance(value, Mapping) else {"rate": value}
    where = f"group {group!r} of phase {spec.name!r}"
    if group not in groups:
        raise UserError(f"{where} does not exist; the groups are {', '.join(groups)}")
    if "rate" not in given:
        raise UserError(f"{where} has no base rate; give it `rate`")
    if unknown := set(given) - set(OPTIONS):
        raise UserError(
            f"{where} has unknown options {sorted(unknown)}; it takes {', '.join(OPTIONS)}"
        )
    common = {key: getattr(spec, key) for key in OPTIONS if key != "rate"}
    options = common | given
    if not RATE.fits(options["rate"]):
        raise UserError(
            f"{where} has rate {shown(options['rate'])}; it must be a positive number, "
            "and a group that is to stay frozen is left out of `train`"
        )
    for option, kind in _OF_GROUP.items():
        check(f"{option} of {where}", options[option], kind)
    for key, known in (("shape", SHAPES), ("clock", CLOCKS)):
        if options[key] not in known:
            raise UserError(f"{where} has {key} {options[key]!r}; choose one of {', '.join(known)}")
    return options | {"bn": _batch_norm(options["bn"], group, where)}


def _interval(
    specs: Sequence[PhaseSpec], index: int, group: str, bounds: Sequence[int], groups: Sequence[str]
) -> Interval:
    options = _options(specs[index], group, groups)
    origin, end = _curve(options["clock"], specs, index, group, bounds)
    return Interval(
        group,
        start=bounds[index],
        stop=bounds[index + 1],
        rate=float(options["rate"]),
        decay=float(options["decay"]),
        bn=options["bn"],
        shape=options["shape"],
        warmup=round(options["warmup"] * (end - origin)),
        origin=origin,
        end=end,
    )


def _curve(
    clock: str, specs: Sequence[PhaseSpec], index: int, group: str, bounds: Sequence[int]
) -> tuple[int, int]:
    """The steps at which the rate's curve begins and ends."""
    if clock == "run":
        return bounds[0], bounds[-1]
    first = last = index
    if clock == "unfreeze":
        while first > 0 and group in specs[first - 1].train:
            first -= 1
        while last + 1 < len(specs) and group in specs[last + 1].train:
            last += 1
    return bounds[first], bounds[last + 1]


def _batch_norm(bn: str | None, group: str, where: str) -> str:
    if bn is None:
        made_new = group in GROUPS and group not in LEVELS
        return "train" if made_new else "frozen"
    if bn not in BATCH_NORM and not set(bn.split("+")) <= set(SWITCHES):
        raise UserError(
            f"{where} has bn {bn!r}; choose one of {', '.join(BATCH_NORM)}, "
            f"or some of {', '.join(SWITCHES)} joined by +"
        )
    return bn


def resolve(
    schedule: Sequence[Mapping[str, Any] | PhaseSpec],
    total_steps: int,
    groups: Sequence[str] = GROUPS,
    epoch_steps: float = 1.0,
) -> tuple[Phase, ...]:
    """The phases of a run of ``total_steps`` steps.

    Args:
        schedule: phases as the config writes them, in order.
        total_steps: length of the run.
        groups: the groups that exist.
        epoch_steps: steps of an epoch.

    Raises:
        UserError: no phases, more phases than steps, a phase beyond the end of the run, an unknown
            group or option, a bad value.
    """
    if not isinstance(schedule, Sequence) or isinstance(schedule, str):
        raise UserError(f"the schedule is {shown(schedule)}; expected phases in a tuple")
    if not schedule:
        raise UserError("the schedule has no phases; give at least one")
    if total_steps < len(schedule):
        raise UserError(
            f"the run has {total_steps} steps for {len(schedule)} phases; "
            "raise train.epochs or lower data.batch_size"
        )
    specs = [phase_spec(index, entry) for index, entry in enumerate(schedule)]
    names = [spec.name for spec in specs]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise UserError(f"two phases are called {min(repeated)!r}; give each its own name")
    bounds = _bounds(specs, total_steps, epoch_steps)
    return tuple(
        Phase(
            name=spec.name,
            start=bounds[i],
            stop=bounds[i + 1],
            intervals=tuple(_interval(specs, i, group, bounds, groups) for group in spec.train),
            views=tuple(spec.views) if spec.views is not None else None,
            size=spec.size,
            auto=spec.auto,
            batches=spec.batches,
            patience=spec.patience,
            restore_best=spec.restore_best,
        )
        for i, spec in enumerate(specs)
    )


def _bounds(specs: Sequence[PhaseSpec], total: int, epoch_steps: float) -> list[int]:
    """Phase boundaries: fixed lengths, the rest in proportion to the shares, at least one step."""
    lengths = [_own_length(spec, epoch_steps) for spec in specs]
    fixed = {place: length for place, length in enumerate(lengths) if length is not None}
    shared = [spec for place, spec in enumerate(specs) if place not in fixed]
    left = total - sum(fixed.values())
    if left < len(shared):
        raise UserError(
            f"the phases with epochs or steps take {sum(fixed.values())} of the run's {total} "
            "steps, and the others come to lie beyond its end; raise train.epochs"
        )
    ends = iter(_shares([1.0 if s.share is None else s.share for s in shared], left))
    bounds, before = [0], 0
    for place in range(len(specs)):
        end = before if place in fixed else next(ends)
        length = fixed.get(place, end - before)
        before = end
        bounds.append(bounds[-1] + length)
    return bounds


def _own_length(spec: PhaseSpec, epoch_steps: float) -> int | None:
    """The steps of a phase that says how long it is."""
    if spec.epochs is None:
        return spec.steps
    return max(1, round(spec.epochs * epoch_steps))


def _shares(shares: Sequence[float], total: int) -> list[int]:
    """Where each share of ``total`` steps ends, at least one step after the one before."""
    ends = [0]
    for index in range(len(shares)):
        end = round(total * sum(shares[: index + 1]) / sum(shares))
        later = len(shares) - index - 1
        ends.append(min(max(end, ends[-1] + 1), total - later))
    return ends[1:]
