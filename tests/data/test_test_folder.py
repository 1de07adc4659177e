"""A second folder as the test split: all that it holds, and nothing held out of the first."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from fgjax import data
from fgjax.data import listing
from fgjax.errors import UserError


@pytest.fixture
def photos(config, tiny_photos, tmp_path):
    """A config of one folder of 24 photos; test photos of three classes lie beside it."""
    shutil.copytree(tiny_photos / "test", tmp_path / "later")
    folders = {"dir": str(tiny_photos / "train"), "test_dir": str(tmp_path / "later")}
    return config(name="image_folder", **folders)


def changed(config, **changes):
    c = config.copy_and_resolve_references()
    c.update(changes)
    return c


def test_all_photos_of_the_second_folder_are_the_test_split(photos):
    found = data.load(photos, "final")
    assert (len(found.train), len(found.test)) == (24, 12)
    assert found.test.names[4] == "gull/0.jpg"
    assert found.test.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert found.by_rule == {"validation"}
    assert data.load(photos, "develop").test is None
    assert listing.splits(photos, "final") == {"train", "test"}


def test_its_own_splits_are_taken_together(photos, tiny_photos, tmp_path):
    (tmp_path / "other").mkdir()
    for split in ("train", "val"):
        shutil.copytree(tiny_photos / split, tmp_path / "other" / split)
    found = data.load(changed(photos, test_dir=str(tmp_path / "other"))).info
    both = data.load(changed(photos, test_dir=str(tmp_path / "other")), "final")
    assert found.classes == both.info.classes
    assert np.bincount(both.test.labels).tolist() == [10, 10, 10]
    assert {name.split("/")[0] for name in both.test.names} == {"train", "val"}


def test_the_test_folder_of_the_first_is_neither_learned_from_nor_scored(photos, tiny_photos):
    found = data.load(changed(photos, dir=str(tiny_photos)), "final")
    assert (len(found.train), len(found.test)) == (30, 12)
    assert not any(name.startswith("test/") for name in (*found.train.names, *found.test.names))


def test_the_test_folder_has_no_part_in_the_fingerprint(photos, tiny_photos, tmp_path):
    before = data.load(photos).info.fingerprint
    shutil.rmtree(tmp_path / "later" / "wren")
    assert data.load(photos).info.fingerprint == before
    divided = changed(photos, dir=str(tiny_photos))
    without = changed(divided, test_dir=None)
    assert data.load(divided).info.fingerprint == data.load(without).info.fingerprint


def test_photos_that_were_held_out_by_rule_make_other_training_data(photos):
    held_out = changed(photos, test_dir=None)
    none = changed(held_out, test_share=0.0)
    prints = [data.load(c).info.fingerprint for c in (photos, held_out, none)]
    assert prints[0] != prints[1] == prints[2]
    kept_all = changed(photos, test_share=0.0)
    assert data.load(kept_all).info.fingerprint == prints[1]


def test_classes_that_were_not_trained_are_named(photos, tmp_path):
    for name in ("gull", "wren"):
        (tmp_path / "later" / name).rename(tmp_path / "later" / f"young {name}")
    with pytest.raises(UserError, match="not among the trained ones: 'young gull', 'young wren'; "):
        data.load(photos, "final")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test_dir": "nowhere"}, r"test folder nowhere does not exist; set data\.test_dir"),
        ({"test_dir": "photos/train"}, "photos/train, which is learned from, share images"),
        ({"test_dir": "photos"}, "photos/train, which is learned from, share images"),
        ({"test_dir": "photos/train/gull"}, "photos/train, which is learned from, share images"),
        ({"name": "synthetic_birds"}, "takes no second folder; it is for image_folder and cub200"),
        ({"test_dir": "empty"}, "empty holds no classes"),
        ({"test_dir": "bare"}, "bare holds no photos; add some for each class"),
    ],
)
def test_what_cannot_be_a_test_folder_is_refused(photos, tmp_path, monkeypatch, changes, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "bare" / "gull").mkdir(parents=True)
    with pytest.raises(UserError, match=message):
        data.load(changed(photos, **changes), "final")


def test_a_folder_in_the_layout_of_cub_is_taken_whole(config, tiny_cub, tmp_path):
    """Its classes have other numbers there, and its split file is ignored."""
    other = Path(shutil.copytree(tiny_cub, tmp_path / "other"))
    rows = [line.split() for line in (other / "classes.txt").read_text().splitlines()]
    turned = {number: str(len(rows) + 1 - int(number)) for number, _ in rows}
    renumbered = sorted((int(turned[number]), name) for number, name in rows)
    (other / "classes.txt").write_text("".join(f"{n} {name}\n" for n, name in renumbered))
    labels = [line.split() for line in (other / "image_class_labels.txt").read_text().splitlines()]
    (other / "image_class_labels.txt").write_text(
        "".join(f"{image} {turned[number]}\n" for image, number in labels)
    )
    c = config(name="cub200", dir=str(tiny_cub), test_dir=str(other))
    found = data.load(c, "final")
    assert (len(found.train), len(found.test)) == (15, 25)
    for source in (found.train, found.test):
        for name, label in zip(source.names, source.labels, strict=True):
            folder = name.split("/")[0].split(".")[1].replace("_", " ")
            assert found.info.classes[label] == folder
    assert found.test.annotations(0)["parts"].shape == (15, 3)
    (other / "parts" / "part_locs.txt").unlink()
    (other / "parts" / "parts.txt").unlink()
    assert not data.load(c, "final").test.annotations(0)["parts"].any()
