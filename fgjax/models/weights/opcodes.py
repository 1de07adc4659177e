"""Pickles read as data: a machine that builds lists, dictionaries and records, and runs nothing.

A pickle is a program for a small stack machine, which in Python may import, call and change
whatever it names. The standard library's ``pickletools`` only takes the program apart; here its
instructions work on plain values of our own. A name stays a pair of strings, a call reaches only
the functions that the reader hands in, and state is taken by ordered dictionaries only, which
drop it.
"""

from __future__ import annotations

import pickletools
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import IO, Any, NamedTuple

from fgjax.errors import UserError

# An instruction makes 300 bytes at most, besides the text it carries: 300 MB in all. A checkpoint
# of a thousand tensors and its optimiser's moments takes a tenth of this.
MOST_INSTRUCTIONS = 1_000_000


class Name(NamedTuple):
    """What the program names; never what stands behind it."""

    module: str
    name: str


# What may be named: with the function that a call of it means, or None if it is not to be called.
Names = Mapping[Name, Callable[..., Any] | None]


def run(stream: IO[bytes], names: Names, persistent: Callable[[Any], Any]) -> Any:
    """What the next program of ``stream`` builds; the stream then stands behind it.

    Lists, dictionaries, tuples, text, numbers, and what ``names`` and ``persistent`` return.
    Deeply nested or recursive values are possible: do not walk them by recursion.

    Args:
        stream: of bytes.
        names: as above.
        persistent: gives the value for what identifies an object that lies outside the program.

    Raises:
        UserError: the program does what no tensor needs; nothing has come of it.
        Exception: of many kinds, if it is damaged.
    """
    machine = _Machine(names, persistent)
    for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
        if count == MOST_INSTRUCTIONS:
            raise UserError(f"it is described by more than {count:,} instructions")
        if opcode.name == "STOP":
            break
        step = _STEPS.get(opcode.name)
        if step is None:
            raise UserError(
                f"it has the instruction {opcode.name}, which no tensor needs; save the "
                "state_dict alone"
            )
        step(machine, argument)
    return machine.stack.pop()


class _Machine:
    """Stack, marks and memo of one program."""

    def __init__(self, names: Names, persistent: Callable[[Any], Any]):
        self.names, self.persistent = names, persistent
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.handed = 0  # values handed to calls, which may copy them

    def above_mark(self) -> list[Any]:
        """What stands above the last mark, taken off the stack."""
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def open(self, *kinds: type) -> Any:
        """The value on top, left there, if it is of one of these kinds."""
        value = self.stack[-1]
        if type(value) not in kinds:
            raise UserError(
                f"it changes what is no {kinds[-1].__name__}, which no tensor needs; save the "
                "state_dict alone"
            )
        return value


_Step = Callable[[_Machine, Any], Any]  # what it returns is dropped


def _push(machine: _Machine, value: Any) -> None:
    machine.stack.append(value)


def _constant(value: Any) -> _Step:
    return lambda machine, _: machine.stack.append(value)


def _nothing(machine: _Machine, _: Any) -> None:
    """Frames and the protocol's number say nothing about the value."""


def _tuple_of(count: int) -> _Step:
    def step(machine, _):
        items = tuple(machine.stack[-count:])
        del machine.stack[-count:]
        machine.stack.append(items)

    return step


def _put(machine: _Machine, index: int | None) -> None:
    key = len(machine.memo) if index is None else checked_key(index)
    machine.memo[key] = machine.stack[-1]


def _get(machine: _Machine, index: int) -> None:
    machine.stack.append(machine.memo[index])


def _append(machine: _Machine, _: Any) -> None:
    value = machine.stack.pop()
    machine.open(list).append(value)


def _appends(machine: _Machine, _: Any) -> None:
    values = machine.above_mark()
    machine.open(list).extend(values)


def _set_item(machine: _Machine, _: Any) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    _fill(machine.open(OrderedDict, dict), [key, value])


