"""fgjax's own data sets, prepared once by their TFDS builders and read from the cache folder.

The prepared files lie in ``CACHE/NAME/FINGERPRINT``, where the fingerprint is that of the source,
so that a subset, or a source that has changed, never passes for another.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import ml_collections
import numpy as np
import tensorflow_datasets as tfds
from absl import logging as absl_logging

from fgjax.data import birds, defaults, fingerprint, image_folder, info, tfds_source, walk
from fgjax.data.builders import cub200, synthetic_birds
from fgjax.errors import UserError


def open_cub200(config: ml_collections.ConfigDict) -> info.Dataset:
    """CUB-200-2011 from the official archive, or any folder in its layout.

    Args:
        config: ``config.data``: dir (None for the archive), cache_dir.

    Raises:
        UserError: the folder is missing or not in the layout, its files contradict each other,
            or the archive can be neither found nor downloaded.
    """
    builder, digest = _cub200(config, config.dir)
    coarse = [cub200.coarse_name(name) for name in builder.info.features["label"].names]
    return _dataset(builder, digest, coarse, part_names=tuple(builder.info.metadata["part_names"]))


def read_all_cub200(
    config: ml_collections.ConfigDict, description: info.DatasetInfo
) -> info.Examples:
    """Every image of ``config.test_dir``, a folder in the same layout; its split file is ignored.

    Classes are told by their names, whatever their numbers are there. Where the names of the parts
    are others than those that were trained with, there are none.

    Args:
        config: ``config.data``: test_dir, cache_dir.
        description: of the data that were learned from.

    Raises:
        UserError: the folder is not in the layout, or has images of another class.
    """
    builder, _ = _cub200(config, config.test_dir)
    splits = [tfds_source.read(builder, split) for split in builder.info.splits]
    found = functools.reduce(info.Examples.join, splits)
    classes = builder.info.features["label"].names
    label_of = {name: label for label, name in enumerate(description.classes)}
    present = [classes[label] for label in np.unique(found.labels)]
    unknown = [name for name in present if name not in label_of]
    image_folder.check_known(Path(config.test_dir), unknown)
    labels = np.array([label_of.get(name, -1) for name in classes], np.int32)[found.labels]
    if tuple(builder.info.metadata["part_names"]) == description.part_names:
        return dataclasses.replace(found, labels=labels)
    parts = np.zeros((len(found), len(description.part_names), 3), np.float32)
    return dataclasses.replace(found, labels=labels, parts=parts)


def learned_from(config: ml_collections.ConfigDict) -> list[Path]:
    """The folder in the layout of CUB_200_2011 that is learned from; none of the archive."""
    return [] if config.dir is None else [_layout_folder(Path(config.dir).expanduser())]


def _cub200(
    config: ml_collections.ConfigDict, place: str | None
) -> tuple[tfds.core.DatasetBuilder, str]:
    """The prepared builder of a folder, or of the archive, and the fingerprint of its source."""
    cache = defaults.cache_folder(config)
    folder = None if place is None else _layout_folder(Path(place).expanduser())
    digest = cub200.SHA256 if folder is None else _layout_fingerprint(folder)
    builder = cub200.Cub200(
        folder=folder, data_dir=cache / "cub200" / digest[:16], file_format="array_record"
    )
    _prepare(builder, cache / "downloads", show_progress=folder is None)
    return builder, digest


def open_synthetic_birds(config: ml_collections.ConfigDict) -> info.Dataset:
    """The drawn birds, drawn when they are first asked for.

    Args:
        config: ``config.data``: size, seed, difficulty, counts, cache_dir.
    """
    drawing = synthetic_birds.SyntheticBirdsConfig(
        size=config.size,
        seed=config.seed,
        difficulty=config.difficulty,
        train_per_species=config.counts.train,
        test_per_species=config.counts.test,
    )
    digest = fingerprint.of_values(birds.VERSION, drawing.name)
    cache = defaults.cache_folder(config)
    with _quiet():
        builder = synthetic_birds.SyntheticBirds(
            config=drawing,
            data_dir=cache / "synthetic_birds" / digest[:16],
            file_format="array_record",
        )
    _prepare(builder, cache / "downloads")
    return _dataset(
        builder,
        digest,
        [species.family for species in birds.SPECIES],
        part_names=birds.PARTS,
        separating_parts=birds.separating_parts(),
    )


def check_folder(config: ml_collections.ConfigDict) -> None:
    """Raises a UserError unless ``config.dir`` is None or looks like CUB_200_2011, by its names."""
    if config.dir is not None:
        cub200.annotation_files(_layout_folder(Path(config.dir).expanduser()))


def _layout_folder(folder: Path) -> Path:
    if not folder.is_dir():
        raise UserError(
            f"the data folder {folder} does not exist; set data.dir to a folder in the layout of "
            "CUB_200_2011"
        )
    inner = folder / "CUB_200_2011"
    return inner if inner.is_dir() else folder


def _layout_fingerprint(folder: Path) -> str:
    annotations, images = cub200.annotation_files(folder), folder / "images"
    found = walk.files(images) if images.is_dir() else []
    return fingerprint.of_files(folder, [*annotations, *filter(os.path.isfile, found)])


def _prepare(
    builder: tfds.core.DatasetBuilder, downloads: Path, show_progress: bool = False
) -> None:
    """Prepares the data unless they are; an interrupted preparation leaves nothing that counts."""
    if builder.data_path.exists():
        return
    logging.info("Preparing %s in %s; this is done once.", builder.name, builder.data_path)
    tfds.display_progress_bar(show_progress)
    try:
        with _quiet():
            builder.download_and_prepare(
                download_dir=downloads,
                download_config=tfds.download.DownloadConfig(manual_dir=downloads / "manual"),
                file_format="array_record",
            )
    except OSError as error:
        # TFDS works in a folder of its own and renames it at the end.
        if not builder.data_path.exists():
            raise UserError(
                f"cannot prepare {builder.name} in {builder.data_path} ({error}); set "
                "data.cache_dir or $FGJAX_CACHE to a folder with room that you may write to"
            ) from error
        # Another process has prepared the same data in the meantime.
        builder.info.read_from_directory(builder.data_path)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps TFDS from printing and warning what is of no use to a reader."""
    verbosity = absl_logging.get_verbosity()
    absl_logging.set_verbosity(absl_logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        absl_logging.set_verbosity(verbosity)


def _dataset(
    builder: tfds.core.DatasetBuilder, digest: str, coarse: list[str], **described
) -> info.Dataset:
    """The data set of a prepared builder, given the name of the coarse class of each class."""
    features = builder.info.features
    description = info.DatasetInfo(
        name=builder.name,
        classes=tuple(features["label"].names),
        fingerprint=digest,
        coarse_classes=tuple(features["coarse"].names),
        coarse_of=np.array([features["coarse"].str2int(name) for name in coarse], np.int32),
        **described,
    )
    readers = {
        split: functools.partial(tfds_source.read, builder, split) for split in builder.info.splits
    }
    return info.Dataset(description, readers)
