"""The weighted bidirectional feature pyramid of EfficientDet."""

from __future__ import annotations

import functools

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from fgjax.errors import UserError
from fgjax.models.context import Context
from fgjax.models.layers import Conv, ConvBN, max_pool
from fgjax.models.merges.parts import PYRAMID, levels_above, select, stride_between
from fgjax.ops.resize import Size, resize_nearest
from fgjax.vocabulary import Hierarchy


class BiFPN(nn.Module):
    """Weighted bidirectional pyramid (Tan et al., EfficientDet, CVPR 2020, section 3).

    Every level is first projected to ``features`` channels by a 1x1 convolution and batch norm;
    extra levels are max-pooled from the coarsest. Then ``repeats`` cells, in which every node with
    more than one input fuses them (:class:`FusionNode`) on the way down and on the way up.

    Attributes:
        levels: levels to merge, at least two.
        features: channels of every level.
        repeats: number of cells.
        extra_levels: levels to add above the coarsest.
    """

    levels: tuple[str, ...] = PYRAMID
    features: int = 64
    repeats: int = 3
    extra_levels: int = 0

    @nn.compact
    def __call__(self, hierarchy: Hierarchy, ctx: Context) -> Hierarchy:
        """The hierarchy, its levels merged."""
        maps = {
            level: ConvBN(self.features, name=f"lateral_{level}")(x, ctx)
            for level, x in select(hierarchy, self.levels).items()
        }
        for level in levels_above(hierarchy, self.levels, self.extra_levels):
            coarsest = maps[list(maps)[-1]]
            maps[level] = max_pool(coarsest, 3, 2, "SAME")
        if len(maps) < 2:
            raise UserError(
                "model.merge.levels of a bifpn must be at least two, to have what to fuse"
            )
        for i in range(self.repeats):
            maps = BiFPNCell(self.features, name=f"cell_{i}")(maps, ctx)
        return hierarchy | maps


class BiFPNCell(nn.Module):
    """One pass down and one pass up over the levels, fine to coarse, of ``maps``."""

    features: int

    @nn.compact
    def __call__(self, maps: Hierarchy, ctx: Context) -> Hierarchy:
        """The fused levels."""
        finest, *inner, coarsest = maps
        down = {coarsest: maps[coarsest]}
        for level, above in reversed(list(zip([finest, *inner], [*inner, coarsest], strict=True))):
            inputs = [maps[level], resize_nearest(down[above], maps[level].shape[1:3])]
            down[level] = FusionNode(self.features, name=f"down_{level}")(inputs, ctx)
        up = {finest: down[finest]}
        for below, level in zip([finest, *inner], [*inner, coarsest], strict=True):
            inputs = [maps[level], shrink(up[below], maps[level].shape[1:3])]
            if level != coarsest:
                inputs.insert(1, down[level])
            up[level] = FusionNode(self.features, name=f"up_{level}")(inputs, ctx)
        return up


class FusionNode(nn.Module):
    """Fast normalised fusion: ``f(sum_i w_i x_i / (eps + sum_j w_j))`` with ``w = relu(weights)``.

    ``f`` is a depthwise-separable 3x3 convolution, batch norm and swish; eps is 1e-4.
    """

    features: int

    @nn.compact
    def __call__(self, inputs: list[Float[Array, "b h w c"]], ctx: Context) -> Array:
        """The fused map; the inputs have one shape."""
        weights = nn.relu(self.param("weights", nn.initializers.ones, (len(inputs),)))
        weights = (weights / (1e-4 + weights.sum())).astype(ctx.dtype)
        x = functools.reduce(jnp.add, map(jnp.multiply, weights, inputs))
        x = Conv(self.features, 3, groups=self.features, name="depthwise")(x, ctx)
        return ConvBN(self.features, activation=nn.swish, name="pointwise")(x, ctx)


def shrink(x: Float[Array, "b h w c"], size: Size) -> Float[Array, "b H W c"]:
    """Max pooling to ``size``, with windows that overlap by one as in EfficientDet."""
    stride = stride_between(x.shape[1:3], size)
    if stride > 1:
        x = max_pool(x, stride + 1, stride, "SAME")
    return x[:, : size[0], : size[1]]