def _set_items(machine: _Machine, _: Any) -> None:
    values = machine.above_mark()
    _fill(machine.open(OrderedDict, dict), values)


def _fill(target: dict, values: list[Any]) -> dict:
    """``target`` with keys and values that stand by turns."""
    for key, value in zip(values[::2], values[1::2], strict=True):
        target[checked_key(key)] = value
    return target


def checked_key(key: Any) -> Any:
    """A dictionary's key, if it is text or a whole number.

    Hashing a deep tuple overflows the interpreter's own stack; long integers are made to collide.
    """
    if type(key) is not str and not (isinstance(key, int) and abs(key) < 2**63):
        raise ValueError(f"a key is a {type(key).__name__}; expected text or a number")
    return key


def _name(machine: _Machine, text: str) -> None:
    _push_name(machine, *text.split(" ", 1))


def _stack_name(machine: _Machine, _: Any) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    _push_name(machine, module, name)


def _push_name(machine: _Machine, module: Any, name: Any) -> None:
    if type(module) is not str or type(name) is not str:
        raise ValueError("a name is no text")
    if Name(module, name) not in machine.names:
        raise UserError(
            f"it names {_printable(module)}.{_printable(name)}, which no tensor needs, so that "
            "loading it might run code; save the state_dict alone"
        )
    machine.stack.append(Name(module, name))


def _printable(text: str) -> str:
    return ascii(text[:60])[1:-1]


def _call(machine: _Machine, _: Any) -> None:
    arguments, name = machine.stack.pop(), machine.stack.pop()
    function = machine.names.get(name) if type(name) is Name else None
    if function is None or type(arguments) is not tuple:
        raise UserError("it calls what no tensor needs; save the state_dict alone")
    machine.handed += len(arguments)
    machine.handed += sum(len(value) for value in arguments if type(value) in (list, tuple))
    if machine.handed > MOST_INSTRUCTIONS:
        raise UserError(f"its calls take more than {MOST_INSTRUCTIONS:,} values")
    machine.stack.append(function(*arguments))


def _build(machine: _Machine, _: Any) -> None:
    machine.stack.pop()  # versions of the modules, which PyTorch notes beside their tensors
    machine.open(OrderedDict)


def _persistent(machine: _Machine, _: Any) -> None:
    machine.stack.append(machine.persistent(machine.stack.pop()))


def _each(names: str, step: _Step) -> Iterable[tuple[str, _Step]]:
    return ((name, step) for name in names.split())


_STEPS: dict[str, _Step] = {
    **dict(_each("PROTO FRAME", _nothing)),
    **dict(_each("INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT", _push)),
    **dict(_each("STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE", _push)),
    **dict(_each("SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8", _push)),
    "NONE": _constant(None),
    "NEWTRUE": _constant(True),
    "NEWFALSE": _constant(False),
    "EMPTY_TUPLE": _constant(()),
    "EMPTY_LIST": lambda machine, _: machine.stack.append([]),
    "EMPTY_DICT": lambda machine, _: machine.stack.append({}),
    "MARK": lambda machine, _: machine.marks.append(len(machine.stack)),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.above_mark())),
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "LIST": lambda machine, _: machine.stack.append(machine.above_mark()),
    "DICT": lambda machine, _: machine.stack.append(_fill({}, machine.above_mark())),
    "APPEND": _append,
    "APPENDS": _appends,
    "SETITEM": _set_item,
    "SETITEMS": _set_items,
    "POP": lambda machine, _: machine.stack.pop(),
    "POP_MARK": lambda machine, _: machine.above_mark(),
    "DUP": lambda machine, _: machine.stack.append(machine.stack[-1]),
    **dict(_each("PUT BINPUT LONG_BINPUT MEMOIZE", _put)),
    **dict(_each("GET BINGET LONG_BINGET", _get)),
    "GLOBAL": _name,
    "STACK_GLOBAL": _stack_name,
    "REDUCE": _call,
    "BUILD": _build,
    "BINPERSID": _persistent,
}
