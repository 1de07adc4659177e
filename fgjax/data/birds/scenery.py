"""What surrounds a bird: backgrounds out of focus, the perch, and leaves in front."""

from __future__ import annotations

import numpy as np

from fgjax.data.birds.raster import (
    Frame,
    blend,
    blur,
    coverage,
    curve,
    ellipse,
    enlarge,
    float32,
    noise,
    relief,
    ribbon,
)

GRID = 64  # backgrounds are painted small and enlarged


def _gradient(top, bottom):
    t = np.linspace(0, 1, GRID, dtype=np.float32)[:, None, None]
    return np.broadcast_to((1 - t) * float32(top) + t * float32(bottom), (GRID, GRID, 3))


def _discs(rng, image, colors, count: int, radii):
    """Bokeh: discs of light, each of one of the colours."""
    for _ in range(count):
        radius = rng.uniform(*radii)
        disc = coverage([ellipse(rng.uniform(0, GRID, 2), (radius, radius))], GRID)
        color = float32(colors[rng.integers(len(colors))]) * rng.uniform(0.9, 1.1)
        image = blend(image, color, disc * rng.uniform(0.12, 0.5))
    return image


def _stalks(rng, image, colors, count: int, top: float, widths):
    """Upright stems that start below the image and end above ``top``."""
    for _ in range(count):
        x, lean = rng.uniform(0, GRID), rng.normal(0, 6)
        tip = (x + lean, rng.uniform(-0.2, top) * GRID)
        stem = ribbon(
            [(x, GRID + 4), (x + lean * 0.3, GRID * 0.6), tip], (rng.uniform(*widths), 0.4)
        )
        color = float32(colors[rng.integers(len(colors))]) * rng.uniform(0.85, 1.15)
        image = blend(image, color, coverage([stem], GRID) * 0.8)
    return image


def _sky(rng):
    image = _gradient((0.42, 0.62, 0.84), (0.84, 0.90, 0.94))
    cloud = np.clip(noise(rng, (GRID, GRID), (5, 10)) * 0.5, 0, 1)
    return blend(image, float32((0.97, 0.96, 0.94)), cloud * 0.8)


def _foliage(rng):
    image = _gradient((0.46, 0.56, 0.30), (0.20, 0.32, 0.17))
    image = image * (1 + 0.16 * noise(rng, (GRID, GRID), 7)[..., None])
    colors = [(0.66, 0.74, 0.36), (0.34, 0.50, 0.24), (0.86, 0.84, 0.54), (0.16, 0.28, 0.16)]
    return _discs(rng, image, colors, 26, (2, 7))


def _reeds(rng):
    image = _gradient((0.80, 0.78, 0.64), (0.50, 0.50, 0.36))
    colors = [(0.72, 0.64, 0.42), (0.52, 0.54, 0.30), (0.40, 0.36, 0.22), (0.84, 0.78, 0.58)]
    return blur(_stalks(rng, image, colors, 26, 0.5, (1.5, 4)), 1.0)


def _bark(rng):
    image = _gradient((0.40, 0.46, 0.38), (0.30, 0.36, 0.28))
    left, width = rng.uniform(-8, 24), rng.uniform(26, 48)
    trunk = coverage(
        [[(left, 0), (left + width, 0), (left + width + 3, GRID), (left - 3, GRID)]], GRID
    )
    grain = noise(rng, (GRID, GRID), (7, 1.0))[..., None]
    wood = float32((0.46, 0.37, 0.29)) * (1 + 0.16 * grain)
    return blend(
        image, wood * relief(trunk, 7, float32((-0.4, 0, 0.9)))[..., None], blur(trunk, 1.2)
    )


def _water(rng):
    image = _gradient((0.62, 0.72, 0.76), (0.28, 0.42, 0.48))
    ripple = noise(rng, (GRID, GRID), (1.0, 8))[..., None]
    image = image * (1 + 0.09 * ripple)
    return _discs(rng, image, [(0.90, 0.93, 0.92), (0.5, 0.62, 0.58)], 12, (1.5, 4))


def _meadow(rng):
    image = _gradient((0.84, 0.84, 0.66), (0.40, 0.52, 0.24))
    colors = [(0.50, 0.62, 0.28), (0.38, 0.50, 0.22), (0.70, 0.72, 0.40)]
    image = blur(_stalks(rng, image, colors, 34, 0.9, (1.2, 2.6)), 1.4)
    flowers = [(0.92, 0.74, 0.76), (0.94, 0.86, 0.46), (0.92, 0.92, 0.90), (0.66, 0.58, 0.80)]
    return _discs(rng, image, flowers, 12, (1.2, 3.2))


BACKGROUNDS = (_sky, _foliage, _reeds, _bark, _water, _meadow)


def background(rng: np.random.Generator, size: int):
    """One of the six backgrounds, tinted and dimmed at random."""
    image = BACKGROUNDS[rng.integers(len(BACKGROUNDS))](rng)
    tint = rng.uniform(0.90, 1.10, 3) * rng.uniform(0.78, 1.08)
    return np.clip(enlarge(image * tint.astype(np.float32), size), 0, 1)


