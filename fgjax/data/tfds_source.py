"""Data sets prepared by TensorFlow Datasets, read without TensorFlow.

``read`` turns a split of any builder with an image and a class label into ``Examples``;
``open_by_name`` finds one of the data sets that TFDS knows.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

import ml_collections
import numpy as np
import tensorflow_datasets as tfds

from fgjax.data import decode, fingerprint, info
from fgjax.errors import UserError

# Names of a held-out part of the training data, apart from the test split.
_VALIDATION = ("validation", "val", "dev")


def open_by_name(config: ml_collections.ConfigDict) -> info.Dataset:
    """The TFDS data set named in ``config.name`` as "tfds:NAME", prepared if it is not yet.

    Args:
        config: ``config.data``: name, dir (of the prepared data, None for TFDS's own folder).

    Raises:
        UserError: TFDS does not know the name, the data set has no image with a class label, or
            TensorFlow is needed to prepare it and is not installed.
    """
    name = config.name.removeprefix("tfds:")
    try:
        builder = tfds.builder(name, data_dir=config.dir, file_format="array_record")
    except tfds.core.DatasetNotFoundError as error:
        raise UserError(
            f"TFDS has no data set {name!r}; its list is at "
            "https://www.tensorflow.org/datasets/catalog, and tfds.list_builders() prints it."
        ) from error
    _check_features(name, builder.info.features)
    _prepare(name, builder)
    label = builder.info.features["label"]
    description = info.DatasetInfo(
        name=config.name,
        classes=tuple(label.names or map(str, range(label.num_classes))),
        fingerprint=fingerprint.of_values(builder.info.full_name, builder.info.dataset_size),
    )
    # Without metadata (TFDS's mocked data) the splits are unknown and taken to be these two.
    known = set(builder.info.splits) or {"train", "test"}
    validation = next((split for split in _VALIDATION if split in known), None)
    names = {"train": "train", "validation": validation, "test": "test"}
    return info.Dataset(
        description,
        {
            split: functools.partial(read, builder, name)
            for split, name in names.items()
            if name in known
        },
    )


def read(builder: tfds.core.DatasetBuilder, split: str) -> info.Examples:
    """A split with its annotations in memory; images stay on disk, encoded.

    Features used: ``image`` and ``label``; if there, ``name`` or ``file_name``; ``box`` in pixels
    or ``bbox`` as TFDS has it, in fractions of the image; ``parts``.
    """
    # Images stay encoded: fgjax decodes at the size it needs, and others (masks) not at all.
    images = [k for k, v in builder.info.features.items() if isinstance(v, tfds.features.Image)]
    decoders = {key: tfds.decode.SkipDecoding() for key in images}
    records = builder.as_data_source(split, decoders=decoders)
    rows = [_annotations(records[i], i, split) for i in range(len(records))]
    return info.Examples(
        origin=f"{builder.name} ({split})",
        names=[row["name"] for row in rows],
        labels=np.array([row["label"] for row in rows], np.int32),
        boxes=np.array([row["box"] for row in rows], np.float32).reshape(-1, 4),
        parts=_stack_parts([row["parts"] for row in rows]),
        read=lambda i: records[i]["image"],
    )


def _annotations(record: Mapping, index: int, split: str) -> dict:
    name = record.get("name", record.get("file_name", f"{split}/{index}"))
    box = record.get("box", np.full(4, np.nan, np.float32))
    if "bbox" in record:
        height, width = decode.image_size(record["image"])
        box = np.asarray(record["bbox"]) * [height, width, height, width]
    return {
        "name": name.decode() if isinstance(name, bytes) else name,
        "label": record["label"],
        "box": box,
        "parts": record.get("parts", np.zeros((0, 3), np.float32)),
    }


def _stack_parts(parts: list[np.ndarray]) -> np.ndarray:
    """[n p 3]; an image without annotated parts gets invisible ones."""
    count = max((len(p) for p in parts), default=0)
    stacked = np.zeros((len(parts), count, 3), np.float32)
    for row, points in zip(stacked, parts, strict=True):
        row[: len(points)] = points
    return stacked


def _check_features(name: str, features: tfds.features.FeaturesDict) -> None:
    image = isinstance(features.get("image"), tfds.features.Image)
    label = isinstance(features.get("label"), tfds.features.ClassLabel)
    if not (image and label):
        raise UserError(
            f"The TFDS data set {name!r} has no image with a class label (its features are "
            f"{', '.join(sorted(features))}); choose one that has."
        )


def _prepare(name: str, builder: tfds.core.DatasetBuilder) -> None:
    advice = (
        f"The TFDS data set {name!r} cannot be prepared without TensorFlow; install it once with "
        f"pip install 'fgjax[tf]' and run the same command again, or set data.dir to a folder "
        "where it lies prepared as array_record."
    )
    try:
        builder.download_and_prepare(file_format="array_record")
    except ImportError as error:
        raise UserError(advice) from error
    except OSError as error:
        raise UserError(
            f"The TFDS data set {name!r} cannot be downloaded or prepared ({error}); check the "
            f"network, or set data.dir to a folder where it lies prepared as array_record."
        ) from error
