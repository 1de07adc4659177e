"""Does a run that was killed end at the same bits? A hundred runs, each killed once.

    python -m benchmarks.kills --count 100 --jobs 2

Every run is the quick start in its tiny form, killed (SIGKILL) at a random moment and started again
with the same command; its parameters, statistics and scores must equal those of a run that nobody
killed. The moments are spread over the stages of a run (``benchmarks/killing.py``), the runs over
both protocols and over features on disk and in memory. Every kill is a row of ``--table`` as soon
as it is made; the same command leaves out the rows that are there, and so goes on where it was
stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks import killing
from benchmarks.killing import Moment, Profile, Run

TABLE = Path(__file__).parent / "tables" / "kills.jsonl"
UNINTERRUPTED = "uninterrupted"
SETTINGS = ("disk, final", "memory, final", "disk, develop", "memory, develop")
MEASURED = ("images_per_second", "seconds")  # never twice the same

Row = dict[str, Any]


class Reference(NamedTuple):
    """What a run reached that nobody killed, and how long its stages took."""

    outcome: Row
    profile: Profile


def main() -> None:
    """Make the kills that the table lacks, then print it by stage."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="runs at the same time")
    parser.add_argument("--table", type=Path, default=TABLE)
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ.setdefault("FGJAX_CACHE", f"{scratch}/data")
        run = tiny_quickstart(Path(scratch) / "programs")
        rows = make_missing(
            run, Path(scratch), flags.table, range(flags.count), flags.seed, flags.jobs
        )
    print(markdown(rows))
    if not all(map(equal, rows)):
        raise SystemExit("some runs did not end at the same bits after a kill")


def tiny_quickstart(programs: Path) -> Run:
    """The run that is killed: the command line of fgjax, all of it imported already.

    Args:
        programs: folder of compiled programs. Runs that nobody kills write it, the others only
            read it, so that no kill leaves half a program there.
    """
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(programs)
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
    import jax

    import fgjax.run.train  # noqa: F401  what the command line imports late
    from fgjax import main as command_line
    from fgjax.training import parallel

    def run(folder: Path, setting: str) -> None:
        kept = 0.0 if folder.name == UNINTERRUPTED else 1e9
        jax.config.update("jax_persistent_cache_min_compile_time_secs", kept)
        parallel.compile_step = _saying(parallel.compile_step)
        features, protocol = setting.split(", ")
        flags = ["--config=configs/quickstart.py:tiny", f"--config.protocol={protocol}"]
        flags += ["--config.train.checkpoint_epochs=1.0", "--config.evaluate.epochs=1.0"]
        flags.append(f"--config.train.feature_cache={features}")
        command_line.main(["fgjax", *flags, f"--workdir={folder}"])

    return run


def _saying(compile_step: Callable) -> Callable:
    """The same, and the steps that it compiles say when they begin and end."""

    def compiled(*arguments: Any, **options: Any) -> Callable:
        step = compile_step(*arguments, **options)

        def said(*inputs: Any) -> Any:
            sys.audit(killing.STEP)
            outputs = step(*inputs)
            sys.audit(killing.STEPPED)
            return outputs

        return said

    return compiled


def make_missing(
    run: Run, scratch: Path, table: Path, cases: Sequence[int], seed: int, jobs: int
) -> list[Row]:
    """Make the kills that the table lacks; the rows of all of them.

    Args:
        run: (folder, a setting) -> trains there, or goes on.
        scratch: an empty folder, for the runs.
        table: JSON lines, one a case; rows of another reference than today's do not count.
        cases: numbers; the stage of a case follows from it, its moment from it and the seed.
        seed: of the moments.
        jobs: cases at the same time.
    """
    references = {setting: uninterrupted(run, scratch, setting) for setting in SETTINGS}
    networks = {(s.split(", ")[1], r.outcome["digest"]) for s, r in references.items()}
    if len(networks) != 2:
        raise SystemExit("features on disk and in memory gave different networks")

    def rows() -> list[Row]:
        digests = {setting: found.outcome["digest"] for setting, found in references.items()}
        of_seed = [row for row in read(table) if row["seed"] == seed]
        made = {row["case"]: row for row in of_seed if row["reference"] == digests[row["setting"]]}
        return [made[case] for case in cases if case in made]

    made = {row["case"] for row in rows()}
    missing = [case for case in cases if case not in made]

    def work(job: int) -> None:
        for case in missing[job::jobs]:
            append(table, make(run, scratch / str(case), references, case, seed))

    table.parent.mkdir(parents=True, exist_ok=True)
    workers = [killing.forked(partial(work, job), scratch / f"worker{job}") for job in range(jobs)]
    # A list: all of them are waited for.
    if any([os.waitpid(worker, 0)[1] for worker in workers]):
        raise SystemExit("\n".join(log.read_text() for log in scratch.glob("worker*.log")))
    return rows()


