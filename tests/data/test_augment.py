"""Augmentation against NumPy, Pillow and colorsys, which share no code with it."""

import colorsys
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance

from fgjax.data import augment
from fgjax.data.augment import Augmentation

SIDE = 40


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (16, 5, 5, 3), np.uint8)
    resized = [Image.fromarray(c).resize((SIDE, SIDE), Image.Resampling.BICUBIC) for c in coarse]
    return np.stack([np.asarray(image) for image in resized])


def keys(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


@functools.partial(jax.jit, static_argnames=("settings", "size"))
def jitted(images, affine, keys, settings, size):
    return augment.apply(images, affine, keys, settings, size)


def applied(images, seed=0, size=SIDE, **settings):
    """Augmented images, and the map from the pixels of ``images`` to theirs."""
    identity = np.tile(np.float32([1, 1, 0, 0]), (len(images), 1))
    result = jitted(images, identity, keys(len(images), seed), Augmentation(**settings), size)
    return tuple(map(np.asarray, result))


def test_by_default_nothing_changes(images):
    found, affine = applied(images)
    np.testing.assert_array_equal(found, images)
    np.testing.assert_array_equal(affine, np.tile([1, 1, 0, 0], (16, 1)))
    targets = jnp.eye(16)
    same = augment.mix(found, targets, keys(16), Augmentation())
    assert same[0] is found and same[1] is targets


def test_an_example_is_changed_the_same_way_in_any_batch(images):
    everything = {"scale": (0.3, 1.0), "ratio": (0.7, 1.4), "flip": 0.5, "erase": 0.5}
    everything |= dict.fromkeys(("brightness", "contrast", "saturation", "hue"), 0.3)
    settings, affine = Augmentation(**everything), np.ones((16, 4), np.float32)
    whole = jitted(images, affine, keys(16), settings, 32)
    order = [9, 2, 14, 5]
    part = jitted(images[np.array(order)], affine[:4], keys(16)[jnp.array(order)], settings, 32)
    chex.assert_trees_all_close(part, tuple(x[jnp.array(order)] for x in whole), atol=1e-3)
    chex.assert_trees_all_equal(jitted(images, affine, keys(16), settings, 32), whole)
    other = jitted(images, affine, keys(16, seed=1), settings, 32)
    assert (np.abs(other[0] - whole[0]).mean((1, 2, 3)) > 1).all()


def kernel(x, interpolation):
    """The triangle, or Keys' cubic with a = -1/2."""
    x = np.abs(x)
    if interpolation == "bilinear":
        return np.maximum(1 - x, 0)
    near, far = (1.5 * x - 2.5) * x**2 + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0))


def resampled(image, affine, size, interpolation):
    """Antialiased resampling of one image as two products with matrices of weights."""
    for axis, (scale, shift) in enumerate(zip(affine[:2], affine[2:], strict=True)):
        centres = (np.arange(size) + 0.5 - shift) / scale
        distance = centres[:, None] - (np.arange(SIDE) + 0.5)
        weights = kernel(distance * min(scale, 1), interpolation)
        weights /= weights.sum(1, keepdims=True)
        image = np.moveaxis(np.tensordot(weights, image, (1, axis)), 0, axis)
    return image.clip(0, 255)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [16, 64])
def test_random_resized_crop(images, size, interpolation):
    settings = {"scale": (0.2, 1.0), "ratio": (0.5, 2.0), "interpolation": interpolation}
    found, affine = applied(images, size=size, **settings)
    method = Image.Resampling[interpolation.upper()]
    for image, result, (sy, sx, ty, tx) in zip(images, found, affine, strict=True):
        expected = resampled(image.astype(float), (sy, sx, ty, tx), size, interpolation)
        np.testing.assert_allclose(result, expected, atol=0.05)
        box = np.array([-tx / sx, -ty / sy, (size - tx) / sx, (size - ty) / sy]).clip(0, SIDE)
        pillow = Image.fromarray(image).resize((size, size), method, box=tuple(box))
        # Pillow does not look beyond the crop, so that the borders differ.
        difference = np.abs(result - np.asarray(pillow))[6:-6, 6:-6]
        assert difference.mean() < 1.0


