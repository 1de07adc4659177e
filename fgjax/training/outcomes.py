"""What comes of a checkpoint once it is on disk: its score, whether its phase ends, the proof.

All of it is recorded beside the checkpoint when it is complete; a run that goes on from one without
that record begins here.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from fgjax.files import replacing
from fgjax.finetune import audit, intervals
from fgjax.finetune.intervals import Phase
from fgjax.training import checkpoints, parallel
from fgjax.training.state import TrainState

if TYPE_CHECKING:
    from fgjax.training.loop import Plan, Plateau, Watch


def scored_first(plan: Plan, state: TrainState, watch: Watch) -> Plan:
    """The plan of a run that goes on from a checkpoint without a score, once that is made up for.

    It takes the same decisions as the run that was stopped would have taken.
    """
    step, began = int(state.step), time.monotonic()
    index = next(i for i, phase in enumerate(plan.phases) if step <= phase.stop)
    before = start_of_phase(plan, plan.phases[index], state)
    state = parallel.replicate(state, plan.mesh)
    timed = partial(timing, plan, step, began, None)
    phases, plateau, _ = judge(plan, plan.phases, index, state, plan.plateau, before, timed, watch)
    return dataclasses.replace(plan, phases=phases, plateau=plateau)


def judge(
    plan: Plan,
    phases: Sequence[Phase],
    index: int,
    state: TrainState,
    plateau: Plateau,
    before: audit.Snapshot,
    timed: Callable[[int], Mapping[str, float]],
    watch: Watch,
) -> tuple[list[Phase], Plateau, bool]:
    """Score a checkpoint that is on disk, decide whether its phase ends here, and record both.

    Args:
        plan: the run.
        phases: all of its phases, as they are known by now.
        index: of the phase that the state is in.
        state: what the checkpoint holds.
        plateau: of this phase, before this score.
        before: what the phase began with.
        timed: the last step to the seconds and the speed so far.
        watch: who is told.

    Returns:
        The phases, shortened where this one ends early; its plateau; and whether it ends.

    Raises:
        AuditError: a frozen group moved.
    """
    phase, step = phases[index], int(state.step)
    score = plan.score(phase, state)
    if score is not None:
        plateau = plateau.after(score[plan.monitor])
        watch.log(step, {f"validation/{name}": value for name, value in score.items()})
    if ended := step == phase.stop or _has_settled(phase, plateau):
        phases = [*phases[:index], *intervals.stopped(phases[index:], step)]
        found = audit.check(before, state, plan.assignment, phases[index])
        costs = {"multiply_adds": dict(plan.cost(phases[index], state)), "validation": score}
        watch.ended({**timed(step), **found, **costs})
    record = {"schedule": intervals.to_record(phases), "plateau": plateau._asdict()}
    checkpoints.complete(plan.workdir, step, record | {"score": dict(score or {})})
    return list(phases), plateau, ended


def _has_settled(phase: Phase, plateau: Plateau) -> bool:
    return phase.patience is not None and plateau.since >= phase.patience


def start_of_phase(plan: Plan, phase: Phase, state: TrainState) -> audit.Snapshot:
    """What a phase began with, also for a run that goes on in the middle of it."""
    path = plan.workdir / "phase_start.npz"
    if int(state.step) > phase.start and (found := audit.read(path, phase)) is not None:
        return found
    before = audit.snapshot(state, plan.assignment, phase)
    with replacing(path) as file:
        audit.write(before, file)
    return before


def timing(plan: Plan, start: int, began: float, warm: float | None, number: int) -> dict[str, Any]:
    """Seconds and speed of a session that began at step ``start`` and has come to ``number``.

    Args:
        plan: the run.
        start: the step that the session began with.
        began: when it began, on ``time.monotonic``.
        warm: when its first step was done; that one waits for its input to come up.
        number: the step that it has come to.
    """
    steady = time.monotonic() - (warm or began)
    return {
        "seconds": time.monotonic() - began,
        "images_per_second": max(number - start - 1, 0) * plan.batch_size / max(steady, 1e-9),
    }
