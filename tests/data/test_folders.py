"""Folders as they come: other names of splits, hidden folders, links, and what is not clear."""

import os
import unicodedata

import numpy as np
import pytest
from PIL import Image

from fgjax import data
from fgjax.data import fingerprint, walk
from fgjax.errors import UserError


@pytest.fixture
def photos(tmp_path):
    """Writes ``count`` photos into each of some folders below a folder of this test."""

    def make(*folders, count=3, seed=0):
        rng = np.random.default_rng(seed)
        for folder in folders:
            path = tmp_path / "photos" / folder
            path.mkdir(parents=True, exist_ok=True)
            for i in range(count):
                pixels = rng.integers(0, 256, (6, 5, 3), np.uint8)
                Image.fromarray(pixels).save(path / f"{i}.png")
        return tmp_path / "photos"

    return make


@pytest.fixture
def opened(config, tmp_path):
    def open_folder(protocol="final", **changes):
        c = config(name="image_folder", dir=str(tmp_path / "photos"), **changes)
        return data.load(c, protocol)

    return open_folder


def below(*splits):
    return [f"{split}/{name}" for split in splits for name in ("robin", "wren")]


@pytest.mark.parametrize("train", ["train", "Train", "training", "TRAINING"])
@pytest.mark.parametrize("validation", ["val", "valid", "Validation"])
@pytest.mark.parametrize("test", ["Test", "testing"])
def test_splits_are_known_by_their_usual_names(photos, opened, train, validation, test):
    photos(*below(train, validation, test))
    found = opened("develop")
    assert found.info.classes == ("robin", "wren")
    assert found.train.names[0] == f"{train}/robin/0.png"
    assert found.validation.names[0] == f"{validation}/robin/0.png"
    assert opened("final").test.names[0] == f"{test}/robin/0.png"


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (below("train", "val", "validation"), r"holds both val/ and validation/.* are one split"),
        (below("Train", "train"), r"holds both Train/ and train/"),
        (below("train", "tset"), r"photos/tset lies beside train/ and is none of train/, val/ and"),
        (below("train", "extra"), r"photos/extra lies beside train/ .*; rename it .*, or move it"),
        (below("test"), r"photos holds test/ but no train/"),
        ([*below("test"), "robin", "wren"], r"photos/test holds folders, as a split does, but"),
        (
            ["robin", "train", "test"],
            r"holds photos directly in test/ and train/, and other folders",
        ),
        (["train", "test"], r"photos/train holds no classes"),
        ([*below("train"), "train"], r"train/0\.png lies beside the folders of classes; move it"),
        (["robin", "wren", "."], r"photos/0\.png lies beside the folders of classes; move it"),
        (below("Train_1", "Test_1"), r"Test_1 and Train_1 of .* same names \(robin, wren\), so"),
        (below("train/fold1", "train/fold2"), r"fold1 and fold2 of .*train hold folders of the"),
        (below("birds"), r"photos/birds holds no photos but the folders robin, wren, so it is no"),
        ([*below("set/train", "set/test"), "more"], r"photos/set holds no photos but .* set data"),
    ],
)
def test_a_folder_that_is_not_understood_is_named(photos, opened, folders, message):
    photos(*folders)
    with pytest.raises(UserError, match=message):
        opened("develop")


def test_a_class_may_be_called_train(photos, opened):
    photos("car", "train", "bus")
    assert opened().info.classes == ("bus", "car", "train")


def test_photos_may_lie_in_folders_of_their_class(photos, opened):
    photos("robin/images", "wren/images", "wren/2024", "wren")
    found = opened(test_share=0.0)
    assert found.info.classes == ("robin", "wren")
    assert np.bincount(found.train.labels).tolist() == [3, 9]


def test_hidden_folders_are_left_out_at_any_depth(photos, opened):
    kept = [*below("train"), "train/robin/trip"]
    hidden = ("@eaDir", "__MACOSX", ".ipynb_checkpoints", ".trash")
    photos(*kept, *hidden, *(f"{folder}/{name}" for folder in kept for name in hidden))
    found = opened()
    assert found.info.classes == ("robin", "wren")
    assert len(found.train) == 9
    assert not any(name in path for path in found.train.names for name in hidden)


def test_photos_beside_the_classes_are_left_out_with_skip_broken(photos, opened):
    photos("robin", "wren", ".")
    assert len(opened(skip_broken=True, test_share=0.0).train) == 6


