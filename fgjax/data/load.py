"""From ``config.data`` to the splits of a protocol."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence

import ml_collections
import numpy as np

from fgjax.checking.choices import check_choice
from fgjax.data import image_folder, prepared, stratify, test_folder, tfds_source
from fgjax.data.info import Dataset, DatasetInfo, Examples
from fgjax.data.source import Source
from fgjax.errors import UserError

PROTOCOLS = ("develop", "final")
SPLITS = ("train", "validation", "test")

DATASETS: dict[str, Callable[[ml_collections.ConfigDict], Dataset]] = {
    "cub200": prepared.open_cub200,
    "image_folder": image_folder.open_folder,
    "synthetic_birds": prepared.open_synthetic_birds,
}


@dataclasses.dataclass(frozen=True)
class DataBundle:
    """A data set under a protocol; a split that is absent or was not asked for is None.

    ``by_rule`` names the splits that are cut from the training data: once the data have changed,
    they hold images that an earlier training has learned from.
    """

    info: DatasetInfo
    train: Source | None
    validation: Source | None
    test: Source | None
    by_rule: frozenset[str] = frozenset()

    def split(self, name: str) -> Source:
        """The split called ``name``.

        Raises:
            UserError: it is absent or was not asked for.
        """
        source = getattr(self, name)
        if source is None:
            raise UserError(
                f"there is no {name} split of {self.info.name!r} here: the data set lacks it, or "
                "the protocol leaves it out; choose another split or protocol"
            )
        return source


def load(
    config: ml_collections.ConfigDict,
    protocol: str = "develop",
    seed: int = 0,
    splits: Sequence[str] = SPLITS,
) -> DataBundle:
    """Opens a data set under a protocol.

    ``develop`` is for every choice: the network learns from part of the training data, validation
    is the data set's own validation split or, if it has none, ``validation_share`` of each class's
    training images, and the test split is not opened. ``final`` is for the one reported figure:
    the network learns from all of the training data, the data set's own validation split included,
    and there is no validation.

    Args:
        config: ``config.data``, see ``defaults.default_config``.
        protocol: "develop" or "final".
        seed: chooses the validation images.
        splits: those wanted; others are not read.

    Raises:
        UserError: the name or protocol is unknown, the data cannot be found or read, or a class
            has no training image.
    """
    check_choice("protocol", protocol, PROTOCOLS)
    for split in splits:
        check_choice("split", split, SPLITS)
    dataset = _open(config)
    readers = _develop(dataset, config, seed) if protocol == "develop" else _final(dataset)
    cache_gib = config.cache_gib if config.cache == "memory" else 0.0
    sources = {
        split: Source(
            readers[split](), dataset.info, cache_gib=cache_gib, skip_broken=config.skip_broken
        )
        for split in splits
        if split in readers
    }
    by_rule = dataset.by_rule | ({"validation"} - dataset.splits.keys())
    train, validation, test = (sources.get(split) for split in SPLITS)
    return DataBundle(dataset.info, train, validation, test, by_rule)


def _open(config: ml_collections.ConfigDict) -> Dataset:
    check_choice("data.cache", config.cache, ("memory", "none"))
    if config.test_dir is None:
        return _found(config)
    whole = config.copy_and_resolve_references()
    whole.test_share = 0.0
    return test_folder.replaced(_found(whole), config)


def _found(config: ml_collections.ConfigDict) -> Dataset:
    if config.name.startswith("tfds:"):
        return tfds_source.open_by_name(config)
    check_choice("data.name", config.name, (*DATASETS, "tfds:NAME"))
    return DATASETS[config.name](config)


def _develop(
    dataset: Dataset, config: ml_collections.ConfigDict, seed: int
) -> dict[str, Callable[[], Examples]]:
    train = functools.cache(lambda: _learnable(dataset.splits["train"](), dataset.info))
    if "validation" in dataset.splits:
        return {"train": train, "validation": dataset.splits["validation"]}

    def part(chosen: bool) -> Examples:
        salt = f"validation {seed}"
        held_out = stratify.held_out(train().labels, train().names, config.validation_share, salt)
        return train().take(np.flatnonzero(held_out == chosen))

    return {"train": lambda: part(False), "validation": lambda: part(True)}


def _final(dataset: Dataset) -> dict[str, Callable[[], Examples]]:
    def train() -> Examples:
        examples = dataset.splits["train"]()
        if "validation" in dataset.splits:
            examples = examples.join(dataset.splits["validation"]())
        return _learnable(examples, dataset.info)

    readers = {"train": train}
    if "test" in dataset.splits:
        readers["test"] = dataset.splits["test"]
    return readers


def _learnable(train: Examples, info: DatasetInfo) -> Examples:
    """The training examples, once it is sure that every class has one."""
    present = np.bincount(train.labels, minlength=len(info.classes)) > 0
    if not present.all():
        raise UserError(
            f"the class {info.classes[int(np.argmin(present))]!r} of {train.origin} has no "
            "training image; add some, or remove the class"
        )
    return train
