"""The frozen trunk of a phase: where it ends, its compiled pass, and its stored features."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict as Config

from fgjax import tasks
from fgjax.data import Source, pipeline
from fgjax.finetune import groups
from fgjax.finetune.intervals import Phase
from fgjax.models.context import Context
from fgjax.ops import trees
from fgjax.run.experiment import Model
from fgjax.training import feature_cache, inputs, parallel
from fgjax.training.state import TrainState, variables

MEMORY_GIB = 4.0  # with train.feature_cache="auto", features beyond it are mapped to disk
CHOICES = ("auto", "memory", "disk", "none")


def start_of(model: Model, assignment: Mapping[str, str], phase: Phase) -> str | None:
    """Where the step of a phase starts: behind the frozen trunk if the views are finite."""
    if phase.views is None:
        return None
    trained = groups.levels_of(assignment, phase.groups)
    return model.recognizer.backbone.boundary(trained)


def compiled_trunk(
    model: Model, views: Sequence[str], start: str, mesh: Any
) -> feature_cache.Trunk:
    """One view of each image to the maps that the rest of the network reads."""
    forward = parallel.compile_forward(_trunk(model, views, start), mesh)
    return lambda variables, batch: forward(variables, parallel.shard(batch, mesh))


def _trunk(model: Model, views: Sequence[str], start: str) -> feature_cache.Trunk:
    kept = model.recognizer.kept_levels(start)

    def trunk(variables, batch):
        images = inputs.view_images(batch["image"], batch["view"], views, model.preprocessing)
        recognizer = model.recognizer.bind(variables)
        hierarchy = recognizer.features(images, Context(dtype=model.dtype))
        return {level: hierarchy[level] for level in kept}

    return trunk


def batches(
    config: Config,
    model: Model,
    assignment: Mapping[str, str],
    source: Source,
    workdir: Path,
    mesh: Any,
) -> Callable[[Phase, TrainState, int], Iterator[Any]]:
    """The function that feeds a phase from any of its steps on."""
    options = {
        "batch_size": config.data.batch_size,
        "seed": config.seed,
        "sampling": config.data.sampling,
        "annotations": tuple(tasks.resolve(config.task).annotations(config)),
    }

    def feed(phase: Phase, state: TrainState, step: int) -> Iterator[Any]:
        fed, start = model.at(phase.size), start_of(model, assignment, phase)
        reading = {
            "canvas": fed.canvas,
            "interpolation": fed.preprocessing.interpolation,
            "workers": config.data.workers,
        }
        if phase.views is None:
            host = inputs.image_batches(source, step, **options, **reading)
        elif start is None or config.train.feature_cache == "none":
            host = inputs.viewed_batches(source, step, views=len(phase.views), **options, **reading)
            if start is not None:
                trunk = compiled_trunk(fed, phase.views, start, mesh)
                host = inputs.feature_batches(trunk, _copied(state), host)
        else:
            stored = _stored(config, fed, source, workdir, mesh, phase, state, start)
            host = inputs.cached_batches(stored, source, step, views=len(phase.views), **options)
        return inputs.prefetch(host, lambda batch: parallel.shard(batch, mesh))

    return feed


def abstract_batch(
    config: Config, model: Model, assignment: Mapping[str, str], phase: Phase, state: TrainState
) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of the batches that :func:`batches` feeds a phase, so that it compiles ahead."""
    fed, start = model.at(phase.size), start_of(model, assignment, phase)
    rows, canvas = config.data.batch_size, fed.canvas
    shape = jax.ShapeDtypeStruct
    batch = abstract_annotations(config, rows)
    images = shape((rows, canvas, canvas, 3), np.uint8)
    if phase.views is None:
        return batch | {"image": images, "affine": shape((rows, 4), np.float32)}
    view = shape((rows,), np.int32)
    if start is None:
        return batch | {"image": images, "index": view, "view": view}
    maps = jax.eval_shape(
        _trunk(fed, phase.views, start), state.variables, {"image": images, "view": view}
    )
    return batch | {"features": maps}


def abstract_annotations(config: Config, rows: int) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of the annotations of some examples, and of their mask."""
    annotations = tasks.resolve(config.task).annotations(config)
    return {
        name: jax.ShapeDtypeStruct((rows, *one.shape), one.dtype)
        for name, one in annotations.items()
    } | {"mask": jax.ShapeDtypeStruct((rows,), np.float32)}


def _copied(state: TrainState) -> dict[str, Any]:
    # The step donates its state; the trunk keeps reading what never changes.
    params, batch_stats, constants = jax.tree.map(
        lambda leaf: leaf.copy(), (state.params, state.batch_stats, state.constants)
    )
    return variables(params, batch_stats, constants)


def _stored(config, model, source, workdir, mesh, phase, state, start) -> feature_cache.Stored:
    """The features of a phase, filled now or found on disk."""
    folder = None
    if _on_disk(config, model, len(source), phase, state, start):
        folder = workdir / "features" / _key(config, model, source, phase, state, start)
    else:
        feature_cache.evict(workdir / "features")
    return feature_cache.fill(
        compiled_trunk(model, phase.views, start, mesh),
        state.variables,
        lambda: pipeline.eval_batches(
            source,
            image_size=model.canvas,
            crop_fraction=1.0,
            batch_size=config.data.batch_size,
            interpolation=model.preprocessing.interpolation,
            workers=config.data.workers,
        ),
        len(source),
        len(phase.views),
        folder,
    )


def _on_disk(config, model, count, phase, state, start) -> bool:
    if config.train.feature_cache != "auto":
        return config.train.feature_cache == "disk"
    return stored_bytes(model, phase.views, state.variables, start, count) > MEMORY_GIB * 2**30


def stored_bytes(
    model: Model, views: Sequence[str], variables: Mapping[str, Any], start: str, count: int
) -> int:
    """Bytes that the features of ``count`` examples take, in all views."""
    example = {
        "image": jax.ShapeDtypeStruct((1, model.canvas, model.canvas, 3), np.uint8),
        "view": jax.ShapeDtypeStruct((1,), np.int32),
    }
    maps = jax.eval_shape(_trunk(model, views, start), variables, example)
    return count * len(views) * sum(m.size * m.dtype.itemsize for m in maps.values())


def _key(config, model, source, phase, state, start) -> str:
    """Names a cache by everything that its content depends on."""
    depths = model.recognizer.backbone.depths
    before = depths if start == "merge" else depths[: depths.index(start)]
    frozen = {
        path: leaf
        for path, leaf in groups.flatten(state.variables).items()
        if path.split("/")[1] in before
    }
    return feature_cache.key(
        trees.digest(frozen),
        source.info.fingerprint,
        source.names,
        phase.views,
        model.recognizer.kept_levels(start),
        config.model.dtype,
        model.preprocessing,
        model.canvas,
    )
