"""From the folder of a run, or a config alone, to the report on its hierarchy."""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import rich
from ml_collections import ConfigDict as Config

from fgjax import analysis, tasks
from fgjax.analysis import atlas
from fgjax.evaluation import results
from fgjax.run import experiment, train, trained, workdir

# Epochs of the short trainings that test the advice.
SHORT = 24.0


def analyze_runs(
    folders: Sequence[str], config: Config | None = None, check: bool = False
) -> dict[str, Any]:
    """Write ``FOLDER/report`` for every folder; the first report sets all of them side by side.

    Args:
        folders: of runs; the others' reports are reused where they exist.
        config: of a network to analyse as it is initialised, for a first folder without a run.
        check: test the advice of the first by short trainings.

    Returns:
        What ``report.json`` of the first holds.

    Raises:
        UserError: no run in a folder, or data that cannot be read.
    """
    first, *others = (Path(folder).absolute() for folder in folders)
    other_reports = [_known(other) or _analyze(other, None, False, []) for other in others]
    return _analyze(first, config, check, other_reports)


def _known(folder: Path) -> dict[str, Any] | None:
    """The report of a run, if there is one of today's format."""
    path = folder / "report" / "report.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    return found if found.get("format_version") == atlas.FORMAT_VERSION else None


def _analyze(folder: Path, config: Config | None, check: bool, others: list) -> dict[str, Any]:
    if config is None or (folder / "recognizer.json").exists():
        config = workdir.read_config(folder)
        recogniser = trained.load(folder)
        data = experiment.load_data(config, "train", "validation", "test")
        workdir.check_scorable(folder, recogniser.info, data)
    else:
        data = experiment.load_data(config, "train", "validation", "test")
        model = experiment.build_model(config, len(data.info.classes))
        variables = model.initialize(config.seed)
        recogniser = trained.TrainedRecognizer(model, data.info, variables)
    content = analysis.report(
        recogniser,
        data,
        folder / "report",
        twins=twins(recogniser, config),
        name=folder.name,
        model_config=config.model,
        trained=trained_rates(config.schedule),
        other_reports=others,
        check=short_trainings(config) if check else None,
        say=lambda line: rich.print(f"[dim]{line} …"),
    )
    if recogniser.folder is not None:
        results.count(folder, content["data"]["split"])
    rich.print(analysis.console_summary(content))
    rich.print(f"report: {folder / 'report' / 'index.html'}")
    return content


def twins(recogniser: trained.TrainedRecognizer, config: Config) -> dict[str, Any]:
    """The recogniser with random weights and, if it was fine-tuned, with those it started from.

    The random one keeps the trained head: a head that says nothing would make any attribution of
    its decisions look unlike the trained network's.
    """
    unlike = dataclasses.replace(recogniser.model, source=None).initialize(config.seed + 1)
    unlike["params"] = {**unlike["params"], "head": recogniser.variables["params"]["head"]}
    found = {"random": dataclasses.replace(recogniser, variables=unlike)}
    if config.model.backbone.weights is not None and recogniser.model.source is None:
        start = experiment.build_model(config, len(recogniser.classes)).initialize(config.seed)
        found["pretrained"] = dataclasses.replace(recogniser, variables=start)
    return found


def trained_rates(schedule: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The highest learning rate at which a schedule trains each group."""
    found: dict[str, float] = {}
    for phase in schedule:
        for group, value in phase["train"].items():
            rate = value["rate"] if isinstance(value, Mapping) else value
            found[group] = max(found.get(group, 0.0), float(rate))
    return found


def short_trainings(
    config: Config, protocol: str = "develop"
) -> Callable[[Mapping[str, Any]], float]:
    """A function from changes of the config to the task's figure after a short training.

    On validation images in the protocol "develop", on test in "final".
    """
    split = "test" if protocol == "final" else "validation"
    monitor = tasks.resolve(config.task).monitor

    def trained_shortly(changes: Mapping[str, Any]) -> float:
        short = config.copy_and_resolve_references()
        with short.unlocked():
            short.protocol = protocol
            short.train.epochs = min(SHORT, config.train.epochs)
            short.evaluate.epochs = short.train.epochs
            for key, value in changes.items():
                *path, last = key.split(".")
                node = short
                for name in path:
                    node = node[name]
                node[last] = value
        folder = tempfile.mkdtemp(prefix="fgjax-check-")
        try:
            return train.train(short, folder)[split][monitor]
        finally:
            shutil.rmtree(folder)

    return trained_shortly
