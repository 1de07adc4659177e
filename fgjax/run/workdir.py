"""What a run leaves in its folder, so that the folder alone restores the recogniser.

A folder that holds a checkpoint is bound to its config, its classes and its data: they are compared
before anything in it is written.

config.json        the config; a run is resumed only with the same one
recognizer.json    classes, families, parts, preprocessing, what the weights asked for
checkpoints/       the state (fgjax.training.checkpoints)
metrics.jsonl      what was logged, and tensorboard/ from it
results.json       what was reached (results.lock while it is written)
run.lock           there while a process trains here
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import jax
import ml_collections
import numpy as np

from fgjax import files
from fgjax.data import DataBundle, DatasetInfo, defaults
from fgjax.errors import UserError
from fgjax.files import replacing
from fgjax.ops.preprocessing import Preprocessing
from fgjax.run import changes
from fgjax.training import checkpoints


@contextmanager
def claimed(folder: str | os.PathLike) -> Iterator[Path]:
    """The folder, made when it is missing, for one training at a time.

    Of many hosts that train together the first claims it for all of them.

    Raises:
        UserError: it cannot be written to, or another process trains there.
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
    lock = files.held(workdir / "run.lock", workdir) if jax.process_index() == 0 else nullcontext()
    with lock:
        yield workdir


def check_config(workdir: Path, config: ml_collections.ConfigDict) -> None:
    """Compare a config with that of the run in the folder; nothing is written.

    A run that ended before its first checkpoint (no such data, say) binds to nothing.

    Raises:
        UserError: the folder holds a run with another config, or one that has lost its record.
    """
    if not checkpoints.steps(workdir):
        return
    for name in ("config.json", "recognizer.json"):
        if not (workdir / name).exists():
            raise UserError(
                f"{workdir} holds checkpoints, but its {name} is missing; restore it, or use "
                "another workdir"
            )
    old, new = _recorded(workdir), json.loads(config.to_json())
    if changed := changes.between(old, new):
        raise UserError(
            f"{workdir} holds a run with another config: {'; '.join(changed)}; "
            "use that config to resume it, or another workdir"
        )


def bind(
    workdir: Path,
    config: ml_collections.ConfigDict,
    info: DatasetInfo,
    preprocessing: Preprocessing,
    options: Mapping[str, Any],
) -> None:
    """Store config and recogniser, unless the run in the folder learned from other data.

    Raises:
        UserError: config, classes or data are not those of the run in the folder.
    """
    check_config(workdir, config)
    if checkpoints.steps(workdir):
        recorded, _, _ = read_recognizer(workdir)
        _check_classes(workdir, recorded, info)
        if recorded.fingerprint != info.fingerprint:
            raise UserError(
                f"the data have changed since the run in {workdir} began (files were added, "
                "removed or edited); put them back as they were to go on with it, or train on "
                "them in another workdir"
            )
    write_json(workdir / "config.json", json.loads(config.to_json()))
    write_recognizer(workdir, info, preprocessing, options)


def check_scorable(workdir: Path, recorded: DatasetInfo, data: DataBundle) -> None:
    """Check that no split of ``data`` can hold images that the run in the folder learned from.

    Raises:
        UserError: the classes are others, or the data have changed and a split is cut from them.
    """
    _check_classes(workdir, recorded, data.info)
    loaded = [name for name in ("validation", "test") if getattr(data, name) is not None]
    leaking = [name for name in loaded if name in data.by_rule]
    if leaking and recorded.fingerprint != data.info.fingerprint:
        raise UserError(
            f"the data have changed since the run in {workdir} was trained, and its "
            f"{leaking[0]} split is cut from them by rule: images that it learned from would be "
            "scored; put the data back as they were, or train on them in another workdir"
        )


def _check_classes(workdir: Path, recorded: DatasetInfo, info: DatasetInfo) -> None:
    if recorded.classes == info.classes:
        return
    gone = [name for name in recorded.classes if name not in info.classes]
    new = [name for name in info.classes if name not in recorded.classes]
    changes = [f"{_named(gone)} gone"] if gone else []
    changes += [f"{_named(new)} new"] if new else []
    raise UserError(
        f"the classes of the data are not those that {workdir} was trained on: "
        f"{' and '.join(changes) or 'they come in another order'}; change the data back, or train "
        "on them in another workdir"
    )


def _named(classes: Sequence[str]) -> str:
    shown = ", ".join(map(repr, classes[:5]))
    more = f" and {len(classes) - 5} more" if len(classes) > 5 else ""
    return f"{shown}{more} {'is' if len(classes) == 1 else 'are'}"


def read_config(workdir: Path) -> ml_collections.ConfigDict:
    """The config of a run.

    Raises:
        UserError: there is no run in the folder.
    """
    return ml_collections.ConfigDict(_with_tuples(_recorded(workdir)))


def _recorded(workdir: Path) -> dict[str, Any]:
    """The config of a run as today's would say it, with the defaults of keys that are younger.

    Before there were tasks, every run classified.
    """
    record = _read(workdir / "config.json")
    data = defaults.completed(record.get("data", {}))
    return {"task": "classification"} | record | {"data": data}


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
        UserError: there is no run in the folder, or its record is damaged.
    """
    path = workdir / "recognizer.json"
    record = _read(path)
    try:
        coarse = record["coarse_of"]
        info = DatasetInfo(
            name=record["data"],
            classes=tuple(record["classes"]),
            fingerprint=record["fingerprint"],
            coarse_classes=record["coarse_classes"] and tuple(record["coarse_classes"]),
            coarse_of=None if coarse is None else np.asarray(coarse),
            part_names=tuple(record["part_names"]),
        )
        stored = record["preprocessing"]
        stored |= {"mean": tuple(stored["mean"]), "std": tuple(stored["std"])}
        return info, Preprocessing(**stored), dict(record["backbone_options"])
    except KeyError as error:
        raise UserError(
            f"{path} lacks {error}: it is damaged, or of another version of fgjax; restore it, or "
            "train anew in another workdir"
        ) from error
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{path} is damaged ({error}); restore it, or train anew in another workdir"
        ) from error


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file whole or not at all."""
    with replacing(path) as file:
        file.write((json.dumps(value, indent=2) + "\n").encode())


def _read(path: Path) -> Any:
    try:
        record = json.loads(path.read_text())
        if isinstance(record, dict):
            return record
        raise ValueError(f"a {type(record).__name__} where its record should be")
    except FileNotFoundError:
        raise UserError(
            f"there is no run in {path.parent} ({path.name} is missing); train there first"
        ) from None
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); restore it or start anew") from error
