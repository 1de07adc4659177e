"""Files on disk that other processes may read or write: replaced whole, and locked.

A lock file names host, process and the start of that process, so that the lock of a process that
has died on this machine, or whose number another process has now, is taken over. Of a process on
another machine nobody here can tell whether it lives; its lock stays until a person deletes it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import filelock

from fgjax.errors import UserError

WRITTEN_WITHIN = 1.0  # seconds after which a living process has written who it is


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
            f"cannot write {path} ({error.strerror}); choose a folder that you may write to"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def held(lock: Path, guarded: Path, patience: float = 0.0) -> Iterator[None]:
    """Hold a lock while the block runs; readers need none.

    Args:
        lock: the lock file; its folder is made when it is missing.
        guarded: what it guards, for messages.
        patience: seconds to wait for another process to release it.

    Raises:
        UserError: another process holds it, or the folder cannot be written to.
    """
    claim = filelock.MarkerSoftFileLock(lock, timeout=patience)
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        _remove_without_record(claim, lock)
        claim.acquire()
    except filelock.Timeout as error:
        raise UserError(
            f"{guarded} is in use by {_holder(claim)}; wait for it to end, or stop it; should it "
            f"have died on another machine than this one, delete {lock}"
        ) from error
    except OSError as error:
        raise UserError(
            f"cannot write {guarded} ({error.strerror}); choose a folder that you may write to"
        ) from error
    try:
        yield
    finally:
        claim.release()


def _remove_without_record(claim: filelock.MarkerSoftFileLock, lock: Path) -> None:
    """Remove a lock that says nothing of its holder: it was killed before it could write that."""
    if not lock.exists() or claim.owner is not None:
        return
    time.sleep(WRITTEN_WITHIN)
    if claim.owner is None:
        lock.unlink(missing_ok=True)


def _holder(claim: filelock.MarkerSoftFileLock) -> str:
    owner = claim.owner
    if owner is None:  # it has just been released, or its file was cut short
        return "another process"
    return f"process {owner.pid} on {owner.hostname}"
