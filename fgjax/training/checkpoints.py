"""Checkpoints that survive a kill: saved whole, verified on the way back.

Layout: ``WORKDIR/checkpoints/STEP/`` with one Orbax item for each part of the state (``params``,
``batch_stats``, ``constants``, ``opt_state``, ``ema``, ``aux``) and ``meta``, a JSON item with the
step, the resolved schedule and a digest of every item. A checkpoint is saved before it is scored;
what its score was and what followed from it is written beside it afterwards, to ``outcome.json``.
The data need no state of their own: a batch is a function of (seed, step).
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy as preservation

from fgjax.errors import UserError
from fgjax.files import replacing
from fgjax.ops import trees
from fgjax.training.state import TrainState

ITEMS = ("params", "batch_stats", "constants", "opt_state", "ema", "aux")
LATEST = 2


def manager(workdir: Path, best_by: str | None) -> ocp.CheckpointManager:
    """Orbax's manager of a run: the two latest checkpoints and, if asked, the best one.

    Args:
        workdir: folder of the run.
        best_by: the figure of the scores by which one is the best, or None to keep none for it.
    """
    policies: list[preservation.PreservationPolicy] = [preservation.LatestN(LATEST)]
    if best_by is not None:
        policies.append(_KeepBest(workdir, best_by))
    options = ocp.CheckpointManagerOptions(
        preservation_policy=preservation.AnyPreservationPolicy(policies), create=True
    )
    return _Manager((workdir / "checkpoints").absolute(), options=options)


class _Manager(ocp.CheckpointManager):
    """Orbax's manager; a save that fails, now or in the background, ends in one sentence."""

    def save(self, step: int, *args: Any, **options: Any) -> bool:
        return self._spoken(lambda: super(_Manager, self).save(step, *args, **options))

    def wait_until_finished(self) -> None:
        self._spoken(super().wait_until_finished)

    def _spoken(self, action: Callable[[], Any]) -> Any:
        try:
            return action()
        except (OSError, ValueError) as error:  # TensorStore's errors are ValueErrors
            raise UserError(
                f"a checkpoint cannot be written to {self.directory} ({_reason(error)}); the "
                "earlier ones stay: make room there, and the same command goes on from the last "
                "of them"
            ) from error


def _reason(error: Exception) -> str:
    """The system's own words, such as "No space left on device", where it was the cause."""
    number = re.search(r"os_error_code='(\d+)'", str(error))
    if number is not None:
        return os.strerror(int(number[1]))
    return getattr(error, "strerror", None) or _first_line(error)


@dataclasses.dataclass
class _KeepBest(preservation.PreservationPolicy):
    """Keeps the best of the checkpoints that were scored; Orbax asks while it saves a later one."""

    workdir: Path
    monitor: str

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> Sequence[bool]:
        del context
        best = _by_score(self.workdir, [info.step for info in checkpoints], self.monitor)[:1]
        return [info.step in best for info in checkpoints]


def save(checkpoints: ocp.CheckpointManager, state: TrainState, meta: Mapping[str, Any]) -> None:
    """Save in the background; a half-written checkpoint is never taken for a whole one.

    Args:
        checkpoints: what :func:`manager` returned.
        state: is fetched before this returns.
        meta: what is recorded with it; ``unscored`` says that :func:`complete` follows.
    """
    items = {name: getattr(state, name) for name in ITEMS if getattr(state, name)}
    host = jax.device_get(items)
    step = int(state.step)
    digests = {name: trees.digest(value) for name, value in host.items()}
    checkpoints.save(
        step,
        args=ocp.args.Composite(
            meta=ocp.args.JsonSave({**meta, "step": step, "digests": digests}),
            **{name: ocp.args.StandardSave(value) for name, value in host.items()},
        ),
    )


def complete(workdir: Path, step: int, outcome: Mapping[str, Any]) -> None:
    """Write beside a finished checkpoint what came of it: ``score`` and what the run does next.

    Its values take the place of those that :func:`read_meta` finds in the checkpoint.
    """
    with replacing(_outcome_path(workdir, step)) as file:
        file.write(json.dumps({**outcome, "unscored": False}).encode())


