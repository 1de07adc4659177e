"""Files of tensors: safetensors, NumPy archives, PyTorch's, and checkpoints of our own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from fgjax.errors import UserError
from fgjax.models.weights.pickles import read_pth

Tensors = dict[str, np.ndarray]


def read_file(path: Path) -> tuple[Tensors, dict[str, str]]:
    """Tensors and metadata of a file, or of the newest checkpoint of a run's work directory.

    A checkpoint's tensors are named "params/conv1/…/kernel", "batch_stats/conv1/…/mean"; of a run
    that keeps a moving average they are those of the average, which is what is scored.

    Raises:
        UserError: there is no such file, or it is damaged or of an unknown kind.
    """
    if not path.exists():
        raise UserError(f"There are no weights at {path}; give an existing file or folder.")
    if path.is_dir():
        return _read_checkpoint(path), {}
    if path.suffix not in _READERS:
        raise UserError(
            f"{path} is no weight file that can be read; "
            f"expected a folder or {', '.join(_READERS)}."
        )
    return _READERS[path.suffix](path)


def write_file(path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write ``.safetensors`` with its metadata, or ``.npz``, which holds none.

    Raises:
        UserError: another suffix, or a folder that does not exist.
    """
    if path.suffix not in (".safetensors", ".npz"):
        raise UserError(f"{path} must end in .safetensors or .npz to be written.")
    if not path.parent.is_dir():
        raise UserError(f"The folder {path.parent} does not exist; make it first.")
    if path.suffix == ".npz":
        arrays: dict[str, Any] = dict(tensors)
        np.savez(path, **arrays)
    else:
        contiguous = {name: np.asarray(value, order="C") for name, value in tensors.items()}
        save_file(contiguous, path, dict(metadata))


def _read_safetensors(path: Path) -> tuple[Tensors, dict[str, str]]:
    try:
        with safe_open(path, framework="numpy") as file:
            names = list(file.keys())
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{path} is not a readable safetensors file ({error}); fetch it again."
        ) from error


def _read_npz(path: Path) -> tuple[Tensors, dict[str, str]]:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            return dict(file), {}
    except Exception as error:  # zipfile, zlib and numpy have a dozen words for damage
        raise UserError(
            f"{path} is not a readable .npz file of plain arrays ({error}); write it again."
        ) from error


def _read_pytorch(path: Path) -> tuple[Tensors, dict[str, str]]:
    return read_pth(path), {}


_READERS = {
    ".safetensors": _read_safetensors,
    ".npz": _read_npz,
    ".pth": _read_pytorch,
    ".pt": _read_pytorch,
}


def _read_checkpoint(folder: Path) -> Tensors:
    root = folder / "checkpoints" if (folder / "checkpoints").is_dir() else folder
    steps = sorted(int(path.name) for path in root.iterdir() if path.name.isdigit())
    newest = root / str(steps[-1]) if steps else root
    if not (newest / "params").is_dir():
        raise UserError(f"{folder} holds no fgjax checkpoint; expected {root}/STEP/params.")
    try:
        trees = {
            item: _read_item(newest / item)
            for item in ("params", "batch_stats", "ema")
            if (newest / item).is_dir()
        }
    except Exception as error:  # Orbax and TensorStore raise many kinds for a damaged file
        raise UserError(f"The checkpoint {newest} cannot be read ({error}).") from error
    return _flatten(trees.pop("ema", {}) or trees)


def _read_item(folder: Path) -> Any:
    import orbax.checkpoint as ocp  # heavy, and only this kind of source needs it

    with ocp.PyTreeCheckpointer() as checkpointer:
        return checkpointer.restore(folder.absolute())


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> Tensors:
    flat: Tensors = {}
    for name, value in tree.items():
        path = f"{prefix}{name}"
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{path}/")
        else:
            flat[path] = np.asarray(value)
    return flat
