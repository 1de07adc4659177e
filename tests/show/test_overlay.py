import csv

import numpy as np
import pytest
from PIL import Image

from fgjax.errors import UserError
from fgjax.show import overlay

RANKED = [("Arctic $x$ Tern", 0.75), ("Common, Tern", 0.25)]


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(256, size=(60, 90, 3), dtype=np.uint8)


def test_colour_stands_exactly_where_evidence_is(image):
    contributions = np.zeros((4, 9))
    contributions[1, 1], contributions[2, 4] = 2.0, -2.0
    heat = overlay.heat_overlay(image, contributions, scale=2.0)
    assert (heat.shape, heat.dtype) == (image.shape, np.uint8)
    red, _, blue = heat[22, 15].astype(int)
    assert red > blue + 80
    red, _, blue = heat[37, 45].astype(int)
    assert blue > red + 80
    grey = np.asarray(Image.fromarray(image).convert("L"))
    np.testing.assert_array_equal(heat[:, 75:], np.repeat(grey[:, 75:, None], 3, axis=2))


def test_evidence_blends_by_its_share_of_the_scale():
    black = np.zeros((8, 8, 3), np.uint8)
    for share in (0.25, 1.0, 3.0):
        evidence = min(share, 1.0)
        color = np.array(overlay.COLORS(0.5 + 0.5 * evidence)[:3])
        heat = overlay.heat_overlay(black, np.full((2, 2), 5.0 * share), scale=5.0)
        expected = np.round(0.85 * evidence**0.8 * 255 * color)
        np.testing.assert_allclose(heat, np.broadcast_to(expected, heat.shape), atol=1)


def test_scale_of_an_empty_map_is_usable(image):
    assert overlay.evidence_scale(np.array([[-3.0, 2.0]])) == 3.0
    scale = overlay.evidence_scale(np.zeros((2, 2)))
    heat = overlay.heat_overlay(image, np.zeros((2, 2)), scale)
    assert np.ptp(heat.astype(int), axis=2).max() == 0


def texts(figure):
    return [text.get_text() for text in figure.findobj(lambda x: hasattr(x, "get_text"))]


def test_explanation_names_classes_probabilities_and_units(image, tmp_path):
    figure = overlay.explanation(image, np.array([[0.0, -4.0], [1.0, 2.0]]), RANKED * 4)
    shown = texts(figure)
    assert shown.count("75.0 %") == 3
    assert "Evidence for Arctic $x$ Tern" in shown
    assert "against (-4)" in shown
    assert "for (4)" in shown
    overlay.save(figure, tmp_path / "new" / "a.png", dpi=50)
    with Image.open(tmp_path / "new" / "a.png") as picture:
        pixels = np.asarray(picture.convert("RGB"))
    assert pixels.shape[1] == pytest.approx(8.2 * 50, abs=1)
    left, right = np.split(pixels[:, : pixels.shape[1] // 2 * 2].astype(int), 2, axis=1)
    assert np.ptp(left, axis=2).max() > 100
    assert (left != right).any()


def test_csv_holds_every_prediction(tmp_path):
    path = tmp_path / "predictions.csv"
    overlay.write_csv([('a "1".jpg', RANKED), ("é.png", RANKED[:1])], path)
    rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    assert rows == [
        {"path": 'a "1".jpg', "rank": "1", "class": "Arctic $x$ Tern", "probability": "0.750000"},
        {"path": 'a "1".jpg', "rank": "2", "class": "Common, Tern", "probability": "0.250000"},
        {"path": "é.png", "rank": "1", "class": "Arctic $x$ Tern", "probability": "0.750000"},
    ]


@pytest.mark.parametrize("cell", ["=HYPERLINK(1)", "+1+cmd|' /C x'!A0", "-a", "@x", "\tx", "\r=x"])
def test_no_cell_of_the_csv_is_a_formula(tmp_path, cell):
    path = tmp_path / "predictions.csv"
    overlay.write_csv([(cell, [(cell, 0.5)])], path)
    with path.open(newline="", encoding="utf-8") as file:
        [row] = csv.DictReader(file)
    assert (row["path"], row["class"]) == (f"'{cell}", f"'{cell}")


@pytest.mark.parametrize("name", ["-5", "+1.5e3", "737.800", "a=b", "wren"])
def test_numbers_and_plain_names_stay_as_they_are_in_the_csv(tmp_path, name):
    path = tmp_path / "predictions.csv"
    overlay.write_csv([("0.jpg", [(name, 0.5)])], path)
    [row] = csv.DictReader(path.read_text(encoding="utf-8").splitlines())
    assert (row["path"], row["class"], row["probability"]) == ("0.jpg", name, "0.500000")


def test_unwritable_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*a\.csv"):
        overlay.write_csv([], tmp_path / "file" / "a.csv")
