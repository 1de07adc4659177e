"""A recogniser in Python: it takes photos in any form, and says what it cannot take."""

import io

import jax.numpy as jnp
import numpy as np
import pytest
import small_run
from PIL import Image

from fgjax.data import DatasetInfo, Source, info, pipeline
from fgjax.errors import UserError
from fgjax.evaluation import views
from fgjax.ops.preprocessing import Preprocessing
from fgjax.run import experiment
from fgjax.run.trained import TrainedRecognizer


@pytest.fixture(scope="module")
def recogniser():
    model = experiment.build_model(small_run.config("unused"), 3)
    description = DatasetInfo("photos", small_run.CLASSES, "0")
    return TrainedRecognizer(model, description, model.initialize(0))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    where = small_run.photos(tmp_path_factory.mktemp("photos") / "new", 2, ("a",))
    Image.open(where / "a" / "0.jpg").save(where / "a" / "0.png")
    return where


@pytest.fixture(scope="module")
def expected(recogniser, folder):
    [ranked] = recogniser.predict([folder / "a" / "0.png"])
    return ranked


def test_a_photo_is_predicted_in_whatever_form_it_comes(recogniser, folder, expected):
    path = folder / "a" / "0.png"
    image = Image.open(path)
    pixels = np.asarray(image)
    for photo in (path, str(path), image, pixels, jnp.asarray(pixels)):
        assert recogniser.predict(photo) == [expected]
        assert recogniser.predict([photo]) == [expected]
    assert recogniser.predict(np.stack([pixels, pixels])) == [expected, expected]
    assert recogniser.predict(iter([path, image])) == [expected, expected]
    assert [len(row) for row in recogniser.predict(image, top=2)] == [2]


def test_grey_and_transparent_pixels_are_taken_as_photos_are(recogniser, tmp_path):
    grey = np.random.default_rng(0).integers(0, 256, (70, 90), np.uint8)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    assert recogniser.predict(grey) == recogniser.predict(tmp_path / "grey.png")
    clear = np.zeros((70, 90, 4), np.uint8)
    assert recogniser.predict(clear) == recogniser.predict(np.full((70, 90, 3), 255, np.uint8))


def test_a_pillow_image_is_turned_upright(recogniser, tmp_path):
    pixels = np.zeros((60, 90, 3), np.uint8)
    pixels[:30] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    path = tmp_path / "turned.jpg"
    np.testing.assert_array_equal(recogniser.read(Image.open(path)), recogniser.read(path))


def test_a_folder_gives_its_photos_by_path_and_names_what_it_leaves_out(
    recogniser, folder, expected, tmp_path
):
    rows = recogniser.predict(folder)
    assert len(rows) == 3 and rows[1] == expected
    (tmp_path / "broken.jpg").write_bytes(b"no photo")
    with pytest.raises(UserError, match=r"broken\.jpg"):
        recogniser.predict(tmp_path / "broken.jpg")
    with pytest.warns(UserWarning, match=r"broken\.jpg"), pytest.raises(UserError, match="none of"):
        recogniser.predict(tmp_path)
    Image.open(folder / "a" / "0.png").save(tmp_path / "good.png")
    with pytest.warns(UserWarning, match=r"broken\.jpg"):
        assert recogniser.predict([tmp_path, tmp_path / "good.png"]) == [expected, expected]


@pytest.mark.parametrize(
    ("photo", "sentence"),
    [
        (3, "cannot be of type int"),
        ([None], "cannot be of type NoneType"),
        (np.zeros((8, 8, 3)), r"type float64 and shape \(8, 8, 3\)"),
        (np.zeros((8, 8, 7), np.uint8), r"shape \(8, 8, 7\)"),
        ("absent.jpg", r"cannot read the image absent\.jpg"),
    ],
)
def test_what_is_no_photo_is_refused_in_one_sentence(recogniser, photo, sentence):
    with pytest.raises(UserError, match=sentence) as caught:
        recogniser.predict(photo)
    assert "\n" not in str(caught.value)


def test_pixels_are_not_taken_for_what_the_network_takes(recogniser, folder):
    pixels = recogniser.read(folder / "a" / "0.jpg")[None]
    for refused in (recogniser.apply, lambda x: recogniser.contributions(x, ["wren"])):
        with pytest.raises(UserError, match=r"normalised images, not pixels of type uint8"):
            refused(pixels)


def test_classes_are_named_or_numbered(recogniser, folder):
    inputs = recogniser.normalize(recogniser.read(folder / "a" / "0.jpg")[None])
    by_label = recogniser.contributions(inputs, np.array([2]), np.array([0]))
    for classes, others in ((["wren"], ["finch"]), ("wren", "finch"), ([2], ["finch"])):
        np.testing.assert_array_equal(recogniser.contributions(inputs, classes, others), by_label)
    with pytest.raises(UserError, match="there is no class 'wrn'; did you mean 'wren'?"):
        recogniser.contributions(inputs, ["wrn"])
    with pytest.raises(UserError, match="1 images need as many classes, not 2"):
        recogniser.contributions(inputs, ["wren", "gull"])


def test_it_prints_as_one_short_line(recogniser):
    assert repr(recogniser) == "TrainedRecognizer(3 classes, efficientnet_lite0, 64 px, no run)"


def test_a_photo_of_any_width_is_cut_alike_by_predict_evaluate_and_analyze():
    canvas, size = 256, 224

    class Fed:
        preprocessing = Preprocessing()

    model = Fed()
    model.canvas = canvas
    seen_by_predict = TrainedRecognizer(model, None, None).read
    rng = np.random.default_rng(0)
    for width in range(257, 300, 3):
        pixels, file = rng.integers(0, 256, (256, width, 3), np.uint8), io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG", compress_level=0)
        examples = info.without_annotations(
            "here", ["x"], [0], lambda _, file=file: file.getvalue()
        )
        source = Source(examples, DatasetInfo("x", ("a",), "0"))

        def batch(side, share, source=source):
            batches = pipeline.eval_batches(
                source, image_size=side, crop_fraction=share, batch_size=1, workers=1
            )
            return next(batches)["image"]

        evaluated = np.asarray(views.cut(batch(canvas, 1.0), "center", size))[0]
        np.testing.assert_array_equal(seen_by_predict(pixels), evaluated)
        np.testing.assert_array_equal(batch(size, size / canvas)[0], evaluated)
