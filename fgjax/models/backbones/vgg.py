"""VGG (Simonyan & Zisserman 2015), with and without batch norm.

A level ends with the last ReLU before a max pool, so conv1-conv5 have strides 1-16; fc6 and fc7
belong to the head.
"""

from __future__ import annotations

from collections.abc import Sequence

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from fgjax.models.backbones.base import Backbone, Variants, scaled, truncate
from fgjax.models.context import Context
from fgjax.models.layers import Conv, ConvBN, max_pool
from fgjax.vocabulary import LEVELS

WIDTHS = (64, 128, 256, 512, 512)
_DEPTHS = {
    "vgg11": (1, 1, 2, 2, 2),
    "vgg13": (2, 2, 2, 2, 2),
    "vgg16": (2, 2, 3, 3, 3),
    "vgg19": (2, 2, 4, 4, 4),
}
# name: options of :func:`vgg`
VARIANTS: Variants = {
    name + suffix: {"depths": depths, "batch_norm": bool(suffix)}
    for suffix in ("", "_bn")
    for name, depths in _DEPTHS.items()
}


class Level(nn.Module):
    """3×3 convolutions with ReLU, behind a 2×2 max pool where ``pool`` says so."""

    features: int
    count: int
    pool: bool
    batch_norm: bool

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], ctx: Context) -> Float[Array, "b hh ww f"]:
        """One level."""
        layer = ConvBN if self.batch_norm else Conv
        if self.pool:
            x = max_pool(x, 2)
        for number in range(self.count):
            name = f"conv{number}"
            x = layer(self.features, 3, padding=1, use_bias=True, name=name)(x, ctx)
            x = jax.nn.relu(x)
        return x


def vgg(
    depths: Sequence[int] = (2, 2, 3, 3, 3),
    batch_norm: bool = False,
    width: float = 1.0,
    last: str = "conv5",
) -> Backbone:
    """VGG with ``depths`` convolutions a level, ``width`` × channels, up to level ``last``."""
    steps = [
        Level(scaled(features, width), count, level != "conv1", batch_norm, name=level, parent=None)
        for level, features, count in zip(LEVELS, WIDTHS, depths, strict=True)
    ]
    return Backbone(truncate(steps, last))
