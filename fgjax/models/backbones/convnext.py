"""ConvNeXt (Liu et al. 2022): patches, then blocks of a 7×7 depthwise convolution and an MLP.

Levels: conv1 is the stem at stride 4; conv2-conv5 are the four stages. conv2 has the stride of
conv1 and gives no map of its own to the hierarchy (it is in :meth:`Backbone.stages`), so that the
strides are 4, 8, 16, 32. The norm before the published classifier belongs to that classifier.
"""

from __future__ import annotations

from collections.abc import Sequence

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from fgjax.models.backbones.base import Backbone, Variants, truncate
from fgjax.models.context import Context
from fgjax.models.layers import Conv, Dense, LayerNorm

# name: options of :func:`convnext`
VARIANTS: Variants = {
    "convnext_tiny": {"depths": (3, 3, 9, 3), "width": 96},
    "convnext_small": {"depths": (3, 3, 27, 3), "width": 96},
    "convnext_base": {"depths": (3, 3, 27, 3), "width": 128},
}


class Block(nn.Module):
    """Depthwise 7×7, layer norm, MLP with GELU, scaled by ``gamma``, added to the input."""

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], ctx: Context) -> Float[Array, "b h w c"]:
        """One block."""
        channels = x.shape[-1]
        y = Conv(channels, 7, padding=3, groups=channels, use_bias=True, name="depthwise")(x, ctx)
        y = LayerNorm(name="norm")(y, ctx)
        y = Dense(4 * channels, name="expand")(y, ctx)
        y = Dense(channels, name="project")(jax.nn.gelu(y, approximate=False), ctx)
        gamma = self.param("gamma", nn.initializers.constant(1e-6), (channels,))
        return x + y * gamma.astype(ctx.dtype)


class Stem(nn.Module):
    """conv1: patches of 4×4 pixels."""

    features: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w 3"], ctx: Context) -> Float[Array, "b hh ww f"]:
        """The stem."""
        x = Conv(self.features, 4, 4, "VALID", use_bias=True, name="patch")(x, ctx)
        return LayerNorm(name="norm")(x, ctx)


class Stage(nn.Module):
    """Blocks, behind a norm and a 2×2 convolution of stride 2 where the width grows."""

    features: int
    count: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], ctx: Context) -> Float[Array, "b hh ww f"]:
        """One stage."""
        if x.shape[-1] != self.features:
            x = LayerNorm(name="norm")(x, ctx)
            x = Conv(self.features, 2, 2, "VALID", use_bias=True, name="down")(x, ctx)
        for number in range(self.count):
            x = Block(name=f"block{number}")(x, ctx)
        return x


def convnext(
    depths: Sequence[int] = (3, 3, 9, 3), width: int = 96, last: str = "conv5"
) -> Backbone:
    """ConvNeXt with ``depths`` blocks in conv2-conv5 and ``width``, 2, 4, 8 × ``width`` channels.

    Stochastic depth, which the published training used, is left out.
    """
    steps: list[nn.Module] = [Stem(width, name="conv1", parent=None)]
    steps += [
        Stage(width * 2**number, count, name=f"conv{number + 2}", parent=None)
        for number, count in enumerate(depths)
    ]
    return Backbone(truncate(steps, last), hidden=("conv2",))
