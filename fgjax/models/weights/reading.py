"""What every reader of weight files shares: bounds on memory, and one sentence for damage."""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import ml_dtypes
import numpy as np

from fgjax.errors import UserError

# What tensors may be made of, by safetensors' names.
DTYPES: dict[str, np.dtype] = {
    "BOOL": np.dtype(np.bool_),
    "U8": np.dtype(np.uint8),
    "I8": np.dtype(np.int8),
    "U16": np.dtype(np.uint16),
    "I16": np.dtype(np.int16),
    "U32": np.dtype(np.uint32),
    "I32": np.dtype(np.int32),
    "U64": np.dtype(np.uint64),
    "I64": np.dtype(np.int64),
    "F16": np.dtype(np.float16),
    "F32": np.dtype(np.float32),
    "F64": np.dtype(np.float64),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "F8_E4M3FNUZ": np.dtype(ml_dtypes.float8_e4m3fnuz),
    "F8_E5M2FNUZ": np.dtype(ml_dtypes.float8_e5m2fnuz),
    "F8_E8M0": np.dtype(ml_dtypes.float8_e8m0fnu),
}


def limit(size: int) -> int:
    """Bytes that may be made of a file of ``size`` bytes: 64 MiB and sixteen times its size.

    Weights hardly compress, so that honest files stay far below; a few kilobytes that would
    become terabytes are refused before anything is allocated.
    """
    return 64 * 2**20 + 16 * size


def check_size(size: int, made: int) -> None:
    """Raises UserError unless a file of ``size`` bytes may become ``made`` bytes."""
    if made > limit(size):
        raise UserError(
            f"its {size:,} bytes would become {made:,}, more than the {limit(size):,} that are "
            "plausible for weights; fetch it from a source that you trust"
        )


def entries(path: Path) -> dict[str, bytes]:
    """The files of a zip archive, all together no longer than :func:`limit` allows.

    Raises:
        UserError: they would be longer, or are packed by another method than "deflated".
        Exception: of many kinds, if the archive is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        files = [info for info in archive.infolist() if not info.is_dir()]
        if len({info.filename for info in files}) < len(files):
            raise ValueError("two of its files have the same name")
        # Of other methods zipfile inflates a whole block, however long that becomes.
        if any(
            info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for info in files
        ):
            raise UserError("it is packed by an unusual method; pack it stored or deflated")
        check_size(path.stat().st_size, sum(info.file_size for info in files))
        return {info.filename: _inflated(archive, info) for info in files}


def _inflated(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    with archive.open(info) as stream:
        content = stream.read(info.file_size)  # without a length it inflates more and cuts it off
    if len(content) < info.file_size:
        raise EOFError(f"{info.filename} has {len(content)} of {info.file_size} bytes")
    return content


@contextlib.contextmanager
def explained(path: Path, kind: str) -> Iterator[None]:
    """Name the file in whatever error comes while it is read, as a UserError of one sentence."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{path} was refused: {error}") from None
    except Exception as error:  # zipfile, zlib, struct, NumPy, pickletools … have many for damage
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(
            f"{path} is not a readable {kind} ({reason}); it may be truncated, so fetch it again"
        ) from error
