"""HRNet (Wang et al. 2020): branches at four resolutions that exchange what they see.

The groups follow the depth: conv1 is the stem, conv2-conv5 are stages 1-4, of 1-4 branches. The
hierarchy follows the resolution: conv1 is the stem's first map, at stride 2, conv2-conv5 are the
branches of the last stage, at strides 4-32. What each stage gives by depth, a tuple of maps, is in
:meth:`Backbone.stages`.
"""

from __future__ import annotations

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fgjax.errors import UserError
from fgjax.models.backbones.base import Backbone, Variants, truncate
from fgjax.models.backbones.resnet import BasicBlock, Bottleneck
from fgjax.models.context import Context
from fgjax.models.layers import ConvBN
from fgjax.ops.resize import Size
from fgjax.vocabulary import Hierarchy

Branches = tuple[Float[Array, "b _h _w _c"], ...]

# name: options of :func:`hrnet`
VARIANTS: Variants = {
    "hrnet_w18_small": {
        "width": 16, "planes": 32, "bottlenecks": 1, "modules": (1, 1, 1), "blocks": 2,
    },
    **{f"hrnet_w{width}": {"width": width} for width in (18, 30, 32, 40, 44, 48, 64)},
}  # fmt: skip


class Stem(nn.Module):
    """Two 3×3 convolutions, each at stride 2; gives the map behind either."""

    @nn.compact
    def __call__(self, x: Float[Array, "b h w 3"], ctx: Context) -> Branches:
        """Maps of 64 channels at strides 2 and 4."""
        half = ConvBN(64, 3, 2, 1, activation=jax.nn.relu, name="stem0")(x, ctx)
        return half, ConvBN(64, 3, 2, 1, activation=jax.nn.relu, name="stem1")(half, ctx)


class FirstStage(nn.Module):
    """Bottlenecks at stride 4."""

    planes: int
    count: int

    @nn.compact
    def __call__(self, branches: Branches, ctx: Context) -> Branches:
        """One branch."""
        x = branches[-1]
        for number in range(self.count):
            x = Bottleneck(self.planes, name=f"block{number}")(x, ctx)
        return (x,)


class Stage(nn.Module):
    """One branch more than before, then exchange modules.

    Attributes:
        widths: channels of the branches, high to low resolution.
        modules: number of exchange modules.
        blocks: residual blocks of a branch in a module.
    """

    widths: tuple[int, ...]
    modules: int
    blocks: int

    @nn.compact
    def __call__(self, branches: Branches, ctx: Context) -> Branches:
        """``len(widths)`` branches."""
        grown = (*branches, branches[-1])
        branches = tuple(
            self._transition(number, x, ctx, strides=1 if number < len(branches) else 2)
            for number, x in enumerate(grown)
        )
        for number in range(self.modules):
            branches = Exchange(self.blocks, name=f"module{number}")(branches, ctx)
        return branches

    def _transition(self, number: int, x: Array, ctx: Context, strides: int) -> Array:
        width = self.widths[number]
        if strides == 1 and x.shape[-1] == width:
            return x
        name = f"transition{number}"
        return ConvBN(width, 3, strides, 1, activation=jax.nn.relu, name=name)(x, ctx)


class Exchange(nn.Module):
    """Residual blocks in every branch; then every branch becomes a sum over all of them."""

    blocks: int

    @nn.compact
    def __call__(self, branches: Branches, ctx: Context) -> Branches:
        """The branches in the same shapes."""
        done = []
        for number, x in enumerate(branches):
            for block in range(self.blocks):
                x = BasicBlock(x.shape[-1], name=f"branch{number}_block{block}")(x, ctx)
            done.append(x)
        return tuple(
            jax.nn.relu(sum(self._resample(done[j], done[i], i, j, ctx) for j in range(len(done))))
            for i in range(len(done))
        )

    def _resample(self, x: Array, like: Array, i: int, j: int, ctx: Context) -> Array:
        """Branch ``j`` at the resolution and width of branch ``i``."""
        if j > i:
            x = ConvBN(like.shape[-1], name=f"fuse{i}_{j}")(x, ctx)
            return _upsample(x, 2 ** (j - i), like.shape[1:3])
        for step in range(i - j):
            last = step == i - j - 1
            x = ConvBN(
                like.shape[-1] if last else x.shape[-1], 3, 2, 1,
                activation=None if last else jax.nn.relu, name=f"fuse{i}_{j}_{step}",
            )(x, ctx)  # fmt: skip
        return x


