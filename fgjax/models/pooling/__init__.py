"""Pooling: from the maps of one or several levels to one vector per image.

    name                    values            source
    average                 c                 first order
    max                     c                 first order
    gem                     c                 Radenović et al. 2018
    bilinear                c²                B-CNN, Lin et al. 2015
    improved_bilinear       c²                improved B-CNN, Lin & Maji 2017
    isqrt_cov               m (m + 1) / 2     iSQRT-COV, Li et al. 2018
    compact_bilinear        d                 Gao et al. 2016
    low_rank_bilinear       m²                Kong & Fowlkes 2017, with the head of that name
    factorized_bilinear     d                 MLB, Kim et al. 2017; MFB, Yu et al. 2017
    hierarchical_bilinear   d for each pair   HBP, Yu et al. 2018
    bilinear_attention      parts · c         WS-DAN, Hu et al. 2019

A name stands for a class and its usual options; the options of a config override those.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from fgjax.models.factory import make
from fgjax.models.pooling.base import Pooling
from fgjax.models.pooling.compact import CompactBilinear
from fgjax.models.pooling.first_order import Average, FirstOrder, GeM, Max
from fgjax.models.pooling.second_order import Bilinear, BilinearAttention, Factorized

__all__ = ["POOLINGS", "FirstOrder", "Pooling", "create"]

POOLINGS: dict[str, Callable[..., Pooling]] = {
    "average": Average,
    "max": Max,
    "gem": GeM,
    "bilinear": Bilinear,
    "improved_bilinear": partial(Bilinear, root="newton_schulz", iterations=10),
    "isqrt_cov": partial(
        Bilinear, project=256, center=True, root="newton_schulz", triangle=True, normalize=()
    ),
    "compact_bilinear": CompactBilinear,
    "low_rank_bilinear": partial(Bilinear, project=100, project_relu=False, normalize=("l2",)),
    "factorized_bilinear": Factorized,
    "hierarchical_bilinear": partial(Factorized, levels=("conv3", "conv4", "conv5"), d=8192),
    "bilinear_attention": BilinearAttention,
}


def create(name: str, **options: Any) -> Pooling:
    """The pooling that ``model.pooling`` describes.

    Raises:
        UserError: an unknown name or option, or options that do not fit each other.
    """
    pooling = make("pooling", POOLINGS, name, options)
    if pooling is not None:
        pooling.validate()
    return pooling