def perch(rng: np.random.Generator, image, feet, unit: float, light):
    """Paint a branch or a mossy stone under the feet."""
    size, at = len(image), feet.mean(0)
    paint = _branch if rng.random() < 0.7 else _stone
    shape, color, roundness = paint(rng, size, at, unit)
    alpha = coverage([shape], size)
    color = color * rng.uniform(0.8, 1.2) * rng.uniform(0.95, 1.05, 3).astype(np.float32)
    shadow = coverage([ellipse(at + np.array([0, 0.05 * unit]), (0.34 * unit, 0.07 * unit))], size)
    tone = np.clip(relief(alpha, roundness, light, 1.3), 0.4, 1.3)
    tone = tone * (1 - 0.4 * blur(shadow, 0.05 * unit))
    return blend(image, color * tone[..., None], alpha)


def _branch(rng, size: int, at, unit: float):
    thickness = unit * rng.uniform(0.10, 0.17)
    slope, bends = rng.uniform(-0.10, 0.10), rng.normal(0, 0.03, 2) * size
    x = np.array([-0.1 * size, at[0] - 0.3 * unit, at[0] + 0.3 * unit, 1.1 * size])
    y = at[1] + slope * (x - at[0]) + (bends[0], 0, 0, bends[1]) + thickness * 0.45
    shape = ribbon(np.stack([x, y], 1), (thickness * 1.2, thickness, thickness * 0.7))
    bark = noise(rng, (size, size), (0.005 * size, 0.05 * size))
    bark = bark + 0.6 * noise(rng, (size, size), (0.003 * size, 0.012 * size))
    return shape, float32((0.43, 0.34, 0.27)) * (1 + 0.11 * bark[..., None]), thickness * 0.3


def _stone(rng, size: int, at, unit: float):
    width = unit * rng.uniform(0.7, 1.1)
    top = [(-1.0, 0.5), (-0.75, 0.14), (-0.3, 0.0), (0.3, 0.0), (0.8, 0.16), (1.05, 0.6)]
    shape = curve(np.array([*top, (1.2, 2.4), (-1.2, 2.4)]) * width + at - (0, 1))
    patches, grain = (noise(rng, (size, size), s * size) for s in (0.03, 0.006))
    grain = 1 + 0.06 * patches[..., None] + 0.08 * grain[..., None]
    depth = (np.arange(size, dtype=np.float32) - at[1])[:, None] / unit
    moss = 0.8 / (1 + np.exp(12 * depth - 2.0 - 2.5 * patches))
    stone = float32((0.50, 0.49, 0.46)) * grain
    return shape, blend(stone, float32((0.34, 0.38, 0.20)) * grain, moss), 0.1 * width


class Foreground:
    """Twigs and leaves in front of a picture, and how much of every pixel they hide."""

    def __init__(self, image):
        self.image = image
        self.hidden = np.zeros(image.shape[:2], np.float32)

    def twig(self, rng: np.random.Generator, place, unit: float):
        """Let a leafy twig hang into the picture at a place."""
        length, focus = unit * rng.uniform(0.22, 0.40), rng.uniform(0.3, 1.4)
        turn = rng.uniform(0, 360)
        twig = Frame(np.asarray(place), np.eye(2) * length).at((0, 0), degrees=turn)
        path = twig([(-0.5, 0.0), (0.4, 0.08), (1.6, -0.05), (3.2, -0.7), (7, -3.6)])
        stem = coverage([ribbon(path, (0.03 * length, 0.07 * length))], len(self.image))
        self._add(float32((0.34, 0.27, 0.19)), blur(stem, focus))
        green = _green(rng)
        for x, turn in ((-0.4, 165), (0.1, 70), (0.5, -60), (1.2, 40)):
            turn = turn + rng.normal(0, 14)
            self._leaf(twig.at((x, 0), degrees=turn, scale=rng.uniform(0.8, 1.15)), green, focus)

    def cover(self, rng: np.random.Generator, region):
        """Put leaves on a region (a polygon), its middle and most of what is around it."""
        middle, green = region.mean(0), _green(rng)
        length = 1.6 * np.linalg.norm(region - middle, axis=1).max()
        spots = middle + 0.55 * (region[:: max(1, len(region) // 6)] - middle)
        for spot in (*spots, middle):
            frame = Frame(spot, np.eye(2) * length).at((0, 0), degrees=rng.uniform(0, 360))
            self._leaf(frame.at((-0.5, 0)), green * rng.uniform(0.85, 1.15), 0.5)

    def _leaf(self, frame: Frame, color, focus: float):
        """A leaf from the frame's origin to (1, 0)."""
        upper = [(0, 0), (0.2, -0.15), (0.5, -0.2), (0.8, -0.1), (1, 0)]
        lower = [(0.8, 0.12), (0.5, 0.21), (0.2, 0.14)]
        halves = frame(curve([*upper, *lower])), frame(curve([*upper, (0.5, 0.02)], closed=False))
        rib = frame(ribbon([(0, 0), (0.5, 0.02), (0.95, 0)], (0.035, 0.01)))
        size = len(self.image)
        tone = coverage([*halves, rib], size, (200, 250, 140)) / 0.8
        self._add(color * blur(tone, focus)[..., None], blur(coverage(halves, size), focus))

    def _add(self, color, alpha):
        self.image = blend(self.image, color, alpha)
        self.hidden = np.maximum(self.hidden, alpha)


def _green(rng):
    return float32(rng.uniform((0.26, 0.38, 0.10), (0.52, 0.58, 0.24)))
