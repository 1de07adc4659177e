"""The run: phase after phase, each one compiled step, watched, scored and saved.

The order of things at a step is fixed: step, log, save, score, audit, record. A checkpoint is whole
on disk before it is scored, so that no failure while scoring loses it; its score, and what follows
from it, is recorded beside it. A run resumed from a checkpoint without that record begins with the
score, and takes the same decisions: it repeats no step.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax

from fgjax.errors import Interrupted
from fgjax.finetune import automatic, groups, intervals
from fgjax.finetune.intervals import Phase
from fgjax.finetune.optimizer import Optimizer, enter_phase, held_leaves, trained_leaves
from fgjax.training import checkpoints, divergence, outcomes, parallel, restoring
from fgjax.training.state import TrainState

Metrics = Mapping[str, float]
Step = Callable[[TrainState, Any], tuple[TrainState, dict[str, Any]]]


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a run does, as functions.

    Attributes:
        phases: who trains when; what only the run can tell may still be open.
        compile: (phase, abstract state) -> its step, compiled.
        batches: (phase, state, first step) -> device batches from that step on.
        measure: (phase, state) -> the gradients of the trained leaves, batch after batch.
        cost: (phase, state) -> multiply-adds of an example, for the audit.
        score: (phase, state) -> metrics of the validation split, or None without one.
        monitor: the figure of a score that decides which checkpoint is the best.
        optimizer: the optimiser of every group.
        assignment: {path: group}.
        mesh: the devices.
        workdir: folder of the run.
        batch_size: examples a step.
        score_every: steps between scores.
        save_every: steps between checkpoints.
        log_every: steps between log lines.
        chance: loss of a network that knows nothing; see ``fgjax.training.divergence``.
        plateau: best score and scores since, of the phase in which the run goes on.
        unscored: the run goes on from a checkpoint that is still to be scored.
        meta: what every checkpoint records about the run.
    """

    phases: Sequence[Phase]
    compile: Callable[[Phase, TrainState], Step]
    batches: Callable[[Phase, TrainState, int], Iterator[Any]]
    measure: Callable[[Phase, TrainState], Iterator[Any]]
    cost: Callable[[Phase, TrainState], Mapping[str, int]]
    score: Callable[[Phase, TrainState], Metrics | None]
    monitor: str
    optimizer: Optimizer
    assignment: Mapping[str, str]
    mesh: Any
    workdir: Path
    batch_size: int
    score_every: int
    save_every: int
    log_every: int
    chance: float
    plateau: Plateau
    unscored: bool
    meta: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Watch:
    """Who is told what happens.

    Attributes:
        log: (step, metrics) of every log line.
        progress: (phase, step, metrics) of every step.
        ended: the record of a phase, at its end.
        say: one line of text.
        stop: asked once a step whether to stop; the step is saved first.
    """

    log: Callable[[int, Mapping[str, Any]], None]
    progress: Callable[[Phase, int, Metrics], None]
    ended: Callable[[Mapping[str, Any]], None]
    say: Callable[[str], None]
    stop: Callable[[], bool]


class Plateau(NamedTuple):
    """The best validation score of a phase, and how many have come since."""

    best: float = -math.inf
    since: int = 0

    def after(self, score: float) -> Plateau:
        """The same after one more score."""
        return Plateau(score) if score > self.best else Plateau(self.best, self.since + 1)


def run(plan: Plan, state: TrainState, manager: Any, watch: Watch) -> TrainState:
    """Train from ``state`` to the end of the last phase.

    Raises:
        UserError: the loss or a gradient is no longer finite, or an automatic rule fails.
        AuditError: a frozen group moved.
        Interrupted: ``watch.stop`` said so; the step it came after is saved.
    """
    if plan.unscored:
        plan = outcomes.scored_first(plan, state, watch)
    phases, following = list(plan.phases), None
    watch = divergence.watched(watch, plan.chance, plan.log_every)
    with parallel.background("compile") as compiler:
        for index in range(len(phases)):
            if int(state.step) >= phases[index].stop:
                continue
            phase, state = _enter(plan, phases, index, state, manager, watch)
            phases[index] = phase
            compiling = following or compiler.submit(plan.compile, phase, _abstract(state))
            step = compiling.result()
            following = _compile_ahead(plan, phases, index + 1, state, compiler)
            state, phases[index:] = _run_phase(plan, phases, index, state, step, manager, watch)
    return state


