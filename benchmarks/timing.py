"""Times of programs that take turns, so that a busy machine slows all alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

Key = TypeVar("Key", bound=Hashable)


def interleaved(runs: Mapping[Key, Callable[[], Any]], rounds: int) -> dict[Key, float]:
    """Median seconds of each over ``rounds`` turns, after one to warm up."""
    times: dict[Key, list[float]] = {key: [] for key in runs}
    for turn in range(rounds + 1):
        for key, run in runs.items():
            start = time.perf_counter()
            run()
            if turn:
                times[key].append(time.perf_counter() - start)
    return {key: statistics.median(values) for key, values in times.items()}