def _upsample(x: Array, factor: int, size: Size) -> Array:
    """Nearest neighbour; cut to ``size``, which an odd side makes smaller than the multiple."""
    x = jnp.repeat(jnp.repeat(x, factor, axis=1), factor, axis=2)
    return x[:, : size[0], : size[1]]


class HRNet(Backbone):
    """A chain of stages whose outputs are tuples of branches."""

    @property
    def entries(self) -> tuple[str, ...]:
        """A hierarchy by resolution holds no stage, so a pass cannot go on from it."""
        return ()

    def hierarchy(self, stages: dict[str, Branches]) -> Hierarchy:
        """The branches of the deepest stage by resolution, behind the stem's first map."""
        stem = {"conv1": stages["conv1"][0]} if "conv1" in stages else {}
        if len(self.depths) == 1:
            return stem
        return stem | dict(zip(self.depths[1:], stages[self.depths[-1]], strict=True))

    def entry(self, inputs: dict[str, Branches], start: str) -> Branches:
        """See :class:`Backbone`."""
        branches = super().entry(inputs, start)
        if not isinstance(branches, tuple):
            raise UserError(
                f"HRNet goes on at {start} from what its method stages gave, branches by depth, "
                "not from a hierarchy by resolution"
            )
        return branches


class ClassificationHead(nn.Module):
    """The published head: branches widened to 128-1024 channels, then added from fine to coarse.

    A merge: conv5 becomes the 2048 channels that are averaged for the linear classifier.
    """

    levels = ("conv2", "conv3", "conv4", "conv5")

    @nn.compact
    def __call__(self, hierarchy: Hierarchy, ctx: Context) -> Hierarchy:
        """The hierarchy with conv5 replaced: (b, h / 32, w / 32, 2048)."""
        y, *coarser = (
            Bottleneck(32 * 2**number, name=f"widen{number}")(hierarchy[level], ctx)
            for number, level in enumerate(self.levels)
        )
        for number, x in enumerate(coarser):
            y = x + ConvBN(
                x.shape[-1], 3, 2, 1, use_bias=True, activation=jax.nn.relu, name=f"down{number}"
            )(y, ctx)  # fmt: skip
        y = ConvBN(2048, use_bias=True, activation=jax.nn.relu, name="final")(y, ctx)
        return {**hierarchy, "conv5": y}


def hrnet(
    width: int = 18,
    modules: Sequence[int] = (1, 4, 3),
    blocks: int = 4,
    planes: int = 64,
    bottlenecks: int = 4,
    last: str = "conv5",
) -> HRNet:
    """A high-resolution network.

    Args:
        width: channels of the finest branch; each coarser one has twice as many.
        modules: exchange modules in stages 2-4.
        blocks: residual blocks of a branch in a module.
        planes: nominal width of stage 1, which has four times as many channels.
        bottlenecks: blocks of stage 1.
        last: the deepest stage to build; the hierarchy then ends at the same name.
    """
    steps: list[nn.Module] = [
        Stem(name="conv1", parent=None),
        FirstStage(planes, bottlenecks, name="conv2", parent=None),
    ]
    for number, count in enumerate(modules, 2):
        widths = tuple(width * 2**place for place in range(number))
        steps.append(Stage(widths, count, blocks, name=f"conv{number + 1}", parent=None))
    return HRNet(truncate(steps, last))
