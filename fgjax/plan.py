"""A config's training run as the functions that the training loop runs.

Data, model and schedule meet here: ``fgjax.training`` itself knows functions and trees only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict as Config

from fgjax import trunk
from fgjax.data import DataBundle, augment, pipeline
from fgjax.errors import UserError
from fgjax.experiment import Model
from fgjax.finetune import groups, optimizer
from fgjax.finetune.schedule import Phase, resolve
from fgjax.training import inputs, loop, objectives, parallel
from fgjax.training.state import TrainState
from fgjax.training.step import StepSettings, train_step


def total_steps(config: Config, examples: int) -> int:
    """Steps of the whole run."""
    return max(1, round(config.train.epochs * examples / config.data.batch_size))


def epoch_steps(config: Config, examples: int, epochs: float) -> int:
    """Steps that ``epochs`` take, at least one."""
    return max(1, round(epochs * examples / config.data.batch_size))


def augmentation(config: Config) -> augment.Augmentation:
    """``config.train.augment`` as settings.

    Raises:
        UserError: an unknown field.
    """
    fields = {
        key: tuple(value) if isinstance(value, list | tuple) else value
        for key, value in config.train.augment.items()
    }
    try:
        return augment.Augmentation(**fields)
    except TypeError:
        known = ", ".join(augment.Augmentation.__dataclass_fields__)
        raise UserError(f"train.augment has an unknown field; it takes {known}") from None


def compiled_step(
    config: Config,
    model: Model,
    info: Any,
    phase: Phase,
    assignment: Mapping[str, str],
    batch_norm: frozenset[str],
    class_weights: tuple[float, ...] | None,
    mesh: Any,
) -> Callable[..., Any]:
    """The step of a phase, compiled for the mesh at its first call."""
    start, classes = trunk.start_of(model, phase), len(info.classes)
    smoothing = config.train.label_smoothing
    if phase.views is None:
        prepare = inputs.from_images(augmentation(config), model.preprocessing, classes, smoothing)
    elif start is None:
        prepare = inputs.from_views(phase.views, model.preprocessing, classes, smoothing)
    else:
        prepare = inputs.from_features(classes, smoothing)
    options = dict(config.train.objective)
    if class_weights is not None:
        options["class_weights"] = class_weights
    settings = StepSettings(
        phase=phase,
        apply=model.recognizer.apply,
        start=start,
        prepare=prepare,
        objective=objectives.create(**options),
        optimizer=optimizer.create(**config.train.optimizer),
        assignment=assignment,
        batch_norm=batch_norm,
        dtype=model.dtype,
        seed=config.seed,
        clip_norm=config.train.clip_norm,
        ema_decay=config.train.ema,
        accumulate=config.train.accumulate,
    )
    return parallel.compile_step(
        partial(train_step, settings=settings), config.train.parallel, mesh
    )


def class_weights(config: Config, data: DataBundle) -> tuple[float, ...] | None:
    """Weights of the classes in the loss, as ``config.train.class_weights`` says.

    Raises:
        UserError: an unknown choice.
    """
    match config.train.class_weights:
        case "none":
            return None
        case "balanced":
            weights = pipeline.class_weights(data.train.labels, len(data.info.classes))
            return tuple(map(float, weights))
        case other:
            raise UserError(f"train.class_weights is {other!r}; choose one of none, balanced")


def build(
    config: Config, model: Model, data: DataBundle, state: TrainState, workdir: Path, score: Any
) -> loop.Plan:
    """The whole run.

    Args:
        config: the experiment.
        model: its recogniser.
        data: its splits; ``train`` is read.
        state: the state at the start or as restored.
        workdir: folder of the run.
        score: (phase, state) -> validation metrics or None.

    Raises:
        UserError: a schedule, batch size or option that does not fit.
    """
    mesh = parallel.make_mesh(config.train.devices)
    check_batch(config, mesh)
    count = len(data.train)
    phases = resolve(config.schedule, total_steps(config, count))
    assignment = groups.assign(state.params)
    shared = (
        assignment,
        groups.batch_norm_paths(state.batch_stats),
        class_weights(config, data),
        mesh,
    )
    return loop.Plan(
        phases=phases,
        step=lambda phase: compiled_step(config, model, data.info, phase, *shared),
        batches=trunk.batches(config, model, data.train, workdir, mesh),
        score=score,
        optimizer=optimizer.create(**config.train.optimizer),
        assignment=assignment,
        mesh=mesh,
        batch_size=config.data.batch_size,
        score_every=epoch_steps(config, count, config.evaluate.epochs),
        save_every=epoch_steps(config, count, config.train.checkpoint_epochs),
        log_every=config.train.log_steps,
        meta={"seed": config.seed, "schedule": [_recorded(phase) for phase in phases]},
    )


def check_batch(config: Config, mesh: Any) -> None:
    """Raises UserError unless devices and accumulation divide the batch."""
    parallel.check_batch_size(config.data.batch_size, mesh)
    if config.data.batch_size % (config.train.accumulate * mesh.size):
        raise UserError(
            f"data.batch_size {config.data.batch_size} cannot be divided into train.accumulate="
            f"{config.train.accumulate} parts on {mesh.size} devices; change one of them"
        )


def _recorded(phase: Phase) -> dict[str, Any]:
    return {
        "name": phase.name,
        "start": phase.start,
        "stop": phase.stop,
        "views": phase.views and list(phase.views),
        "intervals": [interval._asdict() for interval in phase.intervals],
    }
