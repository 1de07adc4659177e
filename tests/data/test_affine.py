"""Boxes and parts follow the pixels: a dot and a rectangle are drawn, moved, and found again."""

import itertools

import jax
import numpy as np
import pytest

from fgjax.data import augment, pipeline, views
from fgjax.ops import boxes

CANVAS, SIZE = 64, 48
augmented = jax.jit(augment.apply, static_argnums=(3, 4))
SIZES = [(90, 140), (200, 110), (64, 64), (50, 75)]


def dots(points):
    """A black image for each (y, x), with a soft white dot there."""
    for (height, width), (y, x) in zip(SIZES, points, strict=True):
        rows, columns = np.arange(height) + 0.5, np.arange(width) + 0.5
        square = (rows[:, None] - y) ** 2 + (columns - x) ** 2
        # As wide in every image after its short side is resized to the canvas.
        width = 2.0 * min(height, width) / CANVAS
        yield np.dstack([255 * np.exp(-square / (2 * width**2))] * 3).round().astype(np.uint8)


@pytest.fixture
def points():
    shares = np.random.default_rng(2).uniform(0.4, 0.6, (len(SIZES), 2))
    return (shares * SIZES).astype(np.float32)


@pytest.fixture
def dotted(source_of, points):
    parts = np.dstack([points[:, None], np.ones((len(points), 1, 1))]).astype(np.float32)
    return source_of(dots(points), parts=parts)


def check_dots(images, affine, parts):
    """The centre of mass of every dot is where the map says; returns how many were looked at."""
    checked = 0
    for image, place in zip(images, boxes.map_points(affine, parts[..., :2])[:, 0], strict=True):
        if min(*place, *(len(image) - place)) > 8:
            mass = np.asarray(image)[..., 0].astype(float)
            grid = np.indices(mass.shape) + 0.5
            found = (grid * mass).sum((1, 2)) / mass.sum()
            np.testing.assert_allclose(found, place, atol=0.1)
            checked += 1
    return checked


@pytest.mark.parametrize("crop", pipeline.CROPS)
def test_parts_follow_resize_and_crop(dotted, crop):
    batches = pipeline.train_batches(dotted, canvas=CANVAS, batch_size=16, seed=0, crop=crop)
    for batch in itertools.islice(batches, 2):
        assert check_dots(batch["image"], batch["affine"], batch["parts"]) >= 8


def test_parts_follow_the_evaluation_crop(dotted):
    [batch] = pipeline.eval_batches(dotted, image_size=SIZE, crop_fraction=0.75, batch_size=4)
    assert check_dots(batch["image"], batch["affine"], batch["parts"]) == 4


@pytest.mark.parametrize("view", views.VIEWS)
def test_parts_follow_every_view(dotted, view):
    [batch] = pipeline.eval_batches(dotted, image_size=CANVAS, crop_fraction=1.0, batch_size=4)
    images, affine = views.take(batch["image"], batch["affine"], view, SIZE)
    assert images.shape == (4, SIZE, SIZE, 3)
    assert check_dots(images, affine, batch["parts"]) >= 2


def test_parts_follow_the_augmentation(dotted):
    settings = augment.Augmentation(scale=(0.4, 1.0), ratio=(0.6, 1.6), flip=0.5)
    batches = pipeline.train_batches(dotted, canvas=CANVAS, batch_size=64, seed=1)
    batch = next(batches)
    keys = jax.random.split(jax.random.key(0), 64)
    images, affine = augmented(batch["image"], batch["affine"], keys, settings, SIZE)
    affine = np.asarray(affine)
    assert {-1, 1} == set(np.sign(affine[:, 1]))
    assert check_dots(images, affine, batch["parts"]) >= 30


def test_a_part_that_is_cut_off_is_no_longer_visible(dotted):
    settings = augment.Augmentation(scale=(0.1, 0.2))
    batch = next(pipeline.train_batches(dotted, canvas=CANVAS, batch_size=64, seed=1))
    keys = jax.random.split(jax.random.key(0), 64)
    images, affine = augmented(batch["image"], batch["affine"], keys, settings, SIZE)
    parts = boxes.map_parts(np.asarray(affine), batch["parts"], SIZE)
    brightest = np.asarray(images).max((1, 2, 3))
    assert (brightest[parts[:, 0, 2] == 1] > 200).all()
    far = (np.abs(parts[:, 0, :2] - SIZE / 2) > SIZE).any(-1)
    assert far.sum() > 5
    assert (parts[far, 0, 2] == 0).all() and (brightest[far] < 50).all()


def test_boxes_follow_crop_resize_and_flip(source_of):
    corners = np.array([[30, 40, 70, 95], [60, 20, 130, 90], [10, 12, 40, 50], [12, 20, 40, 60]])
    images = [np.zeros((*size, 3), np.uint8) for size in SIZES]
    for image, (top, left, bottom, right) in zip(images, corners, strict=True):
        image[top:bottom, left:right] = 255
    source = source_of(images, boxes=corners.astype(np.float32))
    settings = augment.Augmentation(scale=(0.7, 1.0), ratio=(0.8, 1.25), flip=0.5)
    batch = next(pipeline.train_batches(source, canvas=CANVAS, batch_size=32, seed=0))
    keys = jax.random.split(jax.random.key(1), 32)
    moved, affine = augmented(batch["image"], batch["affine"], keys, settings, SIZE)
    expected = boxes.map_boxes(np.asarray(affine), batch["box"]).clip(0, SIZE)
    for image, box in zip(np.asarray(moved)[..., 0] > 127, expected, strict=True):
        rows, columns = np.flatnonzero(image.any(1)), np.flatnonzero(image.any(0))
        found = [rows[0], columns[0], rows[-1] + 1, columns[-1] + 1]
        np.testing.assert_allclose(found, box, atol=1.0)
