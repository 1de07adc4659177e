"""The proof that a phase did what it said: what was frozen did not move, bit for bit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import jax
import numpy as np

from fgjax.finetune import groups
from fgjax.finetune.intervals import Phase
from fgjax.ops import trees


class AuditError(AssertionError):
    """A frozen group moved: a defect of the training code, never of the user's input."""


class Snapshot(NamedTuple):
    """What is remembered from the start of a phase.

    Attributes:
        phase: its name and first step.
        frozen: {group: digest of its parameters and statistics} of every frozen group.
        trained: {group: {path: leaf}}, host copies of what trains.
    """

    phase: tuple[str, int]
    frozen: dict[str, str]
    trained: dict[str, dict[str, np.ndarray]]


def snapshot(state: Any, assignment: Mapping[str, str], phase: Phase) -> Snapshot:
    """Remember a state (with ``params`` and ``batch_stats``) at the start of a phase."""
    params = jax.device_get(groups.split(state.params, assignment))
    trained = {group: params.get(group, {}) for group in phase.groups}
    frozen = _frozen_digests(params, jax.device_get(state.batch_stats), phase)
    return Snapshot((phase.name, phase.start), frozen, trained)


def write(before: Snapshot, file: IO[bytes]) -> None:
    """Keep a snapshot, so that a killed run is still compared with the phase's first step."""
    header = json.dumps({"phase": before.phase, "frozen": before.frozen})
    leaves: dict[str, Any] = {
        f"{group}:{path}": leaf
        for group, leaves in before.trained.items()
        for path, leaf in leaves.items()
    }
    np.savez(file, header=np.array(header), **leaves)


def read(path: Path, phase: Phase) -> Snapshot | None:
    """What :func:`write` kept, if it is of this phase."""
    if not path.exists():
        return None
    with np.load(path) as arrays:
        header = json.loads(str(arrays["header"]))
        if header["phase"] != [phase.name, phase.start]:
            return None
        trained: dict[str, dict[str, np.ndarray]] = {group: {} for group in phase.groups}
        for name in arrays.files:
            if name != "header":
                group, _, leaf = name.partition(":")
                trained[group][leaf] = arrays[name]
    return Snapshot((phase.name, phase.start), header["frozen"], trained)


def check(
    before: Snapshot, state: Any, assignment: Mapping[str, str], phase: Phase
) -> dict[str, Any]:
    """Compare the end of a phase with its start.

    Returns:
        ``name``, ``start`` and ``stop`` of the phase, ``rates`` ({group: base rate}), ``frozen``
        (groups proved unchanged), ``moved`` ({group: norm of its change over its norm at the
        start, None for one that started at zero}) and ``optimizer_bytes``.

    Raises:
        AuditError: a parameter or a statistic of a frozen group changed.
    """
    params = jax.device_get(groups.split(state.params, assignment))
    after = _frozen_digests(params, jax.device_get(state.batch_stats), phase)
    changed = [group for group, digest in before.frozen.items() if after.get(group) != digest]
    if changed:
        raise AuditError(f"phase {phase.name!r} froze {', '.join(changed)}, but they changed")
    moved = {
        group: _relative_change(leaves, params[group])
        for group, leaves in before.trained.items()
        if leaves
    }
    return {
        "name": phase.name,
        "start": phase.start,
        "stop": phase.stop,
        "rates": {interval.group: interval.rate for interval in phase.intervals},
        "frozen": sorted(before.frozen),
        "moved": moved,
        "optimizer_bytes": sum(
            leaf.nbytes for leaf in jax.tree.leaves(state.opt_state) if hasattr(leaf, "nbytes")
        ),
    }


def _frozen_digests(params, batch_stats, phase) -> dict[str, str]:
    """Digests of the frozen groups' parameters, and of every group's frozen statistics."""
    moving = {interval.group for interval in phase.intervals if "update" in interval.switches}
    digests = {
        group: trees.digest(leaves) for group, leaves in params.items() if group not in phase.groups
    }
    for group, statistics in batch_stats.items():
        if group not in moving:
            digests[f"{group} (statistics)"] = trees.digest(statistics)
    return digests


def _relative_change(old: Mapping[str, np.ndarray], new: Mapping[str, np.ndarray]) -> float | None:
    start = _norm(old)
    return _norm({path: new[path] - leaf for path, leaf in old.items()}) / start if start else None


def _norm(leaves: Mapping[str, np.ndarray]) -> float:
    return float(
        np.sqrt(sum(np.sum(np.square(leaf, dtype=np.float64)) for leaf in leaves.values()))
    )
