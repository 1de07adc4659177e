"""A config's training run as the functions that the training loop runs.

Data, model and schedule meet here: ``fgjax.training`` itself knows functions and trees only.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict as Config

from fgjax import tasks
from fgjax.checking.options import fitted, named, plain, shown
from fgjax.data import DataBundle, augment
from fgjax.errors import UserError
from fgjax.finetune import groups, optimizer
from fgjax.finetune.intervals import Phase, from_record
from fgjax.finetune.schedule import resolve
from fgjax.run import feeds, head_rate, phase_cost
from fgjax.run.experiment import Model
from fgjax.training import inputs, loop, objectives, parallel
from fgjax.training.state import TrainState
from fgjax.training.step import StepSettings, phase_gradients, train_step
from fgjax.vocabulary import GROUPS


def total_steps(config: Config, examples: int) -> int:
    """Steps of the whole run."""
    return max(1, round(config.train.epochs * examples / config.data.batch_size))


def epoch_steps(config: Config, examples: int, epochs: float) -> int:
    """Steps that ``epochs`` take, at least one."""
    return max(1, round(epochs * examples / config.data.batch_size))


def augmentation(config: Config) -> augment.Augmentation:
    """``config.train.augment`` as settings.

    Raises:
        UserError: an unknown field, or a value that it cannot have.
    """
    fields = plain(config.train.augment)
    if not isinstance(fields, Mapping):
        raise UserError(f"train.augment is {shown(fields)}; expected a dict of fields")
    return augment.Augmentation(
        **fitted("train.augment", "", augment.Augmentation, fields, augment.KINDS)
    )


def step_settings(
    config: Config, model: Model, data: DataBundle, state: TrainState
) -> Callable[[Phase], StepSettings]:
    """The function that says how a phase's steps are made.

    Args:
        config: the experiment.
        model: its recogniser.
        data: its splits; ``train`` is read.
        state: names the parameters and statistics; ShapeDtypeStructs will do.
    """
    task = tasks.resolve(config.task)
    made = partial(task.targets, data.info), partial(task.finish, config)
    assignment = groups.assign(state.params, config.train.groups)
    common = {
        "apply": model.recognizer.apply,
        "objective": task.objectives(config, data),
        "optimizer": _optimizer(config),
        "assignment": assignment,
        "batch_norm": groups.batch_norm_paths(state.batch_stats),
        "dtype": model.dtype,
        "seed": config.seed,
        "clip_norm": config.train.clip_norm,
        "ema_decay": config.train.ema,
        "accumulate": config.train.accumulate,
    }

    def settings(phase: Phase) -> StepSettings:
        start = feeds.start_of(model, assignment, phase)
        preprocessing = model.at(phase.size).preprocessing
        if phase.views is None:
            augment = augmentation(config)
            prepare = inputs.from_images(augment, preprocessing, *made)
        elif start is None:
            prepare = inputs.from_views(phase.views, preprocessing, *made)
        else:
            prepare = inputs.from_features(*made)
        return StepSettings(phase=phase, start=start, prepare=prepare, **common)

    return settings


def _optimizer(config: Config) -> optimizer.Optimizer:
    name, options = named("train.optimizer", config.train.optimizer)
    return optimizer.create(name, **options)


def build(
    config: Config,
    model: Model,
    data: DataBundle,
    state: TrainState,
    workdir: Path,
    score: Any,
    recorded: Mapping[str, Any] | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> loop.Plan:
    """The whole run.

    Args:
        config: the experiment.
        model: its recogniser.
        data: its splits; ``train`` is read.
        state: the state at the start or as restored.
        workdir: folder of the run.
        score: (phase, state) -> validation metrics or None.
        recorded: what the checkpoint says that the run goes on from; its schedule is followed.
        say: is told at which rate the head trains, where its features decide it.

    Raises:
        UserError: a schedule, batch size or option that does not fit.
    """
    mesh = parallel.make_mesh(config.train.devices)
    check_batch(config, mesh)
    task, train = tasks.resolve(config.task), data.split("train")
    count, settings = len(train), step_settings(config, model, data, state)
    assignment = groups.assign(state.params, config.train.groups)
    batches = feeds.batches(config, model, assignment, train, workdir, mesh)
    planned: Sequence[Phase] = phases(config, assignment, count, recorded)
    if recorded is None:
        planned = head_rate.resolved(
            config, model, state.variables, train, planned, assignment, mesh, say
        )
    compiled = partial(parallel.compile_step, mode=config.train.parallel, mesh=mesh)

    def compile_phase(phase, state):
        batch = feeds.abstract_batch(config, model, assignment, phase, state)
        return compiled(partial(train_step, settings=settings(phase)), shapes=(state, batch))

    def measure(phase, state):
        gradients = compiled(partial(phase_gradients, settings=settings(phase)), donate=False)
        for batch in itertools.islice(batches(phase, state, phase.start), phase.batches):
            yield jax.device_get(gradients(state, batch))

    return loop.Plan(
        phases=planned,
        compile=compile_phase,
        batches=batches,
        measure=measure,
        cost=phase_cost.of_phases(model, settings, _example(config, data)),
        score=score,
        monitor=task.monitor,
        optimizer=_optimizer(config),
        assignment=assignment,
        mesh=mesh,
        workdir=workdir,
        batch_size=config.data.batch_size,
        score_every=epoch_steps(config, count, config.evaluate.epochs),
        save_every=epoch_steps(config, count, config.train.checkpoint_epochs),
        log_every=config.train.log_steps,
        chance=task.chance(data.info),
        plateau=loop.Plateau(**recorded["plateau"]) if recorded else loop.Plateau(),
        unscored=bool(recorded and recorded.get("unscored")),
        meta={"seed": config.seed},
    )


def _example(config: Config, data: DataBundle) -> dict[str, Any]:
    """Shapes of the targets, the annotations and the mask of one example."""
    task, annotations = tasks.resolve(config.task), feeds.abstract_annotations(config, 1)
    affine = jax.ShapeDtypeStruct((1, 4), np.float32)
    targets = jax.eval_shape(partial(task.targets, data.info), annotations, affine)
    return annotations | {"targets": targets}


def check_splits(config: Config, data: DataBundle) -> None:
    """Raises UserError unless there are images to score what is trained."""
    split = "test" if config.protocol == "final" else "validation"
    source = getattr(data, split)
    if source is not None and len(source):
        return
    where = config.data.dir or config.data.name
    if split == "test":
        raise UserError(
            f"the protocol 'final' scores the test split, and {where} has none; add a folder test "
            "beside train, name one in data.test_dir, or train with protocol='develop', which "
            "holds out validation images"
        )
    raise UserError(
        f"the protocol 'develop' chooses by validation, and {where} leaves no image for it "
        f"(data.validation_share is {config.data.validation_share:g} of each class); add images, "
        "raise that share, or train with protocol='final', which needs a test split"
    )


def check_batch(config: Config, mesh: Any) -> None:
    """Raises UserError unless devices, accumulation and pairs of examples divide the batch."""
    parallel.check_batch_size(config.data.batch_size, mesh)
    if config.data.batch_size % (config.train.accumulate * mesh.size):
        raise UserError(
            f"data.batch_size {config.data.batch_size} cannot be divided into train.accumulate="
            f"{config.train.accumulate} parts on {mesh.size} devices; change one of them"
        )
    # Under jit the batch is one whole, on however many devices.
    devices = mesh.size if config.train.parallel == "pmap" else 1
    mixing = [name for name in ("mixup", "cutmix") if config.train.augment.get(name)]
    random = any(phase.get("views") is None for phase in config.schedule)
    size, objective = config.data.batch_size, config.train.objective.name
    # Images are mixed before the batch is divided into parts, losses are taken of each part.
    inputs.check_pairs(size, devices, 1, " and ".join(mixing) if random else "")
    paired = objective if objective in objectives.PAIRED else ""
    inputs.check_pairs(size, devices, config.train.accumulate, paired)


def phases(
    config: Config,
    assignment: Mapping[str, str],
    count: int,
    recorded: Mapping[str, Any] | None = None,
) -> tuple[Phase, ...]:
    """What the run's record says, else what the config says.

    Args:
        config: the experiment.
        assignment: {path: group} of every parameter.
        count: number of training images.
        recorded: of the checkpoint that the run goes on from, or None.

    Raises:
        UserError: a schedule that does not fit.
    """
    if recorded is not None:
        return from_record(recorded["schedule"])
    names = dict.fromkeys((*GROUPS, *assignment.values()))
    found = resolve(
        config.schedule, total_steps(config, count), tuple(names), count / config.data.batch_size
    )
    groups.check_statistics(assignment, found)
    for phase in found:
        if config.protocol == "final" and (phase.patience or phase.restore_best):
            raise UserError(
                f"phase {phase.name!r} follows the validation score, which the protocol 'final' "
                "does not have; give the phase its length, without patience and restore_best"
            )
    return found
