"""Photos as users hand them over: paths, folders, Pillow images and arrays, one or many."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from PIL import Image

from fgjax.data import walk
from fgjax.errors import UserError

TAKEN = "paths of photos and folders, Pillow images, and uint8 arrays [h w 3] or [h w]"


def each(photos: Any) -> Iterator[tuple[Any, bool]]:
    """Every photo by itself, and whether it was found in a folder.

    Args:
        photos: one photo or an iterable of photos; an array [n h w c] holds n of them. The photos
            in a folder come in the order of their paths.

    Raises:
        UserError: it is nothing of the kind, or a folder holds no photos.
    """
    one = isinstance(photos, str | os.PathLike | Image.Image) or _is_image_array(photos)
    if not one and not isinstance(photos, Iterable):
        raise UserError(f"a photo cannot be of type {type(photos).__name__}; give {TAKEN}")
    for photo in [photos] if one else photos:
        if isinstance(photo, str | os.PathLike) and Path(photo).is_dir():
            yield from ((path, True) for path in _inside(Path(photo)))
        else:
            yield photo, False


def _is_image_array(photos: Any) -> bool:
    return isinstance(photos, np.ndarray | jax.Array) and photos.ndim in (2, 3)


def _inside(folder: Path) -> list[Path]:
    found = [path for path in walk.files(folder) if walk.looks_like_photo(path)]
    if not found:
        raise UserError(f"the folder {folder} holds no image files, such as .jpg or .png")
    return found


def opened(photo: Any) -> tuple[bytes | np.ndarray | Image.Image, str]:
    """What ``data.decode`` takes, and what messages call it.

    Raises:
        UserError: the file cannot be read, or it is no photo.
    """
    if isinstance(photo, str | os.PathLike):
        try:
            return Path(photo).read_bytes(), str(photo)
        except OSError as error:
            raise UserError(f"cannot read the image {photo} ({error.strerror})") from error
    if isinstance(photo, Image.Image):
        return photo, "that was given"
    if not isinstance(photo, np.ndarray | jax.Array):
        raise UserError(f"a photo cannot be of type {type(photo).__name__}; give {TAKEN}")
    pixels = np.asarray(photo)
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4):
        raise UserError(
            f"a photo cannot be an array of type {photo.dtype} and shape {photo.shape}; give uint8 "
            "pixels from 0 to 255, [h w 3] or [h w]"
        )
    return pixels, "that was given"
