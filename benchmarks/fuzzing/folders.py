"""Folders of photos as nobody should have made them: odd names, links, splits, empty folders."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import numpy as np
from PIL import Image

from fgjax import data
from fgjax.data.decode import BrokenImageError
from fgjax.errors import UserError

SPLITS = ("train", "Train", "training", "val", "valid", "VALIDATION", "test", "Testing", "dev")
CLASSES = (
    "robin",
    "wren",
    "Rotkehlchen & Co",
    "=1+1",
    "-5",
    "[bold]x[red]",
    "a\nb",
    "鳥" * 20,
    "train",
    "test",
    "images",
    "con.",
    " ",
    "%s{}$x$",
    unicodedata.normalize("NFC", "Müller"),
    unicodedata.normalize("NFD", "Müller"),
)
HIDDEN = (".ipynb_checkpoints", "@eaDir", "__MACOSX", ".git")
FILES = ("notes.txt", "a.heic", ".DS_Store", "Thumbs.db", "empty.jpg", "broken.png", "b.pdf", "c")
SUFFIXES = (".jpg", ".png", ".PNG", ".webp", ".jpeg")


def example(rng: np.random.Generator, folder: Path) -> Path:
    """Write a folder of photos into ``folder``."""
    root = folder / "photos"
    root.mkdir(parents=True)
    kind = rng.integers(4)
    if kind == 0:
        _classes(rng, root)
    elif kind == 1:
        for split in ("train", *rng.choice(SPLITS, rng.integers(0, 4))):
            _classes(rng, root / str(split))
    elif kind == 2:
        for fold in range(rng.integers(1, 4)):
            _classes(rng, root / f"fold{fold}")
    else:
        _anything(rng, root, depth=3)
    for _ in range(rng.poisson(0.7)):
        _oddity(rng, root)
    return root


def outcome(path: Path) -> str:
    """``works`` if both protocols open the folder and read or name every photo, or ``refused``."""
    found = [_opened(path, *choice) for choice in (("develop", False), ("final", True))]
    return "refused" if None in found else "works"


def _opened(root: Path, protocol: str, skip_broken: bool) -> bool | None:
    c = data.default_config()
    c.name, c.dir, c.skip_broken = "image_folder", str(root), skip_broken
    try:
        bundle = data.load(c, protocol)
    except UserError as error:
        str(error).encode()
        return None
    seen: set[str] = set()
    for source in filter(None, (bundle.train, bundle.validation, bundle.test)):
        assert seen.isdisjoint(source.names)
        seen |= set(source.names)
        for index, name in enumerate(source.names):
            _check(bundle.info.classes, source, index, Path(name))
    assert len(bundle.train)
    return True


def _check(classes: tuple[str, ...], source: data.Source, index: int, name: Path) -> None:
    assert not any(part in HIDDEN or part.startswith(".") for part in name.parts), name
    label = unicodedata.normalize("NFC", classes[source.labels[index]])
    assert label in [unicodedata.normalize("NFC", part) for part in name.parts[:2]], name
    try:
        source.resized(index, 8, "bilinear")
    except BrokenImageError as error:
        str(error).encode()


def _classes(rng: np.random.Generator, folder: Path) -> None:
    """Folders of some classes; the same ones each time, mostly."""
    folder.mkdir(parents=True, exist_ok=True)
    names = CLASSES[: rng.integers(1, 5)] if rng.random() < 0.7 else rng.choice(CLASSES, 3)
    for name in map(str, names):
        inner = folder / name / "2024" if rng.random() < 0.1 else folder / name
        inner.mkdir(parents=True, exist_ok=True)
        for _ in range(rng.integers(0, 5) if rng.random() < 0.2 else 3):
            _photo(rng, inner)


def _anything(rng: np.random.Generator, folder: Path, depth: int) -> None:
    names = (*SPLITS, *CLASSES, *HIDDEN)
    for name in map(str, rng.choice(names, rng.integers(0, 4))):
        inner = folder / name
        inner.mkdir(exist_ok=True)
        for _ in range(rng.poisson(1.0)):
            _photo(rng, inner)
        if depth:
            _anything(rng, inner, depth - 1)


def _oddity(rng: np.random.Generator, root: Path) -> None:
    """A hidden folder, a file that is no photo, a link, or a name that is no UTF-8, somewhere."""
    folders = [root, *(path for path in sorted(root.rglob("*")) if path.is_dir())]
    here = folders[rng.integers(len(folders))]
    kind = rng.integers(6)
    if kind == 0:
        hidden = here / HIDDEN[rng.integers(len(HIDDEN))]
        hidden.mkdir(exist_ok=True)
        _photo(rng, hidden)
    elif kind == 1:
        (here / FILES[rng.integers(len(FILES))]).write_bytes(b"no photo")
    elif kind == 2:
        os.makedirs(os.fsencode(here) + b"/caf\xe9", exist_ok=True)
    elif kind == 3:
        _link(here / "link", folders[rng.integers(len(folders))])
    elif kind == 4:
        _link(here / "dangling.jpg", root / "nowhere")
    else:
        (here / "empty").mkdir(exist_ok=True)


def _link(path: Path, target: Path) -> None:
    if not os.path.lexists(path):
        path.symlink_to(target, target_is_directory=True)


def _photo(rng: np.random.Generator, folder: Path) -> None:
    pixels = rng.integers(0, 256, (5, 4, 3), np.uint8)
    suffix = SUFFIXES[rng.integers(len(SUFFIXES))]
    Image.fromarray(pixels).save(folder / f"{rng.integers(10**6)}{suffix}")