def uninterrupted(run: Run, scratch: Path, setting: str) -> Reference:
    """Let a run go to its end."""
    folder = scratch / setting / UNINTERRUPTED
    profile = killing.profile(run, folder, setting)
    return Reference(outcome(folder), profile)


def outcome(folder: Path) -> Row:
    """The digest and the scores of a run; neither where there are no results."""
    path = folder / "results.json"
    if not path.exists():
        return {}
    results = json.loads(path.read_text())
    scores = {
        name: {key: value for key, value in results[name].items() if key not in MEASURED}
        for name in ("validation", "test")
        if name in results
    }
    return {"digest": results.get("params_digest"), "scores": scores}


def make(run: Run, folder: Path, references: Mapping[str, Reference], case: int, seed: int) -> Row:
    """Kill one run, start it again, compare; its row."""
    setting, moment = choose(references, case, seed)
    reference = references[setting].outcome
    stage = killing.kill(run, folder, setting, moment)
    saved = [int(path.name) for path in folder.glob("checkpoints/*") if path.name.isdigit()]
    status = killing.ended(killing.forked(lambda: run(folder, setting), folder))
    found = outcome(folder)
    row = {
        "case": case,
        "seed": seed,
        "setting": setting,
        "stage": stage,
        "time": moment.nth + 1,
        "where": f"{moment.share:.0%}" if moment.where == "within" else moment.where,
        "checkpoint": max(saved, default=None),
        "reference": reference["digest"],
        "parameters_equal": status == 0 and found.get("digest") == reference["digest"],
        "scores_equal": status == 0 and found.get("scores") == reference["scores"],
    }
    if status:
        log = folder.with_suffix(".log").read_text().replace(str(folder), "WORKDIR")
        row["said"] = f"exit {status}: {log[-1000:]}"
    shutil.rmtree(folder, ignore_errors=True)
    return row


def choose(references: Mapping[str, Reference], case: int, seed: int) -> tuple[str, Moment]:
    """The setting of a case, and when its run is killed."""
    stages = list(references[SETTINGS[0]].profile)
    round_, number = divmod(case, len(stages))
    stage, setting = stages[number], SETTINGS[round_ % len(SETTINGS)]
    if stage not in references[setting].profile:
        setting = setting.replace("memory", "disk")
    times = references[setting].profile[stage]
    seconds = np.asarray(list(times.values()))
    rng = np.random.default_rng((seed, case))
    # Long stretches, such as a step with a score behind it, come more often than short ones.
    chances = 0.5 / len(seconds) + 0.5 * seconds / seconds.sum()
    nth = int(rng.choice(list(times), p=chances))
    where = str(rng.choice(["begin", "within", "within", "end"]))
    # The few bytes of a lock are written at once: it can be empty, and not half of it.
    share = 0.0 if stage == killing.LOCK else float(rng.uniform())
    return setting, Moment(stage, nth, where, share, times[nth])


def equal(row: Row) -> bool:
    """Whether a killed run ended where the reference did."""
    return row["parameters_equal"] and row["scores_equal"]


def read(table: Path) -> list[Row]:
    """The rows of a table; none where there is no file."""
    return [json.loads(line) for line in table.read_text().splitlines()] if table.exists() else []


def append(table: Path, row: Row) -> None:
    """Add a row, in one write, so that several processes can."""
    with table.open("a") as file:
        file.write(json.dumps(row) + "\n")


def markdown(rows: Sequence[Row]) -> str:
    """How the runs ended, by the stage in which they were killed."""
    stages = [stage for stage in killing.STAGES if any(row["stage"] == stage for row in rows)]
    lines = ["| Killed | Runs | Equal | Different |", "|---|---|---|---|"]
    for stage in [*stages, "**all**"]:
        of_it = [equal(row) for row in rows if row["stage"] == stage or stage not in stages]
        lines.append(f"| {stage} | {len(of_it)} | {sum(of_it)} | {len(of_it) - sum(of_it)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
