"""The keys of ``config.data`` and their defaults."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_collections
from ml_collections import config_dict


def default_config() -> ml_collections.ConfigDict:
    """A fresh ``config.data``; a key that is None is decided elsewhere, as its comment says.

    What each may be is in ``fgjax.run.keys``.
    """
    c = ml_collections.ConfigDict()
    # "synthetic_birds", "cub200", "image_folder" or "tfds:NAME", such as "tfds:oxford_flowers102".
    c.name = "synthetic_birds"
    # cub200: a folder in that layout (None: the official archive); image_folder: the photos;
    # tfds: the folder of prepared data (None: TFDS's own).
    c.dir = config_dict.placeholder(str)
    # image_folder, cub200: a second folder of the same format; all of its images are the test
    # split, and test_share holds out none.
    c.test_dir = config_dict.placeholder(str)
    # Where prepared data and downloads are kept (None: $FGJAX_CACHE or ~/.cache/fgjax).
    c.cache_dir = config_dict.placeholder(str)

    c.image_size = 224  # side of the network's input, in pixels; 32 at least
    c.canvas = config_dict.placeholder(int)  # side of what is augmented; None: size / crop_fraction
    c.crop_fraction = config_dict.placeholder(float)  # None: that of the pretrained weights
    c.interpolation = config_dict.placeholder(str)  # "bilinear", "bicubic"; None: the weights'

    c.batch_size = 32  # the global batch: all devices and accumulation steps together
    c.eval_batch_size = 64
    c.sampling = "uniform"  # or "balanced": every class equally often
    c.validation_share = 0.2  # of each class's training images, in the protocol "develop"
    c.test_share = 0.2  # of each class, where image_folder is one folder without train/ and test/

    c.cache = "memory"  # keeps decoded and resized images; "none": decodes them every epoch
    c.cache_gib = 4.0  # at most this much memory for each split; what does not fit is decoded
    c.workers = 4  # threads that decode
    c.skip_broken = False  # True: goes on without files that are no images, naming them

    # Of synthetic_birds only.
    c.size = 192  # side of the drawn images, in pixels
    c.seed = 0  # of the drawings; the seed of the run is config.seed
    c.difficulty = 0.5
    c.counts = ml_collections.ConfigDict({"train": 40, "test": 20})  # images of each class
    return c


def completed(stored: Mapping[str, Any]) -> dict[str, Any]:
    """A recorded ``config.data`` with the defaults of those keys that were not known yet."""
    return default_config().to_dict() | dict(stored)


def cache_folder(config: ml_collections.ConfigDict) -> Path:
    """Where prepared data and downloads are kept."""
    folder = config.cache_dir or os.environ.get("FGJAX_CACHE") or "~/.cache/fgjax"
    return Path(folder).expanduser()
