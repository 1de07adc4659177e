"""Augmentation on the device, inside the compiled step.

Every function takes one typed key per example, so that an example is changed in the same way
whatever batch, shard or device it comes to. Geometry is resampled once, and the whole colour jitter
is one affine map of RGB. Pixels are float32 in 0..255 until ``normalize``.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, UInt8

from fgjax.checking.options import Kinds, choice, number
from fgjax.ops import boxes

# ITU-R BT.601 luma, and the YIQ colour space in which a hue shift is a rotation.
LUMA = (0.299, 0.587, 0.114)
_TO_YIQ = np.array([LUMA, (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112)])
_TO_RGB = np.linalg.inv(_TO_YIQ)

# Folded into an example's key for mixing; a split of the key into parts folds in 0, 1, 2, 3.
_MIXING = 0x6D6978

_METHODS = {"bilinear": "linear", "bicubic": "cubic"}


_SHARE = number(0, 1)
# What the fields of an augmentation may be, where their type does not say it.
KINDS: Kinds = {
    **dict.fromkeys(("flip", "brightness", "contrast", "saturation", "hue", "erase"), _SHARE),
    "scale": number(0, 1, above=True),
    "ratio": number(0, 100, above=True),
    "erase_scale": number(0, 1, above=True),
    "mixup": number(0, 1000),
    "cutmix": number(0, 1000),
    "interpolation": choice(*_METHODS),
}


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Settings of the augmentation; each default leaves its part out.

    Attributes:
        scale: smallest and largest share of the image's area that a random crop covers.
        ratio: smallest and largest width / height of the crop.
        flip: probability of a horizontal flip.
        brightness: factor is drawn from [1 - brightness, 1 + brightness].
        contrast: likewise; distance from the image's mean grey.
        saturation: likewise; distance of each pixel from its own grey.
        hue: largest rotation of the hue, as a share of the full circle.
        erase: probability that a rectangle is replaced by the image's mean colour
            (Zhong et al., "Random erasing data augmentation", AAAI 2020).
        erase_scale: smallest and largest share of the area that is erased.
        mixup: alpha of the Beta distribution of the mixing weight; 0 is off
            (Zhang et al., "mixup: Beyond empirical risk minimization", ICLR 2018).
        cutmix: likewise, of the share of the area that is kept
            (Yun et al., "CutMix", ICCV 2019). With both, a fair coin decides for each example.
        interpolation: "bilinear" or "bicubic", antialiased.
    """

    scale: tuple[float, float] = (1.0, 1.0)
    ratio: tuple[float, float] = (1.0, 1.0)
    flip: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    erase: float = 0.0
    erase_scale: tuple[float, float] = (0.02, 0.2)
    mixup: float = 0.0
    cutmix: float = 0.0
    interpolation: str = "bilinear"


def apply(
    images: UInt8[Array, "b s s 3"],
    affine: Float[Array, "b 4"],
    keys: Key[Array, " b"],
    settings: Augmentation,
    size: int,
) -> tuple[Float[Array, "b {size} {size} 3"], Float[Array, "b 4"]]:
    """Random resized crop, flip, colour jitter and erasing of each image.

    Args:
        images: square images, 0..255.
        affine: map from original pixels to those of ``images``, see ``fgjax.ops.boxes``.
        keys: one for each example.
        settings: what to do; static.
        size: side of the result, in pixels; static.

    Returns:
        The images, float32 in 0..255, and the map from original pixels to theirs.
    """

    def one(image, affine, key):
        keys = jax.random.split(key, 4)
        image, crop = _resized_crop(image.astype(jnp.float32), keys[0], settings, size)
        image, flip = _flip(image, keys[1], settings)
        image = _color_jitter(image, keys[2], settings)
        image = _erase(image, keys[3], settings)
        return image, boxes.compose(flip, boxes.compose(crop, affine))

    return jax.vmap(one)(images, affine, keys)


def mix(
    images: Float[Array, "b s s 3"],
    targets: Float[Array, "b k"],
    keys: Key[Array, " b"],
    settings: Augmentation,
) -> tuple[Float[Array, "b s s 3"], Float[Array, "b k"]]:
    """Mixup or cutmix of example i with its neighbour i xor 1.

    Neighbours share a shard wherever a device holds an even number of examples. Each example
    draws its own weight.

    Args:
        images: of any scale, since mixing is linear.
        targets: class probabilities.
        keys: one for each example.
        settings: mixup and cutmix; static. With neither, everything is returned as it came.

    Raises:
        ValueError: the batch is odd, so that an example has no neighbour.
    """
    if not (settings.mixup or settings.cutmix):
        return images, targets
    if len(images) % 2:
        raise ValueError(f"mixup and cutmix need an even batch, not one of {len(images)} examples.")
    keep, weight = jax.vmap(lambda key: _mixing(key, settings, images.shape[1]))(keys)
    keep, weight = keep[..., None], weight[:, None]
    return (
        keep * images + (1 - keep) * _neighbour(images),
        weight * targets + (1 - weight) * _neighbour(targets),
    )


def normalize(
    images: Float[Array, "b h w 3"] | UInt8[Array, "b h w 3"],
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
) -> Float[Array, "b h w 3"]:
    """(pixel / 255 - mean) / std, with mean and std in units of pixel / 255."""
    center, scale = jnp.array(mean, jnp.float32), jnp.array(std, jnp.float32)
    return images.astype(jnp.float32) * (1 / (255 * scale)) - center / scale


