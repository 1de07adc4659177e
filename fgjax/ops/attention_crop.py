"""Images cropped to where attention falls, or with that region dropped: WS-DAN.

Hu et al., "See Better Before Looking Closer", arXiv 1901.09891, section 3.3. Boxes are found from
the maps, cropped and resized within the compiled step: all crops have one size, whatever their box.
No gradient flows through a box or a mask.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from fgjax.ops.resize import Size, resize_plane


def choose_maps(
    keys: Key[Array, " b"], maps: Float[Array, "b h w m"], count: int = 1
) -> Float[Array, "b h w n"]:
    """Draws ``count`` maps of each image, with replacement.

    The probability of a map is proportional to the square root of its sum; where all maps are zero
    it is the same for all.

    Args:
        keys: one for each image.
        maps: m attention maps, not negative.
        count: n, of the maps that are drawn.
    """
    # The little that is added keeps the logarithm finite and decides where all sums are zero.
    weights = jnp.sqrt(maps.astype(jnp.float32).sum((1, 2)) + 1e-6)

    def draw(key, maps, weights):
        return jnp.take(maps, jax.random.categorical(key, jnp.log(weights), shape=(count,)), -1)

    return jax.vmap(draw)(keys, maps, weights)


def attention_boxes(
    maps: Float[Array, "b h w"], thresholds: Float[Array, " b"], size: Size, margin: float = 0.1
) -> Float[Array, "b 4"]:
    """Boxes around the locations where a map reaches ``threshold`` times its maximum.

    Args:
        maps: one for each image, not negative; a map of zeros gives the whole image.
        thresholds: one for each image, in [0, 1].
        size: height and width of the images, to which maps are interpolated first.
        margin: share of the image's size that is added on every side, within the image.

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
    """Each image's box, resized to ``size`` linearly (antialiased where that shrinks it).

    Args:
        images: to be cropped.
        boxes: (ymin, xmin, ymax, xmax) in pixels; not empty.
        size: height and width of the crops.
    """
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
    """Masks that are 1 where a map is below ``threshold`` times its maximum, 0 elsewhere.

    Args:
        maps: one for each image, not negative; a map of zeros drops nothing.
        thresholds: one for each image, in [0, 1].
        size: height and width of the images, to which maps are interpolated first.
    """
    level, peak = _interpolate(maps, size)
    kept = (level < thresholds[:, None, None] * peak) | (peak <= 0)
    return kept[..., None].astype(jnp.float32)


def _interpolate(maps: Array, size: Size) -> tuple[Array, Array]:
    """Maps at the size of the images, and the maximum of each."""
    # After interpolation: the maximum of the map itself may lie above everything interpolated, and
    # then nothing would reach a threshold of 1.
    level = resize_plane(jax.lax.stop_gradient(maps).astype(jnp.float32), size)
    return level, level.max((1, 2), keepdims=True)
