"""Odd inputs, tried one after another in processes that may fail.

A process has so much memory and time, works in silence, and must leave alone what lies around the
folder of a case. One that dies takes only its case with it.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import resource
import shutil
import stat
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

LIMIT = 180.0  # seconds a case


class Chunk(NamedTuple):
    """Some cases: those from ``first`` on, of which the first ``steps`` that work take a step."""

    module: str
    seed: int
    first: int
    size: int
    steps: int


class Finding(NamedTuple):
    """What a case came to: "works", "refused" or "fault", and whether it took a step.

    Attributes:
        case: its number.
        outcome: one of the three.
        stepped: whether a step was taken.
        text: the traceback of a fault.
        changed: files outside its folder that were made, changed or removed.
        peak: MiB that its process had held at most.
    """

    case: int
    outcome: str
    stepped: bool = False
    text: str = ""
    changed: Sequence[str] = ()
    peak: float = 0.0


def findings(chunk: Chunk, memory: float) -> Iterator[Finding]:
    """Try a chunk in a process of its own, and after a case that ends it in another one."""
    spawn = multiprocessing.get_context("spawn")
    stop, steps = chunk.first + chunk.size, chunk.steps
    case = chunk.first
    while case < stop:
        here, there = spawn.Pipe(duplex=False)
        rest = chunk._replace(first=case, size=stop - case, steps=steps)
        process = spawn.Process(target=_process, args=(rest, memory, there))
        process.start()
        there.close()
        for found in _heard(here, process, case, stop):
            yield found
            case, steps = found.case + 1, steps - found.stepped
        here.close()
        process.join()


def _heard(here: Connection, process: Any, case: int, stop: int) -> Iterator[Finding]:
    """What a process finds, and if it ends early, what became of the case that it was at."""
    for number in range(case, stop):
        text = f"took more than {LIMIT:g} seconds"
        try:
            if here.poll(LIMIT):
                yield here.recv()
                continue
        except EOFError:
            process.join()
            text = f"the process died with exit status {process.exitcode}"
        process.kill()
        yield Finding(number, "fault", text=text)
        return


def _process(chunk: Chunk, memory: float, there: Connection) -> None:
    """Try the cases of a chunk and send what is found; in a process of its own, and mute."""
    size = round(memory * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    module, steps = importlib.import_module(chunk.module), chunk.steps
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    for case in range(chunk.first, chunk.first + chunk.size):
        found = attempt(module, chunk.seed, case, step=steps > 0)
        steps -= found.stepped
        there.send(found)


def attempt(module: Any, seed: int, case: int, step: bool) -> Finding:
    """Make a case in a folder of its own, and see what comes of it.

    Args:
        module: of the kind.
        seed: with ``case``, all that the case follows from.
        case: its number.
        step: whether it takes a step, if it works and the module knows one.
    """
    root = Path(tempfile.mkdtemp())
    folder = root / "inside" / "case"
    folder.mkdir(parents=True)
    for place in (root, root / "inside"):
        (place / "neighbor.txt").write_text("not of this case")
    before, text, stepped = _outside(root, folder), "", False
    try:
        made = module.example(np.random.default_rng((seed, case)), folder)
        outcome = module.outcome(made)
        if outcome not in ("works", "refused"):
            raise ValueError(f"the outcome {outcome!r} is neither 'works' nor 'refused'")
        if outcome == "works" and step and hasattr(module, "step"):
            module.step(made)
            stepped = True
    except (Exception, SystemExit):
        outcome, text = "fault", traceback.format_exc()
    after = _outside(root, folder)
    changed = sorted(p for p in before | after if before.get(p) != after.get(p))
    shutil.rmtree(root, ignore_errors=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    return Finding(case, outcome, stepped, text, changed, peak)


def _outside(root: Path, folder: Path) -> dict[str, tuple]:
    """What lies around a case: its neighbors, and the names in the working and home folders."""
    found: dict[str, tuple] = {}
    for path in root.rglob("*"):
        if not path.is_relative_to(folder):
            status = path.lstat()
            changed = None if stat.S_ISDIR(status.st_mode) else status.st_mtime_ns
            found[str(path.relative_to(root))] = (status.st_mode, status.st_ino, changed)
    for place in (Path.cwd(), Path.home()):
        found |= {str(path): () for path in place.iterdir() if not path.name.startswith(".")}
    return found