def test_crops_have_the_area_and_shape_that_was_asked_for(images):
    many = np.tile(images, (64, 1, 1, 1))
    _, affine = applied(many, size=8, scale=(0.1, 0.5), ratio=(0.8, 1.25))
    sides = 8 / affine[:, :2] / SIDE
    corners = -affine[:, 2:] / affine[:, :2] / SIDE
    area, ratio = sides.prod(1), sides[:, 1] / sides[:, 0]
    assert (corners >= -1e-6).all() and (corners + sides <= 1 + 1e-6).all()
    # Uniform area, uniform logarithm of the ratio: the quartiles of 1024 draws.
    quartiles = np.quantile(area, [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(quartiles, [0.1, 0.2, 0.3, 0.4, 0.5], atol=0.03)
    quartiles = np.quantile(np.log(ratio) / np.log(1.25), [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(quartiles, [-1, -0.5, 0, 0.5, 1], atol=0.15)
    place = corners / (1 - sides)
    np.testing.assert_allclose(np.quantile(place, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.05)


@pytest.mark.parametrize("probability", [0.0, 0.25, 1.0])
def test_flip(images, probability):
    many = np.tile(images, (16, 1, 1, 1))
    found, affine = applied(many, flip=probability)
    flipped = affine[:, 1] == -1
    assert abs(flipped.mean() - probability) < 0.1
    expected = np.where(flipped[:, None, None, None], many[:, :, ::-1], many)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(affine[flipped], np.tile([1, -1, 0, SIDE], (flipped.sum(), 1)))


PILLOW = {
    "brightness": ImageEnhance.Brightness,
    "contrast": ImageEnhance.Contrast,
    "saturation": ImageEnhance.Color,
}


@pytest.mark.parametrize("kind", PILLOW)
def test_color_jitter_is_what_pillow_calls_so(images, kind):
    muted = 96 + images // 4  # so that nothing is clipped
    found, affine = applied(muted, **{kind: 0.4})
    np.testing.assert_array_equal(affine[:, :2], 1)
    factors = []
    for image, result in zip(muted, found, strict=True):
        zero, one = (np.asarray(PILLOW[kind](Image.fromarray(image)).enhance(f)) for f in (0, 1))
        zero, one = zero.astype(float), one.astype(float)
        # Pillow's result is zero + factor * (one - zero); the factor by least squares.
        factor = ((result - zero) * (one - zero)).sum() / ((one - zero) ** 2).sum()
        np.testing.assert_allclose(result, zero + factor * (one - zero), atol=1.0)
        factors.append(factor)
    assert 0.58 < min(factors) < 0.8 and 1.2 < max(factors) < 1.42


def test_hue_jitter_turns_the_hue_and_keeps_the_brightness(images):
    muted = 96 + images // 4
    found, _ = applied(muted, hue=0.1)
    np.testing.assert_allclose(found @ augment.LUMA, muted @ np.array(augment.LUMA), atol=0.01)
    angles = []
    for image, result in zip(muted, found, strict=True):
        before, after = (
            np.array([colorsys.rgb_to_yiq(*pixel) for pixel in x.reshape(-1, 3) / 255])
            for x in (image, result)
        )
        colored = np.hypot(before[:, 1], before[:, 2]) > 0.05
        before, after = ((x[:, 1] + 1j * x[:, 2])[colored] for x in (before, after))
        np.testing.assert_allclose(np.abs(after / before), 1, atol=0.1)
        angle = np.angle(after / before) / (2 * np.pi)
        assert angle.std() < 0.01
        angles.append(angle.mean())
    assert -0.105 < min(angles) < -0.03 and 0.03 < max(angles) < 0.105


def test_jitter_stays_in_range(images):
    found, _ = applied(images, brightness=0.9, contrast=0.9, saturation=0.9, hue=0.5)
    assert found.min() == 0 and found.max() == 255


def test_erasing_puts_the_mean_colour_into_a_rectangle(images):
    many = np.tile(images, (8, 1, 1, 1))
    found, _ = applied(many, erase=0.75, erase_scale=(0.05, 0.3))
    erased = (found != many).any(-1)
    assert abs(erased.any((1, 2)).mean() - 0.75) < 0.1
    for before, after, mask in zip(many, found, erased, strict=True):
        if mask.any():
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            inside = after[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            np.testing.assert_allclose(inside - before.mean((0, 1)), 0, atol=0.01)
            assert 0.03 < inside[..., 0].size / SIDE**2 < 0.35


@pytest.fixture(scope="module")
def mixable():
    """Constant images, each of a value of its own, and one-hot targets."""
    values = np.arange(64, dtype=np.float32) * 3
    return np.tile(values[:, None, None, None], (1, SIDE, SIDE, 3)), np.eye(64, dtype=np.float32)


mix = jax.jit(augment.mix, static_argnums=3)


def mixed(mixable, seed=0, **settings):
    images, targets = mix(*mixable, keys(64, seed), Augmentation(**settings))
    return np.asarray(images), np.asarray(targets)


@pytest.mark.parametrize(
    "settings", [{"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 0.4, "cutmix": 1.0}], ids=str
)
def test_mixing_with_the_neighbour_conserves_the_labels(mixable, settings):
    images, targets = mixed(mixable, **settings)
    own = np.arange(64)
    weight = targets[own, own]
    np.testing.assert_allclose(targets.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(targets[own, own ^ 1], 1 - weight, atol=1e-6)
    assert np.count_nonzero(targets) <= 128
    # The image holds as much of either as the target says.
    expected = weight * own * 3 + (1 - weight) * (own ^ 1) * 3
    np.testing.assert_allclose(images.mean((1, 2, 3)), expected, atol=1e-3)
    # A rectangle of whole pixels has some forty different sizes.
    assert len(np.unique(weight.round(4))) > 30


def test_mixup_is_the_same_everywhere_and_cutmix_is_not(mixable):
    everywhere = mixed(mixable, mixup=0.4)[0]
    assert (np.ptp(everywhere, axis=(1, 2, 3)) < 1e-3).all()
    cut = mixed(mixable, cutmix=1.0)[0]
    own = np.arange(64)
    foreign = cut[..., 0] == (own ^ 1)[:, None, None] * 3
    assert (foreign | (cut[..., 0] == own[:, None, None] * 3)).all()
    for mask in foreign:
        rows, columns = mask.any(1), mask.any(0)
        np.testing.assert_array_equal(mask, rows[:, None] & columns)
        assert np.abs(np.diff(rows.astype(int))).sum() <= 2
    both = mixed(mixable, mixup=0.4, cutmix=1.0)[0]
    blended = ((both[..., 0] % 3 > 0.01) & (both[..., 0] % 3 < 2.99)).any((1, 2))
    assert 16 < blended.sum() < 48


def test_the_weight_of_mixup_follows_its_beta_distribution(mixable):
    weight = np.concatenate([np.diag(mixed(mixable, seed=seed, mixup=0.5)[1]) for seed in range(8)])
    quartiles = (1 - np.cos(np.pi * np.array([0.25, 0.5, 0.75]))) / 2  # of the arcsine law
    np.testing.assert_allclose(np.quantile(weight, [0.25, 0.5, 0.75]), quartiles, atol=0.08)


def test_an_odd_batch_cannot_be_mixed():
    with pytest.raises(ValueError, match="an even batch, not one of 3 examples"):
        augment.mix(jnp.zeros((3, 4, 4, 3)), jnp.eye(3), keys(3), Augmentation(mixup=1.0))


def test_normalize(images):
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    expected = (images / 255.0 - mean) / std
    np.testing.assert_allclose(augment.normalize(images, mean, std), expected, atol=1e-5)