def _enter(
    plan: Plan,
    phases: Sequence[Phase],
    index: int,
    state: TrainState,
    manager: Any,
    watch: Watch,
) -> tuple[Phase, TrainState]:
    """The phase with nothing left open, and the state on all devices with its moments."""
    phase = phases[index]
    if phase.restore_best and int(state.step) == phase.start:
        manager.wait_until_finished()
        state = restoring.best_state(plan.workdir, state, plan.monitor, watch.say)
    state = _with_moments(plan, phases, index, state)
    state = parallel.replicate(state, plan.mesh)
    if phase.auto:
        trained = jax.device_get(_trained(plan, phase, state))
        scale = automatic.multipliers(phase.auto, phase.name, plan.measure(phase, state), trained)
        watch.say(f"{phase.name}: " + ", ".join(f"{g} x {v:.3g}" for g, v in scale.items()))
        phase = automatic.resolved(phase, scale)
    return phase, state


def _with_moments(plan: Plan, phases: Sequence[Phase], index: int, state: TrainState) -> TrainState:
    parts = groups.split(state.params, plan.assignment)
    held = held_leaves(parts, phases, index, groups.batch_norm_paths(state.batch_stats))
    return state.replace(opt_state=enter_phase(plan.optimizer, state.opt_state, held))


def _trained(plan, phase, state):
    parts = groups.split(state.params, plan.assignment)
    return trained_leaves(parts, phase, groups.batch_norm_paths(state.batch_stats))


def _abstract(state: TrainState) -> TrainState:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), state)


def _compile_ahead(
    plan: Plan,
    phases: Sequence[Phase],
    index: int,
    state: TrainState,
    compiler: ThreadPoolExecutor,
) -> Future | None:
    """The step of the next phase, under way, if everything about it is known already."""
    if index == len(phases) or phases[index].auto or phases[index - 1].patience:
        return None
    later = jax.eval_shape(partial(_with_moments, plan, phases, index), _abstract(state))
    return compiler.submit(plan.compile, phases[index], later)


def _run_phase(
    plan: Plan,
    phases: Sequence[Phase],
    index: int,
    state: TrainState,
    step: Step,
    manager: Any,
    watch: Watch,
) -> tuple[TrainState, Sequence[Phase]]:
    """Train to the end of a phase: the state, and the phases from this one on."""
    phase, start = phases[index], int(state.step)
    before = outcomes.start_of_phase(plan, phase, state)
    plateau = plan.plateau if start > phase.start else Plateau()
    # Features of a frozen trunk may be computed here: they count.
    began, warm, pending = time.monotonic(), None, None
    batches = plan.batches(phase, state, start)
    for number in range(start + 1, phase.stop + 1):
        state, metrics = step(state, next(batches))
        # The metrics of a step are fetched once the next one is under way.
        _report(plan, phase, pending, watch)
        pending = (number, metrics)
        stopping = watch.stop()
        due = number == phase.stop or number % plan.score_every == 0
        if due or stopping or number % plan.save_every == 0:
            _report(plan, phase, pending, watch)
            pending = None
            record = {"schedule": intervals.to_record(phases), "plateau": plateau._asdict()}
            checkpoints.save(manager, state, {**plan.meta, **record, "unscored": due})
        if stopping:
            manager.wait_until_finished()
            raise Interrupted(f"stopped after step {number}; the same command goes on from it")
        if due:
            manager.wait_until_finished()
            timing = partial(outcomes.timing, plan, start, began, warm)
            phases, plateau, ended = outcomes.judge(
                plan, phases, index, state, plateau, before, timing, watch
            )
            if ended:
                break
        if number == start + 1:
            jax.block_until_ready(state)
            warm = time.monotonic()
    return state, phases[index:]


def _report(
    plan: Plan, phase: Phase, pending: tuple[int, Mapping[str, Any]] | None, watch: Watch
) -> None:
    if pending is None:
        return
    number, metrics = pending
    values = {name: float(value) for name, value in jax.device_get(metrics).items()}
    divergence.check_finite(phase, number, values)
    watch.progress(phase, number, values)
    if number % plan.log_every == 0 or number == phase.stop:
        watch.log(number, {"phase": phase.name, **values})
