"""Everything about a config that can be known before data are read.

Values are checked against what they may be; then the recogniser, the test-time views and the step
of every phase are traced with shapes in the place of arrays. Nothing is computed, downloaded or
written; of the user's folders names are listed, and no file is opened.
"""

from __future__ import annotations

from functools import partial

import jax
from ml_collections import ConfigDict as Config

from fgjax import tasks
from fgjax.data import DataBundle, DatasetInfo, Source, info, listing
from fgjax.errors import UserError
from fgjax.finetune import groups
from fgjax.ops.preprocessing import Preprocessing
from fgjax.run import experiment, feeds, keys, plan, pretrained, scoring
from fgjax.run.experiment import Model
from fgjax.training import objectives, parallel
from fgjax.training.state import TrainState, initial_state
from fgjax.training.step import phase_gradients

# Batches of an epoch, as long as the number of images is not known: so many that every phase has
# steps, and that rounding takes none away.
BATCHES = 10**6
# Until the weights are read, which say it: smaller than any published one, so that every view that
# may fit does.
CROP_FRACTION = 0.5


def before_data(config: Config) -> None:
    """Check a config before its data are read, its weights fetched or its workdir made.

    Raises:
        UserError: something that cannot be; it names the key, its value and what was expected.
    """
    keys.check_keys(config)
    if config.model.backbone.weights is not None:
        pretrained.check_spec(config.model.backbone.weights, config.model.backbone.name)
    data = unread(_classes(config))
    model = _model(config, tasks.resolve(config.task).outputs(data.info))
    plan.augmentation(config)
    _check_splits(config)
    state = _state(config, model, data)
    scoring.check(tasks.resolve(config.task), model, config.evaluate.views, state.averaged)
    _check_phases(config, model, data, state)


def _model(config: Config, classes: int) -> Model:
    """The recogniser without its weights."""
    weights = config.model.backbone.weights
    published = Preprocessing() if weights is None else Preprocessing(crop_fraction=CROP_FRACTION)
    return experiment.restore_model(config, classes, published, {})


def _classes(config: Config) -> int:
    """One in the place of those that data have, or as many as the config gives weights for."""
    weights = config.train.objective.get("class_weights")
    return len(weights) if isinstance(weights, list | tuple) and weights else 1


def unread(classes: int) -> DataBundle:
    """A data set to make a plan for: an image of each class, none of which can be read."""
    names = tuple(map(str, range(classes)))
    description = DatasetInfo("placeholder", names, "")
    examples = info.without_annotations("nowhere", names, range(classes), lambda i: b"")
    return DataBundle(description, Source(examples, description), None, None)


def _state(config: Config, model: Model, data: DataBundle) -> TrainState:
    """The shapes of the state at the start."""
    task = tasks.resolve(config.task)
    variables = jax.eval_shape(lambda: model.initialize(config.seed))
    carried = partial(
        objectives.carried_at_start,
        task.objectives(config, data),
        task.outputs(data.info),
        model.embedding_width(variables),
    )
    ema = config.train.ema is not None
    return jax.eval_shape(lambda start: initial_state(start, ema, carried()), variables)


def _check_splits(config: Config) -> None:
    """The folders hold the splits that the protocol needs, by their names."""
    wanted = "test" if config.protocol == "final" else "validation"
    if wanted in listing.splits(config.data, config.protocol):
        return
    if wanted == "validation":
        raise UserError(
            "the protocol 'develop' needs images to validate on, and data.validation_share is "
            f"{config.data.validation_share}; choose a share above 0, such as 0.2"
        )
    raise UserError(
        f"the protocol 'final' is scored on a test split, and {config.data.dir} has none; add a "
        "folder test/ with photos of each class, or train with protocol='develop'"
    )


def _check_phases(config: Config, model: Model, data: DataBundle, state: TrainState) -> None:
    """The schedule fits the recogniser, and every phase has a step that can be traced."""
    assignment = groups.assign(state.params, config.train.groups)
    phases = plan.phases(config, assignment, BATCHES * config.data.batch_size)
    plan.check_batch(config, parallel.make_mesh(config.train.devices))
    settings = plan.step_settings(config, model, data, state)
    traced = set()
    for phase in phases:
        mine = settings(phase)
        shapes = (phase.views, phase.size, mine.start)
        if shapes not in traced:
            traced.add(shapes)
            batch = feeds.abstract_batch(config, model, assignment, phase, state)
            step = partial(phase_gradients, settings=mine, axis_name=None)
            jax.eval_shape(step, state, batch)
