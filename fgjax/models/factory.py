"""Make the part of a recogniser that a name and options in a config describe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fgjax.checking.options import TEXT, Kinds, check, fitted, number, several, whole
from fgjax.errors import UserError

POSITIVE = number(above=True)
# What options of parts may be, where their type does not say it.
KINDS: Kinds = {
    "damping": number(),
    "dropout": number(0, 1, below=True),
    "epsilon": number(0, 1, above=True),
    "exponent": number(0, 1, above=True),
    "extra_levels": whole(0, 4),
    "factors": whole(1, 1024),
    "heads": whole(1, 1024),
    "iterations": whole(1, 100),
    "kernel_size": whole(1, 63),
    "power": POSITIVE,
    "repeats": whole(1, 50),
    "root_exponent": POSITIVE,
    "scale": POSITIVE,
    "seed": whole(0, 2**32 - 1),
}


def make(
    part: str,
    table: Mapping[str, Callable[..., Any]],
    name: str,
    options: Mapping[str, Any],
    given: Mapping[str, Any] | None = None,
) -> Any:
    """``table[name](**options)``; None for "none", whatever the options.

    Args:
        part: the config's word for what is made, "merge" for ``model.merge``.
        table: what can be made, by name.
        name: which of it.
        options: arguments of the constructor that the config gives; they are checked.
        given: arguments that are already checked.

    Raises:
        UserError: an unknown name or option, or a value that an option cannot have; the message
            lists what exists.
    """
    if name == "none":
        return None
    if name not in table:
        raise UserError(
            f"model.{part}.name is {name!r}; choose one of none, {', '.join(sorted(table))}"
        )
    options = fitted(f"model.{part}", name, table[name], options, KINDS)
    check_levels(part, options.get("levels", ()))
    return table[name](**options, **(given or {}))


def check_levels(part: str, levels: Any) -> None:
    """Raise a UserError unless ``levels`` are names in a tuple, each once; a head has a number."""
    if isinstance(levels, int) and part == "head":
        return
    check(f"model.{part}.levels", levels, several(TEXT, "('conv4', 'conv5')"))
    if repeated := [level for level in levels if levels.count(level) > 1]:
        raise UserError(f"model.{part}.levels names {repeated[0]} twice; name each level once")
