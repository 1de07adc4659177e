"""Pictures of the report: what units respond to, where parts are found, why pairs are confused."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from fgjax.analysis import compression, geometry, parts
from fgjax.overlay import evidence_scale, heat_overlay

Picture = UInt8[np.ndarray, "h w 3"]
GAP = 2


def sheet(pictures: list[Picture], columns: int) -> Picture:
    """Equal pictures side by side in rows of ``columns``, white between them."""
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
    """Units whose response varies most between classes compared with within them (F ratio)."""
    residual, means, shares = compression.spread(features, labels)
    between = (shares[:, None] * means**2).sum(0)
    return np.argsort(-between / np.maximum((residual**2).mean(0), 1e-12))[:count]


def patches(
    top: geometry.Top,
    units: Int[np.ndarray, " u"],
    images: dict[int, Picture],
    map_size: int,
    field: float,
    *,
    columns: int = 6,
    side: int = 56,
) -> Picture:
    """One row per unit: what it responded to most, cropped to its effective receptive field."""
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
    """A unit's response over the image, as evidence."""
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
    """Row, among those given, of the feature with the highest cosine similarity."""
    rows = np.flatnonzero(among)
    unit = features[rows] / np.maximum(np.linalg.norm(features[rows], axis=1, keepdims=True), 1e-12)
    return int(rows[(unit @ query).argmax()])


def marked(image: Picture, point: Float[np.ndarray, " 2"], radius: float) -> Picture:
    """The image with a ring around a point."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
    ring = np.abs(np.hypot(y - point[0], x - point[1]) - radius) < 1.5
    return np.where(ring[..., None], np.array([255, 255, 255], np.uint8), image)


def enlarge(maps: Float[np.ndarray, "b h w"], size: int) -> Float[np.ndarray, "b s s"]:
    """Maps at the size of the image."""
    return np.asarray(parts.upsample(jnp.asarray(maps), size))


def by_index(batch: dict[str, Any]) -> dict[int, Picture]:
    """Images of a batch by the index of their example."""
    return {int(i): image for i, image in zip(batch["index"], batch["image"], strict=True)}
