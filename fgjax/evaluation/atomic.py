"""Files that are either the old version or the new one, never a half of each."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from fgjax.errors import UserError


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Open a temporary neighbour of ``path`` that takes its place when the block ends well.

    The folder is made when it is missing. After a kill, or an exception inside the block, the
    previous file is still there, whole.

    Raises:
        UserError: the folder cannot be written to.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise UserError(
            f"Cannot write {path} ({error.strerror}); choose a folder that you may write to."
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink()
