"""What a phase's step is fed: batches from the host, and their preparation on the device."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, UInt8

from fgjax.data import augment, pipeline
from fgjax.data.source import Source
from fgjax.errors import UserError
from fgjax.evaluation.views import cut
from fgjax.ops.preprocessing import Preprocessing
from fgjax.training import feature_cache

Batch = Mapping[str, Any]
Prepare = Callable[[Batch, Key[Array, " b"]], tuple[Any, Any]]
# (batch, map from the original image to the network's, or None for stored features and finite
# views) -> targets, as a task makes them of its annotations.
Targets = Callable[[Batch, Float[Array, "b 4"] | None], Any]
Finish = Callable[[Any], Any]
# What only the preparation of a batch reads; the rest is its mask and its annotations.
FED = ("image", "affine", "features", "view", "index")


def from_images(
    settings: augment.Augmentation,
    preprocessing: Preprocessing,
    targets: Targets,
    finish: Finish,
) -> Prepare:
    """Random augmentation, mixing and normalisation of a batch of uint8 images.

    Args:
        settings: of augmentation and mixing.
        preprocessing: the network's convention.
        targets: the targets of a batch.
        finish: what is made of them once they are mixed, such as smoothing.
    """

    def prepare(batch, keys):
        size = preprocessing.image_size
        images, affine = augment.apply(batch["image"], batch["affine"], keys, settings, size)
        images, mixed = augment.mix(images, targets(batch, affine), keys, settings)
        images = augment.normalize(images, preprocessing.mean, preprocessing.std)
        return images, finish(mixed)

    return prepare


def from_features(targets: Targets, finish: Finish) -> Prepare:
    """Stored features enter as they are."""

    def prepare(batch, keys):
        del keys
        return batch["features"], finish(targets(batch, None))

    return prepare


def from_views(
    names: Sequence[str], preprocessing: Preprocessing, targets: Targets, finish: Finish
) -> Prepare:
    """One of the finite views of each image, chosen by the batch, where no trunk is frozen."""

    def prepare(batch, keys):
        del keys
        images = view_images(batch["image"], batch["view"], names, preprocessing)
        return images, finish(targets(batch, None))

    return prepare


def view_images(
    images: UInt8[Array, "b s s 3"],
    view: Int[Array, " b"],
    names: Sequence[str],
    preprocessing: Preprocessing,
) -> Float[Array, "b size size 3"]:
    """Normalised input: of every image the view with its number in ``names``."""
    every = jnp.stack([cut(images, name, preprocessing.image_size) for name in names])
    chosen = jnp.take_along_axis(every, view[None, :, None, None, None], axis=0)[0]
    return augment.normalize(chosen, preprocessing.mean, preprocessing.std)


def unfed(batch: Batch) -> dict[str, Any]:
    """The mask and the annotations of a batch."""
    return {name: leaf for name, leaf in batch.items() if name not in FED}


def image_batches(
    source: Source, start: int, *, annotations: Collection[str], **options: Any
) -> Iterator[Batch]:
    """What the step reads of the host's batches, from batch ``start`` on."""
    for batch in pipeline.train_batches(source, start=start, **options):
        yield {name: batch[name] for name in ("image", "affine", *annotations, "mask")}


def viewed_batches(
    source: Source,
    start: int,
    *,
    views: int,
    seed: int,
    annotations: Collection[str],
    **options: Any,
) -> Iterator[Batch]:
    """Centred images with the number of the view that each of them takes."""
    batches = pipeline.train_batches(source, start=start, seed=seed, crop="center", **options)
    for step, batch in enumerate(batches, start):
        view = feature_cache.choose_views(seed, step, len(batch["mask"]), views)
        kept = {name: batch[name] for name in ("image", *annotations, "mask", "index")}
        yield kept | {"view": view}


def feature_batches(
    trunk: feature_cache.Trunk, variables: Any, batches: Iterator[Batch]
) -> Iterator[Batch]:
    """Viewed batches whose images have been through the trunk, without a cache."""
    for batch in batches:
        features = trunk(variables, {"image": batch["image"], "view": batch["view"]})
        yield {"features": features, **unfed(batch)}


def cached_batches(
    stored: feature_cache.Stored,
    source: Source,
    start: int,
    *,
    views: int,
    seed: int,
    batch_size: int,
    sampling: str,
    annotations: Collection[str],
) -> Iterator[Batch]:
    """The same batches from stored features; no image is read.

    Raises:
        UserError: none of the images could be read when the features were stored.
    """
    order = functools.lru_cache(maxsize=4)(
        functools.partial(pipeline.epoch_order, source.labels, sampling, seed)
    )
    instead = _next_readable(stored.readable)
    for step in itertools.count(start):
        positions = np.arange(step * batch_size, (step + 1) * batch_size)
        places = zip(*np.divmod(positions, len(source)), strict=True)
        index = instead[[order(int(epoch))[place] for epoch, place in places]]
        view = feature_cache.choose_views(seed, step, batch_size, views)
        rows = [source.annotations(int(i)) for i in index]
        yield {
            "features": feature_cache.gather(stored.maps, index, view),
            **{name: np.stack([row[name] for row in rows]) for name in annotations},
            "mask": np.ones(batch_size, np.float32),
        }


def _next_readable(readable: Bool[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Each example, or the next one that can be read where a broken one is skipped."""
    places = np.flatnonzero(readable)
    if not len(places):
        raise UserError(f"none of the {len(readable)} images can be read; check data.dir")
    following = np.searchsorted(places, np.arange(len(readable)))
    return places[following % len(places)]


def check_pairs(batch_size: int, devices: int, accumulate: int, uses_pairs: str) -> None:
    """Raises UserError where a part of a batch is odd, so that an example has no neighbour.

    Args:
        batch_size: examples of a step.
        devices: number of devices that divide them.
        accumulate: number of parts in which each device's share is processed.
        uses_pairs: what takes neighbours in pairs, in words; "" if nothing does.
    """
    parts = devices * accumulate
    if uses_pairs and batch_size % (2 * parts):
        each = f", 2 for each of {parts} parts" if parts > 1 else ""
        raise UserError(
            f"data.batch_size is {batch_size}, and {uses_pairs} takes examples in pairs; choose a "
            f"multiple of {2 * parts}{each}"
        )


def prefetch(batches: Iterator[Batch], put: Callable[[Batch], Any], ahead: int = 2) -> Iterator:
    """Batches on the device, ``ahead`` of them under way while a step runs."""
    waiting = []
    for batch in batches:
        waiting.append(put(batch))
        if len(waiting) > ahead:
            yield waiting.pop(0)
    yield from waiting


def as_float(images: UInt8[Array, "b s s 3"], preprocessing: Preprocessing) -> Float[Array, ...]:
    """Evaluation images, already of the input's size, normalised."""
    return augment.normalize(images, preprocessing.mean, preprocessing.std)
