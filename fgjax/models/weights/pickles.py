"""PyTorch ``.pth`` files, read without PyTorch and without executing anything.

The pickle in them may name a dozen things: ordered dictionaries, PyTorch's storage types and the
functions that describe a tensor; those become records of our own (:mod:`.opcodes`). Anything else
ends the reading. A refused file leaves the process as it was.
"""

from __future__ import annotations

import io
import math
import struct
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fgjax.errors import UserError
from fgjax.models.weights import opcodes, reading
from fgjax.models.weights.opcodes import Name

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_DTYPES = {
    "FloatStorage": "F32",
    "DoubleStorage": "F64",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "LongStorage": "I64",
    "IntStorage": "I32",
    "ShortStorage": "I16",
    "CharStorage": "I8",
    "ByteStorage": "U8",
    "BoolStorage": "BOOL",
}
_MOST_AXES = 32  # NumPy knows 64


class _Storage(NamedTuple):
    key: str
    dtype: str
    length: int

    @property
    def itemsize(self) -> int:
        return reading.DTYPES[self.dtype].itemsize


class _Tensor(NamedTuple):
    """A view of a storage, in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.storage.itemsize


def _rebuild_tensor(storage, offset, shape, strides, *_):
    if type(storage) is not _Storage or type(shape) is not tuple or type(strides) is not tuple:
        raise ValueError("a tensor is described by something else than a storage and numbers")
    if len(shape) != len(strides) or len(shape) > _MOST_AXES:
        raise ValueError(f"a tensor has {len(shape)} sizes and {len(strides)} strides")
    if not all(map(_is_count, (offset, *shape, *strides))):
        raise ValueError("a size, stride or offset is no whole number from 0 to 2**63")
    return _Tensor(storage, offset, shape, strides)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _rebuild_parameter(tensor, *_):
    if type(tensor) is not _Tensor:
        raise ValueError("a parameter holds no tensor")
    return tensor


def _size(values):
    if type(values) is not tuple:
        raise ValueError("a size is no tuple")
    return values


def _ordered_dict(pairs=()):
    """PyTorch's own are filled afterwards, those of Python 2 when they are made."""
    return OrderedDict((opcodes.checked_key(key), value) for key, value in pairs)


_NAMES: opcodes.Names = {
    Name("collections", "OrderedDict"): _ordered_dict,
    Name("torch", "Size"): _size,
    Name("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    Name("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    Name("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    **{Name("torch", name): None for name in _DTYPES},
}


class _Storages(dict[str, _Storage]):
    """All storages that a program names, by key."""

    def __call__(self, identifier: Any) -> _Storage:
        """The storage that a persistent id describes."""
        if type(identifier) is not tuple or len(identifier) not in (5, 6):
            raise ValueError("a storage is not described by a tuple of five")
        kind, name, key, _, count, *view = identifier
        if kind != "storage" or (view and view[0] is not None):
            raise UserError(
                "it holds something else than plain storages; save the state_dict alone"
            )
        if type(name) is not Name or name.name not in _DTYPES or type(key) is not str:
            raise ValueError("a storage has no type or no key")
        if not _is_count(count):
            raise ValueError("a storage's length is no whole number from 0 to 2**63")
        storage = _Storage(key, _DTYPES[name.name], count)
        if self.setdefault(key, storage) != storage:
            raise ValueError(f"storage {_short(key)} is described in two ways")
        return storage


def _short(key: str) -> str:
    return ascii(key[:60])


def read_pth(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a ``.pth`` or ``.pt`` file by name, zip or legacy format, bit for bit.

    Of a file of n bytes, storages and tensors each take no more than :func:`.reading.limit` (n)
    bytes, and what describes them a few hundred megabytes at most.

    Raises:
        UserError: the file is damaged, is no state dict, names anything but tensors, or would
            become implausibly large; nothing in it has been executed.
    """
    with reading.explained(path, "PyTorch file"):
        with path.open("rb") as stream:
            zipped = stream.read(2) == b"PK"
        tree, storages = _read_zip(path) if zipped else _read_legacy(path)
        tensors = _state_dict(tree)
        reading.check_size(path.stat().st_size, sum(value.nbytes for value in tensors.values()))
        return {name: _materialize(value, storages) for name, value in tensors.items()}


def _read_zip(path: Path) -> tuple[Any, dict[str, bytes]]:
    files = reading.entries(path)
    programs = [name for name in files if name.endswith("/data.pkl")]
    if len(programs) != 1:
        raise ValueError(f"it holds {len(programs)} files data.pkl instead of one")
    folder = programs[0].removesuffix("data.pkl")
    if files.get(f"{folder}byteorder", b"little") != b"little":
        raise UserError("it was written on a big-endian machine; save it again on another one")
    tree = opcodes.run(io.BytesIO(files[programs[0]]), _NAMES, _Storages())
    prefix = f"{folder}data/"
    return tree, {
        name.removeprefix(prefix): data for name, data in files.items() if name.startswith(prefix)
    }


def _read_legacy(path: Path) -> tuple[Any, dict[str, bytes]]:
    """Magic number, version, machine, the tree, storage keys; then each storage: count, bytes."""
    stream, named = io.BytesIO(path.read_bytes()), _Storages()
    if opcodes.run(stream, _NAMES, named) != _LEGACY_MAGIC:
        raise UserError("it is a pickle, but not one that torch.save wrote")
    opcodes.run(stream, _NAMES, named)
    if not opcodes.run(stream, _NAMES, named)["little_endian"]:
        raise UserError("it was written on a big-endian machine; save it again on another one")
    tree = opcodes.run(stream, _NAMES, named)
    storages = {}
    for key in opcodes.run(stream, _NAMES, named):
        (count,) = struct.unpack("<q", stream.read(8))
        if count != named[key].length:
            raise ValueError(f"storage {_short(key)} has another length than its tensors say")
        storages[key] = stream.read(count * named[key].itemsize)
    return tree, storages


def _state_dict(tree: Any) -> dict[str, _Tensor]:
    """Tensors by name; a training checkpoint's wrapping is taken off."""
    for key in ("state_dict_ema", "state_dict", "model"):
        if isinstance(tree, dict) and isinstance(tree.get(key), dict):
            tree = tree[key]
    items = tree.items() if isinstance(tree, dict) else ()
    pairs = [
        (str(key).removeprefix("module."), value) for key, value in items if type(value) is _Tensor
    ]
    if not pairs:
        raise UserError("it holds no state dict, which maps names to tensors; save one")
    tensors = dict(pairs)
    if len(tensors) < len(pairs):
        raise ValueError("two of its tensors have the same name")
    "".join(tensors).encode()  # fails for names that are no text
    return tensors


def _materialize(tensor: _Tensor, storages: Mapping[str, bytes]) -> np.ndarray:
    storage, offset, shape, strides = tensor
    data, size = storages[storage.key], storage.itemsize
    if len(data) < storage.length * size:
        raise ValueError(
            f"storage {_short(storage.key)} has {len(data)} of {storage.length * size} bytes"
        )
    dtype = reading.DTYPES[storage.dtype]
    if 0 in shape:
        return np.empty(shape, dtype)
    if offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) >= storage.length:
        raise ValueError("a tensor reaches beyond its storage")
    steps = [s * size if n > 1 else 0 for n, s in zip(shape, strides, strict=True)]
    return np.array(np.ndarray(shape, dtype, data, offset * size, steps), order="C")
