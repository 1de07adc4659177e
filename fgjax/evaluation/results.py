"""``WORKDIR/results.json``: what a run reached, how long it took and which parameters it was."""

from __future__ import annotations

import json
import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import PyTree

from fgjax import files
from fgjax.errors import UserError
from fgjax.files import replacing
from fgjax.ops import trees

FORMAT_VERSION = 1
# Another process holds the file for milliseconds; slow shared disks are given time.
PATIENCE = 60.0


def read(workdir: str | os.PathLike) -> dict:
    """The results so far; only the format version where there are none yet.

    Raises:
        UserError: the file is not readable, or of another format version.
    """
    path = _path(workdir)
    if not path.exists():
        return {"format_version": FORMAT_VERSION}
    try:
        results = json.loads(path.read_text())
        version = results["format_version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is not a results file of fgjax; move it away and run the evaluation again"
        ) from error
    if version != FORMAT_VERSION:
        raise UserError(
            f"{path} has format version {version}, but this fgjax reads {FORMAT_VERSION}; "
            "use the fgjax that wrote it, or another workdir"
        )
    return results


def update(workdir: str | os.PathLike, values: dict) -> dict:
    """Merge nested values into the results and write them atomically.

    Dicts are merged key by key, everything else is replaced. Numpy and jax scalars become numbers.
    Processes that write at once wait for each other, so that nothing is lost.

    Returns:
        All results after the merge.

    Raises:
        UserError: the file is broken, or the folder cannot be written to.
        ValueError: a value is NaN or infinite, which JSON cannot express.
    """
    with _alone(workdir):
        return _write(workdir, _merged(read(workdir), values))


def record(
    workdir: str | os.PathLike, split: str, summary: dict, after: str | None = None, **details
) -> dict:
    """Write the scores of a split, and count how often it was scored.

    A fraction ``{"value", "low", "high", "n"}`` named ``top1`` is stored as the numbers ``top1``,
    ``top1_low`` and ``top1_high``. Earlier scores of the same name are replaced; ``evaluations``
    says how often each split was scored, because a test split that was looked at often has been
    selected on.

    Args:
        workdir: folder of the run.
        split: "validation" or "test"; the section of that name is written.
        summary: what ``metrics.summarize`` returned.
        after: a phase at whose end the split was scored; "{split}_after_{phase}" is written.
        details: anything else of this evaluation, e.g. ``confusions=...``, ``seconds=...``.

    Returns:
        All results after the evaluation.
    """
    name = split if after is None else f"{split}_after_{after}"
    with _alone(workdir):
        results = _counted(read(workdir), split)
        results[name] = {**_bounds_beside(summary), **details}
        return _write(workdir, results)


def count(workdir: str | os.PathLike, split: str) -> dict:
    """Count that a split was scored by what keeps its scores elsewhere, such as a report.

    Returns:
        All results after that.
    """
    with _alone(workdir):
        return _write(workdir, _counted(read(workdir), split))


def _counted(results: dict, split: str) -> dict:
    before = results.get("evaluations", {})
    return {**results, "evaluations": {**before, split: before.get(split, 0) + 1}}


def params_digest(params: PyTree, batch_stats: PyTree) -> str:
    """SHA-256 that names a network: equal exactly when parameters and statistics are, bit for bit.

    See ``fgjax.ops.trees.digest``; paths begin with "params/" or "batch_stats/".
    """
    return trees.digest({"params": params, "batch_stats": batch_stats})


def _bounds_beside(summary: dict) -> dict:
    flat: dict[str, Any] = {}
    for name, value in summary.items():
        if isinstance(value, dict) and {"value", "low", "high"} <= value.keys():
            flat |= {name: value["value"], f"{name}_low": value["low"]}
            flat[f"{name}_high"] = value["high"]
        else:
            flat[name] = value
    return flat


def _merged(old: dict, new: dict) -> dict:
    both = {
        key: _merged(old[key], value)
        for key, value in new.items()
        if isinstance(value, dict) and isinstance(old.get(key), dict)
    }
    return {**old, **new, **both}


def _write(workdir: str | os.PathLike, results: dict) -> dict:
    text = json.dumps(results, indent=2, allow_nan=False, default=_plain)
    with replacing(_path(workdir)) as file:
        file.write(text.encode() + b"\n")
    return json.loads(text)


def _plain(value):
    return np.asarray(value).tolist()


def _alone(workdir: str | os.PathLike) -> AbstractContextManager[None]:
    """From reading to writing, no other process changes the file."""
    return files.held(Path(workdir) / "results.lock", _path(workdir), PATIENCE)


def _path(workdir: str | os.PathLike) -> Path:
    return Path(workdir) / "results.json"