def _rectangle(key, area, log_ratio) -> tuple[Array, Array]:
    """(top, left), (height, width) of a rectangle in the unit square.

    Its sides follow from area and width / height; a side longer than 1 becomes 1.
    """
    root = jnp.sqrt(area) * jnp.exp(0.5 * log_ratio * jnp.array([-1.0, 1.0]))
    sides = jnp.minimum(root, 1.0)
    return jax.random.uniform(key, (2,)) * (1 - sides), sides


def _resized_crop(image, key, settings, size):
    """The crop of Szegedy et al. (CVPR 2015), without rounding its corners to whole pixels."""
    area_key, ratio_key, place_key = jax.random.split(key, 3)
    area = jax.random.uniform(area_key, (), jnp.float32, *settings.scale)
    low, high = jnp.log(jnp.array(settings.ratio))
    log_ratio = jax.random.uniform(ratio_key, (), jnp.float32, low, high)
    corner, sides = _rectangle(place_key, area, log_ratio)
    side = image.shape[0]
    scale = size / (sides * side)
    shift = -corner * side * scale
    image = jax.image.scale_and_translate(
        image, (size, size, 3), (0, 1), scale, shift, _METHODS[settings.interpolation]
    )
    return jnp.clip(image, 0, 255), jnp.concatenate([scale, shift])


def _flip(image, key, settings):
    flipped = jax.random.bernoulli(key, settings.flip)
    mirror = jnp.array([1.0, -1.0, 0.0, image.shape[1]])
    identity = jnp.array([1.0, 1.0, 0.0, 0.0])
    return jnp.where(flipped, image[:, ::-1], image), jnp.where(flipped, mirror, identity)


def _color_jitter(image, key, settings):
    """Brightness, contrast, saturation and hue, in this order, as one map x -> x M + c.

    Unlike a chain of library calls it clips once, at the end.
    """
    strengths = (settings.brightness, settings.contrast, settings.saturation, settings.hue)
    if not any(strengths):
        return image
    draws = jax.random.uniform(key, (4,), jnp.float32, -1, 1) * jnp.array(strengths)
    brightness, contrast, saturation = 1 + draws[:3]
    to_grey = jnp.outer(jnp.array(LUMA), jnp.ones(3))
    matrix = brightness * contrast * jnp.eye(3)
    mean_grey = brightness * (image.mean((0, 1)) @ to_grey)
    offset = (1 - contrast) * mean_grey
    for step in (saturation * jnp.eye(3) + (1 - saturation) * to_grey, _hue_rotation(draws[3])):
        matrix, offset = matrix @ step, offset @ step
    # Written out, since XLA's product with a 3 x 3 matrix is many times slower on a CPU.
    image = sum(image[..., i, None] * matrix[i] for i in range(3)) + offset
    return jnp.clip(image, 0, 255)


def _hue_rotation(share):
    cos, sin = jnp.cos(2 * jnp.pi * share), jnp.sin(2 * jnp.pi * share)
    rotation = jnp.array([[1.0, 0, 0], [0, cos, -sin], [0, sin, cos]])
    return (_TO_RGB @ rotation @ _TO_YIQ).T


def _erase(image, key, settings):
    if not settings.erase:
        return image
    coin_key, area_key, ratio_key, place_key = jax.random.split(key, 4)
    area = jax.random.uniform(area_key, (), jnp.float32, *settings.erase_scale)
    log_ratio = jax.random.uniform(ratio_key, (), jnp.float32, -jnp.log(3.0), jnp.log(3.0))
    inside = _inside(*_rectangle(place_key, area, log_ratio), image.shape[0])
    erased = jax.random.bernoulli(coin_key, settings.erase) & inside[..., None]
    return jnp.where(erased, image.mean((0, 1)), image)


def _inside(corner, sides, size):
    """Which pixels of a square image have their centre in a rectangle of the unit square."""
    centres = (jnp.arange(size) + 0.5) / size
    inside = (centres >= corner[:, None]) & (centres < (corner + sides)[:, None])
    return inside[0][:, None] & inside[1]


def _mixing(key, settings, size):
    """Per pixel, the weight of the image itself: the same everywhere, or 0 in a rectangle."""
    # ``apply`` splits the same key: without a number of its own, the jitter's draws came again.
    own = jax.random.fold_in(key, _MIXING)
    mixup_key, cutmix_key, place_key, coin_key = jax.random.split(own, 4)
    mixup = jax.random.beta(mixup_key, *(settings.mixup,) * 2) if settings.mixup else 0.0
    if not settings.cutmix:
        return jnp.full((size, size), mixup), mixup
    area = 1 - jax.random.beta(cutmix_key, settings.cutmix, settings.cutmix)
    keep = 1.0 - _inside(*_rectangle(place_key, area, 0.0), size)
    if settings.mixup:
        keep = jnp.where(jax.random.bernoulli(coin_key), keep, mixup)
    return keep, keep.mean()


def _neighbour(x):
    """Row i xor 1 in the place of row i."""
    return x.reshape(len(x) // 2, 2, *x.shape[1:])[:, ::-1].reshape(x.shape)
