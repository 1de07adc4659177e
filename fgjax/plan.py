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
from ml_collections import ConfigDict as Config

from fgjax import cost, trunk
from fgjax.data import DataBundle, augment, pipeline
from fgjax.errors import UserError
from fgjax.experiment import Model
from fgjax.finetune import groups, optimizer
from fgjax.finetune.intervals import Phase, from_record
from fgjax.finetune.schedule import resolve
from fgjax.options import fitted, named, plain, shown
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
    classes, smoothing = len(data.info.classes), config.train.label_smoothing
    assignment = groups.assign(state.params, config.train.groups)
    common = {
        "apply": model.recognizer.apply,
        "objective": objective(config, class_weights(config, data)),
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
        start = trunk.start_of(model, assignment, phase)
        preprocessing = model.at(phase.size).preprocessing
        if phase.views is None:
            augment = augmentation(config)
            prepare = inputs.from_images(augment, preprocessing, classes, smoothing)
        elif start is None:
            prepare = inputs.from_views(phase.views, preprocessing, classes, smoothing)
        else:
            prepare = inputs.from_features(classes, smoothing)
        return StepSettings(phase=phase, start=start, prepare=prepare, **common)

    return settings


def objective(
    config: Config, class_weights: Sequence[float] | None = None
) -> tuple[objectives.Objective, ...]:
    """What ``config.train.objective`` names.

    Args:
        config: the experiment.
        class_weights: what ``train.class_weights`` came to, if it asks for some.

    Raises:
        UserError: an unknown name or option, or one that takes no weights of classes.
    """
    name, options = named("train.objective", config.train.objective)
    if class_weights is not None:
        if name != "cross_entropy":
            raise UserError(
                f"train.class_weights is {config.train.class_weights!r}, which the objective "
                f"{name!r} does not take; set it to none, or data.sampling to balanced instead"
            )
        options["class_weights"] = tuple(class_weights)
    return objectives.create(name, **options)


def _optimizer(config: Config) -> optimizer.Optimizer:
    name, options = named("train.optimizer", config.train.optimizer)
    return optimizer.create(name, **options)


def class_weights(config: Config, data: DataBundle) -> tuple[float, ...] | None:
    """Weights of the classes in the loss, as ``config.train.class_weights`` says.

    Raises:
        UserError: an unknown choice.
    """
    match config.train.class_weights:
        case "none":
            return None
        case "balanced":
            weights = pipeline.class_weights(data.split("train").labels, len(data.info.classes))
            return tuple(map(float, weights))
        case other:
            raise UserError(f"train.class_weights is {other!r}; choose one of none, balanced")


def build(
    config: Config,
    model: Model,
    data: DataBundle,
    state: TrainState,
    workdir: Path,
    score: Any,
    recorded: Mapping[str, Any] | None = None,
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

    Raises:
        UserError: a schedule, batch size or option that does not fit.
    """
    mesh = parallel.make_mesh(config.train.devices)
    check_batch(config, mesh)
    train = data.split("train")
    count, settings = len(train), step_settings(config, model, data, state)
    assignment = groups.assign(state.params, config.train.groups)
    batches = trunk.batches(config, model, assignment, train, workdir, mesh)
    compiled = partial(parallel.compile_step, mode=config.train.parallel, mesh=mesh)

    def compile_phase(phase, state):
        batch = trunk.abstract_batch(config, model, assignment, phase, state)
        return compiled(partial(train_step, settings=settings(phase)), shapes=(state, batch))

    def measure(phase, state):
        gradients = compiled(partial(phase_gradients, settings=settings(phase)), donate=False)
        for batch in itertools.islice(batches(phase, state, phase.start), phase.batches):
            yield jax.device_get(gradients(state, batch))

    return loop.Plan(
        phases=phases(config, assignment, count, recorded),
        compile=compile_phase,
        batches=batches,
        measure=measure,
        cost=cost.of_phases(model, settings, len(data.info.classes)),
        score=score,
        optimizer=_optimizer(config),
        assignment=assignment,
        mesh=mesh,
        workdir=workdir,
        batch_size=config.data.batch_size,
        score_every=epoch_steps(config, count, config.evaluate.epochs),
        save_every=epoch_steps(config, count, config.train.checkpoint_epochs),
        log_every=config.train.log_steps,
        plateau=loop.Plateau(**recorded["plateau"]) if recorded else loop.Plateau(),
        meta={"seed": config.seed},
    )


def check_batch(config: Config, mesh: Any) -> None:
    """Raises UserError unless devices, accumulation and pairs divide the batch."""
    parallel.check_batch_size(config.data.batch_size, mesh)
    if config.data.batch_size % (config.train.accumulate * mesh.size):
        raise UserError(
            f"data.batch_size {config.data.batch_size} cannot be divided into train.accumulate="
            f"{config.train.accumulate} parts on {mesh.size} devices; change one of them"
        )
    mixing = [name for name in ("mixup", "cutmix") if config.train.augment.get(name)]
    paired = config.train.objective.name in objectives.PAIRED
    parts = mesh.size * (config.train.accumulate if paired else 1)
    if (mixing or paired) and config.data.batch_size % (2 * parts):
        raise UserError(
            f"data.batch_size is {config.data.batch_size}, and "
            f"{mixing[0] if mixing else config.train.objective.name} takes two examples at a time; "
            f"choose a multiple of {2 * parts}, 2 for each part and device"
        )


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
