"""What a run leaves in its folder, so that the folder alone restores the recogniser.

config.json        the config; a run is resumed only with the same one
recognizer.json    classes, families, parts, preprocessing, what the weights asked for
checkpoints/       the state (fgjax.training.checkpoints)
metrics.jsonl      what was logged, and tensorboard/ from it
results.json       what was reached
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_collections
import numpy as np

from fgjax.data import DatasetInfo
from fgjax.errors import UserError
from fgjax.evaluation.atomic import replacing
from fgjax.preprocessing import Preprocessing
from fgjax.training import checkpoints

# Where data and caches lie, and how often one looks, changes no result.
_FREE_KEYS = {"data.dir", "data.cache_dir", "data.cache", "data.cache_gib", "data.workers"}
_FREE_KEYS |= {"data.eval_batch_size", "train.log_steps", "train.feature_cache"}


def prepare(folder: str | os.PathLike, config: ml_collections.ConfigDict) -> Path:
    """Make the folder, or check that it belongs to this config, and store the config.

    A run that ended before its first checkpoint (no such data, say) binds to no config.

    Raises:
        UserError: it cannot be written to, or holds a run with another config.
    """
    workdir = Path(folder).absolute()
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        probe = workdir / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"the workdir {workdir} cannot be written to ({error.strerror}); choose another one"
        ) from error
    new = json.loads(config.to_json())
    path = workdir / "config.json"
    begun = path.exists() and checkpoints.steps(workdir)
    if begun and (changed := _differences(_read(path), new)):
        raise UserError(
            f"{workdir} holds a run with another config: {'; '.join(changed)}; "
            "use that config to resume it, or another workdir"
        )
    write_json(path, new)
    return workdir


def _differences(old: Mapping, new: Mapping) -> list[str]:
    old, new = _flat(old), _flat(new)
    return [
        f"{key} was {old.get(key)!r} and is {new.get(key)!r}"
        for key in sorted(old | new)
        if old.get(key) != new.get(key) and key not in _FREE_KEYS
    ]


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, Mapping) or not tree:
        return {prefix: tree}
    return {
        path: leaf
        for key, value in tree.items()
        for path, leaf in _flat(value, f"{prefix}.{key}" if prefix else key).items()
    }


def read_config(workdir: Path) -> ml_collections.ConfigDict:
    """The config of a run.

    Raises:
        UserError: there is no run in the folder.
    """
    return ml_collections.ConfigDict(_with_tuples(_read(workdir / "config.json")))


def _with_tuples(value: Any) -> Any:
    # JSON knows lists only; modules must be hashable, so that configs hold tuples.
    if isinstance(value, dict):
        return {key: _with_tuples(item) for key, item in value.items()}
    return tuple(map(_with_tuples, value)) if isinstance(value, list) else value


def write_recognizer(
    workdir: Path, info: DatasetInfo, preprocessing: Preprocessing, options: Mapping[str, Any]
) -> None:
    """Store what a restored recogniser must know and the config does not say."""
    coarse = None if info.coarse_of is None else np.asarray(info.coarse_of).tolist()
    write_json(
        workdir / "recognizer.json",
        {
            "classes": list(info.classes),
            "coarse_classes": info.coarse_classes and list(info.coarse_classes),
            "coarse_of": coarse,
            "part_names": list(info.part_names),
            "data": info.name,
            "fingerprint": info.fingerprint,
            "preprocessing": preprocessing._asdict(),
            "backbone_options": dict(options),
        },
    )


def read_recognizer(workdir: Path) -> tuple[DatasetInfo, Preprocessing, dict[str, Any]]:
    """What :func:`write_recognizer` stored.

    Raises:
        UserError: there is no run in the folder.
    """
    record = _read(workdir / "recognizer.json")
    info = DatasetInfo(
        name=record["data"],
        classes=tuple(record["classes"]),
        fingerprint=record["fingerprint"],
        coarse_classes=record["coarse_classes"] and tuple(record["coarse_classes"]),
        coarse_of=None if record["coarse_of"] is None else np.asarray(record["coarse_of"]),
        part_names=tuple(record["part_names"]),
    )
    stored = record["preprocessing"]
    stored |= {"mean": tuple(stored["mean"]), "std": tuple(stored["std"])}
    return info, Preprocessing(**stored), record["backbone_options"]


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file whole or not at all."""
    with replacing(path) as file:
        file.write((json.dumps(value, indent=2) + "\n").encode())


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(
            f"there is no run in {path.parent} ({path.name} is missing); train there first"
        ) from None
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); restore it or start anew") from error
