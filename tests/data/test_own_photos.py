"""The config for the user's own photos opens a folder of them and trains on it."""

import pytest

import fgjax
from configs import own_photos
from fgjax.errors import UserError
from fgjax.run import experiment, train


def test_it_opens_a_folder_of_photos(tiny_photos):
    c = own_photos.get_config()
    c.data.dir = str(tiny_photos)
    data = experiment.load_data(c, "train", "validation")
    assert data.info.classes == ("finch", "gull", "wren")
    assert (len(data.train), len(data.validation), data.test) == (24, 6, None)


def test_without_a_folder_the_key_to_set_is_named():
    with pytest.raises(UserError, match=r"needs data\.dir"):
        experiment.load_data(own_photos.get_config(), "train")


def test_arguments_choose_backbone_protocol_and_size():
    c = own_photos.get_config("resnet50,protocol=final,size=320,weights=none")
    assert (c.model.backbone.name, c.model.backbone.weights) == ("resnet50", None)
    assert (c.protocol, c.data.image_size) == ("final", 320)


def test_it_trains_and_names_a_photo(tiny_photos, tmp_path):
    c = own_photos.get_config("tiny")
    c.data.dir = str(tiny_photos)
    results = train.train(c, str(tmp_path / "run"))
    assert results["validation"]["n"] == 6
    assert results["validation"]["top1"] > 0.6  # the tiny photos differ in colour
    recogniser = fgjax.load(tmp_path / "run")
    photo = tiny_photos / "test" / "gull" / "0.jpg"
    [ranked] = recogniser.predict([photo], top=3)
    assert {name for name, _ in ranked} == {"finch", "gull", "wren"}
