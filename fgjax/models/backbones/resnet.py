"""ResNet (He et al. 2016), wide ResNet, ResNeXt (Xie et al. 2017), with torchvision's geometry.

With ``attention`` they are SE-ResNet (Hu et al. 2018), CBAM-ResNet (Woo et al. 2018) and the like.

Levels: conv1 is the stem (stride 2, before the max pool), conv2-conv5 are the four stages.
"""

from __future__ import annotations

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fgjax.errors import UserError
from fgjax.models.attention import BLOCKS
from fgjax.models.backbones.base import Backbone, Variants, truncate
from fgjax.models.context import Context
from fgjax.models.layers import ConvBN, max_pool
from fgjax.ops.convolution import convolve

# name: options of :func:`resnet`
VARIANTS: Variants = {
    "resnet18": {"block": "basic", "depths": (2, 2, 2, 2)},
    "resnet34": {"block": "basic", "depths": (3, 4, 6, 3)},
    "resnet50": {"depths": (3, 4, 6, 3)},
    "resnet101": {"depths": (3, 4, 23, 3)},
    "resnet152": {"depths": (3, 8, 36, 3)},
    "wide_resnet50_2": {"depths": (3, 4, 6, 3), "base_width": 128},
    "wide_resnet101_2": {"depths": (3, 4, 23, 3), "base_width": 128},
    "resnext50_32x4d": {"depths": (3, 4, 6, 3), "groups": 32, "base_width": 4},
    "resnext101_32x8d": {"depths": (3, 4, 23, 3), "groups": 32, "base_width": 8},
    "resnext101_64x4d": {"depths": (3, 4, 23, 3), "groups": 64, "base_width": 4},
}


def blur_pool(x: Float[Array, "b h w c"]) -> Float[Array, "b hh ww c"]:
    """Every second pixel of ``x`` smoothed by the binomial 3×3 filter (Zhang 2019)."""
    row = jnp.array([0.25, 0.5, 0.25], x.dtype)
    channels = x.shape[-1]
    kernel = jnp.broadcast_to((row[:, None] * row)[:, :, None, None], (3, 3, 1, channels))
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    return convolve(x, kernel, (2, 2), "VALID", groups=channels)


class Unit(nn.Module):
    """What the two kinds of residual block share: their options and their shortcut.

    Attributes:
        planes: nominal width; the block gives ``planes * expansion`` channels.
        strides: of the block.
        groups: of the 3×3 convolution (bottleneck only).
        base_width: the width of a group, in 64ths of ``planes`` (bottleneck only).
        dilation: of the 3×3 convolutions; the strided one has ``first_dilation``.
        first_dilation: see ``dilation``.
        stride_in_1x1: a bottleneck strides in its first 1×1 instead of its 3×3.
        antialias: stride by a blur pool after the activation instead of by the convolution.
        attention: what weighs the residual before it is added, or "none".
    """

    planes: int
    strides: int = 1
    groups: int = 1
    base_width: int = 64
    dilation: int = 1
    first_dilation: int = 1
    stride_in_1x1: bool = False
    antialias: bool = False
    attention: str = "none"

    expansion = 1

    def shortcut(self, x: Array, ctx: Context) -> Array:
        """The input, projected where the block changes its shape."""
        features = self.planes * self.expansion
        if self.strides == 1 and x.shape[-1] == features:
            return x
        return ConvBN(features, 1, self.strides, name="shortcut")(x, ctx)

    def strided(self, y: Array, ctx: Context, features: int, strides: int, name: str) -> Array:
        """The 3×3 convolution that carries the block's stride."""
        blur = self.antialias and strides == 2
        y = ConvBN(
            features, 3, 1 if blur else strides, self.first_dilation, self.groups,
            self.first_dilation, activation=jax.nn.relu, name=name,
        )(y, ctx)  # fmt: skip
        return blur_pool(y) if blur else y

    def added(self, x: Array, y: Array, ctx: Context) -> Array:
        """What the block gives, of its input and the residual."""
        if self.attention != "none":
            y = BLOCKS[self.attention](name="attention")(y, ctx)
        return jax.nn.relu(y + self.shortcut(x, ctx))


class BasicBlock(Unit):
    """Two 3×3 convolutions."""

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], ctx: Context) -> Float[Array, "b hh ww f"]:
        """One block."""
        y = self.strided(x, ctx, self.planes, self.strides, "conv1")
        y = ConvBN(
            self.planes, 3, padding=self.dilation, dilation=self.dilation, name="conv2"
        )(y, ctx)  # fmt: skip
        return self.added(x, y, ctx)


