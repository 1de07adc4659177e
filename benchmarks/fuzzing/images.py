"""Damaged and hostile image files: flipped bytes, cuts, splices, other sizes, other EXIF."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from fgjax.data import decode
from fgjax.errors import UserError

FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "GIF")
MODES = ("RGB", "L", "RGBA", "LA", "P", "CMYK", "I;16", "1", "F")
SHORT_SIDE = 24

Change = Callable[[bytes, np.random.Generator], bytes]


def example(rng: np.random.Generator, folder: Path) -> Path:
    """Write one damaged image into the folder; most have one damage, some none or several."""
    folder.mkdir(parents=True, exist_ok=True)
    data = _image(rng)
    for _ in range(min(rng.poisson(1.0), 4)):
        data = CHANGES[rng.integers(len(CHANGES))](data, rng)
    path = folder / f"photo.{rng.choice(['jpg', 'png', 'tif', 'webp', 'gif', 'eps'])}"
    path.write_bytes(data)
    return path


def outcome(path: Path) -> str:
    """``works`` if the image is read as RGB, at its own size and at a small one, or ``refused``."""
    data = path.read_bytes()
    try:
        whole, _ = decode.decode(data, path.name)
        small, affine = decode.decode(data, path.name, SHORT_SIDE)
    except UserError as error:
        _check(str(error), str(error).isprintable())
        return "refused"
    for pixels in (whole, small):
        _check("pixels", pixels.dtype == np.uint8, pixels.ndim == 3, pixels.shape[-1] == 3)
    height, width = small.shape[:2]
    _check("size", min(height, width) == SHORT_SIDE, max(height, width) <= 8 * SHORT_SIDE)
    _check("shape", decode.image_size(data) == whole.shape[:2])
    _check("turned", (whole.shape[0] < whole.shape[1]) <= (height <= width))
    _check("map", np.isfinite(affine).all(), (affine[:2] > 0).all())
    return "works"


def _check(what: str, *facts: bool) -> None:
    if not all(facts):
        raise AssertionError(what)


def _image(rng: np.random.Generator) -> bytes:
    file_format = FORMATS[rng.integers(len(FORMATS))]
    height, width = np.exp(rng.uniform(0, np.log(200), 2)).astype(int)
    pixels = Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))
    mode = MODES[rng.integers(len(MODES))]
    if mode == "I;16":
        pixels = Image.fromarray(rng.integers(0, 2**16, (height, width)).astype(np.uint16))
    else:
        pixels = pixels.convert(mode)
    exif = Image.Exif()
    exif[0x0112] = int(rng.integers(0, 12))
    exif[0x010E] = "a bird" * int(rng.integers(0, 20))
    options = {"exif": exif} if file_format != "GIF" and rng.random() < 0.6 else {}
    if file_format == "JPEG":
        options["progressive"] = bool(rng.integers(2))
    buffer = io.BytesIO()
    try:
        pixels.save(buffer, file_format, **options)
    except (OSError, ValueError):  # The format has no such mode.
        buffer = io.BytesIO()
        pixels.convert("RGB").save(buffer, file_format, **options)
    return buffer.getvalue()


def _flip(data: bytes, rng: np.random.Generator) -> bytes:
    found = np.frombuffer(data, np.uint8).copy()
    if len(found):
        # The header decides most, so that it is hit as often as all the rest.
        end = len(found) if rng.random() < 0.5 else min(len(found), 200)
        places = rng.integers(0, end, rng.integers(1, 16))
        found[places] = rng.integers(0, 256, len(places))
    return found.tobytes()


def _cut(data: bytes, rng: np.random.Generator) -> bytes:
    return data[: rng.integers(0, len(data) + 1)]


def _splice(data: bytes, rng: np.random.Generator) -> bytes:
    other = _image(rng)
    here, there = rng.integers(0, len(data) + 1), rng.integers(0, len(other) + 1)
    return data[:here] + other[there:]


def _repeat(data: bytes, rng: np.random.Generator) -> bytes:
    start, end = sorted(rng.integers(0, len(data) + 1, 2))
    return data[:end] + data[start:end] * int(rng.integers(1, 4)) + data[end:]


def _other_exif(data: bytes, rng: np.random.Generator) -> bytes:
    at = data.find(b"Exif\0\0")
    if at < 0:
        return data
    start, count = at + 6 + int(rng.integers(0, 40)), int(rng.integers(1, 8))
    return data[:start] + rng.bytes(count) + data[start + count :]


def _other_size(data: bytes, rng: np.random.Generator) -> bytes:
    """Another height and width in the header, up to what its fields can hold."""
    height, width = (int(side) for side in np.exp(rng.uniform(0, np.log(65535), 2)))
    if data.startswith(b"\x89PNG") and len(data) > 33:
        header = b"IHDR" + struct.pack(">II", width, height) + data[24:29]
        return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]
    if data.startswith(b"\xff\xd8"):
        at = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
        return _put(data, at + 5, struct.pack(">HH", height, width)) if at > 0 else data
    if data.startswith(b"GIF8"):
        return _put(data, 6, struct.pack("<HH", width, height))
    if data.startswith(b"RIFF") and (at := data.find(b"VP8X")) > 0:
        return _put(data, at + 12, width.to_bytes(3, "little") + height.to_bytes(3, "little"))
    if data.startswith(b"RIFF") and (at := data.find(b"VP8 ")) > 0:
        return _put(data, at + 14, struct.pack("<HH", width & 0x3FFF, height & 0x3FFF))
    for tag, side in ((256, width), (257, height)):
        for kind in (3, 4):
            if (at := data.find(struct.pack("<HHI", tag, kind, 1))) > 0:
                data = _put(data, at + 8, struct.pack("<I", side))
    return data


def _put(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


CHANGES: tuple[Change, ...] = (_flip, _cut, _splice, _repeat, _other_exif, _other_size)
