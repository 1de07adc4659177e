"""The head's rate as a run takes it: that of the schedule, over the length of what the head reads.

Poolings that end in a vector of length one (``unit_length``) take the schedule's rate as it is, and
so do heads that are not ``linear`` in the vector. Elsewhere the mean squared length is measured on
the network as initialised, once a run: what it came to is in the rates that the checkpoint records.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict as Config

from fgjax.data import Source, pipeline
from fgjax.errors import UserError
from fgjax.finetune import lengths, optimizer
from fgjax.finetune.intervals import Phase
from fgjax.models.context import Context
from fgjax.run.experiment import Model
from fgjax.training import inputs, parallel

IMAGES = 64  # of the training images, the first in the order of the run's first epoch


def resolved(
    config: Config,
    model: Model,
    variables: Mapping[str, Any],
    source: Source,
    phases: Sequence[Phase],
    assignment: Mapping[str, str],
    mesh: Any,
    say: Callable[[str], None],
) -> Sequence[Phase]:
    """The phases with the rates that the head trains at.

    Args:
        config: the experiment.
        model: its recogniser.
        variables: of the network as the run starts with it.
        source: the training images.
        phases: with the schedule's rates.
        assignment: {path: group} of every parameter.
        mesh: the devices.
        say: is told the length, where one is measured.

    Raises:
        UserError: the head reads nothing but zeros, or an image cannot be read.
    """
    rates = lengths.rates_of(phases, lengths.head_groups(assignment))
    if not rates or not depends_on_length(config, model):
        return phases
    length = mean_squared_length(config, model, variables, source, mesh)
    if not (math.isfinite(length) and length > 0):
        raise UserError(
            f"the mean squared length of what the head reads is {length}, so that no rate fits it; "
            "check the weights, or choose a pooling that normalises, such as compact_bilinear"
        )
    for group, values in rates.items():
        given = ", ".join(f"{rate:g}" for rate in values)
        say(f"{group}: rate {given} / {length:g} (mean squared length of what it reads)")
    return lengths.scaled(phases, rates, length)


def depends_on_length(config: Config, model: Model) -> bool:
    """Whether the head's rate has to follow the length of what it reads."""
    recognizer = model.recognizer
    follows = config.train.optimizer.name in optimizer.PROPORTIONAL
    return follows and recognizer.head.linear and not recognizer.pooling.unit_length


def mean_squared_length(
    config: Config, model: Model, variables: Mapping[str, Any], source: Source, mesh: Any
) -> float:
    """Mean squared length of the pooled vectors of some training images, to three digits."""

    def embedding(variables, batch):
        images = inputs.view_images(batch["image"], batch["view"], ("center",), model.preprocessing)
        outputs: Any = model.recognizer.apply(variables, images, Context(dtype=model.dtype))
        return outputs.embedding

    forward = parallel.compile_forward(embedding, mesh)
    size, count = config.data.batch_size, min(IMAGES, len(source))
    batches = pipeline.train_batches(
        source,
        canvas=model.canvas,
        batch_size=size,
        seed=config.seed,
        crop="center",
        interpolation=model.preprocessing.interpolation,
        workers=config.data.workers,
    )
    squares: list[float] = []
    for batch in itertools.islice(batches, -(-count // size)):
        given = {"image": batch["image"], "view": np.zeros(size, np.int32)}
        rows = np.asarray(forward(variables, parallel.shard(given, mesh)), np.float64)
        squares.extend(np.sum(rows**2, axis=1))
    return float(f"{np.mean(squares[:count]):.3g}")
