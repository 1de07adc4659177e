"""Batches of uint8 images from a source: random access, threads, and no state but a number.

A batch is a dictionary of NumPy arrays:

    image   UInt8[b s s 3]   label   Int32[b]     mask    Float32[b], 0 where the row is padding
    affine  Float32[b 4]     coarse  Int32[b]     index   Int32[b], position in the source
    box     Float32[b 4]     parts   Float32[b p 3]

Boxes and parts stay in pixels of the original image; ``affine`` (see ``fgjax.ops.boxes``) leads
from there to pixels of the batch. Rows and batches are pure functions of the seed and of their
number, so that resuming means starting at another number.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import grain
import numpy as np
from jaxtyping import Float, Int, UInt8

from fgjax.checking.choices import check_choice
from fgjax.data import views
from fgjax.data.decode import BrokenImageError
from fgjax.data.source import Source
from fgjax.errors import UserError

Batch = dict[str, np.ndarray]

CROPS = ("random", "center")
SAMPLINGS = ("uniform", "balanced")

_ENDLESS = 2**62
_BATCHES_AHEAD = 4


def train_batches(
    source: Source,
    *,
    canvas: int,
    batch_size: int,
    seed: int,
    start: int = 0,
    crop: str = "random",
    sampling: str = "uniform",
    interpolation: str = "bilinear",
    workers: int = 4,
) -> Iterator[Batch]:
    """Endless training batches, reshuffled every epoch; batch t is a function of (seed, t).

    Epochs follow each other without a gap: a batch may hold the end of one and the beginning of
    the next, and every example is drawn once an epoch (uniform sampling).

    Args:
        source: the examples.
        canvas: side s of the square images, in pixels; the short side of an image is resized to
            it, and the square is cut out along the long one.
        batch_size: rows b of a batch.
        seed: of order and crops, non-negative.
        start: number of the first batch that is returned.
        crop: where the square lies: "random" or "center".
        sampling: "uniform", or "balanced": every class equally often.
        interpolation: "bilinear" or "bicubic", antialiased.
        workers: threads that decode.

    Raises:
        BrokenImageError: an image cannot be decoded. With ``source.skip_broken`` the next readable
            image of the source takes its place.
    """
    check_choice("crop", crop, CROPS)
    check_choice("data.sampling", sampling, SAMPLINGS)
    order = functools.lru_cache(maxsize=4)(
        functools.partial(epoch_order, source.labels, sampling, seed)
    )

    def row(position: int) -> Batch:
        epoch, place = divmod(position, len(source))
        index, (image, affine) = _readable(source, int(order(epoch)[place]), canvas, interpolation)
        where = np.random.default_rng((seed, 1, position)).random() if crop == "random" else 0.5
        return _row(source, index, *_square(image, affine, canvas, where))

    positions = grain.MapDataset.range(start * batch_size, _ENDLESS)
    return _iterate(positions.map(row).batch(batch_size), workers)


def eval_batches(
    source: Source,
    *,
    image_size: int,
    crop_fraction: float,
    batch_size: int,
    interpolation: str = "bilinear",
    workers: int = 4,
) -> Iterator[Batch]:
    """Every example once, in order; the last batch is filled with masked rows.

    Args:
        source: the examples.
        image_size: side s of the square images, in pixels.
        crop_fraction: share of the resized short side that the central square covers.
        batch_size: rows b of every batch.
        interpolation: "bilinear" or "bicubic", antialiased.
        workers: threads that decode.

    Raises:
        BrokenImageError: an image cannot be decoded. With ``source.skip_broken`` its row is black
            and masked.
    """
    if not 0 < crop_fraction <= 1:
        raise UserError(f"data.crop_fraction={crop_fraction} must lie above 0 and at most at 1")
    canvas = round(image_size / crop_fraction)

    def row(position: int) -> Batch:
        index = min(position, len(source) - 1)
        try:
            image, affine = source.resized(index, canvas, interpolation)
        except BrokenImageError as error:
            if not source.skip_broken:
                raise
            source.report_broken(index, error)
            black, identity = np.zeros((image_size,) * 2 + (3,), np.uint8), (1, 1, 0, 0)
            return _row(source, index, black, np.array(identity, np.float32), mask=0)
        square = central(image, affine, canvas, image_size)
        return _row(source, index, *square, mask=position < len(source))

    count = -(-len(source) // batch_size) * batch_size
    return _iterate(grain.MapDataset.range(count).map(row).batch(batch_size), workers)


def epoch_order(
    labels: Int[np.ndarray, " n"], sampling: str, seed: int, epoch: int
) -> Int[np.ndarray, " n"]:
    """The order in which an epoch draws its n examples.

    Uniform: every example once. Balanced: every class that has examples n / k times (the rest of
    that division goes to classes chosen at random); a class with fewer examples repeats them
    evenly, one with more is sampled without replacement.
    """
    rng = np.random.default_rng((seed, 0, epoch))
    if sampling == "uniform":
        return rng.permutation(len(labels))
    classes = rng.permutation(np.unique(labels))
    draws = np.full(len(classes), len(labels) // len(classes))
    draws[: len(labels) % len(classes)] += 1
    chosen = []
    for label, count in zip(classes, draws, strict=True):
        members = np.flatnonzero(labels == label)
        rounds = -(-count // len(members))
        chosen.append(np.concatenate([rng.permutation(members) for _ in range(rounds)])[:count])
    return rng.permutation(np.concatenate(chosen))


def class_weights(labels: Int[np.ndarray, " n"], classes: int) -> Float[np.ndarray, " k"]:
    """Weight n / (k n_c) of each class c: classes count alike, and the mean over examples is 1.

    Raises:
        UserError: a class has no example.
    """
    counts = np.bincount(labels, minlength=classes)
    if len(counts) > classes or not counts.all():
        raise UserError(
            f"class weights need at least one example of each of the {classes} classes; the labels "
            f"hold {np.count_nonzero(counts)} different ones up to {len(counts) - 1}"
        )
    return (len(labels) / (classes * counts)).astype(np.float32)


def _readable(source: Source, index: int, canvas: int, interpolation: str) -> tuple[int, tuple]:
    """The image at ``index``, or the next one that can be read if broken ones are skipped."""
    for candidate in range(index, index + len(source)):
        candidate %= len(source)
        try:
            return candidate, source.resized(candidate, canvas, interpolation)
        except BrokenImageError as error:
            if not source.skip_broken:
                raise
            source.report_broken(candidate, error)
    raise UserError(f"none of the {len(source)} images can be read; check data.dir")


def _square(
    image: UInt8[np.ndarray, "h w 3"], affine: Float[np.ndarray, " 4"], size: int, where: float
) -> tuple[UInt8[np.ndarray, "s s 3"], Float[np.ndarray, " 4"]]:
    """A square of an image to which ``affine`` leads, and the map onto the square.

    It is cut out at the share ``where`` of the room there is.
    """
    top, left = (int(where * (side - size + 1)) for side in image.shape[:2])
    onto = affine - np.array([0, 0, top, left], np.float32)
    return image[top : top + size, left : left + size], onto


def central(
    image: UInt8[np.ndarray, "h w 3"], affine: Float[np.ndarray, " 4"], canvas: int, size: int
) -> tuple[UInt8[np.ndarray, "s s 3"], Float[np.ndarray, " 4"]]:
    """The pixels that every score, report and prediction of an image sees, and the map onto them.

    Args:
        image: as ``decode`` returns it, its short side of ``canvas`` pixels.
        affine: the map onto it that came with it.
        canvas: side of the central square of the image, in pixels; its centre is cut out.
        size: side s of the result, in pixels, at most that of the canvas.
    """
    square, onto = _square(image, affine, canvas, 0.5)
    crops, maps = views.take(square[None], onto[None], "center", size)
    return crops[0], maps[0]


def _row(
    source: Source, index: int, image: np.ndarray, affine: np.ndarray, mask: float = 1
) -> Batch:
    annotations = source.annotations(index)
    return {"image": image, "affine": affine, "mask": np.array(mask, np.float32), **annotations}


def _iterate(batches: grain.MapDataset, workers: int) -> Iterator[Batch]:
    options = grain.ReadOptions(num_threads=workers, prefetch_buffer_size=_BATCHES_AHEAD)
    return iter(batches.to_iter_dataset(options))
