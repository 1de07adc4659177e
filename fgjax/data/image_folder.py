"""The user's own photos: one folder a class, read directly.

Either ``train/CLASS/*.jpg`` with optional ``val/`` (or ``validation/``) and ``test/`` beside it, or
one folder ``CLASS/*.jpg`` that is split by rule: ``test_share`` of each class, chosen by file
name, is the test split, whatever the seed of a run.
"""

from __future__ import annotations

from pathlib import Path

import ml_collections
import numpy as np
from PIL import Image

from fgjax.data import fingerprint, info, stratify
from fgjax.errors import UserError

_FOLDERS = {"train": ("train",), "validation": ("val", "validation"), "test": ("test",)}
_IGNORED = ("thumbs.db", "desktop.ini")


def open_folder(config: ml_collections.ConfigDict) -> info.Dataset:
    """Finds the classes and images below ``config.dir``.

    Args:
        config: ``config.data``: dir, test_share, skip_broken.

    Raises:
        UserError: the folder is missing, holds no class folders, a class has no image, or a file
            is not an image.
    """
    root = _existing_folder(config.dir)
    folders = split_folders(root)
    if "train" in folders:
        classes = _class_names(folders["train"])
        readers = {
            split: lambda folder=folder: _read(root, folder, classes, config.skip_broken)
            for split, folder in folders.items()
        }
        learned_from = [folder for split, folder in folders.items() if split != "test"]
    else:
        classes = _class_names(root)
        readers = _split_by_rule(root, classes, config)
        learned_from = [root]
    # The test folder is not looked at before its split is asked for, so it has no part in this.
    files = [path for folder in learned_from for path in folder.rglob("*") if path.is_file()]
    description = info.DatasetInfo(
        name="image_folder", classes=classes, fingerprint=fingerprint.of_files(root, files)
    )
    return info.Dataset(description, readers)


def splits(config: ml_collections.ConfigDict) -> set[str]:
    """The splits that the names of the folders promise; no file is opened.

    Args:
        config: ``config.data``: dir, test_share.

    Raises:
        UserError: the folder is missing or holds no class folders.
    """
    root = _existing_folder(config.dir)
    folders = split_folders(root)
    _class_names(folders.get("train", root))
    if "train" in folders:
        return set(folders)
    return {"train", "test"} if config.test_share else {"train"}


def split_folders(root: Path) -> dict[str, Path]:
    """The folder of each split that has one."""
    return {
        split: root / name
        for split, names in _FOLDERS.items()
        for name in names
        if (root / name).is_dir()
    }


def _existing_folder(folder: str | None) -> Path:
    if not folder:
        raise UserError(
            "The data set image_folder needs data.dir; set it to the folder with your photos."
        )
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise UserError(f"The data folder {root} does not exist; set data.dir to an existing one.")
    return root


def _class_names(folder: Path) -> tuple[str, ...]:
    classes = sorted(p.name for p in folder.iterdir() if p.is_dir() and p.name[0] != ".")
    if not classes:
        raise UserError(
            f"The folder {folder} holds no classes; put the images of each class into a folder of "
            f"its own, such as {folder / 'robin' / '1.jpg'}."
        )
    return tuple(classes)


def _read(root: Path, folder: Path, classes: tuple[str, ...], skip_broken: bool) -> info.Examples:
    """All images of ``folder/CLASS`` in the order of classes and names."""
    unknown = set(_class_names(folder)) - set(classes)
    if unknown:
        raise UserError(
            f"The folder {folder} has the class {min(unknown)!r}, which has no training image; "
            f"add images to {root / 'train' / min(unknown)} or remove it."
        )
    files = [
        (path, label)
        for label, name in enumerate(classes)
        for path in _image_files(folder / name, skip_broken)
    ]
    paths = [path for path, _ in files]
    return info.without_annotations(
        origin=str(root),
        names=[path.relative_to(root).as_posix() for path in paths],
        labels=[label for _, label in files],
        read=lambda i: paths[i].read_bytes(),
    )


def _image_files(folder: Path, skip_broken: bool) -> list[Path]:
    known = Image.registered_extensions()
    paths = []
    for path in sorted(folder.rglob("*")):
        if path.is_dir() or path.name[0] == "." or path.name.lower() in _IGNORED:
            continue
        if path.suffix.lower() in known:
            paths.append(path)
        elif not skip_broken:
            raise UserError(
                f"The file {path} is not an image that can be read (such as .jpg or .png); "
                "convert or remove it, or set data.skip_broken=True to leave such files out."
            )
    return paths


def _split_by_rule(root: Path, classes: tuple[str, ...], config: ml_collections.ConfigDict) -> dict:
    everything = _read(root, root, classes, config.skip_broken)
    test = stratify.held_out(everything.labels, everything.names, config.test_share, salt="test")
    readers = {"train": lambda: everything.take(np.flatnonzero(~test))}
    if test.any():
        readers["test"] = lambda: everything.take(np.flatnonzero(test))
    return readers
