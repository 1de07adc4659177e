"""The run: phase after phase, each one compiled step, watched, scored and saved.

The order of things at a step is fixed: step, log, score, save. A checkpoint therefore holds the
state after the score that stands beside it, and a run resumed from it repeats nothing.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fgjax.errors import UserError
from fgjax.finetune import audit, groups
from fgjax.finetune.optimizer import Optimizer, enter_phase, trained_leaves
from fgjax.finetune.schedule import Phase
from fgjax.training import checkpoints, parallel
from fgjax.training.state import TrainState

Metrics = Mapping[str, float]
Step = Callable[[TrainState, Any], tuple[TrainState, dict[str, Any]]]


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a run does, as functions.

    Attributes:
        phases: who trains when.
        step: phase -> its compiled step.
        batches: (phase, state, first step) -> device batches from that step on.
        score: (phase, state) -> metrics of the validation split, or None without one.
        optimizer: the optimiser of every group.
        assignment: {path: group}.
        mesh: the devices.
        batch_size: examples a step.
        score_every: steps between scores.
        save_every: steps between checkpoints.
        log_every: steps between log lines.
        meta: what every checkpoint records about the run.
    """

    phases: Sequence[Phase]
    step: Callable[[Phase], Step]
    batches: Callable[[Phase, TrainState, int], Iterator[Any]]
    score: Callable[[Phase, TrainState], Metrics | None]
    optimizer: Optimizer
    assignment: Mapping[str, str]
    mesh: Any
    batch_size: int
    score_every: int
    save_every: int
    log_every: int
    meta: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Watch:
    """Who is told what happens.

    Attributes:
        log: (step, metrics) of every log line.
        progress: (phase, step, metrics) of every step.
        say: one line of text.
    """

    log: Callable[[int, Mapping[str, Any]], None]
    progress: Callable[[Phase, int, Metrics], None]
    say: Callable[[str], None]


def run(
    plan: Plan, state: TrainState, manager: Any, watch: Watch
) -> tuple[TrainState, list[dict[str, Any]]]:
    """Train from ``state`` to the end of the last phase.

    Returns:
        The final state, and one record a phase: its name, steps, seconds, images per second, what
        the audit found and the last validation score.

    Raises:
        UserError: the loss or a gradient is no longer finite.
        AuditError: a frozen group moved.
    """
    records = []
    for index, phase in enumerate(plan.phases):
        if int(state.step) >= phase.stop:
            continue
        remaining = frozenset(g for later in plan.phases[index:] for g in later.groups)
        state = _enter(plan, phase, state, remaining)
        before = audit.snapshot(state, plan.assignment, phase)
        state, record = _run_phase(plan, phase, state, manager, watch)
        record |= audit.check(before, state, plan.assignment, phase)
        records.append(record)
    return state, records


def _enter(plan, phase, state, remaining):
    parts = groups.split(state.params, plan.assignment)
    trained = trained_leaves(parts, phase, groups.batch_norm_paths(state.batch_stats))
    opt_state = enter_phase(plan.optimizer, state.opt_state, trained, remaining)
    return parallel.replicate(state.replace(opt_state=opt_state), plan.mesh)


def _run_phase(plan, phase, state, manager, watch):
    step = plan.step(phase)
    start = int(state.step)
    batches = plan.batches(phase, state, start)
    began, warm, score = time.monotonic(), None, None
    pending: tuple[int, dict] | None = None
    for number in range(start + 1, phase.stop + 1):
        state, metrics = step(state, next(batches))
        # The metrics of a step are fetched once the next one is under way.
        _report(plan, phase, pending, watch)
        pending = (number, metrics)
        last = number == phase.stop
        due = last or number % plan.score_every == 0, last or number % plan.save_every == 0
        if any(due):
            _report(plan, phase, pending, watch)
            pending = None
            if due[0] and (score := plan.score(phase, state)) is not None:
                watch.log(number, {f"validation/{name}": v for name, v in score.items()})
            checkpoints.save(manager, state, plan.meta, score if due[0] else None)
        if number == start + 1:
            jax.block_until_ready(state)
            warm = time.monotonic()
    jax.block_until_ready(state)
    seconds = time.monotonic() - began
    steady = max(time.monotonic() - warm, 1e-9)
    return state, {
        "name": phase.name,
        "groups": list(phase.groups),
        "steps": phase.stop - phase.start,
        "seconds": seconds,
        "images_per_second": (phase.stop - start - 1) * plan.batch_size / steady,
        "validation": score,
    }


def _report(plan, phase, pending, watch):
    if pending is None:
        return
    number, metrics = pending
    values = {name: float(value) for name, value in jax.device_get(metrics).items()}
    for name in ("loss", "gradient_norm"):
        if not math.isfinite(values[name]):
            raise UserError(
                f"the {name.replace('_', ' ')} is {values[name]} at step {number} (phase "
                f"{phase.name!r}); training stopped and the last good checkpoint is kept: lower "
                "the rates of this phase, or set train.clip_norm, and start in a new workdir"
            )
    watch.progress(phase, number, values)
    if number % plan.log_every == 0 or number == phase.stop:
        watch.log(number, {"phase": phase.name, **values})


def initial_state(variables: Mapping[str, Any], ema: bool, aux: Mapping[str, Any]) -> TrainState:
    """The state before the first step."""
    params, batch_stats = variables["params"], variables["batch_stats"]
    return TrainState(
        step=np.int32(0),
        params=params,
        batch_stats=batch_stats,
        constants=variables["constants"],
        opt_state={},
        ema={"params": params, "batch_stats": batch_stats} if ema else None,
        aux=dict(aux),
    )


def restored_state(
    workdir: Path, start: TrainState, say: Callable[[str], None]
) -> tuple[TrainState, dict[str, Any] | None]:
    """The state of the newest whole checkpoint and its record, or ``start`` and None.

    Raises:
        UserError: the checkpoint is of another architecture.
    """
    found = checkpoints.latest_whole(workdir, say)
    if found is None:
        return start, None
    step, items, meta = found
    checkpoints.check_same_tree(workdir, step, items, start)
    say(f"resuming from step {step}")
    empty = {"params": {}, "batch_stats": {}, "constants": {}, "opt_state": {}, "aux": {}}
    return start.replace(step=np.int32(step), **{"ema": None} | empty | items), meta
