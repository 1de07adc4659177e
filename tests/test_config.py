import pytest

from fgjax import config
from fgjax.errors import UserError


def test_a_leading_bare_word_is_the_first_key_and_a_later_one_a_switch():
    values = config.parse_arguments(
        "resnet50,size=448,tiny", first="backbone", backbone="vgg16", size=224, tiny=False
    )
    assert values == {"backbone": "resnet50", "size": 448, "tiny": True}


def test_a_leading_switch_is_no_value_of_the_first_key():
    values = config.parse_arguments("tiny", first="backbone", backbone="vgg16", tiny=False)
    assert values == {"backbone": "vgg16", "tiny": True}


def test_an_integer_is_good_for_a_float_but_not_the_other_way():
    assert config.parse_arguments("rate=1", rate=0.5) == {"rate": 1.0}
    with pytest.raises(UserError, match=r"size=1\.5 should be of type int"):
        config.parse_arguments("size=1.5", size=3)


def test_a_misspelt_key_in_a_config_file_is_refused():
    c = config.default()
    with pytest.raises(AttributeError, match="epoch"):
        c.train.epoch = 3
    with pytest.raises(AttributeError, match="batchsize"):
        c.data.batchsize = 3


def test_optional_keys_take_a_value_of_their_type():
    c = config.default()
    c.train.ema = 0.99
    c.model = config.model("resnet50", weights=None)
    assert c.model.backbone.weights is None
    with pytest.raises(TypeError):
        c.train.ema = "often"


def test_a_tiny_run_keeps_the_ratio_of_the_sizes():
    c = config.default()
    c.model = config.model()
    small = dict(name="small", train={"conv5": 0.1}, size=112)
    c.schedule = (small, dict(name="full", train={"conv5": 0.1}))
    assert [phase.get("size") for phase in config.tiny(c).schedule] == [32, None]
