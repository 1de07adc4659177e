"""Encoded image -> RGB pixels, whatever the file holds, at the size that is needed."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageOps, TiffImagePlugin

from fgjax.checking.choices import check_choice
from fgjax.data import formats
from fgjax.data.formats import Encoded
from fgjax.errors import UserError

INTERPOLATIONS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}

# A JPEG may be decoded at 1/2, 1/4 or 1/8 of its size, which is several times faster. The result
# stays at least this many times larger than what it is then resized to, so that the antialiased
# resize, not the shortcut, decides what the network sees.
_DRAFT_MARGIN = 2

# Of an image whose long side is more than this many times its short one, only the middle is kept:
# networks see squares, and a strip of 20000 x 2 pixels would be enlarged to gigabytes.
_LONGEST = 8

_ORIENTATION = 0x0112
_QUARTER_TURNS = (5, 6, 7, 8)


class BrokenImageError(UserError):
    """A file that cannot be read, is no image, or a damaged one.

    Attributes:
        name: of the image.
        reason: why it cannot be read.
    """

    def __init__(self, name: str, reason: object, way_on: str = ""):
        super().__init__(
            f"cannot read the image {name} ({reason}); replace or remove the file{way_on}"
        )
        self.name, self.reason = name, reason


def decode(
    data: bytes | UInt8[np.ndarray, "h w c"] | Image.Image,
    name: str,
    short_side: int | None = None,
    interpolation: str = "bilinear",
) -> tuple[UInt8[np.ndarray, "h w 3"], Float[np.ndarray, " 4"]]:
    """Decodes an image to RGB, upright, and resizes its short side.

    The EXIF rotation is applied. Grey-scale (1, 8 and 16 bit), palette and CMYK images become
    RGB; transparent ones are laid on white.

    Args:
        data: a file's bytes, of a format of ``fgjax.data.formats``; pixels; or Pillow's image.
        name: of the image, for the message of an error.
        short_side: of the result in pixels; the long side keeps the aspect ratio (rounded down,
            as torchvision does). None leaves the size.
        interpolation: "bilinear" or "bicubic", antialiased.

    Returns:
        The pixels, and (scale_y, scale_x, shift_y, shift_x), which leads from pixels of the upright
        original to pixels of the result (see ``fgjax.ops.boxes``). Of an image that is resized and
        more than 8 times as long as it is wide, the middle is returned, 8 times as long as wide;
        of any other one the whole, and the shifts are 0.

    Raises:
        BrokenImageError: the data are no image, a damaged one, or one that needs too much memory.
    """
    check_choice("data.interpolation", interpolation, tuple(INTERPOLATIONS))
    try:
        return _decode(data, short_side, INTERPOLATIONS[interpolation])
    except Image.UnidentifiedImageError as error:
        raise BrokenImageError(name, "it is not an image" if data else "it is empty") from error
    except MemoryError as error:
        raise BrokenImageError(name, "it needs more memory than there is") from error
    except Exception as error:  # Damaged files make Pillow raise nearly anything.
        raise BrokenImageError(name, str(error) or type(error).__name__) from error


def image_size(data: bytes | np.ndarray) -> tuple[int, int]:
    """Height and width in pixels of an encoded image, upright, from its header alone."""
    with formats.opened(data) as image:
        return _upright_size(image, image.size)


def _decode(
    data: Encoded, short_side: int | None, interpolation: Image.Resampling
) -> tuple[np.ndarray, np.ndarray]:
    image, full = _upright_rgb(data, short_side)
    decoded = np.array(image.size[::-1])
    if short_side is None:
        return np.asarray(image), np.array([1, 1, 0, 0], np.float32)
    kept = np.minimum(decoded, _LONGEST * decoded.min())
    corner = (decoded - kept) // 2
    sides = full if (kept == decoded).all() else kept
    size = short_side * sides // sides.min()
    box = (*corner[::-1].tolist(), *(corner + kept)[::-1].tolist())
    image = image.resize(tuple(size[::-1].tolist()), interpolation, box)
    scale = size.astype(np.float32) / (full * kept / decoded).astype(np.float32)
    affine = np.array([*scale, *(-corner * size / kept)], np.float32)
    return np.asarray(image), affine


def _upright_rgb(data: Encoded, short_side: int | None) -> tuple[Image.Image, np.ndarray]:
    """The image, possibly decoded at a fraction of its size, and its full (height, width)."""
    with formats.opened(data) as image:
        full_size = image.size
        if short_side is not None:
            image.draft(None, (_DRAFT_MARGIN * short_side,) * 2)
        formats.check_memory(image, full_size)
        size = np.array(_upright_size(image, full_size))
        ImageOps.exif_transpose(image, in_place=True)
        return _rgb(image), size


def _upright_size(image: Image.Image, full_size: tuple[int, int]) -> tuple[int, int]:
    """Height and width once the image is upright, given width and height as it was opened."""
    turned = image.getexif().get(_ORIENTATION) in _QUARTER_TURNS
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        # Pillow gives the upright size of a TIFF, unless its rotation stands in the XMP alone.
        turned &= image.tag_v2.get(_ORIENTATION) not in _QUARTER_TURNS
    return full_size if turned else full_size[::-1]


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("floating-point pixels have no agreed range")
    if image.mode.startswith("I"):
        # Pillow clips 16-bit grey values at 255 instead of scaling them.
        scaled = np.asarray(image) / 257
        return Image.fromarray(scaled.round(out=scaled).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image if image.mode == "RGBA" else image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")
