"""Data sets prepared by TensorFlow Datasets, read without TensorFlow.

``read`` turns a split of any builder with an image and a class label into ``Examples``;
``open_by_name`` finds one of the data sets that TFDS knows.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import ml_collections
import numpy as np
import requests
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError
from tensorflow_datasets.core.download.util import DownloadError

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
            "https://www.tensorflow.org/datasets/catalog, and tfds.list_builders() prints it"
        ) from error
    except (ImportError, OSError, ValueError, AssertionError) as error:
        raise UserError(
            f"TFDS cannot set up its data set {name!r} ({_first_line(error)}); correct data.name "
            "or choose another"
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
    validation = next((split for split in _VALIDATION if split in known), "validation")
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
    records = _records(builder, split)
    rows = [_annotations(records[i], i, split) for i in range(len(records))]
    return info.Examples(
        origin=f"{builder.name} ({split})",
        names=[row["name"] for row in rows],
        labels=np.array([row["label"] for row in rows], np.int32),
        boxes=np.array([row["box"] for row in rows], np.float32).reshape(-1, 4),
        parts=_stack_parts([row["parts"] for row in rows]),
        read=lambda i: records[i]["image"],
    )


def _records(builder: tfds.core.DatasetBuilder, split: str) -> Sequence[Mapping]:
    """The records with images still encoded: fgjax decodes at the size it needs, or not at all."""
    images = [k for k, v in builder.info.features.items() if isinstance(v, tfds.features.Image)]
    decoders = {key: tfds.decode.SkipDecoding() for key in images}
    records = builder.as_data_source(split, decoders=decoders)
    try:
        next(iter(records), None)
    except (ImportError, ValueError):
        # Without TensorFlow, tfds.testing.mock_data has no encoded images, only pixels.
        return builder.as_data_source(split)
    return records


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
    wanted = {"image": tfds.features.Image, "label": tfds.features.ClassLabel}
    if any(key not in features or not isinstance(features[key], wanted[key]) for key in wanted):
        raise UserError(
            f"the TFDS data set {name!r} has no 'image' with a class 'label' (it has "
            f"{', '.join(f'{k}: {type(v).__name__}' for k, v in features.items())}); "
            "choose one that has"
        )


def _prepare(name: str, builder: tfds.core.DatasetBuilder) -> None:
    if builder.data_path.exists():
        return
    elsewhere = "or set data.dir to a folder where it lies prepared as array_record"
    try:
        builder.download_and_prepare(file_format="array_record")
    except ImportError as error:
        raise UserError(
            f"the TFDS data set {name!r} needs {error.name or 'TensorFlow'} to be prepared; "
            f"install it for this once with pip install 'fgjax[tf]', {elsewhere}"
        ) from error
    except (requests.RequestException, DownloadError, NonMatchingChecksumError) as error:
        request = getattr(error, "request", None)
        raise UserError(
            f"the TFDS data set {name!r} cannot be downloaded from "
            f"{request.url if request else 'its site'} ({type(error).__name__}); check the "
            f"network, {elsewhere}"
        ) from error
    except (AssertionError, OSError) as error:
        # Such as archives that are to be placed by hand, or a disk that is full.
        raise UserError(
            f"the TFDS data set {name!r} cannot be prepared in {builder.data_path} "
            f"({_first_line(error)}); put that right, {elsewhere}"
        ) from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
