"""Caltech-UCSD Birds-200-2011 (Wah et al., CNS-TR-2011-001), or any folder in its layout.

The layout: ``images.txt`` (id path), ``classes.txt`` (id name), ``image_class_labels.txt`` (image
class), ``train_test_split.txt`` (image is_train), and where there are such annotations
``bounding_boxes.txt`` (image x y width height) and ``parts/part_locs.txt`` (image part x y visible)
with ``parts/parts.txt`` (id name).
"""

from __future__ import annotations

import hashlib
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import requests
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download.checksums import UrlInfo
from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError
from tensorflow_datasets.core.download.util import DownloadError

from fgjax.errors import UserError

ARCHIVE = "CUB_200_2011.tgz"
URL = f"https://data.caltech.edu/records/65de6-vp158/files/{ARCHIVE}?download=1"
# As TFDS has them for its own builder of this data set, caltech_birds2011.
SHA256 = "0c685df5597a8b24909f6a7c9db6d11e008733779a671760afef78feb49bf081"
SIZE = 1_150_585_339


def coarse_name(class_name: str) -> str:
    """The family of a bird: the last word of its name."""
    return class_name.split()[-1]


def annotation_files(folder: Path) -> list[Path]:
    """The files of the layout that are there."""
    optional = ("bounding_boxes.txt", "parts/parts.txt", "parts/part_locs.txt")
    required = ("images.txt", "classes.txt", "image_class_labels.txt", "train_test_split.txt")
    for name in required:
        if not (folder / name).is_file():
            raise UserError(
                f"the folder {folder} is not in the layout of CUB_200_2011: it has no {name}; "
                'set data.dir to such a folder, or data.name="image_folder" for photos of your own'
            )
    return [folder / name for name in (*required, *optional) if (folder / name).is_file()]


def _class_name(folder: str) -> str:
    """In "001.Black_footed_Albatross" the number sorts the folders, it is no part of the name."""
    number, _, name = folder.partition(".")
    return (name if name and number.isdecimal() else folder).replace("_", " ")


