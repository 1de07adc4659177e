"""The flags of a command line that concern the config, and what is wrong with them in words."""

from __future__ import annotations

import re
import traceback
from collections.abc import Sequence
from pathlib import Path

from fgjax.errors import UserError

PARTS = (
    "model.backbone",
    "model.merge",
    "model.attention",
    "model.pooling",
    "model.head",
    "train.objective",
    "train.optimizer",
)
_BARE = re.compile(rf"--?config\.({'|'.join(map(re.escape, PARTS))})=(\w+)")
_KEY = re.compile(r"--?(config\.[^=]*)")
# What ml_collections says of a value, and what was expected.
_EXPECTED = {
    "Failed to parse": "is not a dict; write one such as \"{'name': 'gem', 'power': 2.0}\"",
    "could not convert": "is no number; expected one such as 0.5",
    "invalid literal": "is no whole number; expected one such as 16",
    r"\('Non-boolean": "is no switch; expected True or False",
    "Error while parsing": 'is no tuple; write one such as "(1.0, 0.5)"',
}
_FAULTY = re.compile(
    rf"flag --(config\S*?)=(.*?): (?:{'|'.join(f'({reason}.*)' for reason in _EXPECTED)})"
)


def with_parts(argv: Sequence[str]) -> list[str]:
    """The arguments, with ``--config.model.pooling=gem`` as the part of that name.

    Its options are its own usual ones: those that the config gives to another part are dropped. A
    backbone comes with its default weights.
    """
    return [_with_part(argument) for argument in _joined(argv)]


def with_run(argv: Sequence[str]) -> list[str]:
    """The arguments; keys of a config that none names are changed in that of the run to score.

    ``--mode evaluate --workdir RUN --config.data.test_dir=FOLDER`` needs no ``--config``.
    """
    flags = dict(zip(argv, [*argv[1:], ""], strict=True))
    flags |= dict(argument.split("=", 1) for argument in argv if "=" in argument)
    given = {flag.lstrip("-"): value for flag, value in flags.items() if flag.startswith("-")}
    changed = any(flag.startswith("config.") for flag in given)
    if (
        given.get("mode") != "evaluate"
        or not changed
        or "config" in given
        or "workdir" not in given
    ):
        return list(argv)
    return [
        argv[0],
        f"--config={Path(__file__).with_name('of_run.py')}:{given['workdir']}",
        *argv[1:],
    ]


def _joined(argv: Sequence[str]) -> list[str]:
    """``--config.model.pooling gem``, in two words, as one."""
    joined: list[str] = []
    for argument in argv:
        if joined and joined[-1].lstrip("-") in {f"config.{part}" for part in PARTS}:
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


def _with_part(argument: str) -> str:
    found = _BARE.fullmatch(argument)
    if found is None:
        return argument
    part, name = found.groups()
    weights = ", 'weights': 'default'" if part == "model.backbone" else ""
    return f"--config.{part}={{'name': {name!r}{weights}}}"


def explained(error: BaseException, argv: Sequence[str] = ()) -> UserError:
    """What went wrong with the flags or the config file, as one sentence.

    Args:
        error: what was raised while they were read.
        argv: the arguments.
    """
    if isinstance(error, UserError):
        return error
    text, frames = _text(error), traceback.extract_tb(error.__traceback__)
    keys = [found[1] for found in map(_KEY.match, argv) if found]
    match Path(frames[-1].filename).stem:
        case "config_dict" | "config_path" if isinstance(error, AttributeError | KeyError):
            return UserError(f"the config has no such key: {text}{_hint(keys)}")
        case "config_path":
            return UserError(
                f"there is no such entry of the config among {', '.join(keys)}; write keys as in "
                "config.schedule[0].train.head, where [0] is the first of a tuple"
            )
        case "config_flags" if isinstance(error, OSError):
            return UserError(f"cannot read the config file: {text.rpartition('] ')[2]}")
        case "config_flags" if isinstance(error, AttributeError):
            return UserError("the config file defines no function get_config; give it one")
        case "_flagvalues" | "_flag" | "config_flags":
            return UserError(_of_flag(text))
    where = _place(error, frames)
    return UserError(f"the config cannot be loaded: {type(error).__name__}: {text} ({where})")


def _hint(keys: Sequence[str]) -> str:
    """How to set an option that the config does not mention yet."""
    for key in keys:
        for part in PARTS:
            if key.startswith(f"config.{part}."):
                return (
                    f"; options that it does not mention are given with the part: --config.{part}="
                    "\"{'name': NAME, 'OPTION': VALUE}\""
                )
    return ""


def _of_flag(text: str) -> str:
    """What absl says of a flag, without the words of Python."""
    found = _FAULTY.match(text)
    if found is None:
        return text
    key, value, *reasons = found.groups()
    expected = next(e for e, reason in zip(_EXPECTED.values(), reasons, strict=True) if reason)
    return f"--{key} is {value!r}, which {expected}"


def _place(error: BaseException, frames: Sequence[traceback.FrameSummary]) -> str:
    """File and line of the config at which it went wrong, rather than of a library it called."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}"
    own = [frame for frame in frames if "ml_collections" not in Path(frame.filename).parts]
    return f"{own[-1].filename}, line {own[-1].lineno}"


def _text(error: BaseException) -> str:
    """The message on one line; exceptions that only wrap another one are looked through."""
    while error.args and isinstance(error.args[0], BaseException):
        error = error.args[0]
    return " ".join(str(error.args[0] if error.args else error).split())
