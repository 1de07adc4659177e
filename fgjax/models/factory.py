"""Make the part of a recogniser that a name and options in a config describe."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from fgjax.errors import UserError


def make(part: str, table: Mapping[str, Callable[..., Any]], name: str, options: Mapping) -> Any:
    """``table[name](**options)``; None for "none", whatever the options.

    Args:
        part: the config's word for what is made, "merge" for ``model.merge``.
        table: what can be made, by name.
        name: which of it.
        options: the constructor's arguments.

    Raises:
        UserError: an unknown name or option; the message lists what exists.
    """
    if name == "none":
        return None
    if name not in table:
        raise UserError(
            f"model.{part}.name is {name!r}; choose one of none, {', '.join(sorted(table))}"
        )
    known = [key for key in inspect.signature(table[name]).parameters if key not in _LINEN]
    unknown = sorted(options.keys() - set(known))
    if unknown:
        raise UserError(
            f"model.{part} {name!r} has no option {', '.join(unknown)}; "
            f"its options are {', '.join(known)}"
        )
    return table[name](**options)


_LINEN = ("parent", "name")
