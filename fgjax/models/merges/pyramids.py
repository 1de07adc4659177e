"""Feature pyramids by top-down and bottom-up paths: FPN and PAN."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp

from fgjax.errors import UserError
from fgjax.models.context import Context
from fgjax.models.merges.parts import PYRAMID, convolution, levels_above, select, stride_between
from fgjax.ops.resize import resize_nearest
from fgjax.vocabulary import Hierarchy


class FPN(nn.Module):
    """Feature pyramid: laterals, a top-down path, smoothing (Lin et al., CVPR 2017, figure 3).

    ``fuse="sum"``: ``M_i = 1x1(C_i) + up(M_{i+1})``, ``P_i = 3x3(M_i)``.
    ``fuse="concat"``: ``P_i = 3x3([1x1(C_i), up(P_{i+1})])``, where the recursion runs over the
    smoothed maps because stacking un-smoothed ones would widen without end.

    Attributes:
        levels: levels to merge.
        features: channels of every pyramid level.
        fuse: "sum" or "concat".
        norm: batch norm after every convolution, which then has no bias.
        extra_levels: levels to add above the coarsest (2: P6 and P7 of RetinaNet).
    """

    levels: tuple[str, ...] = PYRAMID
    features: int = 256
    fuse: str = "sum"
    norm: bool = False
    extra_levels: int = 0

    @nn.compact
    def __call__(self, hierarchy: Hierarchy, ctx: Context) -> Hierarchy:
        """The hierarchy, its levels merged."""
        if self.fuse not in ("sum", "concat"):
            raise UserError(f"model.merge.fuse is {self.fuse!r}; choose one of sum, concat")
        merged, above = {}, None
        for level, x in reversed(select(hierarchy, self.levels).items()):
            x = convolution(self.features, 1, norm=self.norm, name=f"lateral_{level}")(x, ctx)
            if above is not None:
                above = resize_nearest(above, x.shape[1:3])
                x = x + above if self.fuse == "sum" else jnp.concatenate([x, above], axis=-1)
            smooth = convolution(self.features, 3, norm=self.norm, name=f"smooth_{level}")
            merged[level] = smooth(x, ctx)
            above = x if self.fuse == "sum" else merged[level]
        return extend(hierarchy | merged, self.levels, self.extra_levels, self.norm, ctx)


class PAN(nn.Module):
    """Path aggregation: a bottom-up path behind an FPN (Liu et al., CVPR 2018, figure 1b).

    ``N_1 = P_1`` and ``N_{i+1} = 3x3(3x3 stride 2(N_i) + P_{i+1})``, each convolution followed by
    a ReLU. Attributes as in :class:`FPN`.
    """

    levels: tuple[str, ...] = PYRAMID
    features: int = 256
    norm: bool = False
    extra_levels: int = 0

    @nn.compact
    def __call__(self, hierarchy: Hierarchy, ctx: Context) -> Hierarchy:
        """The hierarchy, its levels merged."""
        pyramid = FPN(self.levels, self.features, norm=self.norm, name="top_down")
        merged = pyramid(hierarchy, ctx)
        below, *rest = select(merged, self.levels)
        for level in rest:
            height, width = merged[level].shape[1:3]
            stride = stride_between(merged[below].shape[1:3], (height, width))
            down = convolution(self.features, 3, stride, self.norm, name=f"down_{level}")
            fuse = convolution(self.features, 3, 1, self.norm, name=f"bottom_up_{level}")
            x = nn.relu(down(merged[below], ctx))[:, :height, :width]
            merged[level] = nn.relu(fuse(x + merged[level], ctx))
            below = level
        return extend(merged, self.levels, self.extra_levels, self.norm, ctx)


def extend(
    hierarchy: Hierarchy, levels: tuple[str, ...], count: int, norm: bool, ctx: Context
) -> Hierarchy:
    """Add levels above the coarsest by 3x3 convolutions of stride 2, with a ReLU between them.

    They read the merged map, as in FCOS and the later RetinaNets (Lin et al., ICCV 2017, read C5).
    """
    added = levels_above(hierarchy, levels, count)
    for i, level in enumerate(added):
        x = hierarchy[list(hierarchy)[-1]]
        conv = convolution(x.shape[-1], 3, 2, norm, name=f"extra_{level}")
        hierarchy = hierarchy | {level: conv(nn.relu(x) if i else x, ctx)}
    return hierarchy
