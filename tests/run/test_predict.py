"""Predictions for folders of photos as they come, by a recogniser that only looks at colours."""

import csv
import os
import types

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from fgjax.data import DatasetInfo, walk
from fgjax.errors import UserError
from fgjax.ops.preprocessing import Preprocessing
from fgjax.run import predict as prediction
from fgjax.run import trained
from fgjax.show import overlay

CLASSES = ("[bold]red[/]", "=green", "blue")


class ByColor(trained.TrainedRecognizer):
    def apply(self, images):
        return types.SimpleNamespace(logits=images.mean((1, 2)))

    def contributions(self, images, classes, others=None):
        return jnp.ones((1, 2, 2))


@pytest.fixture
def predict(tmp_path, monkeypatch):
    """Predicts photos; what is drawn is drawn small."""
    preprocessing = Preprocessing(image_size=16)
    model = types.SimpleNamespace(preprocessing=preprocessing, canvas=16)
    recognizer = ByColor(model, DatasetInfo("colours", CLASSES, "0"), {})
    monkeypatch.setattr(trained, "load", lambda folder: recognizer)
    save = overlay.save
    monkeypatch.setattr(overlay, "save", lambda figure, path: save(figure, path, dpi=20))
    (tmp_path / "run").mkdir()

    def predict_to_files(*images):
        return prediction.predict_to_files(tmp_path / "run", [str(image) for image in images])

    return predict_to_files


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, color in (("a.png", "red"), ("b.png", "blue")):
        Image.new("RGB", (20, 16), color).save(folder / name)
    return folder


def written(tmp_path):
    return sorted(path.name for path in (tmp_path / "run" / "predictions").iterdir())


def test_a_long_name_is_shortened_and_keeps_its_number(predict, photos, tmp_path):
    (photos / "a.png").rename(photos / f"{'鳥' * 80}.png")
    assert len(predict(photos)) == 2
    assert written(tmp_path) == ["0000_b.png", f"0001_{'鳥' * 33}.png", "predictions.csv"]


def test_a_name_that_is_too_long_to_exist_is_named(predict):
    with pytest.raises(UserError, match=r"there is no image or folder aaaa"):
        predict("a" * 300 + ".jpg")


def test_links_to_nothing_and_files_that_vanish_are_left_out(predict, photos, capsys, monkeypatch):
    (photos / "dangling.jpg").symlink_to(photos / "nowhere.jpg")
    Image.new("RGB", (9, 9)).save(photos / "vanished.png")
    files = walk.files
    found = []

    def vanishing(folder):
        found.extend(files(folder))
        (photos / "vanished.png").unlink(missing_ok=True)
        return found

    monkeypatch.setattr(walk, "files", vanishing)
    assert len(predict(photos)) == 2
    told = "".join(capsys.readouterr().out.split())
    assert told.count("leftout:cannotreadtheimage") == 2
    assert "dangling.jpg" in told and "vanished.png" in told


def test_brackets_in_names_are_printed_as_they_are(predict, photos, capsys):
    odd = photos / "[bold]odd[" / "nope]"
    odd.mkdir(parents=True)
    (odd / "broken[red].jpg").write_bytes(b"no image")
    (odd / "[i]notes[").mkdir()
    (odd / "[i]notes[" / "x].txt").write_text("")
    predict(photos)
    told = "".join(capsys.readouterr().out.split())
    assert "[bold]odd[/nope]/broken[red].jpg" in told
    assert "x].txt" in told
    assert "[bold]red[/]" in told


def test_files_that_are_no_photos_are_counted_and_a_few_are_named(predict, photos, capsys):
    for name in ("a.heic", "b.xyz", "c.txt", "d.txt", "e.eps"):
        (photos / name).write_text("")
    (photos / ".hidden").mkdir()
    (photos / ".hidden" / "f.png").write_text("")
    assert len(predict(photos)) == 2
    told = " ".join(capsys.readouterr().out.split())
    assert "left out, no photos by their names (5): a.heic, b.xyz, c.txt and 2 more" in told
    assert "f.png" not in told


def test_a_photo_that_is_asked_for_is_known_by_its_content(predict, photos):
    (photos / "a.png").rename(photos / "a.heic")
    [(path, ranked)] = predict(photos / "a.heic")
    assert path.endswith("a.heic")
    assert ranked[0][0] == CLASSES[0]


def test_a_broken_photo_that_is_asked_for_is_named_without_advice_on_training(predict, photos):
    (photos / "a.png").write_bytes(b"no image")
    with pytest.raises(UserError) as raised:
        predict(photos / "a.png")
    assert str(raised.value) == (
        f"cannot read the image {photos / 'a.png'} (it is not an image); replace or remove the file"
    )


def test_files_of_an_earlier_call_are_removed_and_no_others(predict, photos, tmp_path):
    predict(photos)
    target = tmp_path / "run" / "predictions"
    for name in ("notes.txt", "my photo.png"):
        (target / name).write_text("kept")
    predict(photos / "b.png")
    assert written(tmp_path) == ["0000_b.png", "my photo.png", "notes.txt"]


def test_photos_in_the_folder_of_predictions_are_not_removed(predict, photos, tmp_path):
    predict(photos)
    asked_for = tmp_path / "run" / "predictions" / "0001_b.png"
    before = asked_for.read_bytes()
    predict(asked_for)
    assert written(tmp_path) == ["0000_0001_b.png", "0001_b.png"]
    assert asked_for.read_bytes() == before


def test_a_name_that_is_no_utf8_is_written_readably(predict, photos, tmp_path, capsys):
    os.rename(photos / "a.png", os.fsencode(photos) + b"/caf\xe9.png")
    predict(photos)
    with open(tmp_path / "run" / "predictions" / "predictions.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["path"].endswith("b.png") and rows[3]["path"].endswith(r"caf\xe9.png")
    assert {row["class"] for row in rows} == {CLASSES[0], "'=green", "blue"}
    assert written(tmp_path) == ["0000_b.png", "0001_caf.png", "predictions.csv"]
    assert r"caf\xe9.png" in "".join(capsys.readouterr().out.split())


def test_the_probabilities_are_those_of_the_photo(predict, photos):
    [(_, ranked)] = predict(photos / "b.png")
    assert ranked[0][0] == "blue"
    np.testing.assert_allclose(sum(share for _, share in ranked), 1, atol=1e-6)
