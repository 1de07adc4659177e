"""Look closer where attention falls, or look away from it: crops and drops of WS-DAN.

Hu et al., "See Better Before Looking Closer", arXiv 1901.09891, section 3.3. Boxes depend on the
maps and are found, cropped and resized on the device: no shape depends on them. No gradient flows
through a box or a mask.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from fgjax.ops.resize import Size, resize_bilinear


def choose_maps(
    keys: Key[Array, " b"], maps: Float[Array, "b h w m"], count: int = 1
) -> Float[Array, "b h w n"]:
    """Draw ``count`` maps of each image, with replacement, as the square roots of their sums.

    An image whose maps are all zero draws evenly.
    """
    weights = jnp.sqrt(maps.astype(jnp.float32).sum((1, 2)) + 1e-6)

    def draw(key, maps, weights):
        return jnp.take(maps, jax.random.categorical(key, jnp.log(weights), shape=(count,)), -1)

    return jax.vmap(draw)(keys, maps, weights)


def attention_boxes(
    maps: Float[Array, "b h w"], thresholds: Float[Array, " b"], size: Size, margin: float = 0.1
) -> Float[Array, "b 4"]:
    """Boxes around where each map is at least ``threshold`` of its maximum.

    Args:
        maps: one non-negative map an image; one that is zero everywhere gives the whole image.
        thresholds: one an image, in [0, 1].
        size: height and width of the images; maps are interpolated to it first.
        margin: share of the image's size added on every side, as far as the image goes.

    Returns:
        (ymin, xmin, ymax, xmax) in pixels of the image, continuous: pixel i covers [i, i + 1).
    """
    level, peak = _interpolate(maps, size)
    inside = level >= thresholds[:, None, None] * peak
    first, last = [], []
    for axis, length in zip((2, 1), size, strict=True):
        line = inside.any(axis)
        start, stop = jnp.argmax(line, 1), length - jnp.argmax(line[:, ::-1], 1)
        first.append(jnp.maximum(start - margin * length, 0))
        last.append(jnp.minimum(stop + margin * length, length))
    return jnp.stack([*first, *last], axis=-1).astype(jnp.float32)


def crop_and_resize(
    images: Float[Array, "b h w c"], boxes: Float[Array, "b 4"], size: Size
) -> Float[Array, "b H W c"]:
    """Each image's box at ``size``, interpolated linearly (antialiased where that shrinks it)."""
    shape = (*size, images.shape[-1])

    def crop(image, box):
        scale = jnp.asarray(size, jnp.float32) / (box[2:] - box[:2])
        return jax.image.scale_and_translate(
            image, shape, (0, 1), scale, -box[:2] * scale, "linear", antialias=True
        )

    return jax.vmap(crop)(images, boxes)


def drop_masks(
    maps: Float[Array, "b h w"], thresholds: Float[Array, " b"], size: Size
) -> Float[Array, "b H W 1"]:
    """One where each map is below ``threshold`` of its maximum, zero elsewhere.

    A map that is zero everywhere drops nothing.
    """
    level, peak = _interpolate(maps, size)
    kept = (level < thresholds[:, None, None] * peak) | (peak <= 0)
    return kept[..., None].astype(jnp.float32)


def _interpolate(maps: Array, size: Size) -> tuple[Array, Array]:
    # The maximum of the interpolated map: that of the map itself may lie above all of it, and then
    # nothing would reach the threshold.
    level = resize_bilinear(jax.lax.stop_gradient(maps).astype(jnp.float32)[..., None], size)[
        ..., 0
    ]
    return level, level.max((1, 2), keepdims=True)
