"""Which image formats are opened, and how much memory one image may take."""

from __future__ import annotations

import functools
import io

import numpy as np
from PIL import Image, JpegImagePlugin

# Those that photos come in. Others that Pillow knows are left to their own programs: it would hand
# an EPS to Ghostscript, whatever the suffix of the file says.
_FORMATS = (
    "JPEG",
    "MPO",
    "PNG",
    "WEBP",
    "GIF",
    "BMP",
    "DIB",
    "TIFF",
    "PPM",
    "AVIF",
    "JPEG2000",
)

# One image may take this many bytes. They suffice for 134 megapixels with transparency, for any
# number that Pillow opens without, for 86 as JPEG 2000, and for any JPEG that is decoded at a
# fraction of its size, unless it is progressive and has more than about 350.
_MOST_BYTES = 2**31

# Bytes for each pixel while a format is decoded, measured; Pillow itself keeps 4 or fewer.
_DECODING = {"WEBP": 16, "AVIF": 10, "JPEG2000": 25}


# An image in a file of one of these formats, its pixels, or Pillow's image.
Encoded = bytes | np.ndarray | Image.Image


@functools.cache
def known() -> tuple[str, ...]:
    """The formats that are opened, of those that this Pillow was built with."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


@functools.cache
def suffixes() -> frozenset[str]:
    """The suffixes of their files, in lower case, such as ``.jpg``."""
    return frozenset(
        suffix for suffix, name in Image.registered_extensions().items() if name in known()
    )


def opened(data: Encoded) -> Image.Image:
    """The image with its pixels still encoded; the caller closes it.

    Raises:
        UnidentifiedImageError: the data are no image of a known format.
        DecompressionBombError: it is no JPEG and has more than twice ``Image.MAX_IMAGE_PIXELS``.
    """
    if isinstance(data, Image.Image):
        return data.copy()
    if isinstance(data, np.ndarray):
        return Image.fromarray(data.squeeze(2) if data.shape[2] == 1 else data)
    if not data.startswith(b"\xff\xd8\xff"):
        return Image.open(io.BytesIO(data), formats=known())
    # Image.open refuses a JPEG by its full size, which may never be decoded: see check_memory.
    try:
        return JpegImagePlugin.JpegImageFile(io.BytesIO(data))
    except SyntaxError as error:
        raise Image.UnidentifiedImageError(str(error)) from error


def check_memory(image: Image.Image, full_size: tuple[int, int]) -> None:
    """Refuses an image that would take more than 2 GiB to decode and make RGB.

    Args:
        image: not decoded yet; its size is the one at which it will be.
        full_size: width and height in the file.

    Raises:
        DecompressionBombError: it would take more.
    """
    each = max(_DECODING.get(image.format or "", 4), _converting(image))
    need = each * image.width * image.height + _coefficients(image) * full_size[0] * full_size[1]
    if need > _MOST_BYTES:
        raise Image.DecompressionBombError(
            f"its {full_size[0]} x {full_size[1]} pixels would take {need / 2**30:.1f} GiB, and "
            f"{_MOST_BYTES / 2**30:.0f} GiB are allowed"
        )


def _converting(image: Image.Image) -> int:
    if image.has_transparency_data or image.mode.startswith("I"):
        return 16
    return 4 if image.mode == "RGB" else 8


def _coefficients(image: Image.Image) -> float:
    """Bytes for each pixel of a progressive JPEG: its coefficients are held at its full size."""
    if not isinstance(image, JpegImagePlugin.JpegImageFile) or "progressive" not in image.info:
        return 0
    blocks = [(across, down) for _, across, down, _ in image.layer]
    densest = max(across for across, _ in blocks) * max(down for _, down in blocks)
    return 2 * sum(across * down for across, down in blocks) / max(densest, 1)
