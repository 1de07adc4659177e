"""Metrics of a run on disk: JSON lines, and the same figures for TensorBoard.

``WORKDIR/metrics.jsonl`` is the record; ``WORKDIR/tensorboard`` is derived from it. A run that was
killed and resumed reads as if it had never stopped: each step stands in both exactly once.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from fgjax.errors import UserError


class MetricLogger:
    """Writes the metrics of each step; use it as a context manager.

    Args:
        workdir: folder of the run; made when it is missing.
        step: last step that the restored checkpoint has completed, 0 for a new run. What an
            earlier, killed run logged beyond it is removed, because it will be logged again.
        scored: whether that step's validation score was recorded; else it is removed as well.

    Raises:
        UserError: the folder cannot be written to, or its ``metrics.jsonl`` is something else.
    """

    def __init__(self, workdir: str | os.PathLike, step: int = 0, scored: bool = True):
        workdir = Path(workdir)
        try:
            (workdir / "tensorboard").mkdir(parents=True, exist_ok=True)
            rows = _complete_rows(workdir)
            kept = [
                row
                for row in rows
                if row["step"] < step or (row["step"] == step and (scored or not _is_score(row)))
            ]
            self._rewrite(workdir, kept)
        except OSError as error:
            raise UserError(
                f"cannot write logs to {workdir} ({error.strerror}); choose a workdir that you "
                "may write to"
            ) from error

    def write(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Log scalars, and words such as the phase's name, at a step.

        Words go to the JSON lines alone. NaN and infinity, which JSON lacks, are stored as null.
        """
        scalars = {name: value for name, value in metrics.items() if not isinstance(value, str)}
        numbers = {name: float(np.asarray(value)) for name, value in scalars.items()}
        row = {"step": int(step), "time": time.time(), **metrics, **numbers}
        self._lines.write(_line(row))
        self._lines.flush()
        self._events.add_event(_event(row))

    def close(self) -> None:
        """Flush and close both files."""
        self._lines.close()
        self._events.close()

    def __enter__(self) -> MetricLogger:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _rewrite(self, workdir: Path, rows: list[dict]) -> None:
        path, temporary = workdir / "metrics.jsonl", workdir / ".metrics.jsonl.tmp"
        temporary.write_text("".join(map(_line, rows)))
        temporary.replace(path)
        for old in (workdir / "tensorboard").glob("events.out.tfevents.*"):
            old.unlink()
        self._lines = path.open("a")
        self._events = EventFileWriter(str(workdir / "tensorboard"))
        for row in rows:
            self._events.add_event(_event(row))


def read(workdir: str | os.PathLike) -> list[dict]:
    """Rows of ``metrics.jsonl``, each with ``step``, ``time`` (Unix seconds) and its metrics.

    Raises:
        UserError: there is none, or it is something else.
    """
    if not (Path(workdir) / "metrics.jsonl").exists():
        raise UserError(f"there is no metrics.jsonl in {workdir}; train there first")
    return _complete_rows(Path(workdir))


def _complete_rows(workdir: Path) -> list[dict]:
    """All rows; a last line that a kill cut short is left out."""
    path = workdir / "metrics.jsonl"
    if not path.exists():
        return []
    *lines, _unfinished = path.read_text(errors="replace").split("\n")
    try:
        rows = [json.loads(line) for line in lines]
        return [row for row in rows if row["step"] >= 0]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is not a metrics log of fgjax; move it away and start again"
        ) from error


def _is_score(row: dict) -> bool:
    return any(name.startswith("validation/") for name in row)


def _line(row: dict) -> str:
    finite = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in row.items()
    }
    return json.dumps(finite) + "\n"


def _event(row: dict) -> Event:
    metrics = {name: value for name, value in row.items() if name not in ("step", "time")}
    values = [
        Summary.Value(tag=name, simple_value=math.nan if value is None else value)
        for name, value in metrics.items()
        if not isinstance(value, str)
    ]
    return Event(wall_time=row["time"], step=row["step"], summary=Summary(value=values))
