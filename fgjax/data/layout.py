"""Which folders of the user's photos are splits, and which are classes."""

from __future__ import annotations

import collections
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from fgjax.data import walk
from fgjax.errors import UserError

# In any case. The first name of a split is the one that messages advise.
_NAMES = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
_SPLIT_OF = {name: split for split, names in _NAMES.items() for name in names}


def split_folders(root: Path) -> dict[str, Path]:
    """The folder of each split; none where ``root`` holds the folders of the classes.

    A folder called ``train`` that holds photos, beside other such folders, is a class.

    Raises:
        UserError: it is not clear what a folder is.
    """
    named: dict[str, list[Path]] = {}
    others: list[Path] = []
    for folder in walk.folders(root):
        split = _split_of(folder)
        (named.setdefault(split, []) if split else others).append(folder)
    train = named.get("train", [])
    if not named or (others and not any(map(walk.folders, train))):
        _check_classes_with_names_of_splits(root, named)
        return {}
    for folders in named.values():
        if len(folders) > 1:
            raise UserError(
                f"the folder {root} holds both {folders[0].name}/ and {folders[1].name}/, which "
                "are one split; keep one of them, or put the photos of both into one"
            )
    if not train:
        raise UserError(
            f"the folder {root} holds {_first(named).name}/ but no train/; put the photos to "
            f"learn from into a folder for each class, such as {root / 'train' / 'robin'}"
        )
    if others:
        raise UserError(
            f"the folder {walk.shown(others[0])} lies beside {train[0].name}/ and is none of "
            "train/, val/ and test/; rename it to one of these, or move it elsewhere"
        )
    return {split: folders[0] for split, folders in named.items()}


def every_split(root: Path) -> list[Path]:
    """The folders of all splits, or ``root`` alone where it holds the folders of the classes."""
    found = walk.folders(root)
    return found if found and all(_split_of(f) and walk.folders(f) for f in found) else [root]


def class_folders(folder: Path, skip_broken: bool) -> list[Path]:
    """The folder of each class, sorted by name.

    Args:
        folder: a split, or all photos.
        skip_broken: whether photos that lie beside the folders are left out.

    Raises:
        UserError: there is none, two have the same name, a name is not UTF-8, or there are photos
            beside them.
    """
    found = walk.folders(folder)
    if not found:
        raise UserError(
            f"the folder {folder} holds no classes; put the images of each class into a folder of "
            f"its own, such as {folder / 'robin' / '1.jpg'}"
        )
    beside = [] if skip_broken else walk.photos(folder)
    if beside:
        raise UserError(
            f"the photo {walk.shown(beside[0])} lies beside the folders of classes; move it into "
            f"one of them, or out of {folder}"
        )
    known: dict[str, Path] = {}
    for path in found:
        walk.check_name(path)
        other = known.setdefault(same_name(path.name), path)
        if other is not path:
            raise UserError(
                f"the folder {folder} holds two folders whose names look alike, {other.name!a} and "
                f"{path.name!a}; put the photos of both into one"
            )
    return found


def check_classes(folder: Path, classes: Sequence[Path]) -> None:
    """Refuses folders that hold the folders of the classes rather than being them.

    Raises:
        UserError: a folder holds splits, is the only one and holds folders, or holds several
            folders of the same names as another; each without photos of its own.
    """
    folders = {path: [walk.shown(inner.name) for inner in walk.folders(path)] for path in classes}
    inside = {path: names for path, names in folders.items() if names and not walk.photos(path)}
    for path, names in inside.items():
        splits = {_SPLIT_OF.get(name.casefold()) for name in names} - {None}
        if len(classes) == 1 or ("train" in splits and len(splits) > 1):
            raise UserError(
                f"the folder {path} holds no photos but the folders {_listed(names)}, so it is no "
                f"class of {folder}; set data.dir to the folder that holds train/ or the classes"
            )
    count = collections.Counter(name for names in inside.values() for name in names)
    for path, names in inside.items():
        repeated = [name for name in names if count[name] > 1]
        if len(repeated) > 1:
            other = next(p for p in inside if p != path and repeated[0] in inside[p])
            raise UserError(
                f"the folders {path.name} and {other.name} of {folder} hold folders of the same "
                f"names ({_listed(repeated)}), so they are no classes; call them train/, val/ and "
                "test/, or put the photos of a class directly into its folder"
            )


def same_name(name: str) -> str:
    """What is equal for names that look the same: macOS writes accents apart, others do not."""
    return unicodedata.normalize("NFC", name)


def _check_classes_with_names_of_splits(root: Path, named: dict[str, list[Path]]) -> None:
    for folders in named.values():
        if walk.folders(folders[0]):
            raise UserError(
                f"the folder {folders[0]} holds folders, as a split does, but beside it there "
                "is no train/ that does; move the folders of the classes into train/"
            )
    if sum(map(len, named.values())) > 1:
        names = " and ".join(f"{folders[0].name}/" for folders in named.values())
        raise UserError(
            f"the folder {root} holds photos directly in {names}, and other folders; give each "
            "class a folder of its own in train/, val/ and test/"
        )


def _split_of(folder: Path) -> str | None:
    return _SPLIT_OF.get(folder.name.casefold())


def _first(named: dict[str, list[Path]]) -> Path:
    return next(iter(named.values()))[0]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
