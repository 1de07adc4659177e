"""Encoded image -> RGB pixels, whatever the file holds, at the size that is needed."""

from __future__ import annotations

import io
import struct

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageOps

from fgjax.data.checks import check_choice
from fgjax.errors import UserError

INTERPOLATIONS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}

# A JPEG may be decoded at 1/2, 1/4 or 1/8 of its size, which is several times faster. The result
# stays at least this many times larger than what it is then resized to, so that the antialiased
# resize, not the shortcut, decides what the network sees.
_DRAFT_MARGIN = 2

_ORIENTATION = 0x0112
_QUARTER_TURNS = (5, 6, 7, 8)

# All that Pillow is known to raise on damaged files (UnidentifiedImageError is an OSError).
_PILLOW_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    struct.error,
    Image.DecompressionBombError,
)


class BrokenImageError(UserError):
    """A file that cannot be read, is no image, or a damaged one."""

    def __init__(self, name: str, reason: object):
        super().__init__(
            f"Cannot read the image {name} ({reason}); replace or remove the file, "
            "or set data.skip_broken=True to go on without it."
        )


def decode(
    data: bytes | UInt8[np.ndarray, "h w c"] | Image.Image,
    name: str,
    short_side: int | None = None,
    interpolation: str = "bilinear",
) -> tuple[UInt8[np.ndarray, "h w 3"], Float[np.ndarray, " 2"]]:
    """Decodes an image to RGB, upright, and resizes its short side.

    The EXIF rotation is applied. Grey-scale (1, 8 and 16 bit), palette and CMYK images become
    RGB; transparent ones are laid on white.

    Args:
        data: the encoded image, in any format that Pillow reads, its pixels, or Pillow's image.
        name: of the image, for the message of an error.
        short_side: of the result in pixels; the long side keeps the aspect ratio (rounded down,
            as torchvision does). None leaves the size.
        interpolation: "bilinear" or "bicubic", antialiased.

    Returns:
        The pixels, and (scale_y, scale_x): pixel of the result per pixel of the upright original.

    Raises:
        BrokenImageError: the data are no image or a truncated one.
    """
    check_choice("data.interpolation", interpolation, tuple(INTERPOLATIONS))
    try:
        image, (height, width) = _upright_rgb(data, short_side)
    except Image.UnidentifiedImageError as error:
        raise BrokenImageError(name, "it is not an image" if data else "it is empty") from error
    except _PILLOW_ERRORS as error:
        raise BrokenImageError(name, error) from error
    if short_side is not None:
        short = min(height, width)
        size = (short_side * width // short, short_side * height // short)
        image = image.resize(size, INTERPOLATIONS[interpolation])
    pixels = np.asarray(image)
    return pixels, np.array(pixels.shape[:2], np.float32) / np.array([height, width], np.float32)


def image_size(data: bytes | np.ndarray) -> tuple[int, int]:
    """Height and width in pixels of an encoded image, upright, from its header alone."""
    with _open(data) as image:
        return _upright_size(image)


def _open(data: bytes | np.ndarray | Image.Image) -> Image.Image:
    if isinstance(data, Image.Image):
        return data.copy()  # the caller closes what is opened here
    if isinstance(data, np.ndarray):
        return Image.fromarray(data.squeeze(2) if data.shape[2] == 1 else data)
    return Image.open(io.BytesIO(data))


def _upright_size(image: Image.Image) -> tuple[int, int]:
    width, height = image.size
    turned = image.getexif().get(_ORIENTATION) in _QUARTER_TURNS
    return (width, height) if turned else (height, width)


def _upright_rgb(
    data: bytes | np.ndarray | Image.Image, short_side: int | None
) -> tuple[Image.Image, tuple[int, int]]:
    """The image, possibly decoded at a fraction of its size, and its full (height, width)."""
    with _open(data) as image:
        size = _upright_size(image)
        if short_side is not None:
            image.draft(None, (_DRAFT_MARGIN * short_side,) * 2)
        image.load()
        return _rgb(ImageOps.exif_transpose(image)), size


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("floating-point pixels have no agreed range")
    if image.mode.startswith("I"):
        # Pillow clips 16-bit grey values at 255 instead of scaling them.
        return Image.fromarray((np.asarray(image) / 257).round().astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")
