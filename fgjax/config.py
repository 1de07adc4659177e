"""The config: every top-level key with its default, and the arguments of config files."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

import ml_collections
from ml_collections import config_dict

from fgjax.data import default_config as default_data
from fgjax.errors import UserError
from fgjax.vocabulary import LEVELS


def default() -> ml_collections.ConfigDict:
    """A fresh config; a file in ``configs/`` starts from it and says what is different.

    ``model`` and ``schedule`` are what an experiment is about, so that its file states them whole:
    every part by ``name`` with the options of that part, every phase as
    ``fgjax.finetune.schedule`` describes.
    """
    c = ml_collections.ConfigDict()
    # What is learned: "classification", or a task of one's own as "package.module:NAME".
    c.task = "classification"
    c.seed = 0  # of everything random in the run
    # "develop": a fifth of the training images is the validation set, test is not opened.
    # "final": all of train, no selection; test is scored once, with the last weights.
    c.protocol = "develop"
    c.data = default_data()
    c.model = model()
    c.schedule = ()
    c.train = _train()
    c.evaluate = _evaluate()
    return c.lock()


def model(
    backbone: str = "efficientnet_lite0",
    pooling: str | Mapping[str, Any] = "average",
    head: str | Mapping[str, Any] = "linear",
    merge: str | Mapping[str, Any] = "none",
    attention: str | Mapping[str, Any] = "none",
    scales: tuple[float, ...] = (1.0,),
    weights: str | None = "default",
    dtype: str = "float32",
    **backbone_options: Any,
) -> ml_collections.ConfigDict:
    """``config.model``: the parts of a recogniser by name, each with its options.

    Args:
        backbone: its name.
        pooling: its name, or a mapping with name and options.
        head: likewise.
        merge: likewise.
        attention: likewise.
        scales: sizes at which an image goes through the network, as multiples of its own: 1.0 and
            others; the pooling reads their locations together. Reports show the maps of scale 1.
        weights: "default" (those published for the backbone), a file, "hf:timm/NAME", or None
            or "none" for random initialisation.
        dtype: of the activations: "float32" or "bfloat16".
        **backbone_options: options of the backbone.
    """
    c = ml_collections.ConfigDict(
        {
            "backbone": {"name": backbone, **backbone_options},
            "merge": _part(merge),
            "attention": _part(attention),
            "pooling": _part(pooling),
            "head": _part(head),
            "scales": scales,
            "dtype": dtype,
        }
    )
    c.backbone.weights = config_dict.placeholder(str)
    c.backbone.weights = None if weights == "none" else weights
    return c


def _part(value: str | Mapping[str, Any] | None) -> Mapping[str, Any]:
    """A part by name and options; a bare name stands for its usual options, None for "none"."""
    return {"name": value or "none"} if isinstance(value, str | None) else value


def _train() -> ml_collections.ConfigDict:
    c = ml_collections.ConfigDict()
    c.epochs = 30.0  # length of the run; the phases divide it by their shares
    c.objective = {"name": "cross_entropy"}
    c.label_smoothing = 0.1
    c.class_weights = "none"  # or "balanced": inverse to the frequency of the class
    c.optimizer = {"name": "sgd", "momentum": 0.9}
    # (pattern, group) pairs for finer groups than the levels; the first that matches a whole path
    # wins, such as ("conv4/block5_.*", "conv4_end").
    c.groups = ()
    c.clip_norm = config_dict.placeholder(float)  # largest gradient norm over the trained leaves
    c.accumulate = 1  # equal parts in which a batch is processed
    c.ema = config_dict.placeholder(float)  # decay of the moving average that is scored
    c.augment = {}  # fields of fgjax.data.augment.Augmentation that differ from its defaults
    c.parallel = "jit"  # or "pmap"
    c.devices = config_dict.placeholder(int)  # None: all of them
    # Where frozen-trunk features of finite views are kept: "memory", "disk", "none", or "auto":
    # in memory up to 4 GiB, mapped to disk beyond.
    c.feature_cache = "auto"
    c.log_steps = 10
    c.checkpoint_epochs = 1.0
    return c


def _evaluate() -> ml_collections.ConfigDict:
    c = ml_collections.ConfigDict()
    c.epochs = 1.0  # how often validation is scored in "develop"
    c.views = ("center",)  # test-time views, averaged; or a set of them, ("ten_crop",)
    # Score the end of every phase as well; the last phase stays the result.
    c.after_phases = False
    return c


def parse_arguments(text: str, first: str | None = None, **defaults: Any) -> dict[str, Any]:
    """Arguments of ``--config FILE:ARGUMENTS``, such as ``resnet50,size=448,tiny``.

    Args:
        text: comma-separated ``key=value`` pairs; a bare word is the value of ``first`` if it
            stands at the beginning and names no other key, else it switches its key on.
        first: key of the leading bare word.
        **defaults: what is known, with its default; the type of a value is that of its default.

    Raises:
        UserError: an unknown key or a value of another type.
    """
    values = dict(defaults)
    for position, item in enumerate(filter(None, text.split(","))):
        key, equals, raw = item.partition("=")
        if not equals:
            if position == 0 and first is not None and key not in defaults:
                key, raw = first, key
            else:
                raw = "True"
        if key not in defaults:
            raise UserError(
                f"the config file has no argument {key!r}; it takes {', '.join(defaults)}"
            )
        values[key] = _typed(key, raw, defaults[key])
    return values


def cub200(
    arguments: str, batch_size: int = 16, **own: Any
) -> tuple[ml_collections.ConfigDict, dict[str, Any]]:
    """What every config for CUB-200-2011 begins with: its data, and its arguments.

    Args:
        arguments: of the config file.
        batch_size: images of a step.
        **own: the config's own arguments with their defaults, ``backbone`` first if it has one;
            ``size`` (448), ``weights``, ``protocol`` and ``tiny`` are common to all.

    Returns:
        The config so far, and the arguments' values.
    """
    common = {"size": 448, "weights": "default", "protocol": "develop", "tiny": False}
    args = parse_arguments(arguments, first="backbone", **own | (common | own))
    c = default()
    c.protocol = args["protocol"]
    c.data.name = "cub200"
    c.data.image_size = args["size"]
    c.data.batch_size = batch_size
    return c, args


def _typed(key: str, raw: str, default: Any) -> Any:
    if default is None or isinstance(default, str):
        return raw
    try:
        value = ast.literal_eval(raw)
    except (ValueError, SyntaxError):
        value = raw
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, type(default)):
        raise UserError(
            f"the config argument {key}={raw} should be of type {type(default).__name__}"
        )
    return value


def chosen(options: Mapping[str, Any], key: str, value: str) -> Any:
    """What the argument ``key`` of a config file selects among named options.

    Raises:
        UserError: there is no such option.
    """
    if value not in options:
        raise UserError(
            f"the config argument {key} is {value!r}; choose one of {', '.join(options)}"
        )
    return options[value]


# The widest that a part of a tiny network is, by option.
NARROW = {"d": 256, "features": 16, "hidden": 16, "project": 16, "maps": 4}


def tiny(c: ml_collections.ConfigDict, last: str = "conv3") -> ml_collections.ConfigDict:
    """The same experiment in seconds, for tests: what ``:tiny`` makes of a config.

    A narrow EfficientNet-Lite0 without weights that ends at level ``last`` sees 64 pixels, of a few
    synthetic birds unless the config reads photos of the user's own. What the parts do with conv5
    they do with ``last``, with conv4 with the level before it, and so on; where the schedule names
    a deeper level, ``last`` trains. A phase's own size shrinks as the images do.
    """
    shrink = 64 / c.data.image_size
    c.data.image_size = c.data.size = 64
    c.data.canvas = None
    if c.data.name != "image_folder":
        c.data.name = "synthetic_birds"
        c.data.counts = {"train": 4, "test": 2}
    c.model.backbone = model("efficientnet_lite0", weights=None, width=0.25, last=last).backbone
    c.model.pooling.levels = c.model.pooling.get("levels", LEVELS[-1:])
    moved = len(LEVELS) - 1 - LEVELS.index(last)
    for part in (c.model.merge, c.model.attention, c.model.pooling, c.model.head):
        if not isinstance(part.get("levels", 0), int):
            part.levels = tuple(LEVELS[LEVELS.index(level) - moved] for level in part.levels)
        for option, widest in NARROW.items():
            if option in part:
                part[option] = min(part[option], widest)
    deeper = LEVELS[LEVELS.index(last) + 1 :]
    c.schedule = tuple(
        phase
        | {"train": {last if g in deeper else g: r for g, r in phase["train"].items()}}
        | ({"size": round(shrink * phase["size"])} if phase.get("size") else {})
        for phase in c.schedule
    )
    c.train.epochs = 3.0
    return c
