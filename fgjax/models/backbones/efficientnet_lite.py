"""EfficientNet-Lite: EfficientNet (Tan & Le 2019) without squeeze-excite, with ReLU6.

Padding is TensorFlow's "SAME". Stem and last stage keep their depth, the stem also its width. A
level is the last block at each stride; conv5 has 320 channels (× width).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import flax.linen as nn
from jaxtyping import Array, Float

from fgjax.models.backbones.base import Backbone, Variants, scaled, truncate
from fgjax.models.context import Context
from fgjax.models.layers import ConvBN, relu6

EPSILON = 1e-3


class Stage(NamedTuple):
    """One row of the architecture: ``blocks`` inverted residuals, the first with ``strides``."""

    level: str
    expansion: int
    features: int
    blocks: int
    strides: int
    kernel_size: int


STAGES = (
    Stage("conv1", 1, 16, 1, 1, 3),
    Stage("conv2", 6, 24, 2, 2, 3),
    Stage("conv3", 6, 40, 2, 2, 5),
    Stage("conv4", 6, 80, 3, 2, 3),
    Stage("conv4", 6, 112, 3, 1, 5),
    Stage("conv5", 6, 192, 4, 2, 5),
    Stage("conv5", 6, 320, 1, 1, 3),
)

# name: options of :func:`efficientnet_lite`
VARIANTS: Variants = {
    "efficientnet_lite0": {"width": 1.0, "depth": 1.0},
    "efficientnet_lite1": {"width": 1.0, "depth": 1.1},
    "efficientnet_lite2": {"width": 1.1, "depth": 1.2},
    "efficientnet_lite3": {"width": 1.2, "depth": 1.4},
    "efficientnet_lite4": {"width": 1.4, "depth": 1.8},
}
IMAGE_SIZES = dict(zip(VARIANTS, (224, 240, 260, 280, 300), strict=True))


class InvertedResidual(nn.Module):
    """1×1 expansion, depthwise convolution, linear 1×1 projection; skip where shapes allow."""

    features: int
    expansion: int
    strides: int
    kernel_size: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], ctx: Context) -> Float[Array, "b hh ww f"]:
        """One block."""
        hidden = x.shape[-1] * self.expansion
        y = x
        if self.expansion != 1:
            y = ConvBN(hidden, activation=relu6, epsilon=EPSILON, name="expand")(y, ctx)
        y = ConvBN(
            hidden, self.kernel_size, self.strides,
            groups=hidden, activation=relu6, epsilon=EPSILON, name="depthwise",
        )(y, ctx)  # fmt: skip
        y = ConvBN(self.features, epsilon=EPSILON, name="project")(y, ctx)
        return x + y if x.shape == y.shape else y


class Level(nn.Module):
    """The blocks at one stride, named by architecture stage and place; ``stem`` before them."""

    blocks: tuple[tuple[str, nn.FrozenDict], ...]
    stem: int = 0

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], ctx: Context) -> Float[Array, "b hh ww f"]:
        """One level."""
        if self.stem:
            x = ConvBN(self.stem, 3, 2, activation=relu6, epsilon=EPSILON, name="stem")(x, ctx)
        for name, options in self.blocks:
            x = InvertedResidual(**options, name=name)(x, ctx)
        return x


def efficientnet_lite(width: float = 1.0, depth: float = 1.0, last: str = "conv5") -> Backbone:
    """EfficientNet-Lite with ``width`` × channels and ``depth`` × blocks, up to ``last``."""
    blocks: dict[str, list] = {}
    for number, stage in enumerate(STAGES):
        scale_depth = 0 < number < len(STAGES) - 1
        count = math.ceil(stage.blocks * depth) if scale_depth else stage.blocks
        for place in range(count):
            options = {
                "features": scaled(stage.features, width),
                "expansion": stage.expansion,
                "strides": stage.strides if place == 0 else 1,
                "kernel_size": stage.kernel_size,
            }
            row = blocks.setdefault(stage.level, [])
            row.append((f"block{number}_{place}", nn.FrozenDict(options)))
    stem = 32 if width >= 1 else scaled(32, width)
    steps = [
        Level(tuple(rows), stem if level == "conv1" else 0, name=level, parent=None)
        for level, rows in blocks.items()
    ]
    return Backbone(truncate(steps, last))
