"""Heads: from the pooled vector to the classes' scores, in float32.

Given the vector, every head is linear in it: ``direction`` gives the weights, so that a score is
⟨direction, pooled⟩ + bias and ``pooling.contributions`` can divide it among the locations. (The
hidden layer of "multi_granularity" is held where it is: its bias depends on the example.)
"""

from __future__ import annotations

from typing import Any

from fgjax.checking.options import check, or_none, whole
from fgjax.models.factory import make
from fgjax.models.heads.base import Head
from fgjax.models.heads.linear import Cosine, Linear, LowRankBilinear
from fgjax.models.heads.multi_granularity import MultiGranularity
from fgjax.models.layers import ConvBN, relu6

__all__ = ["HEADS", "Cosine", "Head", "Linear", "LowRankBilinear", "MultiGranularity", "create"]

HEADS = {
    "linear": Linear,
    "cosine": Cosine,
    "low_rank_bilinear": LowRankBilinear,
    "multi_granularity": MultiGranularity,
}


def create(name: str, classes: int, expand: int | None = None, **options: Any) -> Head:
    """The head that ``model.head`` describes, for ``classes`` classes.

    Args:
        name: "linear", "cosine", "low_rank_bilinear" or "multi_granularity".
        classes: number of classes.
        expand: width of EfficientNet's 1x1 convolution, batch norm (epsilon 1e-3) and ReLU6 on the
            map before the pooling.
        **options: the head's own.

    Raises:
        UserError: an unknown name or option.
    """
    given: dict[str, Any] = {"classes": classes}
    check("model.head.expand", expand, or_none(whole()))
    if expand is not None:
        given["expand"] = ConvBN(expand, activation=relu6, epsilon=1e-3)
    return make("head", HEADS, name, options, given)