def _outcome_path(workdir: Path, step: int) -> Path:
    return workdir / "checkpoints" / str(step) / "outcome.json"


def steps(workdir: Path) -> list[int]:
    """Steps of the finished checkpoints of a run, oldest first."""
    folder = workdir / "checkpoints"
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted(int(path.name) for path in found if path.name.isdigit())


def read_meta(workdir: Path, step: int) -> dict[str, Any]:
    """The JSON record of a checkpoint, with what came of it once it was scored."""
    meta = ocp.Checkpointer(ocp.JsonCheckpointHandler()).restore(
        (workdir / "checkpoints" / str(step) / "meta").absolute()
    )
    return meta | _outcome(workdir, step)


def _outcome(workdir: Path, step: int) -> dict[str, Any]:
    """What :func:`complete` wrote; a record that cannot be read is made again by scoring again."""
    try:
        return json.loads(_outcome_path(workdir, step).read_text())
    except (OSError, ValueError):
        return {}


def read(workdir: Path, step: int, names: tuple[str, ...] = ITEMS) -> dict[str, Any]:
    """Items of one checkpoint as nested dictionaries of NumPy arrays, each verified by its digest.

    Raises:
        UserError: the checkpoint is damaged.
    """
    folder = (workdir / "checkpoints" / str(step)).absolute()
    try:
        meta = read_meta(workdir, step)
        items = {name: _read_item(folder / name) for name in names if name in meta["digests"]}
    except Exception as error:  # Orbax and TensorStore raise many kinds for a damaged file.
        raise UserError(f"the checkpoint {folder} cannot be read ({_first_line(error)})") from error
    for name, item in items.items():
        if trees.digest(item) != meta["digests"][name]:
            raise UserError(f"the checkpoint {folder} is damaged: the digest of {name} differs")
    return items


def _read_item(folder: Path) -> Any:
    with ocp.PyTreeCheckpointer() as checkpointer:
        return checkpointer.restore(folder)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:200]


def chosen_step(workdir: Path, best_by: str | None) -> int:
    """The step whose weights represent a run: the best by that figure, or the last.

    Raises:
        UserError: there is no finished checkpoint.
    """
    return by_preference(workdir, best_by)[0]


def by_preference(workdir: Path, best_by: str | None) -> list[int]:
    """The finished checkpoints, the one to use first: the best by that figure, or the last.

    Raises:
        UserError: there is none.
    """
    found = steps(workdir)
    if not found:
        raise UserError(f"there is no checkpoint in {workdir}; train there first")
    scored = [] if best_by is None else _by_score(workdir, found, best_by)
    return [*scored, *(step for step in reversed(found) if step not in scored)]


def _by_score(workdir: Path, among: Sequence[int], monitor: str) -> list[int]:
    """The steps that were scored, the best first, of equal ones the later."""
    scores = {step: recorded_score(workdir, step, monitor) for step in among}
    known = {step: score for step, score in scores.items() if score is not None}
    return sorted(known, key=lambda step: (known[step], step), reverse=True)


def recorded_score(workdir: Path, step: int, monitor: str) -> float | None:
    """A figure of the score of a checkpoint; None where it was not scored."""
    try:
        return read_meta(workdir, step).get("score", {}).get(monitor)
    except Exception:  # Orbax raises many kinds: it is being written, or damaged.
        return None


def planned_steps(workdir: Path) -> int:
    """Steps of the whole run, as its newest checkpoint plans them.

    Raises:
        UserError: there is no checkpoint with a readable record.
    """
    for step in reversed(steps(workdir)):
        try:
            return read_meta(workdir, step)["schedule"][-1]["stop"]
        except Exception:  # Damaged: an older one knows the plan as well.
            continue
    raise UserError(f"there is no checkpoint in {workdir} that can be read; train there first")
