"""Options of a config: what a value may be, and the options that a function or class takes.

A :class:`Kind` says what a value may be, in words for the message and as a function. Most kinds
follow from the type that a parameter is annotated with; where a type allows too much, the table
beside the registry names the kind: ``{"dropout": number(0, 1, below=True)}``.
"""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from fgjax.errors import UserError

LARGEST = 2**20  # of a count whose table gives no limit: channels, values, steps
GIVEN = ("parent", "name", "classes")  # by Linen and by the data: these are no options


class Kind(NamedTuple):
    """What a value may be.

    Attributes:
        says: it in words, to follow "expected".
        fits: whether a value is that.
    """

    says: str
    fits: Callable[[Any], bool]


Kinds = Mapping[str, Kind]

TEXT = Kind("a text", lambda value: isinstance(value, str))
SWITCH = Kind("True or False", lambda value: isinstance(value, bool))
NOTHING = Kind("None", lambda value: value is None)
ANYTHING = Kind("anything", lambda value: True)


def whole(low: int = 1, high: int = LARGEST) -> Kind:
    """A whole number from ``low`` to ``high``."""

    def fits(value):
        kind = isinstance(value, int) and not isinstance(value, bool)
        return kind and low <= value <= high

    return Kind(f"a whole number from {low} to {high}", fits)


def number(low: float = 0.0, high: float = 1e6, above: bool = False, below: bool = False) -> Kind:
    """A finite number from ``low`` to ``high``, which it may not reach with above and below."""

    def fits(value: Any) -> bool:
        if not isinstance(value, int | float) or isinstance(value, bool):
            return False
        given = float(value)
        over = given > low if above else given >= low
        return over and (given < high if below else given <= high)

    start = f"above {low:g}" if above else f"from {low:g}"
    return Kind(f"a number {start} {'to below' if below else 'to'} {high:g}", fits)


def choice(*names: Any) -> Kind:
    """One of some values."""
    said = ", ".join(map(str, names))
    return Kind(
        f"one of {said}", lambda value: any(type(value) is type(n) and value == n for n in names)
    )


def or_none(kind: Kind) -> Kind:
    """None, or what ``kind`` says."""
    return Kind(f"{kind.says}, or None", lambda value: value is None or kind.fits(value))


def several(kind: Kind, such_as: str = "") -> Kind:
    """Any number of values in a tuple."""
    says = f"values in a tuple{f' such as {such_as}' if such_as else ''}, each {kind.says}"
    return Kind(says, lambda value: _is_sequence(value) and all(map(kind.fits, value)))


def pair(kind: Kind) -> Kind:
    """Two values, the first not above the second: the ends of a range."""

    def fits(value):
        return (
            _is_sequence(value)
            and len(value) == 2
            and all(map(kind.fits, value))
            and (value[0] <= value[1])
        )

    return Kind(f"two numbers (smallest, largest), each {kind.says}", fits)


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def check(key: str, value: Any, kind: Kind) -> None:
    """Raises a UserError that names the key, its value and what was expected, if it is not that."""
    if not kind.fits(value):
        raise UserError(f"{key} is {shown(value)}; expected {kind.says}")


def shown(value: Any) -> str:
    """A value as a message shows it: on one line, and not longer than one can read."""
    text = " ".join(repr(plain(value)).split())
    return text if len(text) <= 80 else f"{text[:77]}..."


def plain(value: Any) -> Any:
    """Mappings as dictionaries, through and through."""
    if isinstance(value, Mapping) or hasattr(value, "to_dict"):
        return {key: plain(item) for key, item in value.items()}
    return type(value)(map(plain, value)) if type(value) in (list, tuple) else value


def named(key: str, value: Any) -> tuple[str, dict[str, Any]]:
    """The name and the options of a part that a config describes.

    Args:
        key: its key in the config, such as "model.pooling".
        value: what the config says: a mapping with ``name`` and options.

    Raises:
        UserError: the value is something else.
    """
    value = plain(value)
    if not isinstance(value, dict) or "name" not in value:
        name = value if isinstance(value, str) else "NAME"
        raise UserError(
            f"{key} is {shown(value)}; expected a dict of a name and options, such as "
            f"{{'name': {name!r}}}"
        )
    check(f"{key}.name", value["name"], TEXT)
    check(f"{key}, with the options", list(value), several(TEXT))
    return value["name"], {option: item for option, item in value.items() if option != "name"}


def fitted(
    key: str,
    name: str,
    make: Callable,
    options: Mapping[str, Any],
    kinds: Kinds | None = None,
    given: Collection[str] = GIVEN,
) -> dict[str, Any]:
    """The options of a part, each known and of its kind, lists as tuples.

    Args:
        key: of the part in the config, such as "model.pooling".
        name: of the part, for the message; "" where the key alone names it.
        make: the function or class that takes the options.
        options: what the config says.
        kinds: what options may be, where their type does not say it.
        given: parameters of ``make`` that are no options.

    Raises:
        UserError: an option that it does not take, or a value that is not of its kind.
    """
    known = _kinds(make, kinds or {}, given)
    part = f"{key} {name!r}" if name else key
    unknown = sorted(str(option) for option in options if option not in known)
    if unknown:
        takes = f"its options are {', '.join(known)}" if known else "it takes none"
        again = f"; --config.{key}={name} begins without any option" if name else ""
        raise UserError(f"{part} has no option {', '.join(unknown)}; {takes}{again}")
    for option, value in options.items():
        check(f"{key}.{option}", value, known[option])
    return {option: _with_tuples(value) for option, value in options.items()}


def _with_tuples(value: Any) -> Any:
    return tuple(map(_with_tuples, value)) if isinstance(value, list | tuple) else value


def _kinds(make: Callable, kinds: Kinds, given: Collection[str]) -> dict[str, Kind]:
    """The kind of every option that ``make`` takes, in order."""
    hints = _hints(make.func if isinstance(make, functools.partial) else make)
    names = [name for name in inspect.signature(make).parameters if name not in given]
    return {name: _kind(hints[name], kinds.get(name)) for name in names}


@functools.cache
def _hints(make: Callable) -> dict[str, Any]:
    return typing.get_type_hints(make)


def _kind(hint: Any, leaf: Kind | None) -> Kind:
    """The kind of values of a type; ``leaf`` says what its numbers or texts may be."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType) and type(None) in arguments:
        (inner,) = (one for one in arguments if one is not type(None))
        return or_none(_kind(inner, leaf))
    if origin is tuple and Ellipsis not in arguments:
        return pair(_kind(arguments[0], leaf))
    if origin is not None and issubclass(origin, Sequence):
        return several(_kind(arguments[0], leaf))
    return leaf or _DEFAULTS.get(hint, ANYTHING)


_DEFAULTS = {int: whole(), float: number(), str: TEXT, bool: SWITCH}
