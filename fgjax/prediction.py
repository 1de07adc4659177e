"""Predictions for the user's own photos: the top classes, and where the network looked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import numpy as np
import rich
from PIL import Image

from fgjax import console, overlay, trained
from fgjax.data.decode import BrokenImageError
from fgjax.errors import UserError

TOP = 5


def predict_to_files(where: Path, images: Sequence[str]) -> list[tuple[str, overlay.Ranked]]:
    """Print the top classes of photos; write an overlay of each and, for folders, a CSV.

    Overlays and ``predictions.csv`` go to ``WORKDIR/predictions``. A file in a folder that cannot
    be read is named and left out; one that was asked for by its own name is an error.

    Args:
        where: folder of the run.
        images: paths of photos and of folders of photos.

    Raises:
        UserError: no run, no images, or a photo that cannot be read.
    """
    recognizer = trained.load(where)
    target = where / "predictions"
    try:
        target.mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {target} ({error.strerror})") from error
    found: list[tuple[str, overlay.Ranked]] = []
    folders = False
    for path, in_folder in _paths(images):
        try:
            image = recognizer.read(path)
        except BrokenImageError as error:
            if not in_folder:
                raise
            rich.print(f"[yellow]left out:[/] {error}")
            continue
        folders |= in_folder
        ranked = _explain(recognizer, image, target / f"{len(found):04d}_{path.stem}.png")
        found.append((str(path), ranked))
    if not found:
        raise UserError(f"none of the images in {', '.join(images)} can be read")
    rich.print(console.predictions_table(found))
    if folders:
        overlay.write_csv(found, target / "predictions.csv")
    rich.print(f"written to {target}")
    return found


def _explain(recognizer, image, path) -> overlay.Ranked:
    """The top classes of one image; the evidence for the first is drawn to ``path``."""
    inputs = recognizer.normalize(image[None])
    probabilities = np.asarray(jax.nn.softmax(recognizer.apply(inputs).logits))[0]
    order = np.argsort(-probabilities, kind="stable")[:TOP]
    ranked = [(recognizer.classes[i], float(probabilities[i])) for i in order]
    shares = recognizer.contributions(inputs, np.asarray(order[:1]))
    overlay.save(overlay.explanation(image, np.asarray(shares)[0], ranked), path)
    return ranked


def _paths(images: Sequence[str]) -> Iterator[tuple[Path, bool]]:
    """Photos, and whether each was found in a folder."""
    if not images:
        raise UserError("--mode predict needs photos; name files or folders after the flags")
    for name in images:
        path = Path(name)
        if not path.exists():
            raise UserError(f"there is no image or folder {path}")
        if not path.is_dir():
            yield path, False
            continue
        known = Image.registered_extensions()
        inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in known)
        if not inside:
            raise UserError(f"the folder {path} holds no image files, such as .jpg or .png")
        yield from ((p, True) for p in inside)
