"""What every key of a config may be. Parts, phases and their options are checked where they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
from ml_collections import ConfigDict as Config

from fgjax.checking.options import (
    NOTHING,
    SWITCH,
    TEXT,
    Kind,
    Kinds,
    check,
    choice,
    named,
    number,
    or_none,
    plain,
    several,
    whole,
)
from fgjax.config import default
from fgjax.data.load import DATASETS, PROTOCOLS
from fgjax.errors import UserError
from fgjax.run.experiment import DTYPES
from fgjax.run.feeds import CHOICES
from fgjax.training import parallel

INTERPOLATIONS = ("bilinear", "bicubic")
SIDE = whole(32, 4096)  # of an image, in pixels: below, a backbone may have no location left
SEED = whole(0, 2**32 - 1)
SHARE = number(0, 1, below=True)
POSITIVE = number(0, 1e6, above=True)
_CUT = number(0, 1, above=True)


def _is_name_of_data(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    return value in DATASETS or (value.startswith("tfds:") and value != "tfds:")


def _is_dict(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_rule(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(map(TEXT.fits, value))


def kinds() -> dict[str, Kind]:
    """The kind of every key outside ``model``, ``schedule`` and the parts of ``train``."""
    return {
        "task": TEXT,
        "seed": SEED,
        "protocol": choice(*PROTOCOLS),
        "data.name": Kind(f"one of {', '.join(DATASETS)}, tfds:NAME", _is_name_of_data),
        "data.dir": or_none(TEXT),
        "data.test_dir": or_none(TEXT),
        "data.cache_dir": or_none(TEXT),
        "data.image_size": SIDE,
        "data.canvas": or_none(whole(32, 16384)),
        "data.crop_fraction": or_none(_CUT),
        "data.interpolation": or_none(choice(*INTERPOLATIONS)),
        "data.batch_size": whole(),
        "data.eval_batch_size": whole(),
        "data.sampling": choice("uniform", "balanced"),
        "data.validation_share": SHARE,
        "data.test_share": SHARE,
        "data.cache": choice("memory", "none"),
        "data.cache_gib": number(),
        "data.workers": whole(1, 1024),
        "data.skip_broken": SWITCH,
        "data.size": whole(32, 4096),
        "data.seed": SEED,
        "data.difficulty": number(0, 1),
        "data.counts.train": whole(),
        "data.counts.test": whole(),
        "train.epochs": POSITIVE,
        "train.label_smoothing": SHARE,
        "train.class_weights": choice("none", "balanced"),
        "train.groups": several(
            Kind("(pattern, group)", _is_rule), "(('conv4/block5_.*', 'conv4_end'),)"
        ),
        "train.clip_norm": or_none(number(0, 1e38, above=True)),
        "train.accumulate": whole(1, 4096),
        "train.ema": or_none(SHARE),
        "train.parallel": choice(*parallel.MODES),
        "train.devices": or_none(whole(1, jax.device_count())),
        "train.feature_cache": choice(*CHOICES),
        "train.log_steps": whole(),
        "train.checkpoint_epochs": POSITIVE,
        "evaluate.epochs": POSITIVE,
        "evaluate.views": Kind(
            'names such as ("center", "flip"), or a set of views such as "ten_crop"',
            lambda value: TEXT.fits(value) or several(TEXT).fits(value),
        ),
        "evaluate.after_phases": SWITCH,
    }


# Checked by themselves, since their keys depend on their names.
PARTS = ("model", "schedule", "train.objective", "train.optimizer", "train.augment")
MODEL = ("backbone", "merge", "attention", "pooling", "head", "scales", "dtype")


def check_keys(config: Config) -> None:
    """Every key is known, is there, and has a value that it can have.

    Raises:
        UserError: the first one that has not.
    """
    _check_tree("", plain(config), plain(default()))
    known: Kinds = kinds()
    values = _flat(plain(config))
    for key, kind in known.items():
        check(key, values[key], kind)
    data = config.data
    if data.canvas is not None and data.canvas < data.image_size:
        raise UserError(
            f"data.canvas is {data.canvas}, from which no input of data.image_size="
            f"{data.image_size} can be cut; expected at least that, or None"
        )
    _check_model(plain(config.model))
    for key in ("objective", "optimizer"):
        named(f"train.{key}", config.train[key])
    check("train.augment", plain(config.train.augment), Kind("a dict of fields", _is_dict))


def _check_tree(prefix: str, given: Any, expected: Mapping[str, Any]) -> None:
    """The keys of ``expected`` and no others, level by level."""
    if not isinstance(given, Mapping):
        check(prefix, given, Kind("a dict with the keys " + ", ".join(expected), lambda _: False))
    where = prefix or "the config"
    for key in given:
        if key not in expected:
            raise UserError(f"{where} has no key {key!r}; its keys are {', '.join(expected)}")
    for key, value in expected.items():
        path = f"{prefix}.{key}" if prefix else key
        if key not in given:
            raise UserError(f"{path} is missing; begin with fgjax.config.default()")
        if path not in PARTS and isinstance(value, Mapping):
            _check_tree(path, given[key], value)


def _check_model(model: Any) -> None:
    if not isinstance(model, Mapping):
        check("model", model, Kind("what fgjax.config.model() makes", lambda _: False))
    for key in model:
        if key not in MODEL:
            raise UserError(f"model has no key {key!r}; its keys are {', '.join(MODEL)}")
    for key in MODEL:
        if key not in model:
            raise UserError(f"model.{key} is missing; begin with fgjax.config.model()")
    check("model.dtype", model["dtype"], choice(*DTYPES))
    for part in ("backbone", "merge", "attention", "pooling", "head"):
        named(f"model.{part}", model[part])
    if "weights" not in model["backbone"]:
        raise UserError('model.backbone.weights is missing; give "default", a file or None')
    weights = model["backbone"]["weights"]
    check(
        "model.backbone.weights",
        weights,
        Kind(f"{TEXT.says}, or {NOTHING.says}", or_none(TEXT).fits),
    )


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        path = f"{prefix}{key}"
        flat[path] = value
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{path}.")
    return flat
