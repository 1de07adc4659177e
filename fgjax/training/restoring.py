"""Which checkpoint of a run to go on from, or to use: damaged ones are passed over."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from fgjax.errors import UserError
from fgjax.ops import trees
from fgjax.training import checkpoints
from fgjax.training.checkpoints import ITEMS
from fgjax.training.state import TrainState

Say = Callable[[str], None]


def restored_state(
    workdir: Path, start: TrainState, say: Say
) -> tuple[TrainState, dict[str, Any] | None]:
    """The state of the newest whole checkpoint and its record, or ``start`` and None.

    Raises:
        UserError: the checkpoint is of another architecture, or none is whole.
    """
    found = latest_whole(workdir, say)
    if found is None:
        return start, None
    step, items, meta = found
    check_same_tree(workdir, step, items, start)
    say(f"resuming from step {step}")
    absent: dict[str, Any] = {name: None if name == "ema" else {} for name in ITEMS}
    return start.replace(step=jnp.int32(step), **absent | items), meta


def best_state(workdir: Path, state: TrainState, monitor: str, say: Say) -> TrainState:
    """The state with the weights, statistics and moments of the best validated checkpoint.

    It stays as it is where there is no checkpoint yet.

    Raises:
        UserError: there are checkpoints, and none is whole.
    """
    if not checkpoints.steps(workdir):
        return state
    step, items = chosen(workdir, monitor, ITEMS, say)
    say(f"going on from step {step}, the best so far")
    return state.replace(
        **{name: items.get(name, getattr(state, name)) for name in ("params", "ema", "aux")},
        batch_stats=items.get("batch_stats", state.batch_stats),
        opt_state=items.get("opt_state", {}),
    )


def latest_whole(workdir: Path, say: Say) -> tuple[int, dict[str, Any], dict[str, Any]] | None:
    """The newest undamaged checkpoint, as (step, items, meta); None if there is none at all.

    Damaged ones are reported and set aside under ``WORKDIR/damaged-checkpoints``; so are older
    ones whose records cannot be read, on which Orbax would stumble.

    Raises:
        UserError: there are checkpoints, and none is whole; they stay where they are.
    """
    found = checkpoints.steps(workdir)
    damaged: dict[int, UserError] = {}
    for step in reversed(found):
        try:
            items, meta = checkpoints.read(workdir, step), checkpoints.read_meta(workdir, step)
        except UserError as error:
            damaged[step] = error
            continue
        for newer, fault in damaged.items():
            aside = _set_aside(workdir, newer)
            say(f"{fault}; it was moved to {aside}, and the one before it is used")
        for older in found[: found.index(step)]:
            if (reason := _unreadable_record(workdir, older)) is not None:
                say(f"{reason}; it was moved to {_set_aside(workdir, older)}")
        return step, items, meta
    if damaged:
        raise _none_whole(workdir, damaged)
    return None


def chosen(
    workdir: Path, best_by: str | None, names: tuple[str, ...], say: Say
) -> tuple[int, dict[str, Any]]:
    """The checkpoint whose weights represent a run, as (step, items); nothing is moved.

    Args:
        workdir: folder of the run.
        best_by: the figure of the scores by which the best one is taken; None takes the last.
        names: the items to read.
        say: told of a checkpoint that would have come before, but is damaged.

    Raises:
        UserError: there is no finished checkpoint, or none is whole.
    """
    damaged = {}
    for step in checkpoints.by_preference(workdir, best_by):
        try:
            items = checkpoints.read(workdir, step, names)
        except UserError as error:
            damaged[step] = error
            continue
        for fault in damaged.values():
            say(f"{fault}; the checkpoint of step {step} is used instead")
        return step, items
    raise _none_whole(workdir, damaged)


def _none_whole(workdir: Path, damaged: Mapping[int, UserError]) -> UserError:
    return UserError(
        f"no checkpoint in {workdir} is whole ({next(iter(damaged.values()))}); restore one from a "
        "copy, or train in another workdir"
    )


def _set_aside(workdir: Path, step: int) -> Path:
    aside = workdir / "damaged-checkpoints" / str(step)
    shutil.rmtree(aside, ignore_errors=True)
    aside.parent.mkdir(exist_ok=True)
    shutil.move(workdir / "checkpoints" / str(step), aside)
    return aside


def _unreadable_record(workdir: Path, step: int) -> str | None:
    """What is wrong with the record of a checkpoint, whatever its arrays hold."""
    try:
        checkpoints.read(workdir, step, names=())
    except UserError as error:
        return str(error)
    return None


def check_same_tree(workdir: Path, step: int, items: Mapping[str, Any], start: TrainState) -> None:
    """Raises UserError, naming the differences, unless the checkpoint fits the recogniser."""
    for name in ("params", "batch_stats", "constants"):
        have = {path: leaf.shape for path, leaf in trees.by_path(items.get(name, {})).items()}
        want = {path: leaf.shape for path, leaf in trees.by_path(getattr(start, name)).items()}
        if have != want:
            differing = sorted(path for path in have | want if have.get(path) != want.get(path))
            shown = ", ".join(
                f"{path} {have.get(path, 'absent')} instead of {want.get(path, 'absent')}"
                for path in differing[:5]
            )
            raise UserError(
                f"the checkpoint {workdir / 'checkpoints' / str(step)} is of another architecture: "
                f"{len(differing)} {name} differ ({shown}); use the config it was trained with or "
                "another workdir"
            )
