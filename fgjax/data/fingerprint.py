"""Digests by which data sets are told apart."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fgjax.data import walk
from fgjax.errors import UserError


def of_files(root: Path, paths: Iterable[Path]) -> str:
    """SHA-256 over the sorted relative names and the contents of files.

    It does not depend on where the folder lies or when it was copied. Reading every byte costs a
    few per cent of decoding the same images once.

    Raises:
        UserError: a file cannot be read.
    """
    ordered = sorted(paths)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        digests = pool.map(_digest, ordered)
        total = hashlib.sha256()
        for path, digest in zip(ordered, digests, strict=True):
            total.update(os.fsencode(path.relative_to(root).as_posix()) + b"\0" + digest)
    return total.hexdigest()


def of_folders(root: Path, folders: Iterable[Path]) -> str:
    """The digest of the files in folders below ``root``, linked ones included, hidden ones not."""
    found = (path for folder in folders for path in walk.files(folder))
    return of_files(root, filter(os.path.isfile, found))


def of_values(*values: object) -> str:
    """SHA-256 of the values' representations."""
    return hashlib.sha256(repr(values).encode()).hexdigest()


def _digest(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise UserError(
            f"cannot read the file {walk.shown(path)} ({error.strerror}); make it readable, or "
            "move it elsewhere"
        ) from error
