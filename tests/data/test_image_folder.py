"""The user's own photos: what is found, how one folder is split, and what is said of bad ones."""

import shutil

import numpy as np
import pytest
from PIL import Image

from fgjax import data
from fgjax.errors import UserError


@pytest.fixture
def opened(config):
    """Opens a folder of photos under the protocol ``final`` or another."""

    def open_folder(folder, protocol="final", **changes):
        return data.load(config(name="image_folder", dir=str(folder), **changes), protocol)

    return open_folder


@pytest.fixture
def one_folder(tiny_photos):
    """One folder of three classes with eight images each, to be split by rule."""
    return tiny_photos / "train"


def test_split_folders(opened, tiny_photos):
    found = opened(tiny_photos, "develop")
    assert found.info.classes == ("finch", "gull", "wren")
    assert found.info.coarse_of is None
    assert (len(found.train), len(found.validation), found.test) == (24, 6, None)
    assert found.train.names[8] == "train/gull/0.jpg"
    assert found.train.labels.tolist() == [0] * 8 + [1] * 8 + [2] * 8
    for source in (found.train, found.validation):
        for i, name in enumerate(source.names):
            example = source[i]
            assert found.info.classes[example["label"]] == name.split("/")[1]
            with Image.open(tiny_photos / name) as image:
                np.testing.assert_array_equal(example["image"], np.asarray(image))
    annotations = found.train.annotations(3)
    assert annotations["coarse"] == -1
    assert np.isnan(annotations["box"]).all()
    assert annotations["parts"].shape == (0, 3)


def test_in_the_end_validation_images_are_trained_on(opened, tiny_photos):
    found = opened(tiny_photos, "final")
    assert (len(found.train), found.validation, len(found.test)) == (30, None, 12)
    assert found.train[29]["name"] == "val/wren/1.jpg"
    assert found.train[29]["label"] == 2


def test_the_validation_folder_may_have_its_full_name(opened, tiny_photos):
    (tiny_photos / "val").rename(tiny_photos / "validation")
    assert opened(tiny_photos, "develop").validation.names[0] == "validation/finch/0.jpg"


def test_the_test_folder_is_not_looked_at_in_develop(opened, tiny_photos):
    whole = opened(tiny_photos, "develop").info.fingerprint
    shutil.rmtree(tiny_photos / "test")
    assert opened(tiny_photos, "develop").info.fingerprint == whole
    shutil.rmtree(tiny_photos / "val")
    assert opened(tiny_photos, "develop").info.fingerprint != whole


def test_one_folder_is_split_by_rule(opened, one_folder):
    found = opened(one_folder, test_share=0.25)
    assert np.bincount(found.train.labels).tolist() == [6, 6, 6]
    assert np.bincount(found.test.labels).tolist() == [2, 2, 2]
    everything = {path.relative_to(one_folder).as_posix() for path in one_folder.rglob("*.jpg")}
    assert set(found.train.names) | set(found.test.names) == everything


def test_the_rule_depends_on_names_alone(opened, one_folder, config):
    c = config(name="image_folder", dir=str(one_folder))
    names = {tuple(data.load(c, protocol="final", seed=seed).test.names) for seed in (0, 1)}
    assert len(names) == 1
    shutil.copy(one_folder / "wren" / "0.jpg", one_folder / "wren" / "another.jpg")
    finches = [name for name in opened(one_folder).test.names if "finch" in name]
    assert finches == [name for name in names.pop() if "finch" in name]


def test_without_a_test_share_there_is_no_test_split(opened, one_folder):
    found = opened(one_folder, test_share=0.0)
    assert (len(found.train), found.test) == (24, None)


def test_images_in_folders_of_a_class_belong_to_it(opened, tiny_photos):
    deeper = tiny_photos / "train" / "gull" / "2024" / "autumn"
    deeper.mkdir(parents=True)
    (tiny_photos / "train" / "gull" / "7.jpg").rename(deeper / "7.jpg")
    found = opened(tiny_photos, "develop").train
    assert dict(zip(found.names, found.labels, strict=True))["train/gull/2024/autumn/7.jpg"] == 1


def test_what_a_file_manager_leaves_is_no_image(opened, tiny_photos):
    for name in (".DS_Store", "gull/Thumbs.db", "gull/.hidden.txt", "gull/sub/desktop.ini"):
        path = tiny_photos / "train" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("no image")
    (tiny_photos / "train" / ".git").mkdir()
    found = opened(tiny_photos, "develop")
    assert found.info.classes == ("finch", "gull", "wren")
    assert len(found.train) == 24


def test_a_nested_file_that_is_no_image_is_named(opened, tiny_photos):
    notes = tiny_photos / "train" / "gull" / "trip" / "notes.txt"
    notes.parent.mkdir()
    notes.write_text("saw it near the harbour")
    with pytest.raises(UserError, match=r"trip/notes\.txt is not an image .*skip_broken=True"):
        opened(tiny_photos)
    assert len(opened(tiny_photos, "develop", skip_broken=True).train) == 24


def test_suffixes_in_capitals_are_known(opened, tiny_photos):
    gull = tiny_photos / "train" / "gull"
    (gull / "0.jpg").rename(gull / "0.JPG")
    assert len(opened(tiny_photos, "develop").train) == 24


def without_images(folder):
    shutil.rmtree(folder)
    folder.mkdir()


def renamed(folder):
    folder.rename(folder.with_name("owl"))


@pytest.mark.parametrize(
    ("spoil", "folder", "message"),
    [
        (shutil.rmtree, ".", r"photos does not exist; set data\.dir to an existing one"),
        (without_images, ".", "photos holds no classes; put the images of each class into a fol"),
        (without_images, "train", "train holds no classes; .* such as .*train/robin/1.jpg"),
        (without_images, "train/gull", "class 'gull' of .*photos has no training image; add some"),
        (renamed, "test/gull", "test has the class 'owl', which has no training image"),
        (renamed, "val/wren", "val has the class 'owl', which has no training image"),
    ],
)
def test_bad_folders_are_named(opened, tiny_photos, spoil, folder, message):
    if folder.startswith("train/"):
        shutil.rmtree(tiny_photos / "val")
    spoil(tiny_photos / folder)
    with pytest.raises(UserError, match=message):
        opened(tiny_photos)


def test_a_class_of_one_folder_without_image_is_named(opened, one_folder):
    without_images(one_folder / "wren")
    with pytest.raises(UserError, match="class 'wren' of .*train has no training image"):
        opened(one_folder)


def test_a_folder_must_be_given(config):
    with pytest.raises(UserError, match=r"image_folder needs data\.dir"):
        data.load(config(name="image_folder"))
