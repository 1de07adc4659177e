"""What a unit of a level sees: how far, how fine, along which direction, in which color.

A unit is a channel of a level's map; its center unit is that channel at the middle location.
Networks come as ``levels_of``, a function from images ``Float[b h w 3]`` to a hierarchy
``{level: Float[b h' w' c]}``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num

from fgjax.data.augment import LUMA
from fgjax.vocabulary import Hierarchy

LevelsOf = Callable[[Float[Array, "b h w 3"]], Hierarchy]

# Sensitivity below this share of the peak lies outside the effective receptive field: the share of
# a Gaussian's mass that is more than two standard deviations from its mean (Luo et al., 2016).
TWO_SIGMA = 0.0455


def center_unit(maps: Float[Array, "b h w c"]) -> Float[Array, "b c"]:
    """Every channel at the middle location."""
    return maps[:, maps.shape[1] // 2, maps.shape[2] // 2]


def receptive_fields(levels_of: LevelsOf, image_size: int) -> dict[str, int]:
    """Side in pixels of the square that the center unit of each level can depend on.

    Measured, and so right for any architecture: not-a-number in a pixel spreads to exactly the
    units that depend on it. How many columns at the left and at the right edge the center unit of
    a level does not depend on is found by bisection, for all levels at once. A level with global
    context (squeeze-excite, attention over locations) sees the whole image; none sees more.

    Args:
        levels_of: images to hierarchy.
        image_size: side of the images, pixels.
    """
    shapes = jax.eval_shape(levels_of, jnp.zeros((1, image_size, image_size, 3)))
    names = list(shapes)
    columns = np.arange(image_size)

    @jax.jit
    def unaffected(spoiled):
        """For each level (row) and each image (column): does the center unit stay a number?"""
        images = jnp.where(spoiled[:, None, :, None], jnp.nan, 0.0)
        maps = levels_of(jnp.broadcast_to(images, (len(spoiled), image_size, image_size, 3)))
        return jnp.stack([jnp.isfinite(center_unit(maps[name])).all(-1) for name in names])

    # For each level, at the left and the right edge: spoiling `safe` columns leaves its center unit
    # a number, spoiling `seen` columns does not.
    safe = np.zeros((len(names), 2), int)
    seen = np.full((len(names), 2), image_size)
    # Each level has two images of its own, spoiled at one edge each; the others' are not looked at.
    level = np.arange(len(names))[:, None]
    own = np.arange(2 * len(names)).reshape(-1, 2)
    while (seen - safe).max() > 1:
        middle = (safe + seen) // 2
        left = columns < middle[:, :1]
        right = columns >= image_size - middle[:, 1:]
        spoiled = np.stack([left, right], 1).reshape(-1, image_size)
        finite = np.asarray(unaffected(spoiled))[level, own]
        safe, seen = np.where(finite, middle, safe), np.where(finite, seen, middle)
    return {name: int(image_size - safe[i].sum()) for i, name in enumerate(names)}


def sensitivity(
    levels_of: LevelsOf, images: Float[Array, "b h w 3"], level: str
) -> Float[Array, "h w"]:
    """How much each pixel moves the center unit: the gradient's magnitude, mean over images.

    The gradient is that of the sum over channels; magnitudes are summed over colors.
    """

    def response(x):
        return center_unit(levels_of(x)[level]).sum()

    return jnp.abs(jax.grad(response)(images)).sum(-1).mean(0)


def effective_size(sensitivity: Float[np.ndarray, "h w"]) -> float:
    """Side in pixels of the effective receptive field, were it a square: the root of its area."""
    return float(np.sqrt(np.sum(sensitivity > TWO_SIGMA * sensitivity.max())))


def octaves(maps: Float[Array, "b h w c"]) -> Float[Array, " o"]:
    """Energy of maps by spatial frequency, summed over images and channels.

    Entry 0 is the energy of the mean, entry ``i > 0`` that of frequencies in ``[2**(i-1), 2**i)``
    cycles per image width: the same octaves at every level, of which coarse maps have fewer. All
    entries together are the sum of squares (Parseval's theorem), so that batches can be added and
    shares are quotients by the total.
    """
    height, width = maps.shape[1:3]
    power = jnp.sum(jnp.abs(jnp.fft.fft2(maps, axes=(1, 2))) ** 2, axis=(0, 3)) / (height * width)
    radius = np.hypot(
        *np.meshgrid(
            np.fft.fftfreq(height, 1 / height), np.fft.fftfreq(width, 1 / width), indexing="ij"
        )
    )
    band = np.where(radius < 0.5, 0, np.floor(np.log2(np.maximum(radius, 1))).astype(int) + 1)
    return jnp.zeros(band.max() + 1).at[band.ravel()].add(power.ravel())


def gratings(
    image_size: int,
    orientations: int = 8,
    periods: tuple[float, ...] = (4, 8, 16, 32),
    phases: int = 4,
) -> Float[np.ndarray, "o p f s s 3"]:
    """Gray sinusoidal gratings in [0, 1].

    Args:
        image_size: side, pixels.
        orientations: o angles, even over half a turn.
        periods: p wavelengths, pixels.
        phases: f shifts, even over a wavelength.
    """
    angle = np.pi * np.arange(orientations) / orientations
    y, x = np.mgrid[:image_size, :image_size] - image_size / 2
    along = np.cos(angle)[:, None, None] * x + np.sin(angle)[:, None, None] * y
    turns = along[:, None] / np.asarray(periods)[:, None, None]
    shift = np.arange(phases)[:, None, None] / phases
    wave = 0.5 + 0.5 * np.sin(2 * np.pi * (turns[:, :, None] + shift))
    return np.repeat(wave[..., None], 3, axis=-1).astype(np.float32)


def orientation_selectivity(responses: Float[np.ndarray, "o p f c"]) -> Float[np.ndarray, " c"]:
    """``|sum r exp(2 i angle)| / sum r`` over orientations; in [0, 1].

    0 for a unit that responds to all orientations alike, or never; 1 for one that responds to a
    single orientation. ``r`` is its response to the best phase, at its best period.

    Args:
        responses: of each unit to each of the :func:`gratings`.
    """
    best_phase = np.maximum(responses, 0).max(2)
    period = best_phase.max(0).argmax(0)
    tuning = np.take_along_axis(best_phase, period[None, None], 1)[:, 0]
    angle = np.pi * np.arange(len(tuning)) / len(tuning)
    vector = np.abs(np.exp(2j * angle) @ tuning)
    return vector / np.maximum(tuning.sum(0), 1e-12)


def color_selectivity(
    color: Float[np.ndarray, "n c"], gray: Float[np.ndarray, "n c"], top: int = 10
) -> Float[np.ndarray, " c"]:
    """``1 - sum(gray) / sum(color)`` over a unit's most active images (Rafegas & Vanrell, 2018).

    Clipped to [0, 1]: 0 for a unit that responds to gray images as well, or never; 1 for one that
    is silent without color.

    Args:
        color: greatest response of each unit to each image.
        gray: the same for the images without their colors.
        top: how many images count: those with the greatest responses in color.
    """
    best = np.argsort(-color, axis=0)[:top]
    with_color = np.take_along_axis(np.maximum(color, 0), best, 0).sum(0)
    without = np.take_along_axis(np.maximum(gray, 0), best, 0).sum(0)
    return np.clip(1 - without / np.maximum(with_color, 1e-12), 0, 1) * (with_color > 0)


def gray(images: Num[Array | np.ndarray, "b h w 3"]) -> Float[Array, "b h w 3"]:
    """Images of any range with their luma in all three channels."""
    luma = images @ jnp.asarray(LUMA, jnp.float32)
    return jnp.repeat(luma[..., None], 3, axis=-1)


class Top(NamedTuple):
    """The m greatest responses of each of c units so far, each from another image.

    Attributes:
        value: the responses, greatest first.
        image: index of the example.
        row: of the location on the map.
        column: of the location on the map.
    """

    value: Float[np.ndarray, "m c"]
    image: Int[np.ndarray, "m c"]
    row: Int[np.ndarray, "m c"]
    column: Int[np.ndarray, "m c"]


def peaks(
    maps: Float[Array, "b h w c"],
) -> tuple[Float[Array, "b c"], Int[Array, "b c"], Int[Array, "b c"]]:
    """Greatest response of each unit to each image, and its row and column."""
    b, _, w, c = maps.shape
    flat = maps.reshape(b, -1, c)
    where = flat.argmax(1)
    return flat.max(1), where // w, where % w


def merge_top(
    top: Top | None,
    value: Float[np.ndarray, "b c"],
    index: Int[np.ndarray, " b"],
    row: Int[np.ndarray, "b c"],
    column: Int[np.ndarray, "b c"],
    keep: int = 9,
) -> Top:
    """``top`` after one more batch; None before the first.

    Args:
        top: greatest responses so far.
        value: greatest response of each unit to each example of the batch.
        index: of the examples.
        row: of these responses on the map.
        column: of these responses on the map.
        keep: how many each unit keeps.
    """
    batch = Top(value, np.broadcast_to(index[:, None], value.shape), row, column)
    merged = batch if top is None else Top(*map(np.concatenate, zip(top, batch, strict=True)))
    order = np.argsort(-merged.value, axis=0, kind="stable")[:keep]
    return Top(*(np.take_along_axis(field, order, 0) for field in merged))


def crop(image: np.ndarray, row: int, column: int, map_size: int, side: float) -> np.ndarray:
    """The square of ``side`` pixels around a location of a map.

    Beyond the image, the pixels of its edge are repeated.

    Args:
        image: to be cut, [size size 3].
        row: of the location.
        column: of the location.
        map_size: side of the map, which covers the image.
        side: of the square, in pixels of the image.
    """
    size = image.shape[0]
    half = max(1, round(side / 2))
    padded = np.pad(image, ((half, half), (half, half), (0, 0)), mode="edge")
    top, left = (int((place + 0.5) * size / map_size) for place in (row, column))
    return padded[top : top + 2 * half, left : left + 2 * half]
