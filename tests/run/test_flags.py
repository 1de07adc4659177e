"""Parts by their names on the command line, and what ml_collections finds wrong in plain words."""

import re
import sys

import pytest

from fgjax import config, main

QUICKSTART = "--config=configs/quickstart.py:tiny"


@pytest.fixture(autouse=True)
def _fresh_config_module(monkeypatch):
    # ml_collections executes every config file into this one module.
    monkeypatch.delitem(sys.modules, "config_config", raising=False)


def parsed(*arguments):
    return main.parse(["fgjax", QUICKSTART, *arguments]).config


@pytest.mark.parametrize(
    "flag", [("--config.model.pooling=gem",), ("--config.model.pooling", "gem")]
)
def test_a_part_is_swapped_by_its_name_and_loses_the_options_of_the_other(flag):
    assert parsed(*flag).model.pooling.to_dict() == {"name": "gem"}


def test_a_swapped_backbone_comes_with_its_default_weights():
    backbone = parsed("--config.model.backbone=resnet18").model.backbone
    assert backbone.to_dict() == {"name": "resnet18", "weights": "default"}


def test_a_bare_name_in_a_config_file():
    c = config.model(pooling="gem", attention=None)
    assert c.pooling.to_dict() == {"name": "gem"}
    assert c.attention.to_dict() == {"name": "none"}


@pytest.mark.parametrize(
    ("flag", "sentence"),
    [
        ("config.train.augment=flip", "is 'flip', which is not a dict; write one such as"),
        ("config.model.pooling={'name':1", "is \"{'name':1\", which is not a dict"),
        ("config.train.epochs=two", "--config.train.epochs is 'two', which is no number"),
        ("config.data.image_size=1.5", "is '1.5', which is no whole number; expected one such"),
        ("config.evaluate.after_phases=maybe", "'maybe', which is no switch; expected True or F"),
        ("config.model.scales=(1.0,", r"is '\(1.0,', which is no tuple; write one such as"),
        ("config.schedule.1.train.conv3=0", r"no such entry .* config.schedule.1.train.conv3; wri"),
        ("config.schedule[9].train.conv3=0", r"no such entry .*schedule\[9\].*write keys as in"),
        ("config.model.dtype.x=2", "no such entry of the config among config.model.dtype.x"),
        (
            "config.model.pooling.power=2",
            "no such key: 'power'; options .* are given with the part",
        ),
    ],
)
def test_a_flag_that_cannot_be_read_ends_in_one_sentence(flag, sentence):
    with pytest.raises(main.UserError) as caught:
        parsed(f"--{flag}")
    assert re.search(sentence, str(caught.value))
    assert not re.search("ast|object at|SyntaxError|\n", str(caught.value))


def test_a_syntax_error_of_a_config_file_is_placed(tmp_path):
    path = tmp_path / "config.py"
    path.write_text("def get_config(a=''):\n    return (1,\n")
    with pytest.raises(main.UserError, match="config.py, line 2"):
        main.parse(["fgjax", f"--config={path}"])
