"""The config for the user's own photos opens a folder of them."""

import pytest

from configs import own_photos
from fgjax import experiment
from fgjax.errors import UserError


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
