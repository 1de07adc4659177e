"""Training, or going on with one: from a config to checkpoints, logs and results."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import rich
from ml_collections import ConfigDict as Config

from fgjax import tasks
from fgjax.evaluation import results
from fgjax.finetune import groups
from fgjax.finetune.intervals import Phase
from fgjax.finetune.optimizer import trained_leaves
from fgjax.run import checks, chosen, evaluate, experiment, interrupts, plan, scoring, workdir
from fgjax.show import console, proof
from fgjax.tasks import Task
from fgjax.training import checkpoints, loop, objectives, parallel, restoring
from fgjax.training.logs import MetricLogger
from fgjax.training.state import TrainState, initial_state


def train(config: Config, folder: str) -> dict[str, Any]:
    """Train as the config says, or go on where a killed run stopped; score the end.

    Returns:
        What ``WORKDIR/results.json`` holds.

    Raises:
        UserError: anything that the user can put right.
        Interrupted: Ctrl-C during the training; the state of the last step is saved.
    """
    workdir.check_config(Path(folder).absolute(), config)
    checks.before_data(config)
    with workdir.claimed(folder) as where:
        return _train(config, where)


def _train(config: Config, where: Path) -> dict[str, Any]:
    began = time.monotonic()
    workdir.check_config(where, config)
    final, task = config.protocol == "final", tasks.resolve(config.task)
    data = experiment.load_data(config, "train", "test" if final else "validation")
    model = experiment.build_model(config, task.outputs(data.info))
    workdir.bind(where, config, data.info, model.preprocessing, model.backbone_options)
    plan.check_splits(config, data)
    variables = model.initialize(config.seed)
    scoring.check(task, model, config.evaluate.views, variables)
    carried = objectives.carried_at_start(
        task.objectives(config, data), task.outputs(data.info), model.embedding_width(variables)
    )
    start = initial_state(variables, config.train.ema is not None, carried)
    state, recorded = restoring.restored_state(where, start, rich.print)

    mesh = parallel.make_mesh(config.train.devices)
    apply = scoring.compiled_scores(task, model, config.evaluate.views, mesh)
    score = _phase_scores(config, model, data, apply, where)
    run = plan.build(config, model, data, state, where, score, recorded, rich.print)
    _print_schedule(run, state)
    state = _run(run, state, where, task, None if final else task.monitor)

    record = {
        "protocol": config.protocol,
        "seconds": time.monotonic() - began,
        "params_digest": results.params_digest(state.params, state.batch_stats),
    }
    results.update(where, record)
    split = "test" if final else "validation"
    weights = chosen.read(where, config.protocol, task.monitor)
    return evaluate.score_split(config, model, data, apply, weights, where, split)


def _run(
    run: loop.Plan, state: TrainState, where: Path, task: Task, best_by: str | None
) -> TrainState:
    total = run.phases[-1].stop
    with (
        checkpoints.manager(where, best_by) as manager,
        MetricLogger(where, int(state.step), scored=not run.unscored) as logger,
        console.TrainingProgress(total, run.batch_size) as bar,
        interrupts.deferred() as stop,
    ):

        def progress(phase: Phase, step: int, values: loop.Metrics) -> None:
            shown = {label: values[name] for name, label in task.progress.items() if name in values}
            bar.update(step, phase.name, values["loss"], shown)

        def ended(record: Mapping[str, Any]) -> None:
            speed = {"images_per_second": record["images_per_second"]}
            results.update(where, {"phases": {record["name"]: record}} | speed)
            rich.print(proof.audit_table(record))

        watch = loop.Watch(logger.write, progress, ended, rich.print, stop)
        state = loop.run(run, state, manager, watch)
        manager.wait_until_finished()
    return state


def _phase_scores(config, model, data, apply, where):
    """Validation during a run in "develop"; in "final", test after the phases if declared.

    The last phase's test score is that of the whole run, which is made once, after it.
    """
    end = plan.total_steps(config, len(data.train))
    task = tasks.resolve(config.task)

    def score(phase: Phase, state: TrainState) -> dict[str, float] | None:
        at_end = int(state.step) == phase.stop
        split = "validation" if data.validation is not None else "test"
        declared = config.evaluate.after_phases and at_end and phase.stop < end
        if split == "test" and not declared:
            return None
        found, _ = scoring.predict_split(
            apply, state.averaged, model, data.split(split), config.data, split
        )
        summary = task.summarize(found, data.info)["summary"]
        if at_end:
            results.record(where, split, summary, after=phase.name, step=int(state.step))
        return scoring.fractions(summary)

    return score


def _print_schedule(run: loop.Plan, state: TrainState) -> None:
    counts = groups.counts(state.params, run.assignment)
    phases = [
        (phase.name, phase.stop - phase.start, _training(run, state, phase)) for phase in run.phases
    ]
    rich.print(console.schedule_table(list(counts.items()), phases))


def _training(run: loop.Plan, state: TrainState, phase: Phase) -> dict[str, console.Training]:
    """How each group trains in a phase."""
    batch_norm = groups.batch_norm_paths(state.batch_stats)
    parts = groups.split(state.params, run.assignment)
    leaves = trained_leaves(parts, phase, batch_norm)
    return {
        i.group: console.Training(
            i.rate,
            i.decay,
            i.bn if batch_norm & parts.get(i.group, {}).keys() else None,
            sum(leaf.size for leaf in leaves[i.group].values()),
        )
        for i in phase.intervals
    }
