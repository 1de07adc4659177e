"""Merges that stack levels side by side: HRNet's concatenation and hypercolumns."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from fgjax.errors import UserError
from fgjax.models.context import Context
from fgjax.models.layers import ConvBN
from fgjax.models.merges.parts import PYRAMID, convolution, select
from fgjax.ops.resize import Size, resize_average, resize_bilinear
from fgjax.vocabulary import Hierarchy


class HRNetConcat(nn.Module):
    """What HRNet makes of its parallel branches (Wang et al., TPAMI 2020, section 3.3).

    "v1" keeps the finest branch. "v2" brings all branches to its size, concatenates them and mixes
    the channels (1x1, batch norm, ReLU). "v2p" mixes them without norm, then averages the mixed
    map down to every branch's size and gives each a 3x3 convolution.

    Attributes:
        levels: the branches.
        version: "v1", "v2" or "v2p".
        features: channels of the result of v2 and v2p; by default the sum of the branches'.
    """

    levels: tuple[str, ...] = ("conv2", *PYRAMID)
    version: str = "v2"
    features: int | None = None

    @nn.compact
    def __call__(self, hierarchy: Hierarchy, ctx: Context) -> Hierarchy:
        """The hierarchy, its levels merged."""
        if self.version not in ("v1", "v2", "v2p"):
            raise UserError(f"model.merge.version is {self.version!r}; choose one of v1, v2, v2p")
        maps = select(hierarchy, self.levels)
        finest = next(iter(maps))
        if self.version == "v1":
            return replace(hierarchy, maps, finest, maps[finest])
        x = column(maps, maps[finest].shape[1:3])
        features = self.features or x.shape[-1]
        if self.version == "v2":
            x = ConvBN(features, activation=nn.relu, name="mix")(x, ctx)
            return replace(hierarchy, maps, finest, x)
        x = convolution(features, 1, name="mix")(x, ctx)
        return hierarchy | {
            level: convolution(features, 3, name=f"smooth_{level}")(
                resize_average(x, branch.shape[1:3]), ctx
            )
            for level, branch in maps.items()
        }


class Hypercolumn(nn.Module):
    """All levels at each location, side by side (Hariharan et al., CVPR 2015). No parameters.

    Attributes:
        levels: levels to stack.
        at: the level whose size and name the column takes; by default the finest. Coarser maps
            are interpolated, finer ones averaged.
    """

    levels: tuple[str, ...] = PYRAMID
    at: str | None = None

    def __call__(self, hierarchy: Hierarchy, ctx: Context) -> Hierarchy:
        """The hierarchy, its levels merged."""
        maps = select(hierarchy, self.levels)
        at = self.at or next(iter(maps))
        if at not in maps:
            raise UserError(f"model.merge.at is {at!r}; choose one of {', '.join(maps)}")
        return replace(hierarchy, maps, at, column(maps, maps[at].shape[1:3]))


def replace(hierarchy: Hierarchy, merged: Hierarchy, at: str, x: Array) -> Hierarchy:
    """The hierarchy in which ``x``, under the name ``at``, stands for all of ``merged``."""
    rest = {level: y for level, y in hierarchy.items() if level == at or level not in merged}
    return rest | {at: x}


def column(maps: Hierarchy, size: Size) -> Float[Array, "b H W c"]:
    """All maps at one size, side by side."""

    def fit(x):
        return resize_average(x, size) if x.shape[1] > size[0] else resize_bilinear(x, size)

    return jnp.concatenate([fit(x) for x in maps.values()], axis=-1)
