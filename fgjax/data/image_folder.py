"""The user's own photos: one folder a class, read directly.

Either ``train/CLASS/*.jpg`` with optional ``val/`` and ``test/`` beside it, or one folder
``CLASS/*.jpg`` that is split by rule: ``test_share`` of each class, chosen by file name, is the
test split, whatever the seed of a run. Splits may also be called ``training``, ``valid``,
``validation`` and ``testing``, in any case. Links are followed; hidden files and folders are left
out.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import ml_collections
import numpy as np

from fgjax.data import fingerprint, info, layout, stratify, walk
from fgjax.errors import UserError


def open_folder(config: ml_collections.ConfigDict) -> info.Dataset:
    """Finds the classes and images below ``config.dir``.

    Args:
        config: ``config.data``: dir, test_share, skip_broken.

    Raises:
        UserError: the folder is missing, holds no class folders, a class has no image, a file is
            not an image, or it is not clear what a folder is.
    """
    root = _existing_folder(config.dir)
    folders = layout.split_folders(root)
    train = folders.get("train", root)
    found = layout.class_folders(train, config.skip_broken)
    layout.check_classes(train, found)
    classes = tuple(path.name for path in found)
    by_rule = frozenset() if folders else frozenset({"test"})
    if folders:
        readers = {
            split: lambda folder=folder: _read(root, folder, train, classes, config.skip_broken)
            for split, folder in folders.items()
        }
    else:
        readers = _split_by_rule(root, classes, config)
    digest = fingerprint.of_folders(root, _learned_from(root, folders))
    description = info.DatasetInfo(name="image_folder", classes=classes, fingerprint=digest)
    return info.Dataset(description, readers, by_rule)


def learned_from(config: ml_collections.ConfigDict) -> list[Path]:
    """The folders below ``config.dir`` whose images are trained on or validated with."""
    root = _existing_folder(config.dir)
    return _learned_from(root, layout.split_folders(root))


def _learned_from(root: Path, folders: dict[str, Path]) -> list[Path]:
    # The test folder is not looked at before its split is asked for, so it has no part in this.
    return [folder for split, folder in folders.items() if split != "test"] or [root]


def read_all(config: ml_collections.ConfigDict, description: info.DatasetInfo) -> info.Examples:
    """Every image below ``config.test_dir``, its folders of splits taken together.

    Args:
        config: ``config.data``: test_dir, skip_broken.
        description: of the data that were learned from.

    Raises:
        UserError: there are no images, or some of another class.
    """
    root, skip = Path(config.test_dir).expanduser(), config.skip_broken
    places = layout.every_split(root)
    known = set(map(layout.same_name, description.classes))
    names = {path.name for place in places for path in layout.class_folders(place, skip)}
    check_known(root, sorted(name for name in names if layout.same_name(name) not in known))
    parts = [_read(root, place, root, description.classes, skip) for place in places]
    found = functools.reduce(info.Examples.join, parts)
    if not len(found):
        raise UserError(f"the test folder {root} holds no photos; add some for each class")
    return found


def check_known(root: Path, unknown: Sequence[str]) -> None:
    """Refuses a test folder with classes that nothing was learned of."""
    if unknown:
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        raise UserError(
            f"the test folder {root} has classes that are not among the trained ones: "
            f"{', '.join(map(repr, unknown[:5]))}{more}; rename them as in data.dir, or move them "
            "elsewhere"
        )


def splits(config: ml_collections.ConfigDict) -> set[str]:
    """The splits that the names of the folders promise; no file is opened.

    Args:
        config: ``config.data``: dir, test_share.

    Raises:
        UserError: the folder is missing or holds no class folders.
    """
    root = _existing_folder(config.dir)
    folders = layout.split_folders(root)
    layout.class_folders(folders.get("train", root), config.skip_broken)
    if folders:
        return set(folders)
    return {"train", "test"} if config.test_share else {"train"}


def _existing_folder(folder: str | None) -> Path:
    if not folder:
        raise UserError(
            "the data set image_folder needs data.dir; set it to the folder with your photos"
        )
    root = Path(folder).expanduser()
    walk.check_name(root)
    if not root.is_dir():
        raise UserError(f"the data folder {root} does not exist; set data.dir to an existing one")
    return root


def _read(
    root: Path, folder: Path, train: Path, classes: tuple[str, ...], skip_broken: bool
) -> info.Examples:
    """All images of ``folder/CLASS`` in the order of classes and names."""
    label_of = {layout.same_name(name): label for label, name in enumerate(classes)}
    found = []
    for path in layout.class_folders(folder, skip_broken):
        label = label_of.get(layout.same_name(path.name))
        if label is None:
            raise UserError(
                f"the folder {folder} has the class {path.name!r}, which has no training image; "
                f"add images to {train / path.name} or remove it"
            )
        found.append((label, path))
    files = [
        (path, label)
        for label, class_folder in sorted(found)
        for path in _image_files(class_folder, skip_broken)
    ]
    paths = [path for path, _ in files]
    return info.without_annotations(
        origin=str(root),
        names=[path.relative_to(root).as_posix() for path in paths],
        labels=[label for _, label in files],
        read=lambda i: paths[i].read_bytes(),
    )


def _image_files(folder: Path, skip_broken: bool) -> list[Path]:
    paths = []
    for path in walk.files(folder):
        if walk.looks_like_photo(path):
            walk.check_name(path)
            paths.append(path)
        elif not skip_broken:
            raise UserError(
                f"the file {walk.shown(path)} is not an image that can be read (such as .jpg or "
                ".png); convert or remove it, or set data.skip_broken=True to leave such files out"
            )
    return paths


def _split_by_rule(root: Path, classes: tuple[str, ...], config: ml_collections.ConfigDict) -> dict:
    everything = _read(root, root, root, classes, config.skip_broken)
    test = stratify.held_out(everything.labels, everything.names, config.test_share, salt="test")
    readers = {"train": lambda: everything.take(np.flatnonzero(~test))}
    if test.any():
        readers["test"] = lambda: everything.take(np.flatnonzero(test))
    return readers
