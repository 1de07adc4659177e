"""Image pyramids: one network on several sizes of an image, its locations pooled together.

Every scale goes through backbone, merge and attention with the same weights. An orderless pooling
does not ask where a location lies, so that those of all scales are pooled as one map of a single
row, every location counting the same (Cimpoi, Maji & Vedaldi, "Deep Filter Banks for Texture
Recognition and Segmentation", CVPR 2015).

In a hierarchy of several scales a map of scale 1 is named by its level, another by level and scale:
"conv5", "conv5@0.5".
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fgjax.errors import UserError
from fgjax.ops.resize import Size, rescale, resize_bilinear, resize_total

SMALLEST, LARGEST = 0.1, 4.0
SIDE = 32  # pixels, below which a backbone may have no location left at conv5

Maps = tuple[Float[Array, "b _h _w _c"], ...]
Attention = dict[str, Float[Array, "b _h _w m"]]


def resolve(scales: Any) -> tuple[float, ...]:
    """The scales that a config declares.

    Raises:
        UserError: they are not 1 and other numbers, each once.
    """
    found = tuple(scales) if isinstance(scales, Sequence) else ()
    numbers = all(isinstance(s, int | float) and SMALLEST <= s <= LARGEST for s in found)
    if not numbers or found[:1] != (1,) or len({name("", s) for s in found}) < len(found):
        raise UserError(
            f"model.scales is {scales!r}; give 1.0 first, then other numbers between {SMALLEST:g} "
            f"and {LARGEST:g}, each once, such as (1.0, 0.5)"
        )
    return tuple(map(float, found))


def name(level: str, scale: float) -> str:
    """What the map of a level at a scale is called."""
    return level if scale == 1 else f"{level}@{scale:g}"


def level_of(key: str) -> str:
    """The level of a map that is called ``key``."""
    return key.partition("@")[0]


def named(each: Sequence[Mapping[str, Any]], scales: Sequence[float]) -> dict[str, Any]:
    """The hierarchies of several scales as one."""
    return {
        name(level, scale): maps
        for hierarchy, scale in zip(each, scales, strict=True)
        for level, maps in hierarchy.items()
    }


def at(hierarchy: Mapping[str, Any], scale: float) -> dict[str, Any]:
    """The maps of one scale by level, out of those of all.

    Raises:
        UserError: there are none.
    """
    found = {level_of(k): maps for k, maps in hierarchy.items() if k == name(level_of(k), scale)}
    if not found:
        raise UserError(
            f"the recogniser looks at scale {scale:g} as well, and of it no maps are given among "
            f"{', '.join(hierarchy)}; add those of Outputs.rescaled"
        )
    return found


def resized(images: Float[Array, "b h w 3"], scale: float) -> Float[Array, "b H W 3"]:
    """Images at a scale, bilinear and antialiased; their sides are rounded to whole pixels.

    Raises:
        UserError: they would be too small for a backbone.
    """
    if scale == 1:
        return images
    found = rescale(images, scale)
    side = min(found.shape[1:3])
    if side < SIDE:
        raise UserError(
            f"model.scales has {scale:g}, by which the images are {side} pixels wide; "
            f"leave it out, or choose data.image_size so that they keep {SIDE}"
        )
    return found


def union(
    align: Callable[[Maps], Maps], seen: Sequence[tuple[Maps, Attention]]
) -> tuple[Maps, Attention]:
    """The maps to pool, and the attention maps on their grid, of all scales as maps of one row.

    Args:
        align: brings the maps of one scale to one grid.
        seen: for each scale its maps to pool, and its attention maps. A single one stays as it is.
    """
    if len(seen) == 1:
        return seen[0]
    aligned = [align(maps) for maps, _ in seen]
    attention = [
        {level: resize_bilinear(x, maps[0].shape[1:3]) for level, x in attention.items()}
        for maps, (_, attention) in zip(aligned, seen, strict=True)
    ]
    return jax.tree.map(_in_a_row, *zip(aligned, attention, strict=True))


def _in_a_row(*maps: Float[Array, "b _h _w c"]) -> Float[Array, "b 1 n c"]:
    rows = [x.reshape(len(x), 1, -1, x.shape[-1]) for x in maps]
    return jnp.concatenate(rows, axis=2)


def on_first_grid(shares: Float[Array, "b 1 n"], grids: Sequence[Size]) -> Float[Array, "b h w"]:
    """What the locations of all scales add, on the grid of the first: the total stays the same."""
    cells = [height * width for height, width in grids]
    parts = jnp.split(shares, list(itertools.accumulate(cells[:-1])), axis=-1)
    laid = [
        resize_total(part.reshape(len(part), *grid), grids[0])
        for part, grid in zip(parts, grids, strict=True)
    ]
    return jnp.sum(jnp.stack(laid), axis=0)
