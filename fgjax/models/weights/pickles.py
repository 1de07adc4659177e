"""PyTorch ``.pth`` files, read without PyTorch and without executing anything.

A pickle is a program that may call whatever it names. Here it can name a dozen things: ordered
dictionaries, PyTorch's storage types and the functions that describe a tensor; those are replaced
by records of our own. Anything else ends the reading before it is called.
"""

from __future__ import annotations

import collections
import io
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from fgjax.errors import UserError

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_DTYPES = {
    "FloatStorage": np.float32,
    "DoubleStorage": np.float64,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}


class _Storage(NamedTuple):
    key: str
    dtype: np.dtype
    length: int


class _Tensor(NamedTuple):
    """A view of a storage, in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _rebuild_tensor(storage, offset, shape, strides, *_):
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


_ALLOWED = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch", "Size"): tuple,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
    **{("torch", name): np.dtype(dtype) for name, dtype in _DTYPES.items()},
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, file):
        super().__init__(file)
        self.storages: dict[str, _Storage] = {}  # all that were named, by key

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise UserError(
                f"it names {module}.{name}, which no tensor needs, so that loading it might run "
                "code; save the state_dict alone"
            ) from None

    def persistent_load(self, identifier: tuple) -> _Storage:
        kind, dtype, key, _, count, *view = identifier
        if kind != "storage" or (view and view[0] is not None):
            raise UserError("it holds something else than plain storages")
        return self.storages.setdefault(str(key), _Storage(str(key), dtype, count))


def read_pth(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a ``.pth`` or ``.pt`` file by name, zip or legacy format, bit for bit.

    Raises:
        UserError: the file is damaged, is no state dict, or names anything but tensors; nothing
            in it has been executed.
    """
    try:
        content = path.read_bytes()
        reader = _read_zip if content.startswith(b"PK") else _read_legacy
        tree, storages = reader(content)
        return {name: _materialise(tensor, storages) for name, tensor in _state_dict(tree)}
    except UserError as error:
        raise UserError(f"{path} was refused: {error}.") from None
    except Exception as error:
        # The unpickler meets damage as IndexError, KeyError, UnicodeDecodeError, struct.error ...
        raise UserError(
            f"{path} is not a readable PyTorch file ({type(error).__name__}: {error}); "
            "it may be truncated, so fetch it again."
        ) from error


def _read_zip(content: bytes):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        (pickled,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        folder = pickled.removesuffix("data.pkl")
        order = "little"
        if f"{folder}byteorder" in archive.namelist():
            order = archive.read(f"{folder}byteorder").decode()
        if order != "little":
            raise UserError("it was written on a big-endian machine")
        tree = _Unpickler(io.BytesIO(archive.read(pickled))).load()
        prefix = f"{folder}data/"
        storages = {
            name.removeprefix(prefix): archive.read(name)
            for name in archive.namelist()
            if name.startswith(prefix)
        }
    return tree, storages


def _read_legacy(content: bytes):
    """Magic number, version, machine, the tree, storage keys; then each storage: count, bytes."""
    file = io.BytesIO(content)
    if _Unpickler(file).load() != _LEGACY_MAGIC:
        raise UserError("it is a pickle, but not one that torch.save wrote")
    _Unpickler(file).load()
    if not _Unpickler(file).load()["little_endian"]:
        raise UserError("it was written on a big-endian machine")
    unpickler = _Unpickler(file)
    tree = unpickler.load()
    storages = {}
    for key in _Unpickler(file).load():
        (count,) = struct.unpack("<q", file.read(8))
        storages[key] = file.read(count * unpickler.storages[key].dtype.itemsize)
    return tree, storages


def _state_dict(tree: Any) -> list[tuple[str, _Tensor]]:
    """(name, tensor) pairs; a training checkpoint's wrapping is taken off."""
    for key in ("state_dict_ema", "state_dict", "model"):
        if isinstance(tree, dict) and isinstance(tree.get(key), dict):
            tree = tree[key]
    if not isinstance(tree, dict) or not any(isinstance(v, _Tensor) for v in tree.values()):
        raise UserError("it holds no state dict, which maps names to tensors")
    pairs = [(str(k).removeprefix("module."), v) for k, v in tree.items()]
    return [(name, value) for name, value in pairs if isinstance(value, _Tensor)]


def _materialise(tensor: _Tensor, storages: dict[str, bytes]) -> np.ndarray:
    storage, offset, shape, strides = tensor
    data = storages[storage.key]
    size = storage.dtype.itemsize
    if len(data) < storage.length * size:
        raise ValueError(f"storage {storage.key} has {len(data)} of {storage.length * size} bytes")
    flat = np.frombuffer(data, storage.dtype, storage.length)
    last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    if min(offset, *shape, *strides, 0) < 0 or (0 not in shape and last >= storage.length):
        raise ValueError("a tensor reaches beyond its storage")
    view = np.lib.stride_tricks.as_strided(flat[offset:], shape, [s * size for s in strides])
    return np.array(view, order="C")
