"""Scores of a split with the weights of a run: printed, recorded and counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich
from ml_collections import ConfigDict as Config

from fgjax import tasks
from fgjax.data import DataBundle
from fgjax.data import load as load_data
from fgjax.errors import UserError
from fgjax.evaluation import results
from fgjax.run import chosen, experiment, scoring, trained, workdir
from fgjax.training import parallel


def evaluate(folder: str, split: str, config: Config | None = None) -> dict[str, Any]:
    """Score a split with the best ("develop") or last ("final") weights of a run.

    Args:
        folder: of the run.
        split: "validation" or "test", which a run in "develop" did not open; it is counted.
        config: where given, its ``evaluate`` is used instead of that of the run, and with "test"
            its ``data.test_dir`` if it names one.

    Raises:
        UserError: no run in the folder, or no such split.
    """
    where = Path(folder).absolute()
    own = workdir.read_config(where)
    if config is not None:
        with own.unlocked():
            own.evaluate = config.evaluate
            if split == "test" and config.data.test_dir is not None:
                own.data.test_dir = config.data.test_dir
    model, info, weights = trained.restore(where)
    data = _opened(own, where, split)
    workdir.check_scorable(where, info, data)
    mesh = parallel.make_mesh(own.train.devices, at_most=True)
    task = tasks.resolve(own.task)
    apply = scoring.compiled_scores(task, model, own.evaluate.views, mesh)
    found = score_split(own, model, data, apply, weights, where, split)
    if split == "test":
        rich.print(_times_scored(found["evaluations"]["test"], own.protocol))
    return found


def _opened(config: Config, where: Path, split: str) -> DataBundle:
    """The split that is to be scored."""
    if split == "validation" and config.protocol == "final":
        raise UserError(
            f"{where} has no validation split: the protocol 'final' trained it on all images but "
            "those of test; score --split test"
        )
    # The test split is the same in both protocols, and "develop" leaves it closed.
    protocol = "final" if split == "test" else config.protocol
    data = load_data(config.data, protocol, config.seed, (split,))
    if not getattr(data, split):
        raise UserError(
            f"{config.data.dir or config.data.name} has no {split} images; "
            + ("add a folder test, or name one in data.test_dir" if split == "test" else "add some")
        )
    return data


def _times_scored(count: int, protocol: str) -> str:
    """How far a figure of the test split can be trusted."""
    chosen = (
        "; its weights were chosen on validation, and the one figure to report is that of a run "
        "in protocol='final'"
        if protocol == "develop"
        else ""
    )
    times = "once" if count == 1 else f"{count} times"
    return f"the test split was scored {times} by this run{chosen}"


def score_split(
    config: Config,
    model: experiment.Model,
    data: DataBundle,
    apply: scoring.Apply,
    weights: chosen.Weights,
    where: Path,
    split: str,
) -> dict[str, Any]:
    """Score a split, print the tables and record them; each call is counted.

    Returns:
        All results of the run.
    """
    source, task = data.split(split), tasks.resolve(config.task)
    found, speed = scoring.predict_split(
        apply, weights.variables, model, source, config.data, split
    )
    figures = task.summarize(found, data.info)
    task.save(found, where / f"predictions_{split}.npz")
    for table in task.tables(figures, weights.title(split)):
        rich.print(table)
    summary = figures.pop("summary")
    figures |= {"step": weights.step, "weights": weights.rule, "images_per_second": speed}
    return results.record(where, split, summary, **figures, views=config.evaluate.views)
