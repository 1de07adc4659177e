"""Any data set of TFDS by its name: a tiny one, defined here, is prepared and read offline."""

import io

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from fgjax import data
from fgjax.errors import UserError

CLASSES = ("daisy", "poppy", "tulip")
COUNTS = {"train": 6, "dev": 3, "test": 4}


def picture(split, number):
    """30 rows, 40 columns, of a colour that no other picture has."""
    color = (80 * list(COUNTS).index(split), 20 * number, 120)
    return np.full((30, 40, 3), color, np.uint8)


class TinyFlowers(tfds.core.GeneratorBasedBuilder):
    """Pictures with a label, a box in fractions of the image, and a file name."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "image": tfds.features.Image(),
            "label": tfds.features.ClassLabel(names=CLASSES),
            "bbox": tfds.features.BBoxFeature(),
            "file_name": tfds.features.Text(),
        }
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features), disable_shuffling=True
        )

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in COUNTS}

    def _generate_examples(self, split):
        for number in range(COUNTS[split]):
            file = io.BytesIO()
            Image.fromarray(picture(split, number)).save(file, "PNG")
            yield (
                number,
                {
                    "image": file.getvalue(),
                    "label": number % 3,
                    "bbox": tfds.features.BBox(ymin=0.1, xmin=0.25, ymax=0.5, xmax=1.0),
                    "file_name": f"{split}_{number}.png",
                },
            )


class TinyNumbers(tfds.core.GeneratorBasedBuilder):
    """No images."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = tfds.features.FeaturesDict({"number": np.int64, "label": np.int64})
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
        raise AssertionError("it must not be prepared")

    def _generate_examples(self):
        yield from ()


class NeedsMore(TinyFlowers):
    """Cannot be prepared without a package that is not there."""

    def _split_generators(self, dl_manager):
        raise ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow")


class NeedsArchive(TinyFlowers):
    """Reads an archive that nobody has placed by hand."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = "Fill in a form."

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(dl_manager.manual_dir)}


@pytest.fixture
def opened(config, tmp_path):
    """Opens a data set of TFDS under a protocol."""

    def open_by_name(name, protocol="final"):
        return data.load(config(name=f"tfds:{name}", dir=str(tmp_path / "tfds")), protocol)

    return open_by_name


def test_a_data_set_by_name(opened):
    found = opened("tiny_flowers", "develop")
    assert found.info.name == "tfds:tiny_flowers"
    assert found.info.classes == CLASSES
    assert found.info.coarse_of is None
    assert (len(found.train), len(found.validation), found.test) == (6, 3, None)
    for number in range(6):
        example = found.train[number]
        assert (example["name"], example["label"]) == (f"train_{number}.png", number % 3)
        np.testing.assert_array_equal(example["image"], picture("train", number))
        np.testing.assert_allclose(example["box"], [3, 10, 15, 40], rtol=1e-6)


def test_all_that_is_not_test_is_learned_in_the_end(opened):
    found = opened("tiny_flowers")
    assert (len(found.train), found.validation, len(found.test)) == (9, None, 4)
    np.testing.assert_array_equal(found.train[8]["image"], picture("dev", 2))
    np.testing.assert_array_equal(found.test[3]["image"], picture("test", 3))


def test_prepared_data_are_read_again(opened, monkeypatch):
    first = opened("tiny_flowers").info
    monkeypatch.setattr(TinyFlowers, "_split_generators", None)
    assert opened("tiny_flowers").info.fingerprint == first.fingerprint


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tiny_flours", "TFDS has no data set 'tiny_flours'; its list is at https://"),
        ("tiny_numbers", "'tiny_numbers' has no 'image' with a class 'label' .*number: .*; choose"),
        ("tiny_flowers:3.0.0", "TFDS cannot set up its data set 'tiny_flowers:3.0.0' .*correct"),
        ("needs_more", r"needs tensorflow to be prepared; install it .*'fgjax\[tf\]', or set data"),
        (
            "needs_archive",
            r"cannot be prepared in .*needs_archive.* \(Manual dir.*; put that right",
        ),
    ],
)
def test_what_cannot_be_opened_is_named(opened, name, message):
    with pytest.raises(UserError, match=message):
        opened(name)
