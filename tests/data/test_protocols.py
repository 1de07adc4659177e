"""The protocols: what is learned from, what is chosen by, and what is left unopened."""

import hashlib

import numpy as np
import pytest

from fgjax import data
from fgjax.data import stratify
from fgjax.data.info import Dataset, DatasetInfo, without_annotations
from fgjax.data.load import DATASETS
from fgjax.errors import UserError


def unopened():
    raise AssertionError("this split must not be opened")


def examples(split, counts):
    """So many examples of each class, whose names say where they belong."""
    labels = np.repeat(np.arange(len(counts)), counts)
    names = [f"{split}/{label}/{i}" for i, label in enumerate(labels)]
    return lambda: without_annotations("here", names, labels, lambda i: names[i].encode())


@pytest.fixture
def dataset(monkeypatch):
    """Makes ``data.name="counted"`` a data set with these splits."""

    def make(**splits):
        info = DatasetInfo("counted", ("a", "b", "c"), "0")
        monkeypatch.setitem(DATASETS, "counted", lambda config: Dataset(info, splits))

    return make


def test_develop_holds_out_a_fifth_of_each_class(config, dataset):
    dataset(train=examples("train", (10, 15, 4)), test=unopened)
    found = data.load(config(name="counted"), "develop", seed=3)
    assert found.test is None
    assert np.bincount(found.validation.labels).tolist() == [2, 3, 1]
    assert np.bincount(found.train.labels).tolist() == [8, 12, 3]
    everything = examples("train", (10, 15, 4))()
    assert sorted([*found.train.names, *found.validation.names]) == sorted(everything.names)

    def digest(name):
        return hashlib.sha256(f"validation 3/{name}".encode()).digest()

    for label, count in enumerate((2, 3, 1)):
        members = [n for n in everything.names if n.split("/")[1] == str(label)]
        expected = sorted(members, key=digest)[:count]
        held = [n for n in found.validation.names if n.split("/")[1] == str(label)]
        assert sorted(held) == sorted(expected)


def test_the_seed_chooses_the_validation_images(config, dataset):
    dataset(train=examples("train", (20, 20, 20)))
    held = [data.load(config(name="counted"), seed=s).validation.names for s in (0, 0, 1)]
    assert held[0] == held[1] != held[2]


def test_a_validation_split_of_its_own_is_used(config, dataset):
    dataset(
        train=examples("train", (3, 3, 3)), validation=examples("val", (1, 1, 1)), test=unopened
    )
    found = data.load(config(name="counted"), "develop")
    assert (len(found.train), len(found.validation), found.test) == (9, 3, None)


def test_final_learns_from_everything_but_test(config, dataset):
    dataset(
        train=examples("train", (3, 3, 3)),
        validation=examples("val", (1, 1, 1)),
        test=examples("test", (2, 2, 2)),
    )
    found = data.load(config(name="counted"), "final")
    assert (len(found.train), found.validation, len(found.test)) == (12, None, 6)
    assert found.train.names[-1] == "val/2/2"
    assert found.train._examples.read(11) == b"val/2/2"


def test_only_the_splits_asked_for_are_opened(config, dataset):
    dataset(train=examples("train", (5, 5, 5)), test=unopened)
    assert len(data.load(config(name="counted"), "final", splits=("train",)).train) == 15
    dataset(train=unopened, test=examples("test", (1, 1, 1)))
    found = data.load(config(name="counted"), "final", splits=("test",))
    assert len(found.split("test")) == 3
    with pytest.raises(UserError, match="no train split of 'counted' here"):
        found.split("train")


@pytest.mark.parametrize("protocol", ["develop", "final"])
def test_a_class_without_training_image_is_named(config, dataset, protocol):
    dataset(train=examples("train", (3, 0, 3)), test=examples("test", (1, 1, 1)))
    with pytest.raises(UserError, match="class 'b' of here has no training image"):
        data.load(config(name="counted"), protocol)


@pytest.mark.parametrize(
    ("changes", "arguments", "message"),
    [
        ({}, {"protocol": "best"}, "protocol='best' is unknown; choose one of develop, final"),
        ({}, {"splits": ("dev",)}, "split='dev' is unknown; choose one of train, validation, te"),
        ({"name": "cub"}, {}, r"data\.name='cub' is unknown; .* cub200, .* tfds:NAME"),
        ({"cache": "disk"}, {}, r"data\.cache='disk' is unknown; choose one of memory, none"),
    ],
)
def test_unknown_words_are_named(config, changes, arguments, message):
    with pytest.raises(UserError, match=message):
        data.load(config(**changes), **arguments)


def test_held_out_examples_depend_on_names_not_on_order():
    labels = np.repeat([0, 1], [7, 9])
    names = [f"{label}/{i}" for i, label in enumerate(labels)]
    chosen = stratify.held_out(labels, names, 0.3, "salt")
    order = np.random.default_rng(0).permutation(len(labels))
    shuffled = stratify.held_out(labels[order], [names[i] for i in order], 0.3, "salt")
    np.testing.assert_array_equal(shuffled, chosen[order])
    assert (chosen != stratify.held_out(labels, names, 0.3, "pepper")).any()


@pytest.mark.parametrize(
    ("count", "share", "expected"),
    [(1, 0.2, 0), (2, 0.2, 1), (4, 0.2, 1), (10, 0.2, 2), (5, 0.95, 4), (10, 0.0, 0)],
)
def test_a_class_keeps_an_example_on_either_side(count, share, expected):
    names = [str(i) for i in range(count)]
    chosen = stratify.held_out(np.zeros(count, int), names, share, "salt")
    assert chosen.sum() == expected
