"""Which weights represent a run: one rule, and one reader for all who score, load or report."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import rich

from fgjax.training import checkpoints, restoring
from fgjax.training.state import variables as collections


class Weights(NamedTuple):
    """The weights that represent a run.

    Attributes:
        variables: {"params", "batch_stats", "constants"}, the moving averages where there are any.
        step: of the checkpoint that they are from.
        last: step at which the run ends.
        rule: "best" by validation, or "last".
    """

    variables: dict[str, Any]
    step: int
    last: int
    rule: str

    def title(self, split: str) -> str:
        """What tables call their figures: "test, step 101 of 162 (best by validation)"."""
        by = " by validation" if self.rule == "best" and split != "validation" else ""
        return f"{split}, step {self.step} of {self.last} ({self.rule}{by})"


def read(where: Path, protocol: str, monitor: str) -> Weights:
    """The best weights by validation of a run in "develop", the last ones of one in "final".

    Args:
        where: folder of the run.
        protocol: of the run.
        monitor: the figure by which a checkpoint is the best.

    Raises:
        UserError: there is no checkpoint, or none is whole.
    """
    best_by = monitor if protocol == "develop" else None
    names = ("params", "batch_stats", "constants", "ema")
    step, items = restoring.chosen(where, best_by, names, rich.print)
    averaged = items.get("ema") or {}
    variables = collections(
        averaged.get("params", items["params"]),
        averaged.get("batch_stats", items.get("batch_stats", {})),
        items.get("constants", {}),
    )
    scored = best_by and checkpoints.recorded_score(where, step, best_by) is not None
    rule = "best" if scored else "last"
    return Weights(variables, step, checkpoints.planned_steps(where), rule)
