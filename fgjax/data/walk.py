"""What lies in a folder: links are followed, and what a computer hides there is left out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from fgjax.data import formats
from fgjax.errors import UserError

# What Synology, macOS and Windows leave in folders, in lower case.
_HIDDEN = ("@eadir", "__macosx", "thumbs.db", "desktop.ini")


def folders(folder: Path) -> list[Path]:
    """The folders directly in a folder, sorted by name; hidden ones are left out."""
    return sorted(path for path, is_folder in _entries(folder) if is_folder and not _hidden(path))


def photos(folder: Path) -> list[Path]:
    """The files directly in a folder that look like photos, sorted; hidden ones are left out."""
    found = (path for path, is_folder in _entries(folder) if not is_folder and not _hidden(path))
    return sorted(filter(looks_like_photo, found))


def files(folder: Path) -> list[Path]:
    """The files in a folder and in the folders below it, sorted; hidden ones are left out.

    Folders that are links are followed, except to where the link itself lies.

    Raises:
        UserError: a folder cannot be looked into.
    """
    return sorted(_below(folder, (folder.resolve(),)))


def looks_like_photo(path: Path) -> bool:
    """Whether the suffix is one of photos, and it is no pipe, socket or device."""
    if path.suffix.lower() not in formats.suffixes():
        return False
    return os.path.isfile(path) or not os.path.exists(path)  # These never raise.


def shown(path: Path | str) -> str:
    r"""A path as text that can be printed and stored: bytes that are no UTF-8 become ``\xff``."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def check_name(path: Path) -> None:
    """Refuses a path that is not written in UTF-8."""
    if shown(path) != str(path):
        raise UserError(f"the name of {shown(path)} is not written in UTF-8; rename it")


def _below(folder: Path, above: tuple[Path, ...]) -> Iterator[Path]:
    """Files below a folder; ``above`` are the real places of it and of the links that led there."""
    for path, is_folder in _entries(folder):
        if _hidden(path):
            continue
        if not is_folder:
            yield path
        elif not path.is_symlink():
            yield from _below(path, (*above[:-1], above[-1] / path.name))
        elif not any(place.is_relative_to(path.resolve()) for place in above):
            yield from _below(path, (*above, path.resolve()))


def _entries(folder: Path) -> Iterator[tuple[Path, bool]]:
    """What lies directly in a folder, and whether it is a folder or a link to one."""
    try:
        with os.scandir(folder) as entries:
            found = [(folder / entry.name, _is_folder(entry)) for entry in entries]
    except OSError as error:
        raise UserError(
            f"cannot look into the folder {shown(folder)} ({error.strerror}); make it readable, or "
            "move it elsewhere"
        ) from error
    yield from found


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # A link that leads to itself.
        return False


def _hidden(path: Path) -> bool:
    return path.name.startswith(".") or path.name.lower() in _HIDDEN
