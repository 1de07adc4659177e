"""The blocks that progressive multi-granularity training puts behind each stage."""

from __future__ import annotations

import flax.linen as nn

from fgjax.models.context import Context
from fgjax.models.layers import ConvBN
from fgjax.models.merges.parts import PYRAMID, select
from fgjax.vocabulary import Hierarchy


class StageBlocks(nn.Module):
    """A 1x1 and a 3x3 convolution behind each level, with norm and ReLU (PMG, ECCV 2020, eq. 1).

    No level reads another; what they get is one width, and layers of their own.

    Attributes:
        levels: levels to follow.
        hidden: channels between the two convolutions.
        features: channels of the result.
    """

    levels: tuple[str, ...] = PYRAMID
    hidden: int = 512
    features: int = 1024

    @nn.compact
    def __call__(self, hierarchy: Hierarchy, ctx: Context) -> Hierarchy:
        """The hierarchy, with those levels behind their blocks."""
        followed = {}
        for level, x in select(hierarchy, self.levels).items():
            x = ConvBN(self.hidden, activation=nn.relu, name=f"reduce_{level}")(x, ctx)
            x = ConvBN(self.features, 3, activation=nn.relu, name=f"expand_{level}")(x, ctx)
            followed[level] = x
        return hierarchy | followed
