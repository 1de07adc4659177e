"""Pooling: from feature maps to one vector per image."""

from __future__ import annotations

from typing import Any

from fgjax.models.factory import make
from fgjax.models.pooling.base import Pooling
from fgjax.models.pooling.first_order import Average, GeM
from fgjax.models.pooling.second_order import Bilinear, CompactBilinear

POOLINGS = {
    "average": Average,
    "gem": GeM,
    "bilinear": Bilinear,
    "compact_bilinear": CompactBilinear,
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