def test_accents_may_be_written_in_two_ways(photos, opened):
    apart, together = (unicodedata.normalize(form, "Müllerrohrsänger") for form in ("NFD", "NFC"))
    photos(f"train/{together}", "train/wren", f"test/{apart}", "test/wren")
    found = opened()
    assert found.info.classes == (together, "wren")
    assert found.test.labels.tolist() == [0, 0, 0, 1, 1, 1]
    photos(f"train/{apart}")
    with pytest.raises(UserError, match="train holds two folders whose names look alike, 'Mu"):
        opened()


@pytest.mark.parametrize("folder", [b"caf\xe9", b"robin/caf\xe9"])
def test_a_name_that_is_no_utf8_is_named(photos, opened, folder):
    root = photos("robin", "wren")
    path = os.path.join(os.fsencode(root), folder)
    os.makedirs(path)
    with open(os.path.join(path, b"\xff.png"), "wb") as file:
        file.write(b"")
    with pytest.raises(UserError, match=r"the name of .*caf\\xe9.* is not written in UTF-8; ren"):
        opened()


def linked(tmp_path, photos):
    """Classes that are links to folders elsewhere, one of them below a folder of its class."""
    photos("../elsewhere/a", "../elsewhere/b", "../elsewhere/c")
    train = tmp_path / "photos" / "train"
    (train / "b").mkdir(parents=True)
    (train / "a").symlink_to(tmp_path / "elsewhere" / "a")
    (train / "b" / "one").symlink_to(tmp_path / "elsewhere" / "b")
    (train / "b" / "two").symlink_to(tmp_path / "elsewhere" / "c")


@pytest.mark.parametrize("changed", ["a", "b", "c"])
def test_the_fingerprint_sees_what_links_lead_to(photos, opened, tmp_path, changed):
    linked(tmp_path, photos)
    before = opened()
    assert np.bincount(before.train.labels).tolist() == [3, 6]
    assert opened().info.fingerprint == before.info.fingerprint
    photos(f"../elsewhere/{changed}", seed=1)
    assert opened().info.fingerprint != before.info.fingerprint


def test_the_fingerprint_of_a_layout_sees_what_links_lead_to(config, tiny_cub, tmp_path):
    elsewhere = (tiny_cub / "images" / "001.Dusky_Finch").rename(tmp_path / "elsewhere")
    (tiny_cub / "images" / "001.Dusky_Finch").symlink_to(elsewhere)
    c = config(name="cub200", dir=str(tiny_cub))
    before = data.load(c, "final").info.fingerprint
    photo = next(elsewhere.iterdir())
    Image.new("RGB", (8, 8)).save(photo)
    assert data.load(c, "final").info.fingerprint != before


def test_links_may_lead_in_circles(photos, opened):
    root = photos("robin", "wren")
    (root / "robin" / "up").symlink_to(root)
    (root / "robin" / "self").symlink_to(root / "robin")
    (root / "wren" / "other").symlink_to(root / "robin")
    (root / "wren" / "loop.png").symlink_to(root / "wren" / "loop.png")
    found = opened(test_share=0.0, skip_broken=True)
    names = [name for name in found.train.names if "loop" not in name]
    assert names == [
        *(f"robin/{i}.png" for i in range(3)),
        *(f"wren/{i}.png" for i in range(3)),
        *(f"wren/other/{i}.png" for i in range(3)),
    ]


def test_the_fingerprint_is_that_of_every_file_but_those_that_a_computer_hides(photos, opened):
    root = photos(*below("train", "test"), "train/robin/trip")
    (root / "train" / "labels.csv").write_text("robin, wren")
    files = [path for path in (root / "train").rglob("*") if path.is_file()]
    photos("train/.hidden")
    (root / "train" / ".DS_Store").write_bytes(b"1")
    assert opened("develop").info.fingerprint == fingerprint.of_files(root, files)


def test_a_pipe_is_no_photo(photos, opened):
    root = photos("robin", "wren")
    os.mkfifo(root / "robin" / "endless.jpg")
    with pytest.raises(UserError, match=r"endless\.jpg is not an image that can be read"):
        opened()
    assert len(opened(skip_broken=True, test_share=0.0).train) == 6


def test_a_folder_that_cannot_be_looked_into_is_named(photos, opened, monkeypatch):
    photos("robin", "wren")
    scan = os.scandir

    def refuse(path):
        if path.name == "wren":
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(walk.os, "scandir", refuse)
    with pytest.raises(UserError, match=r"cannot look into the folder .*wren \(Permission denied"):
        opened()


def test_a_file_that_vanishes_is_named(photos):
    root = photos("robin", "wren")
    with pytest.raises(UserError, match=r"cannot read the file .*7\.png \(No such file or direc"):
        fingerprint.of_files(root, [root / "wren" / "7.png"])
