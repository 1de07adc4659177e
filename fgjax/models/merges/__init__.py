"""Merges of a hierarchy: deep maps lend their meaning to shallow ones that kept the detail.

A merge takes the levels it is told to and hands back a hierarchy. Whatever the levels' sizes are
(odd ones, equal ones of a dilated backbone, gaps in the subset), maps are resampled to the exact
size of the level they join. Levels that are not merged pass through untouched.

    name          result at the merged levels                              channels
    fpn           each level, strides unchanged                            features
    pan           each level, strides unchanged                            features
    bifpn         each level, strides unchanged                            features
    hrnet_concat  v1, v2: the finest only; v2p: each level                 see HRNetConcat
    hypercolumn   one level only                                           sum of the levels'
    hrnet_head    conv2-conv5 added into conv5, HRNet's published head     2048
    stage_blocks  each level by itself, strides unchanged                  features

Where one map stands for all merged levels the others leave the hierarchy, so that pooling one of
them is an error and not a network that ignores its merge. With ``extra_levels`` a pyramid goes on
above its coarsest level, each level at half the size of the one before: conv6, conv7.
"""

from __future__ import annotations

from collections.abc import Callable

import flax.linen as nn

from fgjax.models.backbones.hrnet import ClassificationHead
from fgjax.models.factory import make
from fgjax.models.merges.bifpn import BiFPN
from fgjax.models.merges.blocks import StageBlocks
from fgjax.models.merges.columns import HRNetConcat, Hypercolumn
from fgjax.models.merges.pyramids import FPN, PAN

MERGES: dict[str, Callable[..., nn.Module]] = {
    "fpn": FPN,
    "pan": PAN,
    "bifpn": BiFPN,
    "hrnet_concat": HRNetConcat,
    "hypercolumn": Hypercolumn,
    "hrnet_head": ClassificationHead,
    "stage_blocks": StageBlocks,
}


def create(name: str, **options) -> nn.Module | None:
    """The merge called ``name``, or None for "none".

    Raises:
        UserError: an unknown name or option.
    """
    return make("merge", MERGES, name, options)
