"""What a unit of a level sees: how far, how fine, along which direction, in which colour.

Functions take ``levels_of``, a function from normalised images ``Float[b h w 3]`` to a hierarchy
``{level: Float[b h' w' c]}``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num

from fgjax.vocabulary import Hierarchy

LevelsOf = Callable[[Float[Array, "b h w 3"]], Hierarchy]

# Share of the peak that a Gaussian has at two standard deviations (Luo et al., 2016).
TWO_SIGMA = 0.0455


def receptive_fields(levels_of: LevelsOf, image_size: int) -> dict[str, int]:
    """Side in pixels of the square that the centre unit of each level can depend on.

    Found by experiment, so that it holds for any architecture: not-a-number spreads to exactly
    the units that a pixel reaches. The first and the last column that reach the centre unit are
    found by bisection, all levels side by side. Clipped to the image; a level with global context
    (squeeze-excite, attention over locations) sees all of it.
    """
    shapes = jax.eval_shape(levels_of, jnp.zeros((1, image_size, image_size, 3)))
    names = list(shapes)
    columns = np.arange(image_size)

    @jax.jit
    def blind(spoilt):
        """For each level and its two spoilt images: does the centre unit stay a number?"""
        images = jnp.where(spoilt[:, None, :, None], jnp.nan, 0.0)
        maps = levels_of(jnp.broadcast_to(images, (len(spoilt), image_size, image_size, 3)))
        centres = [maps[name][:, m.shape[1] // 2, m.shape[2] // 2] for name, m in shapes.items()]
        return jnp.stack([jnp.isfinite(centre).all(-1) for centre in centres])

    # Invariant: columns below `safe` do not reach the unit, columns below `seen` do.
    safe = np.zeros((len(names), 2), int)
    seen = np.full((len(names), 2), image_size)
    level = np.arange(len(names))[:, None]
    slot = np.arange(2 * len(names)).reshape(-1, 2)
    while (seen - safe).max() > 1:
        middle = (safe + seen) // 2
        left = columns < middle[:, :1]
        right = columns >= image_size - middle[:, 1:]
        spoilt = np.stack([left, right], 1).reshape(-1, image_size)
        finite = np.asarray(blind(spoilt))[level, slot]
        safe, seen = np.where(finite, middle, safe), np.where(finite, seen, middle)
    return {name: int(image_size - safe[i].sum()) for i, name in enumerate(names)}


def sensitivity(
    levels_of: LevelsOf, images: Float[Array, "b h w 3"], level: str
) -> Float[Array, "h w"]:
    """``|d sum(A[centre]) / d pixel|``, averaged over images, summed over colours."""

    def centre(x):
        maps = levels_of(x)[level]
        return maps[:, maps.shape[1] // 2, maps.shape[2] // 2].sum()

    return jnp.abs(jax.grad(centre)(images)).sum(-1).mean(0)


def effective_size(sensitivity: Float[np.ndarray, "h w"]) -> float:
    """Side of the square with the area where sensitivity is above 4.55 % of its peak, pixels."""
    return float(np.sqrt(np.sum(sensitivity > TWO_SIGMA * sensitivity.max())))


def octaves(maps: Float[Array, "b h w c"]) -> Float[Array, " o"]:
    """Energy by spatial frequency: the mean (first), then octaves of cycles per image width.

    Entry ``i > 0`` holds frequencies in ``[2**(i-1), 2**i)``; so do coarser maps, which have
    fewer octaves. Summed over images and channels (Parseval: the sum is that of the squares), so
    that batches add up; divide by the total for shares.
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
    image_size: int, orientations: int = 8, periods: tuple[float, ...] = (4, 8, 16, 32), phases=4
) -> Float[np.ndarray, "o p f s s 3"]:
    """Grey sinusoidal gratings in [0, 1] by orientation, period (pixels) and phase."""
    angle = np.pi * np.arange(orientations) / orientations
    y, x = np.mgrid[:image_size, :image_size] - image_size / 2
    along = np.cos(angle)[:, None, None] * x + np.sin(angle)[:, None, None] * y
    turns = along[:, None] / np.asarray(periods)[:, None, None]
    shift = np.arange(phases)[:, None, None] / phases
    wave = 0.5 + 0.5 * np.sin(2 * np.pi * (turns[:, :, None] + shift))
    return np.repeat(wave[..., None], 3, axis=-1).astype(np.float32)


def orientation_selectivity(responses: Float[np.ndarray, "o p f c"]) -> Float[np.ndarray, " c"]:
    """``|sum r exp(2 i angle)| / sum r`` over orientations: 0 for none, 1 for a single one.

    ``r`` is the response to the best phase, at the period where a unit responds most. A unit that
    never responds has selectivity 0.
    """
    best_phase = np.maximum(responses, 0).max(2)
    period = best_phase.max(0).argmax(0)
    tuning = np.take_along_axis(best_phase, period[None, None], 1)[:, 0]
    angle = np.pi * np.arange(len(tuning)) / len(tuning)
    vector = np.abs(np.exp(2j * angle) @ tuning)
    return vector / np.maximum(tuning.sum(0), 1e-12)


def colour_selectivity(
    colour: Float[np.ndarray, "n c"], grey: Float[np.ndarray, "n c"], top: int = 10
) -> Float[np.ndarray, " c"]:
    """``1 - sum(grey) / sum(colour)`` over a unit's most active images (Rafegas & Vanrell, 2018).

    The two hold the greatest response of each unit to each image, as it is and without its
    colours. Clipped to [0, 1].
    """
    best = np.argsort(-colour, axis=0)[:top]
    with_colour = np.take_along_axis(np.maximum(colour, 0), best, 0).sum(0)
    without = np.take_along_axis(np.maximum(grey, 0), best, 0).sum(0)
    return np.clip(1 - without / np.maximum(with_colour, 1e-12), 0, 1) * (with_colour > 0)


def grey(images: Num[Array | np.ndarray, "b h w 3"]) -> Float[Array, "b h w 3"]:
    """Images in [0, 1] or [0, 255] with their luma (ITU-R BT.601) in all three channels."""
    luma = images @ jnp.asarray([0.299, 0.587, 0.114], jnp.float32)
    return jnp.repeat(luma[..., None], 3, axis=-1)


class Top(NamedTuple):
    """The greatest responses met so far, by rank and unit; ``row``, ``column`` are on the map."""

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
    """``top`` after one more batch: each unit's ``keep`` greatest responses, one per image."""
    batch = Top(value, np.broadcast_to(index[:, None], value.shape), row, column)
    merged = batch if top is None else Top(*map(np.concatenate, zip(top, batch, strict=True)))
    order = np.argsort(-merged.value, axis=0, kind="stable")[:keep]
    return Top(*(np.take_along_axis(field, order, 0) for field in merged))


def crop(image: np.ndarray, row: int, column: int, map_size: int, side: float) -> np.ndarray:
    """The square of ``side`` pixels around the unit at (row, column), edge pixels repeated."""
    size = image.shape[0]
    half = max(1, round(side / 2))
    padded = np.pad(image, ((half, half), (half, half), (0, 0)), mode="edge")
    top, left = (int((place + 0.5) * size / map_size) for place in (row, column))
    return padded[top : top + 2 * half, left : left + 2 * half]
