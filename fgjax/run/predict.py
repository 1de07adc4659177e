"""Predictions for the user's own photos, and where the network looked."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rich
from rich.markup import escape

from fgjax.data import walk
from fgjax.errors import UserError
from fgjax.run import trained
from fgjax.show import overlay

TOP = 5

_TABLE = "predictions.csv"
_OVERLAY = re.compile(r"\d{4,}_.*\.png", re.DOTALL)
# File systems allow 255 bytes for a name, some only 143; the number and a suffix need room.
_LONGEST_STEM = 100


def predict_to_files(folder: str | Path, images: Sequence[str]) -> list[tuple[str, Any]]:
    """Print the top classes of photos; write an overlay of each and, for folders, a CSV.

    Overlays and ``predictions.csv`` go to ``WORKDIR/predictions``, and those of an earlier call are
    removed from there. Files in a folder that are no photos, or cannot be read, are named and left
    out; one that was asked for by its own name is an error.

    Args:
        folder: of the run.
        images: paths of photos and of folders of photos.

    Raises:
        UserError: no run, no images, or a photo that cannot be read.
    """
    where = Path(folder).absolute()
    photos, left_out = _photos(images)
    recognizer = trained.load(where)
    target = where / "predictions"
    _clear(target, [path for path, _ in photos])
    if left_out:
        _tell(f"left out, no photos by their names ({len(left_out)}):", _few(left_out))
    found: list[tuple[str, Any]] = []
    for path, in_folder in photos:
        try:
            image = recognizer.read(path)
        except UserError as error:
            if not in_folder:
                raise
            _tell("left out:", str(error))
            continue
        ranked = _explain(recognizer, image, target / _overlay_name(len(found), path))
        found.append((walk.shown(path), ranked))
    if not found:
        raise UserError(f"none of the images in {', '.join(images)} can be read")
    rich.print(recognizer.task.listing(found))
    if any(in_folder for _, in_folder in photos):
        recognizer.task.write(found, target / _TABLE)
    rich.print(f"written to {escape(walk.shown(target))}")
    return found


def _clear(target: Path, photos: Sequence[Path]) -> None:
    """Make the folder of predictions, and remove from it what an earlier call wrote there."""
    asked_for = {path.resolve() for path in photos}
    try:
        target.mkdir(exist_ok=True)
        for path in list(target.iterdir()):
            written = path.name == _TABLE or _OVERLAY.fullmatch(path.name)
            if written and path.resolve() not in asked_for:
                path.unlink()
    except OSError as error:
        raise UserError(f"cannot write to {target} ({error.strerror})") from error


def _overlay_name(number: int, photo: Path) -> str:
    """A name that every file system can hold; the number tells shortened ones apart."""
    stem = os.fsencode(photo.stem)[:_LONGEST_STEM].decode("utf-8", "ignore")
    return f"{number:04d}_{stem}.png"


def _tell(what: str, which: str) -> None:
    rich.print(f"[yellow]{what}[/] {escape(walk.shown(which))}")


def _few(paths: Sequence[Path]) -> str:
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return ", ".join(path.name for path in paths[:3]) + more


def _explain(recognizer: trained.TrainedRecognizer, image: np.ndarray, path: Path) -> Any:
    """What is predicted for one image; the evidence for it is drawn to ``path``."""
    found, figure = recognizer.task.explain(recognizer, image, TOP)
    overlay.save(figure, path)
    return found


def _photos(images: Sequence[str]) -> tuple[list[tuple[Path, bool]], list[Path]]:
    """Photos, each with whether it was found in a folder, and the other files of the folders."""
    if not images:
        raise UserError("--mode predict needs photos; name files or folders after the flags")
    photos: list[tuple[Path, bool]] = []
    others: list[Path] = []
    for path in map(Path, images):
        if not os.path.exists(path):  # Unlike Path.exists, it takes names of any length.
            raise UserError(f"there is no image or folder {path}")
        if not path.is_dir():
            photos.append((path, False))
            continue
        inside = {inner: walk.looks_like_photo(inner) for inner in walk.files(path)}
        if not any(inside.values()):
            raise UserError(f"the folder {path} holds no image files, such as .jpg or .png")
        photos += [(inner, True) for inner, is_photo in inside.items() if is_photo]
        others += [inner for inner, is_photo in inside.items() if not is_photo]
    return photos, others
