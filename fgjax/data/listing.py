"""What can be told of a data set from the names of folders and files, none of which is opened."""

from __future__ import annotations

import ml_collections

from fgjax.data import image_folder, prepared, test_folder
from fgjax.data.load import SPLITS


def splits(config: ml_collections.ConfigDict, protocol: str) -> set[str]:
    """The splits that a protocol will find; all three where that is not known.

    Args:
        config: ``config.data``: name, dir, test_dir, validation_share, test_share.
        protocol: "develop" or "final".

    Raises:
        UserError: the folder is missing or does not look like the data set.
    """
    if config.test_dir is not None:
        test_folder.check_folder(config)
    if config.name.startswith("tfds:"):
        return set(SPLITS)
    found = {"train", "test"}
    if config.name == "image_folder":
        found = image_folder.splits(config)
    elif config.name == "cub200":
        prepared.check_folder(config)
    if config.test_dir is not None:
        found = found | {"test"}
    held_out = protocol == "develop" and config.validation_share > 0
    return found | {"validation"} if held_out else found
