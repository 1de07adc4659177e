"""Files of tensors: safetensors, NumPy archives, PyTorch's."""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from numpy.lib import format as npy
from safetensors.numpy import save_file

from fgjax.errors import UserError
from fgjax.models.weights import reading
from fgjax.models.weights.pickles import read_pth

Tensors = dict[str, np.ndarray]

_KINDS = set(reading.DTYPES.values())


def check_file(path: Path) -> None:
    """Raises UserError unless there is a file of a known kind; nothing of it is read."""
    if not os.path.exists(path):
        raise UserError(f"there are no weights at {path}; give an existing file or folder")
    if not os.path.isfile(path):
        raise UserError(
            f"{path} is no file of weights; those of a run's folder are read by "
            "fgjax.run.pretrained.read"
        )
    if path.suffix not in _READERS:
        raise UserError(
            f"{path} is no weight file that can be read; expected a run's folder or "
            f"{', '.join(_READERS)}"
        )


def read_file(path: Path) -> tuple[Tensors, dict[str, str]]:
    """Tensors and metadata of a file, which is taken to be hostile.

    Nothing in it is executed. Of a file of n bytes each stage of the reading makes no more than
    :func:`.reading.limit` (n) bytes; it says so before they are allocated.

    Raises:
        UserError: there is no such file, or it is damaged, of an unknown kind or implausible.
    """
    check_file(path)
    return _READERS[path.suffix](path)


def write_file(path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write ``.safetensors`` with its metadata, or ``.npz``, which holds none.

    Raises:
        UserError: another suffix, a folder that does not exist, or bfloat16 in an ``.npz``.
    """
    if path.suffix not in (".safetensors", ".npz"):
        raise UserError(f"{path} must end in .safetensors or .npz to be written")
    if not path.parent.is_dir():
        raise UserError(f"the folder {path.parent} does not exist; make it first")
    if path.suffix == ".npz":
        for name, value in tensors.items():
            if value.dtype.kind == "V":
                raise UserError(
                    f"{path} cannot hold {name}, which is {value.dtype}; write a .safetensors file"
                )
        arrays: dict[str, Any] = dict(tensors)
        np.savez(path, **arrays)
    else:
        contiguous = {name: np.asarray(value, order="C") for name, value in tensors.items()}
        save_file(contiguous, path, dict(metadata))


def _read_safetensors(path: Path) -> tuple[Tensors, dict[str, str]]:
    with reading.explained(path, "safetensors file"):
        content = path.read_bytes()
        tensors = {}
        for name, view in safetensors.deserialize(content):
            if view["dtype"] not in reading.DTYPES:
                raise UserError(f"{name[:60]} is {view['dtype']}; write it as F32, F16 or BF16")
            flat = np.frombuffer(view["data"], reading.DTYPES[view["dtype"]])
            tensors[name] = flat.reshape(view["shape"])
        length = int.from_bytes(content[:8], "little")
        return tensors, json.loads(content[8 : 8 + length]).get("__metadata__") or {}


def _read_npz(path: Path) -> tuple[Tensors, dict[str, str]]:
    with reading.explained(path, ".npz file of plain arrays"):
        files = reading.entries(path)
        return {name.removesuffix(".npy"): _array(name, data) for name, data in files.items()}, {}


def _array(name: str, content: bytes) -> np.ndarray:
    """What one ``.npy`` file holds; its size is compared with what the header says."""
    stream = io.BytesIO(content)
    version = npy.read_magic(stream)
    if version not in _HEADERS:
        raise ValueError(f"{name} is of version {version}")
    shape, fortran, dtype = _HEADERS[version](stream)
    if dtype.newbyteorder("=") not in _KINDS:
        raise UserError(
            f"{name[:60]} is of type {str(dtype)[:60]}, which no weights are; write plain numbers"
        )
    start = stream.tell()
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(content) - start:
        raise ValueError(f"{name} has another size than its header says")
    return np.ndarray(shape, dtype, content, start, order="F" if fortran else "C")


def _read_pytorch(path: Path) -> tuple[Tensors, dict[str, str]]:
    return read_pth(path), {}


# Version 3 is for field names, which plain arrays lack.
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
_READERS = {
    ".safetensors": _read_safetensors,
    ".npz": _read_npz,
    ".pth": _read_pytorch,
    ".pt": _read_pytorch,
}
