"""The modes of the command line: each one entry with the flags that it alone reads.

A new mode is one entry here. What a mode does is imported when it starts, since JAX takes seconds
that a mistyped flag need not wait for.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

from absl import flags

from fgjax.errors import UserError

SPLITS = ("validation", "test")


class Mode(NamedTuple):
    """Something that the command line does with a run.

    Attributes:
        name: value of --mode.
        start: does it; it gets the values of all flags.
        flags: each defines a flag that only some modes read, in the FlagValues that it is given;
            modes may share one.
    """

    name: str
    start: Callable[[flags.FlagValues], Any]
    flags: tuple[Callable[[flags.FlagValues], Any], ...] = ()


def _room(name: str) -> Any:
    return importlib.import_module(f"fgjax.run.{name}")


def _train(values: flags.FlagValues) -> None:
    if values.config is None:
        raise UserError("--config is missing; name an experiment, such as one in configs/")
    _room("train").train(values.config, values.workdir)


def _evaluate(values: flags.FlagValues) -> None:
    _room("evaluate").evaluate(values.workdir, values.split, values.config)


def _predict(values: flags.FlagValues) -> None:
    _room("predict").predict_to_files(values.workdir, values.images)


def _analyze(values: flags.FlagValues) -> None:
    folders = [values.workdir, *values.images]
    _room("analyze").analyze_runs(folders, values.config, values.check)


def _split(values: flags.FlagValues) -> None:
    flags.DEFINE_enum("split", "validation", SPLITS, "What --mode evaluate scores.", values)


def _images(values: flags.FlagValues) -> None:
    text = "Photos or folders for --mode predict; runs to compare with for --mode analyze."
    flags.DEFINE_multi_string("images", [], text, values)


def _check(values: flags.FlagValues) -> None:
    flags.DEFINE_bool("check", False, "Let --mode analyze test its advice by training.", values)


MODES = {
    mode.name: mode
    for mode in (
        Mode("train", _train),
        Mode("evaluate", _evaluate, (_split,)),
        Mode("predict", _predict, (_images,)),
        Mode("analyze", _analyze, (_images, _check)),
    )
}


def define(values: flags.FlagValues) -> None:
    """Define --mode and the flags of every mode, each once."""
    flags.DEFINE_enum("mode", "train", list(MODES), "What to do.", values)
    for flag in dict.fromkeys(flag for mode in MODES.values() for flag in mode.flags):
        flag(values)
