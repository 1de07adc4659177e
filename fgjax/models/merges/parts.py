"""What the merges share: a convolution with its norm, and the choice of levels."""

from __future__ import annotations

import flax.linen as nn
import numpy as np

from fgjax.errors import UserError
from fgjax.models.layers import Conv, ConvBN
from fgjax.ops.resize import Size
from fgjax.vocabulary import Hierarchy

PYRAMID = ("conv3", "conv4", "conv5")


def convolution(
    features: int, kernel_size: int, strides: int = 1, norm: bool = False, *, name: str
) -> nn.Module:
    """A convolution with batch norm, or with a bias where there is none; padded like PyTorch's."""
    padding = kernel_size // 2
    if norm:
        return ConvBN(features, kernel_size, strides, padding, name=name)
    return Conv(features, kernel_size, strides, padding, use_bias=True, name=name)


def select(hierarchy: Hierarchy, levels: tuple[str, ...]) -> Hierarchy:
    """The maps to merge, fine to coarse whatever the order of ``levels``."""
    missing = [level for level in levels if level not in hierarchy]
    if missing or not levels:
        raise UserError(
            f"model.merge.levels is ({', '.join(levels)}), but the backbone has "
            f"{', '.join(hierarchy)}; name levels that it has"
        )
    return {level: x for level, x in hierarchy.items() if level in levels}


def levels_above(hierarchy: Hierarchy, levels: tuple[str, ...], count: int) -> list[str]:
    """Names for ``count`` levels above the coarsest, which must be among the merged ones."""
    coarsest = list(hierarchy)[-1]
    if count and coarsest not in levels:
        raise UserError(
            f"model.merge.extra_levels is {count}, but the coarsest level, {coarsest}, is not "
            "among model.merge.levels; add it, or ask for no extra levels"
        )
    number = int(coarsest.removeprefix("conv"))
    return [f"conv{number + 1 + i}" for i in range(count)]


def stride_between(fine: Size, coarse: Size) -> int:
    """The power of two between two levels; sizes may have been halved rounding up or down."""
    stride = 2 ** round(np.log2(max(n / m for n, m in zip(fine, coarse, strict=True))))
    if any(-(-n // stride) - m not in (0, 1) for n, m in zip(fine, coarse, strict=True)):
        raise UserError(
            f"a level of {fine[0]}x{fine[1]} cannot be brought to {coarse[0]}x{coarse[1]} by a "
            "stride that is a power of two; merge levels whose strides are powers of two"
        )
    return stride
