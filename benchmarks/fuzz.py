"""Does every odd input work, or end in one sentence? Thousands of them, made from seeds.

    python -m benchmarks.fuzz --count 1000 --jobs 2
    python -m benchmarks.fuzz --kind images --only 17     # one case again, with its traceback

A kind of input is a module in ``benchmarks/fuzzing``: ``example(rng, folder)`` makes a case,
``outcome(case)`` says "works" or "refused", and of configs that work some are trained for one
``step(case)``. Whatever else is raised is a fault, as are a process that dies, that asks for more
than ``--memory``, or that takes minutes, and a file that changes outside the folder of its case.
Every fifty cases are a row of ``--table`` as soon as they are done; rows that are there are left
out, so that the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import importlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.attempts import Chunk, Finding, attempt, findings

TABLE = Path(__file__).parent / "tables" / "fuzz.jsonl"
KINDS = ("configs", "images", "weights", "folders")
CHUNK = 50  # cases a row
STEPS = 50  # configs that take a step, of all that work

Row = dict[str, Any]


def main() -> None:
    """Try the cases that the table lacks, then print it by kind."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kind", choices=KINDS, action="append", help="all of them if not given")
    parser.add_argument("--count", type=int, default=1000, help="cases of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="processes at the same time")
    parser.add_argument("--memory", type=float, default=8.0, help="GiB that a process may address")
    parser.add_argument("--only", type=int, metavar="CASE", help="try one case and say all of it")
    parser.add_argument("--table", type=Path, default=TABLE)
    flags = parser.parse_args()
    modules = {kind: f"benchmarks.fuzzing.{kind}" for kind in flags.kind or KINDS}
    if flags.only is not None:
        for kind, module in modules.items():
            found = attempt(importlib.import_module(module), flags.seed, flags.only, step=True)
            print(f"{kind}, case {found.case}: {found.outcome}\n{found.text}")
        return
    options = {"seed": flags.seed, "jobs": flags.jobs, "memory": flags.memory}
    rows = [
        row
        for kind, module in modules.items()
        for row in try_missing(kind, module, flags.table, flags.count, **options)
    ]
    print(markdown(rows))
    if any(row["faults"] or row["changed"] for row in rows):
        raise SystemExit(f"there are faults; {flags.table} says which")


def try_missing(
    kind: str, module: str, table: Path, count: int, seed: int, jobs: int, memory: float
) -> list[Row]:
    """Try the cases of a kind that the table lacks; the rows of all of them.

    Args:
        kind: what the rows call it.
        module: its name, to import.
        table: JSON lines, one a chunk.
        count: cases, numbered from 0.
        seed: a case is a function of it and of its number.
        jobs: processes at the same time.
        memory: GiB that a process may address.
    """
    steps = -(-STEPS * CHUNK // count)
    chunks = [
        Chunk(module, seed, first, min(CHUNK, count - first), steps)
        for first in range(0, count, CHUNK)
    ]
    table.parent.mkdir(parents=True, exist_ok=True)
    made = _rows(table, kind, chunks)

    def work(chunk: Chunk) -> None:
        row = summary(kind, chunk, list(findings(chunk, memory)))
        with table.open("a") as file:
            file.write(json.dumps(row) + "\n")

    with ThreadPoolExecutor(jobs) as workers:
        list(workers.map(work, [chunk for chunk in chunks if chunk not in made]))
    return list(_rows(table, kind, chunks).values())


def _rows(table: Path, kind: str, chunks: Sequence[Chunk]) -> dict[Chunk, Row]:
    lines = table.read_text().splitlines() if table.exists() else []
    found = {(r["kind"], r["seed"], r["first"], r["count"]): r for r in map(json.loads, lines)}
    keys = {chunk: (kind, chunk.seed, chunk.first, chunk.size) for chunk in chunks}
    return {chunk: found[key] for chunk, key in keys.items() if key in found}


def summary(kind: str, chunk: Chunk, found: Sequence[Finding]) -> Row:
    """The row of a chunk."""
    outcomes = [finding.outcome for finding in found]
    return {
        "kind": kind,
        "seed": chunk.seed,
        "first": chunk.first,
        "count": chunk.size,
        "works": outcomes.count("works"),
        "refused": outcomes.count("refused"),
        "steps": sum(finding.stepped for finding in found),
        "faults": [{"case": f.case, "text": f.text} for f in found if f.outcome == "fault"],
        "changed": [{"case": f.case, "paths": f.changed} for f in found if f.changed],
        "peak_mib": round(max(finding.peak for finding in found)),
    }


def markdown(rows: Sequence[Row]) -> str:
    """What the cases came to, by kind."""
    lines = [
        "| Input | Cases | Works | Refused | Faults | Steps | Changed elsewhere | Peak, MiB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for kind in dict.fromkeys(row["kind"] for row in rows):
        of_it = [row for row in rows if row["kind"] == kind]
        sums = [sum(row[name] for row in of_it) for name in ("count", "works", "refused")]
        sums.append(sum(len(row["faults"]) for row in of_it))
        sums.append(sum(row["steps"] for row in of_it))
        sums.append(sum(len(row["changed"]) for row in of_it))
        sums.append(max(row["peak_mib"] for row in of_it))
        lines.append(f"| {kind} | " + " | ".join(map(str, sums)) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
