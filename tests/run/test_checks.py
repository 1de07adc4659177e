"""What can be known of a config is known before data are read, downloaded or written."""

import math
import re

import pytest

from configs import cub_bilinear, own_photos, quickstart
from fgjax import data
from fgjax.errors import UserError
from fgjax.run import checks, train


@pytest.fixture
def config():
    return quickstart.get_config("tiny")


def changed(c, key, value):
    """The config with the value of a key, whatever its type."""
    *path, last = key.split(".")
    node = c
    for part in path:
        node = node[part]
    with c.unlocked(), node.ignore_type():
        node[last] = value
    return c


def refusal(c):
    with pytest.raises(UserError) as caught:
        checks.before_data(c)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_shipped_config_passes(config):
    checks.before_data(config)


def test_a_misspelt_backbone_ends_before_any_data_function_is_called(monkeypatch, tmp_path):
    def called(*arguments, **options):
        raise AssertionError("data are read")

    for name in data.load.__globals__["DATASETS"]:
        monkeypatch.setitem(data.load.__globals__["DATASETS"], name, called)
    workdir = tmp_path / "run"
    with pytest.raises(UserError, match="no backbone 'resnet51'; choose one of"):
        train.train(cub_bilinear.get_config("resnet51"), str(workdir))
    assert not workdir.exists()


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("seed", -1, "seed is -1; expected a whole number from 0"),
        ("seed", True, "seed is True; expected a whole number"),
        ("protocol", "best", "protocol is 'best'; expected one of develop, final"),
        ("data.name", "cub", "data.name is 'cub'; expected one of cub200, image_folder, sy"),
        ("data.image_size", 8, "data.image_size is 8; expected a whole number from 32"),
        ("data.image_size", "big", "data.image_size is 'big'; expected a whole number"),
        ("data.image_size", None, "data.image_size is None; expected a whole number"),
        ("data.canvas", 60, "data.canvas is 60, from which no input of data.image_size=64"),
        ("data.crop_fraction", 0, "data.crop_fraction is 0.0; expected a number above 0 to 1, or"),
        ("data.interpolation", "lanczos", "data.interpolation is 'lanczos'; expected one of bil"),
        ("data.batch_size", 0, "data.batch_size is 0; expected a whole number from 1"),
        ("data.workers", 0, "data.workers is 0; expected"),
        ("data.validation_share", 1.0, "data.validation_share is 1.0; expected a number from 0 to"),
        ("data.counts", {"train": 4}, "data.counts.test is missing"),
        ("train.label_smoothing", 1.1, "train.label_smoothing is 1.1; expected a number from 0 to"),
        ("train.epochs", math.nan, "train.epochs is nan; expected a number above 0"),
        ("train.epochs", math.inf, "train.epochs is inf; expected a number above 0"),
        ("train.log_steps", 0, "train.log_steps is 0; expected a whole number from 1"),
        ("train.ema", 1.0, "train.ema is 1.0; expected a number from 0 to below 1, or None"),
        ("train.devices", 10**6, "train.devices is 1000000; expected a whole number from 1 to 8"),
        ("train.groups", (("conv4/(", "x"),), r"pattern 'conv4/\(', which is no regular expre"),
        ("train.groups", (("conv4", "x", 3),), r"train.groups is \(\('conv4', 'x', 3\),\); expect"),
        ("train.feature_cache", "ram", "train.feature_cache is 'ram'; expected one of auto, mem"),
        ("train.parallel", "threads", "train.parallel is 'threads'; expected one of jit, pmap"),
        ("train.augment.interpolation", "lanczos", "train.augment.interpolation is 'lanczos'; exp"),
        ("train.augment.scale", (0.9, 0.2), r"train.augment.scale is \(0.9, 0.2\); expected two"),
        ("train.augment.flop", 0.5, "train.augment has no option flop; its options are scale,"),
        (
            "train.optimizer.momentum",
            1,
            "train.optimizer.momentum is 1.0; expected a number from 0",
        ),
        ("train.optimizer", {"name": "lion"}, "train.optimizer.name is 'lion'; choose one of sgd"),
        ("train.objective", {}, r"train.objective is \{\}; expected a dict of a name and options"),
        ("train.objective", {"name": "pmg"}, "'pmg' makes new views of the images, and this phase"),
        ("train.colour", 1, "train has no key 'colour'; its keys are accumulate, augment"),
        ("evaluate.views", ("five",), "[Uu]nknown view 'five'; choose from center"),
        ("evaluate.views", ("attention",), "the recogniser makes no attention maps"),
        ("evaluate.views", 3, "evaluate.views is 3; expected names such as"),
        (
            "model.head",
            {"dropout": 0.1},
            r"model.head is \{'dropout': 0.1\}; expected a dict of a name",
        ),
        ("model.head.dropout", 1.0, "model.head.dropout is 1.0; expected a number from 0 to below"),
        ("model.head.classes", 3, "model.head has no option classes: the data say them"),
        (
            "model.pooling.name",
            "gem",
            "'gem' has no option d; .* --config.model.pooling=gem begins",
        ),
        ("model.pooling.levels", "conv3", "model.pooling.levels is 'conv3'; expected values in a"),
        ("model.pooling.levels", ("conv5",), "backbone and merge give conv1, conv2, conv3; name"),
        ("model.pooling.levels", ("conv3", "conv3"), "levels names conv3 twice; name each level"),
        ("model.attention", {"name": "se", "levels": ("conv3", "conv3")}, "names conv3 twice"),
        ("model.attention", {"name": "se", "levels": 3}, "model.attention.levels is 3; expected"),
        ("model.backbone.weights", 3, "model.backbone.weights is 3; expected a text, or None"),
        ("model.poling", {}, "model has no key 'poling'; its keys are backbone"),
        ("model.dtype", "float16", "model.dtype is 'float16'; expected one of float32, bfloat16"),
        ("model.scales", (1.0, math.nan), "model.scales is .*; give 1.0 first"),
        ("schedule", 3, "the schedule is 3; expected phases in a tuple"),
    ],
)
def test_a_faulty_value_is_named_with_what_was_expected(config, key, value, sentence):
    assert re.search(sentence, refusal(changed(config, key, value)))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"train": {"conv3": 0}},
            "group 'conv3' of phase 'tune' has rate 0; it must be a positive",
        ),
        ({"train": {"conv9": 1.0}}, "group 'conv9' of phase 'tune' does not exist; the groups are"),
        ({"train": "conv3"}, r"schedule\[1\].train is 'conv3'; expected rates by group"),
        ({"train": {"head": {"rate": 1, "bn": 3}}}, "bn of group 'head' of phase 'tune' is 3; exp"),
        ({"views": "center"}, r"schedule\[1\].views is 'center'; expected values in a tuple"),
        ({"views": ("attention",)}, "view 'attention' follows attention"),
        ({"views": ()}, "phase 'tune' has no views; name at least one"),
        ({"size": 8}, r"schedule\[1\].size is 8; expected a whole number from 32"),
        ({"patience": 3}, "phase 'tune' follows the validation score, which the protocol 'final'"),
        ({"epochs": 99, "share": None}, "come to lie beyond its end"),
        ({"name": None}, r"schedule\[1\].name is None; expected a name"),
        ({"colour": 3}, r"schedule\[1\] has no option colour; its options are name, train"),
    ],
)
def test_a_faulty_phase_is_named(config, changes, sentence):
    head, tune = config.schedule
    config.schedule = (head, tune | changes)
    assert re.search(sentence, refusal(config))