class Cub200(tfds.core.GeneratorBasedBuilder):
    """Images with fine and coarse labels, boxes, parts and the official split.

    Boxes are (ymin, xmin, ymax, xmax) and parts (y, x, visible), in pixels of the image; a box is
    NaN and there are no parts where the folder has no such annotations.

    Args:
        folder: a folder in the layout of CUB_200_2011. None takes the official archive: the file
            of that name in the manual folder of the download manager, or else the download.
    """

    VERSION = tfds.core.Version("1.0.1")
    RELEASE_NOTES = {"1.0.1": "Only a number before the first dot of a class is cut off."}  # noqa: RUF012
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"Place {ARCHIVE} here, or let it be downloaded from {URL}."
    url_infos = {URL: UrlInfo(size=SIZE, checksum=SHA256, filename=ARCHIVE)}  # noqa: RUF012

    def __init__(self, *, folder: Path | None = None, **kwargs):
        self.folder = folder
        super().__init__(**kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "image": tfds.features.Image(),
            "name": tfds.features.Text(),
            "label": tfds.features.ClassLabel(),
            "coarse": tfds.features.ClassLabel(),
            "box": tfds.features.Tensor(shape=(4,), dtype=np.float32),
            "parts": tfds.features.Tensor(shape=(None, 3), dtype=np.float32),
        }
        return self.dataset_info_from_configs(
            description=__doc__,
            features=tfds.features.FeaturesDict(features),
            homepage="https://www.vision.caltech.edu/datasets/cub_200_2011/",
            metadata=tfds.core.MetadataDict(),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        folder = self.folder or _extract_archive(dl_manager)
        table = _Layout(folder)
        self.info.features["label"].names = table.classes
        self.info.features["coarse"].names = table.coarse_classes
        self.info.metadata["part_names"] = table.part_names
        return {
            split: self._generate_examples(folder, table, is_train)
            for split, is_train in (("train", "1"), ("test", "0"))
            if is_train in table.is_train.values()
        }

    def _generate_examples(self, folder: Path, table: _Layout, is_train: str):
        for number, (image, name) in enumerate(table.images.items()):
            if table.is_train[image] != is_train:
                continue
            label = table.labels[image]
            yield (
                number,
                {
                    "image": (folder / "images" / name).read_bytes(),
                    "name": name,
                    "label": label,
                    "coarse": coarse_name(table.classes[label]),
                    "box": table.boxes.get(image, np.full(4, np.nan, np.float32)),
                    "parts": table.parts.get(image, np.zeros((0, 3), np.float32)),
                },
            )


class _Layout:
    """The text files of the layout, keyed by image id, and checked against each other."""

    def __init__(self, folder: Path):
        annotation_files(folder)
        self._folder = folder
        self.images = {image: " ".join(path) for image, *path in self._rows("images.txt", 2)}
        classes = {number: " ".join(name) for number, *name in self._rows("classes.txt", 2)}
        self.classes = [_class_name(name) for name in classes.values()]
        self.coarse_classes = sorted({coarse_name(name) for name in self.classes})
        self.part_names = [" ".join(name) for _, *name in self._rows("parts/parts.txt", 2)]
        self.is_train = self._per_image("train_test_split.txt")
        self.labels = self._labels(list(classes))
        self.boxes = {
            image: np.array([y, x, y + h, x + w], np.float32)
            for image, (x, y, w, h) in self._measurements("bounding_boxes.txt", 5, numbers=4)
        }
        self.parts = self._parts()
        self._check_images()

    def _rows(self, name: str, columns: int) -> list[list[str]]:
        path = self._folder / name
        if not path.is_file():
            return []
        rows = [line.split() for line in path.read_text().splitlines() if line.strip()]
        for number, row in enumerate(rows, start=1):
            if len(row) < columns:
                raise UserError(
                    f"line {number} of {path} has {len(row)} columns and should have {columns}; "
                    "restore the file from the archive"
                )
        return rows

    def _measurements(
        self, name: str, columns: int, numbers: int
    ) -> Iterator[tuple[str, list[float]]]:
        """The image of each row, and what is in the last columns of it."""
        for line, row in enumerate(self._rows(name, columns), start=1):
            try:
                yield row[0], [float(cell) for cell in row[columns - numbers : columns]]
            except ValueError as error:
                raise UserError(
                    f"line {line} of {self._folder / name} should hold numbers ({error}); "
                    "restore the file from the archive"
                ) from error

    def _per_image(self, name: str) -> dict[str, str]:
        table = dict(row[:2] for row in self._rows(name, 2))
        if table.keys() != self.images.keys():
            raise UserError(
                f"{self._folder / name} names {len(table)} images and images.txt "
                f"{len(self.images)}, and they must be the same ones; restore both files"
            )
        return table

    def _labels(self, class_ids: list[str]) -> dict[str, int]:
        label_of = {number: label for label, number in enumerate(class_ids)}
        table = self._per_image("image_class_labels.txt")
        for image, number in table.items():
            if number not in label_of:
                raise UserError(
                    f"{self._folder / 'image_class_labels.txt'} gives image {image} the class "
                    f"{number}, which is not among the {len(class_ids)} of classes.txt; "
                    "restore both files"
                )
        return {image: label_of[number] for image, number in table.items()}

    def _parts(self) -> dict[str, np.ndarray]:
        parts: dict[str, list] = {}
        rows = self._measurements("parts/part_locs.txt", 5, numbers=3)
        for image, (x, y, visible) in rows:
            parts.setdefault(image, []).append((y, x, visible))
        return {image: np.array(rows, np.float32) for image, rows in parts.items()}

    def _check_images(self) -> None:
        missing = [
            name for name in self.images.values() if not (self._folder / "images" / name).is_file()
        ]
        if missing:
            raise UserError(
                f"{len(missing)} of the {len(self.images)} images that {self._folder}/images.txt "
                f"lists are missing, the first being images/{missing[0]}; restore them"
            )


def _extract_archive(dl_manager: tfds.download.DownloadManager) -> Path:
    downloads = Path(dl_manager.download_dir)
    manual = Path(dl_manager._manual_dir) / ARCHIVE
    if manual.is_file():
        _check_archive(manual)
        return _unpacked(manual, downloads)
    try:
        # TFDS tries for minutes where there is no network; this fails at once.
        requests.get(URL, stream=True, timeout=20).close()
        return _unpacked(Path(dl_manager.download(URL)), downloads)
    except (requests.RequestException, DownloadError, NonMatchingChecksumError) as error:
        raise UserError(
            f"cannot download {URL} ({type(error).__name__}); check the network, place the archive "
            f"by hand in {manual.parent} as {ARCHIVE}, or set data.dir to a folder in the layout "
            "of CUB_200_2011"
        ) from error


def _unpacked(archive: Path, downloads: Path) -> Path:
    """The folder of the layout out of the archive; TFDS would need TensorFlow to unpack it."""
    folder = downloads / "extracted" / f"CUB_200_2011_{SHA256[:16]}"
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=folder.parent) as partial:
            with tarfile.open(archive) as tar:
                tar.extractall(partial, filter="data")
            Path(partial, "CUB_200_2011").rename(folder)
    return folder


def _check_archive(path: Path) -> None:
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != SHA256:
            raise UserError(
                f"the archive {path} is not the official one or is incomplete (its SHA-256 is not "
                f"{SHA256}); fetch it again from {URL}"
            )
