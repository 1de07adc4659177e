"""Pictures of the report: sheets of tiles, patches that a unit prefers, responses, marked parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from fgjax.analysis import compression, geometry, probes
from fgjax.show.overlay import evidence_scale, heat_overlay

Picture = UInt8[np.ndarray, "h w 3"]
GAP = 2  # white pixels between two pictures of a sheet


def sheet(pictures: list[Picture], columns: int) -> Picture:
    """Pictures of one size in rows of ``columns``, white between them."""
    height, width = pictures[0].shape[:2]
    rows = -(-len(pictures) // columns)
    page = np.full((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3), 255, np.uint8)
    for i, picture in enumerate(pictures):
        top, left = (i // columns) * (height + GAP), (i % columns) * (width + GAP)
        page[top : top + height, left : left + width] = picture
    return page


def resize(picture: Picture, side: int, *, smooth: bool = True) -> Picture:
    """The picture as a square of ``side`` pixels."""
    method = Image.Resampling.LANCZOS if smooth else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(picture).resize((side, side), method))


def characteristic_units(
    features: Float[np.ndarray, "n c"], labels: Int[np.ndarray, " n"], count: int
) -> Int[np.ndarray, " u"]:
    """The ``count`` units whose responses differ most between classes.

    By the F ratio: variance between the classes' means over variance within the classes.
    """
    residual, means, shares = compression.spread(features, labels)
    between = (shares[:, None] * means**2).sum(0)
    return np.argsort(-between / np.maximum((residual**2).mean(0), 1e-12))[:count]


def patches(
    top: geometry.Top,
    units: Int[np.ndarray, " u"],
    images: Mapping[int, Picture],
    map_size: int,
    field: float,
    *,
    columns: int = 6,
    side: int = 56,
) -> Picture:
    """A row for each unit: what it responded to most, cropped to its effective receptive field.

    Args:
        top: greatest responses of all units of a level.
        units: which of them are shown.
        images: by index of their example.
        map_size: side of the level's maps.
        field: side of the effective receptive field, pixels; at least 8 are shown.
        columns: patches of a unit.
        side: of a patch on the sheet, pixels.
    """
    columns = min(columns, len(top.image))
    tiles = [
        resize(
            geometry.crop(
                images[int(top.image[rank, unit])],
                int(top.row[rank, unit]),
                int(top.column[rank, unit]),
                map_size,
                max(field, 8.0),
            ),
            side,
        )
        for unit in units
        for rank in range(columns)
    ]
    return sheet(tiles, columns)


def response(image: Picture, unit_map: Float[np.ndarray, "h w"]) -> Picture:
    """A unit's positive response laid over the image in red."""
    positive = np.maximum(unit_map, 0)
    return heat_overlay(image, positive, evidence_scale(positive))


def wanted(
    top: dict[str, geometry.Top], units: dict[str, np.ndarray], columns: int = 6
) -> set[int]:
    """Indices of the examples that :func:`patches` will show."""
    return {int(i) for level, u in units.items() for i in top[level].image[:columns, u].ravel()}


def nearest(
    query: Float[np.ndarray, " d"], features: Float[np.ndarray, "n d"], among: np.ndarray
) -> int:
    """Row of the feature with the highest cosine similarity to the query, of those ``among``.

    Args:
        query: feature that is compared.
        features: to choose from.
        among: Bool[n], which of them may be chosen; at least one.
    """
    rows = np.flatnonzero(among)
    return int(rows[(probes.unit_length(features[rows]) @ query).argmax()])


def marked(image: Picture, point: Float[np.ndarray, " 2"], radius: float) -> Picture:
    """The image with a white ring around a point (y, x), in pixels."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
    ring = np.abs(np.hypot(y - point[0], x - point[1]) - radius) < 1.5
    return np.where(ring[..., None], np.array([255, 255, 255], np.uint8), image)


def by_index(batch: dict[str, Any]) -> dict[int, Picture]:
    """Images of a batch by the index of their example."""
    return {int(i): image for i, image in zip(batch["index"], batch["image"], strict=True)}
