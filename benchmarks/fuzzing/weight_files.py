"""Small whole weight files of every kind, built by hand so that each byte can be changed."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable, Mapping

import ml_dtypes
import numpy as np
from safetensors.numpy import save

BACKBONE = "resnet50"
TENSORS = {
    "conv1.weight": np.arange(54, dtype=np.float32).reshape(2, 3, 3, 3),
    "bn1.weight": np.ones(2, np.float16),
    "bn1.bias": np.zeros(2, ml_dtypes.bfloat16),
    "bn1.running_mean": np.zeros(2, np.float64),
    "bn1.running_var": np.ones(2, np.float32),
    "bn1.num_batches_tracked": np.array(7),
}
HEADER = {"mean": "0.5,0.5,0.5", "std": "0.2,0.2,0.2", "image_size": "224", "crop_fraction": "1"}
# Where the tensors belong.
TEMPLATE = {
    "params/conv1/stem/conv/kernel": np.zeros((3, 3, 3, 2), np.float32),
    **{f"params/conv1/stem/bn/{leaf}": np.zeros(2, np.float32) for leaf in ("scale", "bias")},
    **{f"batch_stats/conv1/stem/bn/{leaf}": np.zeros(2, np.float32) for leaf in ("mean", "var")},
}

Change = Callable[[bytes], bytes]


def as_is(content: bytes) -> bytes:
    """No change."""
    return content


def safetensors(inner: Change = as_is) -> bytes:
    """A safetensors file, its JSON header changed by ``inner``."""
    content = save(TENSORS, HEADER)
    (length,) = struct.unpack("<Q", content[:8])
    header = inner(content[8 : 8 + length])
    return struct.pack("<Q", len(header)) + header + content[8 + length :]


def npz(inner: Change = as_is, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A NumPy archive, its first array's file changed by ``inner``."""
    files = {}
    for name, value in TENSORS.items():
        stream = io.BytesIO()
        np.save(stream, value.astype(np.float32))
        files[f"{name}.npy"] = stream.getvalue() if files else inner(stream.getvalue())
    return zipped(files, method)


def pytorch(inner: Change = as_is, method: int = zipfile.ZIP_STORED) -> bytes:
    """What ``torch.save`` writes, its pickle changed by ``inner``."""
    files = {"archive/data.pkl": inner(program()), "archive/byteorder": b"little"}
    for key, value in enumerate(TENSORS.values()):
        files[f"archive/data/{key}"] = value.tobytes()
    return zipped(files, method)


def legacy(inner: Change = as_is) -> bytes:
    """What ``torch.save`` wrote before version 1.6, its pickle changed by ``inner``."""
    magic = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
    keys = b"\x80\x02](" + b"".join(_text(str(key)) for key in range(len(TENSORS))) + b"e."
    head = [magic, b"\x80\x02M\xe9\x03.", b"\x80\x02}" + _text("little_endian") + b"\x88s."]
    stored = [struct.pack("<q", value.size) + value.tobytes() for value in TENSORS.values()]
    return b"".join([*head, inner(program()), keys, *stored])


def zipped(files: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """A zip archive of files by name."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


_STORAGES = {
    "float32": "Float",
    "float16": "Half",
    "bfloat16": "BFloat16",
    "float64": "Double",
    "int64": "Long",
}
_ORDERED = b"ccollections\nOrderedDict\n)R"


def program() -> bytes:
    """The pickle of a state dict of :data:`TENSORS`, instruction by instruction as PyTorch's."""
    entries = (_entry(str(key), *item) for key, item in enumerate(TENSORS.items()))
    versions = b"}" + _text("_metadata") + _ORDERED + b"sb"
    return b"\x80\x02" + _ORDERED + b"(" + b"".join(entries) + b"u" + versions + b"."


def _entry(key: str, name: str, value: np.ndarray) -> bytes:
    storage = [
        _text("storage"),
        f"ctorch\n{_STORAGES[value.dtype.name]}Storage\n".encode(),
        _text(key),
        _text("cpu"),
        number(value.size),
    ]
    strides = (step // value.itemsize for step in value.strides)
    return b"".join(
        [
            _text(name),
            b"ctorch._utils\n_rebuild_tensor_v2\n(",
            b"(" + b"".join(storage) + b"tQ",
            number(0),
            b"(" + b"".join(map(number, value.shape)) + b"t",
            b"(" + b"".join(map(number, strides)) + b"t",
            b"\x89" + _ORDERED + b"tR",
        ]
    )


def _text(text: str) -> bytes:
    return b"X" + struct.pack("<I", len(text)) + text.encode()


def number(value: int) -> bytes:
    """The instruction that pushes a whole number of up to eight bytes."""
    return b"\x8a\x08" + value.to_bytes(8, "little", signed=True)


WHOLE = {
    ".safetensors": safetensors,
    ".npz": npz,
    ".pth": pytorch,
    ".pt": legacy,
}