class Bottleneck(Unit):
    """1×1 reduction, 3×3 convolution, 1×1 expansion."""

    expansion = 4

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], ctx: Context) -> Float[Array, "b hh ww f"]:
        """One block."""
        width = int(self.planes * self.base_width / 64) * self.groups
        first, second = (self.strides, 1) if self.stride_in_1x1 else (1, self.strides)
        y = ConvBN(width, 1, first, activation=jax.nn.relu, name="conv1")(x, ctx)
        y = self.strided(y, ctx, width, second, "conv2")
        y = ConvBN(self.planes * self.expansion, name="conv3")(y, ctx)
        return self.added(x, y, ctx)


class Stem(nn.Module):
    """conv1: 7×7 at stride 2."""

    features: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w 3"], ctx: Context) -> Float[Array, "b hh ww f"]:
        """The stem."""
        return ConvBN(self.features, 7, 2, 3, activation=jax.nn.relu, name="stem")(x, ctx)


class Stage(nn.Module):
    """A level of residual blocks, behind a 3×3 max pool where ``pool`` says so."""

    block: type[Unit]
    options: tuple[nn.FrozenDict, ...]
    pool: bool = False
    antialias: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], ctx: Context) -> Float[Array, "b hh ww f"]:
        """One level."""
        if self.pool:
            x = max_pool(x, 3, 1 if self.antialias else 2, 1)
            x = blur_pool(x) if self.antialias else x
        for number, options in enumerate(self.options):
            x = self.block(**options, name=f"block{number}")(x, ctx)
        return x


def resnet(
    depths: Sequence[int] = (3, 4, 6, 3),
    block: str = "bottleneck",
    width: int = 64,
    groups: int = 1,
    base_width: int = 64,
    output_stride: int = 32,
    dilated: bool = True,
    stride_in_1x1: bool = False,
    antialias: bool = False,
    attention: str = "none",
    last: str = "conv5",
) -> Backbone:
    """A residual network.

    Args:
        depths: blocks in conv2-conv5.
        block: "basic" or "bottleneck".
        width: channels of the stem; the stages' nominal widths are 1, 2, 4, 8 times that.
        groups: of the 3×3 convolutions in bottlenecks (ResNeXt).
        base_width: width of a group when ``planes`` is 64 (ResNeXt, wide ResNet).
        output_stride: 32, 16 or 8; later strides become 1.
        dilated: replace the strides that ``output_stride`` takes away by dilation.
        stride_in_1x1: bottlenecks stride in their first 1×1 (the original paper's form).
        antialias: blur before every subsampling but the shortcut's (Zhang 2019).
        attention: "none", or a block of :mod:`fgjax.models.attention` to end every residual branch,
            after its last batch norm: "se" (Hu et al. 2018), "cbam" (Woo et al. 2018), ...
        last: the deepest level to build.
    """
    kinds = {"basic": BasicBlock, "bottleneck": Bottleneck}
    if block not in kinds:
        raise UserError(f"option block={block!r} must be 'basic' or 'bottleneck'")
    if output_stride not in (8, 16, 32):
        raise UserError(f"option output_stride={output_stride} must be 32, 16 or 8")
    if attention not in ("none", *BLOCKS):
        raise UserError(
            f"option attention={attention!r} must be one of none, {', '.join(sorted(BLOCKS))}"
        )
    steps: list[nn.Module] = [Stem(width, name="conv1", parent=None)]
    stride, dilation = 4, 1
    for number, count in enumerate(depths):
        strides, first_dilation = (1 if number == 0 else 2), dilation
        if stride * strides > output_stride:
            dilation, strides = dilation * (strides if dilated else 1), 1
        stride *= strides
        shared = {
            "planes": width * 2**number,
            "groups": groups,
            "base_width": base_width,
            "dilation": dilation,
            "stride_in_1x1": stride_in_1x1,
            "antialias": antialias,
            "attention": attention,
        }
        first = {"strides": strides, "first_dilation": first_dilation}
        rest = {"first_dilation": dilation}
        options: tuple[nn.FrozenDict, ...] = tuple(
            nn.FrozenDict({**shared, **(first if place == 0 else rest)}) for place in range(count)
        )
        name = f"conv{number + 2}"
        stage = Stage(kinds[block], options, number == 0, antialias, name=name, parent=None)
        steps.append(stage)
    return Backbone(truncate(steps, last))