@pytest.mark.parametrize(
    ("objective", "augment", "accumulate", "batch", "sentence"),
    [
        (
            "cross_entropy",
            {"mixup": 0.2},
            1,
            15,
            "batch_size is 15, and mixup takes .* multiple of 2",
        ),
        ("cross_entropy", {"cutmix": 0.2}, 1, 15, "cutmix takes .* multiple of 2"),
        ("pairwise_confusion", {}, 4, 12, "pairwise_confusion takes .* multiple of 8"),
        ("cross_entropy", {}, 5, 16, "cannot be divided into train.accumulate=5 parts"),
    ],
)
def test_a_batch_that_pairs_and_parts_do_not_divide_is_refused(
    config, objective, augment, accumulate, batch, sentence
):
    config.train.devices = 1
    config.train.objective = {"name": objective}
    config.train.augment = augment
    config.train.accumulate = accumulate
    config.data.batch_size = batch
    assert re.search(sentence, refusal(config))


def test_weights_of_classes_are_refused_for_an_objective_that_takes_none(config):
    config.train.objective = {"name": "center_loss"}
    config.train.class_weights = "balanced"
    assert "train.class_weights is 'balanced', which the objective 'center_loss' does not take" in (
        refusal(config)
    )


def test_a_bare_name_in_a_finished_config_is_told_what_to_be(config):
    expected = "model.head is 'cosine'; expected a dict of .*, such as {'name': 'cosine'}"
    assert re.search(expected, refusal(changed(config, "model.head", "cosine")))


def test_a_folder_without_what_the_protocol_needs_is_refused_by_its_names(tiny_photos):
    c = own_photos.get_config("protocol=final,tiny")
    c.data.dir = str(tiny_photos)
    checks.before_data(c)
    (tiny_photos / "test").rename(tiny_photos.parent / "later")
    assert "'final' is scored on a test split" in refusal(c)
    c.data.dir = str(tiny_photos / "nowhere")
    assert "nowhere does not exist" in refusal(c)


def test_no_share_to_validate_on_is_refused_where_there_is_no_validation_split(config):
    config.protocol = "develop"
    config.data.validation_share = 0.0
    assert "data.validation_share is 0.0; choose a share above 0" in refusal(config)


def test_weights_for_a_wrong_number_of_classes_are_refused(config):
    config.train.objective = {"name": "cross_entropy", "class_weights": (1.0, 2.0, 3.0)}
    checks.before_data(config)
