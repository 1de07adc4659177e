"""``WORKDIR/results.json``: what a run reached, how long it took and which parameters it was."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import jax
import numpy as np
from jaxtyping import PyTree

from fgjax.errors import UserError
from fgjax.evaluation.atomic import replacing

FORMAT_VERSION = 1


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
            f"{path} is not a results file of fgjax; move it away and run the evaluation again."
        ) from error
    if version != FORMAT_VERSION:
        raise UserError(
            f"{path} has format version {version}, but this fgjax reads {FORMAT_VERSION}; "
            "use the fgjax that wrote it, or another workdir."
        )
    return results


def update(workdir: str | os.PathLike, values: dict) -> dict:
    """Merge nested values into the results and write them atomically.

    Dicts are merged key by key, everything else is replaced. Numpy and jax scalars become numbers.

    Returns:
        All results after the merge.

    Raises:
        UserError: the file is broken, or the folder cannot be written to.
        ValueError: a value is NaN or infinite, which JSON cannot express.
    """
    return _write(workdir, _merged(read(workdir), values))


def record(workdir: str | os.PathLike, split: str, summary: dict, **details) -> dict:
    """Write the scores of a split, and count how often it was scored.

    A fraction ``{"value", "low", "high", "n"}`` named ``top1`` is stored as the numbers ``top1``,
    ``top1_low`` and ``top1_high``. Earlier scores of the split are replaced; ``evaluations`` says
    how many there have been, because a test split that was looked at often has been selected on.

    Args:
        workdir: folder of the run.
        split: "validation" or "test" (or "develop", "final": any name).
        summary: what ``metrics.summarize`` returned.
        details: anything else of this evaluation, e.g. ``confusions=...``, ``seconds=...``.

    Returns:
        All results after the evaluation.
    """
    results = read(workdir)
    evaluations = results.get(split, {}).get("evaluations", 0) + 1
    results[split] = {"evaluations": evaluations, **_bounds_beside(summary), **details}
    return _write(workdir, results)


def params_digest(params: PyTree, batch_stats: PyTree) -> str:
    """SHA-256 that names a network: equal exactly when parameters and statistics are, bit for bit.

    Over the leaves sorted by path ("params/conv1/stem/conv/kernel", "batch_stats/..."), the hash
    takes in path, dtype name and shape ("3,3,16"), each ended by a zero byte, then the bytes in
    little-endian C order.
    """
    leaves = jax.tree_util.tree_leaves_with_path({"params": params, "batch_stats": batch_stats})
    named = {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
    digest = hashlib.sha256()
    for path in sorted(named):
        array = np.asarray(named[path])
        shape = ",".join(str(side) for side in array.shape)
        digest.update(f"{path}\0{array.dtype.name}\0{shape}\0".encode())
        digest.update(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
    return digest.hexdigest()


def _bounds_beside(summary: dict) -> dict:
    flat = {}
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


def _path(workdir: str | os.PathLike) -> Path:
    return Path(workdir) / "results.json"
