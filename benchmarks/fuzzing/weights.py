"""Damaged and hostile weight files: they are read, or refused in one sentence that names them.

An example is a small whole file in which something was changed: bytes of the file, or what its
pickle or header says before it is packed, so that checksums hold.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from benchmarks.fuzzing.weight_files import BACKBONE, TEMPLATE, WHOLE, number
from fgjax.errors import UserError
from fgjax.models import weights
from fgjax.models.weights import opcodes, pickles, reading

# Instructions that call, change, name, nest, or take from where nothing is.
_INSTRUCTIONS = (
    b"b", b"R", b"\x81", b"\x92", b"a", b"e", b"s", b"u", b"\x90", b"o", b"Q", b"P0\n", b"(", b"t",
    b"0", b"1", b"2", b"\x85" * 200, b"]" * 200, b"(" * 200, b"N", b"}", b"]", b")", b"q\x00",
    b"h\x00", b"r\xff\xff\xff\xff", b"j\xff\xff\xff\xff", b"p99999999999999999999\n", b"\x94",
    b"\x8b\xff\xff\xff\x7f", b"\x8d" + b"\xff" * 8, b"X\xff\xff\xff\xff", b"\x8a\xff",
    b"I" + b"9" * 5000 + b"\n", b"ctorch\nBFloat16Storage\n", b"ctorch\nSize\n",
    b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch._utils\n_rebuild_parameter\n",
    b"ccollections\nOrderedDict\n", b"cbuiltins\neval\n", b"ios\nsystem\n", b"\x82\x01", b".",
)  # fmt: skip
_NUMBERS = (0, 1, -1, 2, 2**31 - 1, -(2**31), 2**40, 2**62, 2**63 - 1, -(2**63))
_WORDS = (b"-1", b"0", b"1e9", b"NaN", b"[]", b"{}", b'"x"', b"99999999999999999999", b"[" * 2000)


def _flip(content: bytes, rng: np.random.Generator) -> bytes:
    place = int(rng.integers(len(content)))
    return content[:place] + bytes([int(rng.integers(256))]) + content[place + 1 :]


def _number(content: bytes, rng: np.random.Generator) -> bytes:
    size = int(rng.choice([1, 2, 4, 8]))
    value = int(_NUMBERS[int(rng.integers(len(_NUMBERS)))]) % 2 ** (8 * size)
    place = int(rng.integers(len(content)))
    return content[:place] + value.to_bytes(size, "little") + content[place + size :]


def _cut(content: bytes, rng: np.random.Generator) -> bytes:
    start, stop = sorted(map(int, rng.integers(0, len(content) + 1, 2)))
    return content[:start] + content[stop:]


def _truncate(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: int(rng.integers(len(content)))]


def _repeat(content: bytes, rng: np.random.Generator) -> bytes:
    start, stop = sorted(map(int, rng.integers(0, len(content) + 1, 2)))
    return content[:stop] + content[start:stop] * int(rng.integers(1, 4)) + content[stop:]


def _instruction(content: bytes, rng: np.random.Generator) -> bytes:
    place = int(rng.integers(len(content) + 1))
    new = _INSTRUCTIONS[int(rng.integers(len(_INSTRUCTIONS)))]
    return content[:place] + new + content[place + int(rng.integers(3)) :]


def _size(content: bytes, rng: np.random.Generator) -> bytes:
    """Another value for one number that the pickle pushes: a size, stride, offset or length."""
    found = list(re.finditer(rb"\x8a\x08.{8}", content, re.DOTALL))
    if not found:
        return content
    start, stop = found[int(rng.integers(len(found)))].span()
    new = number(_NUMBERS[int(rng.integers(len(_NUMBERS)))])
    return content[:start] + new + content[stop:]


def _word(content: bytes, rng: np.random.Generator) -> bytes:
    """Another word for one number in a text header."""
    found = list(re.finditer(rb"[0-9]+", content))
    if not found:
        return content
    start, stop = found[int(rng.integers(len(found)))].span()
    return content[:start] + _WORDS[int(rng.integers(len(_WORDS)))] + content[stop:]


_ANY = (_flip, _number, _cut, _truncate, _repeat)
# What is changed inside, before the file is packed.
_INSIDE = {
    ".safetensors": (*_ANY, _word, _word, _word),
    ".npz": (*_ANY, _word, _word, _word),
    ".pth": (*_ANY, _instruction, _instruction, _instruction, _size, _size),
    ".pt": (*_ANY, _instruction, _instruction, _instruction, _size, _size),
}


def example(rng: np.random.Generator, folder: Path) -> Path:
    """One changed file, written into ``folder``; it may happen to be whole."""
    suffix = tuple(WHOLE)[int(rng.integers(len(WHOLE)))]

    def changed(content: bytes, kinds: tuple[Callable[..., bytes], ...]) -> bytes:
        for _ in range(int(rng.geometric(0.7))):
            content = kinds[int(rng.integers(len(kinds)))](content or b"\0", rng)
        return content

    if rng.random() < 0.7:
        content = WHOLE[suffix](lambda inner: changed(inner, _INSIDE[suffix]))
    else:
        content = changed(WHOLE[suffix](), _ANY)
    path = folder / f"changed{suffix}"
    path.write_bytes(content)
    return path


# What becomes of them ---------------------------------------------------------------------------


def outcome(path: Path) -> str:
    """ "works" if the file is read and put in its places, "refused" if a UserError names it.

    Raises:
        AssertionError: tensors that are none, a sentence that is none, or something has changed
            besides.
        Exception: whatever else the readers let out.
    """
    before = _surroundings(path)
    try:
        source = weights.read(path, BACKBONE)
        matched, _ = weights.match(source.tensors, BACKBONE, TEMPLATE)
        _check_tensors(source.tensors)
        _check_tensors(matched)
        result = "works"
    except UserError as error:
        if len(str(error).splitlines()) != 1 or str(path) not in str(error):
            raise AssertionError(f"not one sentence that names {path}: {error}") from error
        result = "refused"
    if _surroundings(path) != before:
        raise AssertionError(f"reading {path} changed something")
    return result


def _check_tensors(tensors: Mapping[str, np.ndarray]) -> None:
    for name, value in tensors.items():
        if type(value) is not np.ndarray or value.dtype not in reading.DTYPES.values():
            raise AssertionError(
                f"{name} is no tensor: {type(value)} {getattr(value, 'dtype', '')}"
            )


def _surroundings(path: Path) -> str:
    """What a hostile file might change: its folder, NumPy's types, the readers' own functions."""
    files = {file.name: file.read_bytes().hex() for file in sorted(path.parent.iterdir())}
    sizes = {name: (dtype.name, dtype.itemsize) for name, dtype in reading.DTYPES.items()}
    copies = [np.ones(3, dtype).copy().nbytes for dtype in reading.DTYPES.values()]
    functions = [
        (function.__name__, repr(function.__defaults__), sorted(function.__dict__))
        for module in (pickles, opcodes, reading)
        for function in vars(module).values()
        if type(function) is type(outcome)
    ]
    return json.dumps([files, sizes, copies, functions])
