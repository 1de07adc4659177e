"""Batches: functions of seed and number, every example counted once, whatever is cached."""

import itertools

import chex
import numpy as np
import pytest

from fgjax.data import pipeline
from fgjax.data.decode import BrokenImageError
from fgjax.errors import UserError

TRAIN = {"canvas": 16, "batch_size": 4, "seed": 5}
EVALUATE = {"image_size": 12, "crop_fraction": 0.75, "batch_size": 4}


def noise(count, seed=0):
    """Random images of different sizes and shapes."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(18, 30, (count, 2))
    return [rng.integers(0, 256, (*size, 3), np.uint8) for size in sizes]


def take(count, batches):
    return list(itertools.islice(batches, count))


@pytest.fixture
def source(source_of):
    return source_of(noise(10), np.arange(10) % 3)


def test_shapes_and_types(source):
    [batch] = take(1, pipeline.train_batches(source, **TRAIN))
    found = {name: (value.dtype.name, value.shape) for name, value in batch.items()}
    assert found == {
        "image": ("uint8", (4, 16, 16, 3)),
        "label": ("int32", (4,)),
        "coarse": ("int32", (4,)),
        "mask": ("float32", (4,)),
        "index": ("int32", (4,)),
        "box": ("float32", (4, 4)),
        "parts": ("float32", (4, 0, 3)),
        "affine": ("float32", (4, 4)),
    }
    np.testing.assert_array_equal(batch["label"], source.labels[batch["index"]])
    assert (batch["mask"] == 1).all()


@pytest.mark.parametrize("sampling", pipeline.SAMPLINGS)
def test_a_batch_is_a_function_of_seed_and_number(source, sampling):
    options = TRAIN | {"sampling": sampling}
    all_at_once = take(9, pipeline.train_batches(source, **options))
    for start in (0, 1, 4, 8):
        resumed = take(9 - start, pipeline.train_batches(source, start=start, **options))
        chex.assert_trees_all_equal(resumed, all_at_once[start:])
    [other] = take(1, pipeline.train_batches(source, **options | {"seed": 6}))
    assert (other["index"] != all_at_once[0]["index"]).any()


def test_the_number_of_threads_changes_nothing(source):
    one, many = (take(6, pipeline.train_batches(source, workers=n, **TRAIN)) for n in (1, 8))
    chex.assert_trees_all_equal(one, many)


def test_an_epoch_draws_every_example_once_in_an_order_of_its_own(source):
    batches = take(15, pipeline.train_batches(source, **TRAIN))
    epochs = np.concatenate([batch["index"] for batch in batches]).reshape(6, 10)
    np.testing.assert_array_equal(np.sort(epochs), np.tile(np.arange(10), (6, 1)))
    assert len(np.unique(epochs, axis=0)) == 6


def test_the_same_example_is_cropped_differently_each_time(source_of):
    wide = np.tile(np.arange(0, 240, 2, np.uint8)[:, None], (16, 1, 3))
    source = source_of([wide.reshape(16, 120, 3)])
    lefts = {
        float(batch["affine"][0, 3])
        for batch in take(40, pipeline.train_batches(source, **TRAIN | {"batch_size": 1}))
    }
    assert len(lefts) > 20
    assert -104 <= min(lefts) < max(lefts) <= 0
    centred = pipeline.train_batches(source, **TRAIN | {"batch_size": 1}, crop="center")
    [batch] = take(1, centred)
    np.testing.assert_array_equal(batch["image"][0], wide[:, 52:68])


def test_balanced_sampling_draws_classes_equally_often(source_of):
    labels = np.repeat([0, 1, 2], [1, 3, 20])
    source = source_of(noise(24), labels)
    batches = take(12, pipeline.train_batches(source, **TRAIN, sampling="balanced"))
    for epoch in np.concatenate([batch["index"] for batch in batches]).reshape(2, 24):
        assert np.bincount(labels[epoch]).tolist() == [8, 8, 8]
        drawn = np.bincount(epoch, minlength=24)
        assert drawn[0] == 8
        assert sorted(drawn[1:4]) == [2, 3, 3]
        assert sorted(drawn[4:]) == [0] * 12 + [1] * 8


def test_what_does_not_divide_goes_to_classes_by_chance():
    labels = np.repeat([0, 1, 2], [6, 4, 1])  # 11 = 3 * 3 + 2
    counts = [
        tuple(np.bincount(labels[pipeline.epoch_order(labels, "balanced", 0, epoch)], minlength=3))
        for epoch in range(30)
    ]
    assert set(counts) == {(3, 4, 4), (4, 3, 4), (4, 4, 3)}


def test_balanced_sampling_leaves_out_absent_classes():
    order = pipeline.epoch_order(np.array([4, 4, 4, 7]), "balanced", 0, 0)
    assert (order == 3).sum() == 2


@pytest.mark.parametrize("count", [1, 8, 10])
def test_evaluation_sees_every_example_once_in_order(source_of, count):
    source = source_of(noise(count), np.arange(count) % 3)
    batches = list(pipeline.eval_batches(source, **EVALUATE))
    assert len(batches) == -(-count // 4)
    assert {batch["image"].shape for batch in batches} == {(4, 12, 12, 3)}
    mask = np.concatenate([batch["mask"] for batch in batches])
    index = np.concatenate([batch["index"] for batch in batches])
    np.testing.assert_array_equal(mask, np.arange(len(mask)) < count)
    np.testing.assert_array_equal(index[mask == 1], np.arange(count))


def test_the_evaluation_crop_is_central(source_of):
    pixels = np.random.default_rng(0).integers(0, 256, (16, 30, 3), np.uint8)
    [batch] = pipeline.eval_batches(source_of([pixels]), **EVALUATE)
    np.testing.assert_array_equal(batch["image"][0], pixels[2:14, 9:21])
    np.testing.assert_array_equal(batch["affine"][0], [1, 1, -2, -9])


@pytest.mark.parametrize("room", ["all", "some"])
def test_a_cache_changes_no_pixel(source_of, room):
    images, labels = noise(10), np.arange(10) % 3
    gib = 1.0 if room == "all" else 3 * 16 * 24 * 3 / 2**30
    plain, cached = source_of(images, labels), source_of(images, labels, cache_gib=gib)
    for _ in range(2):
        expected = take(8, pipeline.train_batches(plain, **TRAIN))
        chex.assert_trees_all_equal(take(8, pipeline.train_batches(cached, **TRAIN)), expected)
        expected = list(pipeline.eval_batches(plain, **EVALUATE))
        chex.assert_trees_all_equal(list(pipeline.eval_batches(cached, **EVALUATE)), expected)
    kept = len(cached._cache)
    assert kept == 10 if room == "all" else 0 < kept < 10


def test_a_full_cache_decodes_no_image_again(source_of, monkeypatch):
    source = source_of(noise(6), cache_gib=1.0)
    first = take(3, pipeline.train_batches(source, **TRAIN))
    monkeypatch.setattr("fgjax.data.decode.decode", None)
    chex.assert_trees_all_equal(take(3, pipeline.train_batches(source, **TRAIN)), first)


BROKEN = (2, 3, 9)


@pytest.fixture
def partly_broken(source_of):
    def make(**options):
        images = noise(10)
        for i in BROKEN:
            images[i] = b"no image"
        return source_of(images, np.arange(10) % 3, **options)

    return make


def test_a_broken_image_stops_training_and_is_named(partly_broken):
    with pytest.raises(BrokenImageError, match=r"[239]\.png of memory \(it is not an image\)"):
        take(5, pipeline.train_batches(partly_broken(), **TRAIN))
    with pytest.raises(BrokenImageError, match=r"2\.png of memory"):
        list(pipeline.eval_batches(partly_broken(), **EVALUATE))


def test_broken_images_give_way_to_the_next_readable_one(partly_broken, caplog):
    source = partly_broken(skip_broken=True)
    batches = take(5, pipeline.train_batches(source, **TRAIN))
    for epoch in np.concatenate([batch["index"] for batch in batches]).reshape(2, 10):
        assert np.bincount(epoch, minlength=10).tolist() == [2, 1, 0, 0, 3, 1, 1, 1, 1, 0]
    assert set(source.broken) == {f"{i}.png" for i in BROKEN}
    assert caplog.text.count("9.png") == 1
    chex.assert_trees_all_equal(
        take(3, pipeline.train_batches(partly_broken(skip_broken=True), start=2, **TRAIN)),
        batches[2:],
    )


def test_broken_images_are_masked_in_evaluation(partly_broken):
    batches = list(pipeline.eval_batches(partly_broken(skip_broken=True), **EVALUATE))
    mask = np.concatenate([batch["mask"] for batch in batches])
    assert np.flatnonzero(mask == 0).tolist() == [*BROKEN, 10, 11]
    assert (batches[0]["image"][2:] == 0).all()


def test_no_readable_image_at_all_is_said(source_of):
    source = source_of([b"", b"x"], skip_broken=True)
    with pytest.raises(UserError, match="none of the 2 images can be read"):
        take(1, pipeline.train_batches(source, **TRAIN))


def test_class_weights_make_classes_count_alike():
    labels = np.repeat([0, 1, 2], [1, 3, 8])
    weights = pipeline.class_weights(labels, 3)
    totals = np.bincount(labels, weights[labels])
    np.testing.assert_allclose(totals, 4)
    np.testing.assert_allclose(weights[labels].mean(), 1)
    with pytest.raises(UserError, match="at least one example of each of the 4 classes"):
        pipeline.class_weights(labels, 4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"crop": "left"}, "crop='left' is unknown; choose one of random, center"),
        ({"sampling": "fair"}, r"data\.sampling='fair' is unknown; .* uniform, balanced"),
    ],
)
def test_unknown_words_are_named(source, change, message):
    with pytest.raises(UserError, match=message):
        pipeline.train_batches(source, **TRAIN | change)


@pytest.mark.parametrize("fraction", [0.0, 1.5])
def test_a_crop_fraction_is_a_fraction(source, fraction):
    with pytest.raises(UserError, match=f"crop_fraction={fraction} must lie above 0"):
        pipeline.eval_batches(source, **EVALUATE | {"crop_fraction": fraction})
