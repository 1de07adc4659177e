"""A second folder as the test split: ``data.test_dir``.

All of its images are the test split, whatever splits the folder itself is divided into. Nothing of
``data.dir`` is held out for a test by rule any more; a test split that ``data.dir`` has of its own
is neither learned from nor scored.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import ml_collections

from fgjax.data import fingerprint, image_folder, prepared
from fgjax.data.info import Dataset
from fgjax.errors import UserError

# By the name of a data set: how a second folder of its format is read, and which folders the first
# one learns from.
READERS = {"image_folder": image_folder.read_all, "cub200": prepared.read_all_cub200}
_LEARNED = {"image_folder": image_folder.learned_from, "cub200": prepared.learned_from}


def check_folder(config: ml_collections.ConfigDict) -> None:
    """Refuses a folder that cannot be the test split, by names alone.

    Args:
        config: ``config.data``: name, dir, test_dir.

    Raises:
        UserError: data of that name come without a folder, the folder is missing, or it and those
            that are learned from lie in each other.
    """
    if config.name not in READERS:
        raise UserError(
            f"data.test_dir is {config.test_dir!r}, and data.name={config.name!r} takes no second "
            f"folder; it is for {' and '.join(READERS)}"
        )
    test = Path(config.test_dir).expanduser()
    if not test.is_dir():
        raise UserError(
            f"the test folder {test} does not exist; set data.test_dir to an existing one"
        )
    place = test.resolve()
    for folder in map(Path.resolve, _LEARNED[config.name](config)):
        if place.is_relative_to(folder) or folder.is_relative_to(place):
            raise UserError(
                f"the test folder {test} and {folder}, which is learned from, share images; set "
                "data.test_dir to a folder apart from it"
            )


def replaced(dataset: Dataset, config: ml_collections.ConfigDict) -> Dataset:
    """A data set with the images of ``config.test_dir`` as its test split.

    Args:
        dataset: opened with a ``test_share`` of 0.
        config: ``config.data``: name, dir, test_dir, test_share, skip_broken, cache_dir.

    Raises:
        UserError: see :func:`check_folder`.
    """
    check_folder(config)
    info = dataset.info
    if "test" in dataset.by_rule and config.test_share > 0:
        # More is learned from than without data.test_dir: a run is not to go on with other images.
        whole = fingerprint.of_values(info.fingerprint, "nothing held out")
        info = dataclasses.replace(info, fingerprint=whole)
    test = functools.partial(READERS[config.name], config, info)
    return Dataset(info, {**dataset.splits, "test": test}, dataset.by_rule - {"test"})
