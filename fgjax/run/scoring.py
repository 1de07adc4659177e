"""Scores of a split: the compiled evaluation pass over all of its examples."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float

from fgjax.data import Source, pipeline
from fgjax.evaluation import predictions
from fgjax.models.context import Context
from fgjax.run.experiment import Model
from fgjax.show import console
from fgjax.tasks import Task
from fgjax.training import inputs, parallel

Apply = Callable[[Any, Any], Float[Array, "c k"]]


def compiled_scores(task: Task, model: Model, views: Sequence[str], mesh: Any) -> Apply:
    """The evaluation pass: (variables, uint8 images) to what the task makes of them.

    Where the devices cannot share the images equally, rows follow that belong to none.
    """
    compiled = parallel.compile_forward(_forward(task, model, views), mesh)

    def apply(variables, images):
        return compiled(variables, parallel.shard(parallel.filled(images, mesh), mesh))

    return apply


def check(task: Task, model: Model, views: Sequence[str], variables: Any) -> None:
    """What only the evaluation pass would find out, found out without running it.

    Args:
        task: what it learns.
        model: the recogniser.
        views: ``config.evaluate.views``.
        variables: its variables; ShapeDtypeStructs will do.

    Raises:
        UserError: an unknown view, images too small for one, or one that follows attention in a
            recogniser without attention maps.
    """
    images = jax.ShapeDtypeStruct((1, model.canvas, model.canvas, 3), np.uint8)
    jax.eval_shape(_forward(task, model, views), variables, images)


def _forward(task: Task, model: Model, views: Sequence[str]) -> Apply:
    context = Context(dtype=model.dtype)

    def forward(variables, images):
        def outputs(crops):
            inputs_ = inputs.as_float(crops, model.preprocessing)
            return model.recognizer.apply(variables, inputs_, context)

        return task.scores(outputs, views, model.preprocessing.image_size)(images)

    return forward


def predict_split(
    apply: Apply, variables: Any, model: Model, source: Source, config: Any, what: str
) -> tuple[predictions.Predictions, float]:
    """Logits of every example of a split, and images per second (compilation included)."""
    size = config.eval_batch_size
    host = pipeline.eval_batches(
        source,
        image_size=model.canvas,
        crop_fraction=1.0,
        batch_size=size,
        interpolation=model.preprocessing.interpolation,
        workers=config.workers,
    )
    shown = console.tracked(host, -(-len(source) // size), what)
    began = time.monotonic()
    found = predictions.predict(lambda batch: apply(variables, batch["image"]), shown)
    return found, len(source) / (time.monotonic() - began)


def fractions(summary: Mapping[str, Any]) -> dict[str, float]:
    """The plain numbers of a summary, for logs and for keeping the best."""
    return {
        name: value["value"] if isinstance(value, Mapping) else value
        for name, value in summary.items()
        if name not in ("n", "chance")
    }
