"""Several seeds x options, each a whole training run, and the table that compares them.

    python -m benchmarks.ablate benchmarks/tables/unfreezing.py --workdir runs/unfreezing \
        --seeds 0,1,2 --set data.dir=PATH/CUB_200_2011

A table is a Python file with a docstring (its first line is the title), ``get_config()`` (what the
rows share) and ``ROWS``, {name: {dotted config key: value}}; the first row, or the one that
``--against`` names, is what the others are compared with. Every cell trains in the protocol
"develop" and its best weights are scored on the validation split of its seed, which the rows share:
differences are paired by (seed, example). Finished cells are skipped, an interrupted one is
resumed; ``--limit 1`` trains one cell and stops.
"""

from __future__ import annotations

import argparse
import ast
import re
import runpy
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from fgjax.errors import UserError
from fgjax.evaluation import intervals, predictions, results
from fgjax.run import train

Overrides = Mapping[str, Any]


class Table(NamedTuple):
    """A comparison: its title, the shared config and each row's overrides."""

    title: str
    config: ConfigDict
    rows: Mapping[str, Overrides]


def main() -> None:
    """Train the missing cells, then print the table and write it to WORKDIR/table.md."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("table", type=Path)
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--limit", type=int, help="train at most so many cells")
    parser.add_argument("--against", metavar="ROW", help="compare with it, not with the first row")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="of every row")
    flags = parser.parse_args()
    seeds = [int(seed) for seed in flags.seeds.split(",")]
    try:
        table = read_table(flags.table, dict(map(parse_override, flags.set)))
        check_row(table, flags.against)
        train_missing(table, flags.workdir, seeds, flags.limit)
    except UserError as error:
        raise SystemExit(f"error: {error}") from None
    text = markdown(table, flags.workdir, seeds, flags.against)
    (flags.workdir / "table.md").write_text(text)
    print(text)


def read_table(path: Path, shared: Overrides) -> Table:
    """The table in a file, ``shared`` overriding its config."""
    found = runpy.run_path(str(path))
    config = overridden(found["get_config"](), {"protocol": "develop", **shared})
    return Table(found["__doc__"].split("\n")[0].rstrip("."), config, found["ROWS"])


def check_row(table: Table, name: str | None) -> None:
    """Raises UserError unless the table has a row of that name, or none is asked for."""
    if name is not None and name not in table.rows:
        raise UserError(f"the table has no row {name!r}; choose one of {'; '.join(table.rows)}")


def parse_override(text: str) -> tuple[str, Any]:
    """ "train.epochs=3.0" -> ("train.epochs", 3.0); what is no literal is a string."""
    key, _, raw = text.partition("=")
    try:
        return key, ast.literal_eval(raw)
    except (ValueError, SyntaxError):
        return key, raw


def overridden(config: ConfigDict, overrides: Overrides) -> ConfigDict:
    """A copy of a config with some keys replaced, whatever their type was.

    Raises:
        UserError: a key whose parent does not exist.
    """
    config = config.copy_and_resolve_references()
    with config.ignore_type(), config.unlocked():
        for path, value in overrides.items():
            *parents, last = path.split(".")
            node = config
            for key in parents:
                if key not in node:
                    raise UserError(f"the config has no key {path!r}; correct the override")
                node = node[key]
            node[last] = ConfigDict(value) if isinstance(value, Mapping) else value
    return config


def cell_folder(workdir: Path, row: str, seed: int) -> Path:
    """Where a cell trains."""
    return workdir / re.sub(r"\W+", "-", row).strip("-") / str(seed)


def finished(folder: Path) -> bool:
    """Whether a cell has been trained and scored."""
    return "validation" in results.read(folder)


def train_missing(
    table: Table, workdir: Path, seeds: Sequence[int], limit: int | None = None
) -> None:
    """Train the cells without a score, all rows of a seed before the next seed."""
    cells = [(row, seed) for seed in seeds for row in table.rows]
    missing = [cell for cell in cells if not finished(cell_folder(workdir, *cell))]
    for row, seed in missing[:limit]:
        print(f"{row}, seed {seed}", flush=True)
        config = overridden(table.config, {**table.rows[row], "seed": seed})
        train.train(config, str(cell_folder(workdir, row, seed)))


def markdown(
    table: Table, workdir: Path, seeds: Sequence[int], reference: str | None = None
) -> str:
    """The table, with the rows that have a finished cell."""
    reference = reference or next(iter(table.rows))
    lines = [
        f"### {table.title}\n",
        f"| | top-1, % | difference from {reference}, points (95 %) | seconds | optimiser MB |",
        "|---|---|---|---|---|",
    ]
    for row in table.rows:
        done = [s for s in seeds if finished(cell_folder(workdir, row, s))]
        if done:
            lines.append(_line(workdir, row, reference, done))
    return "\n".join(lines) + "\n"


def _line(workdir: Path, row: str, reference: str, seeds: Sequence[int]) -> str:
    found = [results.read(cell_folder(workdir, row, seed)) for seed in seeds]
    top1 = [100 * result["validation"]["top1"] for result in found]
    seconds = statistics.mean(result["seconds"] for result in found)
    megabytes = 1e-6 * max(
        phase["optimizer_bytes"] for result in found for phase in result["phases"].values()
    )
    score = f"{statistics.mean(top1):.1f}"
    if len(top1) > 1:
        score += f" ± {statistics.stdev(top1):.1f}"
    paired = [s for s in seeds if finished(cell_folder(workdir, reference, s))]
    difference = "" if row == reference else _difference(workdir, row, reference, paired)
    return f"| {row} | {score} | {difference} | {seconds:.0f} | {megabytes:.1f} |"


def _difference(workdir: Path, row: str, reference: str, seeds: Sequence[int]) -> str:
    if not seeds:
        return ""
    right = [
        np.concatenate([_correct(cell_folder(workdir, name, seed)) for seed in seeds])
        for name in (row, reference)
    ]
    found = intervals.paired_bootstrap(*right)
    return f"{100 * found.value:+.1f} ({100 * found.low:+.1f} to {100 * found.high:+.1f})"


def _correct(folder: Path) -> np.ndarray:
    found = predictions.load(folder / "predictions_validation.npz")
    return found.logits.argmax(1) == found.labels


if __name__ == "__main__":
    main()
