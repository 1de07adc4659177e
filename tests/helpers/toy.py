"""A recogniser small enough to be trained many times in a test."""

import functools

import flax.linen as nn
import jax
import numpy as np

from fgjax.data.augment import Augmentation
from fgjax.finetune import groups, optimizer
from fgjax.finetune.optimizer import enter_phase, trained_leaves
from fgjax.finetune.schedule import resolve
from fgjax.models import heads, pooling, recognizer
from fgjax.models.backbones.base import Backbone
from fgjax.models.context import Context
from fgjax.models.layers import ConvBN
from fgjax.ops import losses
from fgjax.ops.preprocessing import Preprocessing
from fgjax.training import inputs, objectives
from fgjax.training import state as training_state
from fgjax.training.step import StepSettings

SIZE, CLASSES = 16, 4
PREPROCESSING = Preprocessing(image_size=SIZE)
FLIP = Augmentation(flip=0.5)


def build(pool="average", levels=("conv3",), dropout=0.0, **options):
    """Three levels of one convolution each, at strides 2, 4 and 8."""
    widths = {"conv1": 4, "conv2": 6, "conv3": 8}
    stages = tuple(
        ConvBN(width, 3, 2, activation=nn.relu, name=level, parent=None)
        for level, width in widths.items()
    )
    return recognizer.Recognizer(
        backbone=Backbone(stages),
        pooling=pooling.create(pool, levels=levels, **options),
        head=heads.create("linear", classes=CLASSES, dropout=dropout),
    )


@functools.cache
def initial_state(module, seed=0, ema=False):
    images = np.zeros((1, SIZE, SIZE, 3), np.float32)
    variables = jax.jit(lambda key: module.init(key, images, Context()))(jax.random.key(seed))
    variables = {"constants": {}} | dict(variables)
    return training_state.initial_state(variables, ema, {})


def targets(batch, affine):
    return losses.one_hot(batch["label"], CLASSES)


def smoothed(targets):
    return losses.smooth_labels(targets, 0.1)


def settings(module, state, schedule, steps=5, augmentation=None, **changes):
    """Settings of the first phase, and a state that has entered it."""
    phase = resolve(schedule, steps)[0]
    assignment = groups.assign(state.params)
    batch_norm = groups.batch_norm_paths(state.batch_stats)
    sgd = optimizer.create("sgd")
    trained = trained_leaves(groups.split(state.params, assignment), phase, batch_norm)
    state = state.replace(opt_state=enter_phase(sgd, {}, trained))
    values = dict(
        phase=phase,
        apply=module.apply,
        start=None,
        prepare=inputs.from_images(augmentation, PREPROCESSING, targets, smoothed)
        if augmentation
        else None,
        objective=objectives.create("cross_entropy"),
        optimizer=sgd,
        assignment=assignment,
        batch_norm=batch_norm,
        dtype=np.float32,
        seed=3,
        clip_norm=None,
        ema_decay=None,
        accumulate=1,
    )
    return StepSettings(**values | changes), state


def batch(size, seed=0, canvas=20):
    rng = np.random.default_rng(seed)
    return {
        "image": rng.integers(0, 256, (size, canvas, canvas, 3), np.uint8),
        "affine": np.tile(np.float32([1, 1, 0, 0]), (size, 1)),
        "label": rng.integers(0, CLASSES, size).astype(np.int32),
        "mask": np.ones(size, np.float32),
    }
