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
    noise,
    relief,
    ribbon,
)

GRID = 64  # backgrounds are painted small and enlarged


def _gradient(top, bottom):
    t = np.linspace(0, 1, GRID, dtype=np.float32)[:, None, None]
    return np.broadcast_to((1 - t) * np.float32(top) + t * np.float32(bottom), (GRID, GRID, 3))


def _discs(rng, image, colors, count: int, radii):
    """Bokeh: discs of light, each of one of the colours."""
    for _ in range(count):
        radius = rng.uniform(*radii)
        disc = coverage([ellipse(rng.uniform(0, GRID, 2), (radius, radius))], GRID)
        color = np.float32(colors[rng.integers(len(colors))]) * rng.uniform(0.9, 1.1)
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
        color = np.float32(colors[rng.integers(len(colors))]) * rng.uniform(0.85, 1.15)
        image = blend(image, color, coverage([stem], GRID) * 0.8)
    return image


def _sky(rng):
    image = _gradient((0.42, 0.62, 0.84), (0.84, 0.90, 0.94))
    cloud = np.clip(noise(rng, (GRID, GRID), (5, 10)) * 0.5, 0, 1)
    return blend(image, np.float32((0.97, 0.96, 0.94)), cloud * 0.8)


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
    wood = np.float32((0.46, 0.37, 0.29)) * (1 + 0.16 * grain)
    return blend(
        image, wood * relief(trunk, 7, np.float32((-0.4, 0, 0.9)))[..., None], blur(trunk, 1.2)
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
    """Paint a branch or a stone under the feet."""
    size = image.shape[0]
    x, y = feet.mean(0)
    thickness = unit * rng.uniform(0.10, 0.17)
    rise, bend = rng.uniform(-0.10, 0.10), rng.normal(0, 0.03, 2) * size
    if rng.random() < 0.75:
        ends = np.array([(-8, x), (size + 8, x)])
        left, right = ((-10, y - rise * (-10 - x)), (size + 10, y - rise * (size + 10 - x)))
        del ends
        middle = [(x - 0.3 * unit, y + 0.3 * unit * rise), (x + 0.3 * unit, y - 0.3 * unit * rise)]
        line = np.array([left, *middle, right]) + [(0, bend[0]), (0, 0), (0, 0), (0, bend[1])]
        shape = ribbon(line + (0, thickness / 2), (thickness * 1.2, thickness, thickness * 0.7))
        color, grain = np.float32((0.40, 0.31, 0.24)), noise(rng, (size, size), (1.0, 7))
    else:
        width = unit * rng.uniform(0.7, 1.1)
        top = [(-1, 0.5), (-0.75, 0.14), (-0.3, 0.0), (0.3, 0.0), (0.8, 0.16), (1.05, 0.6)]
        shape = curve(np.array([*top, (1.2, 2.4), (-1.2, 2.4)]) * width + (x, y - 1))
        color, grain = np.float32((0.52, 0.51, 0.48)), noise(rng, (size, size), 2.5)
    alpha = coverage([shape], size)
    color = color * (rng.uniform(0.75, 1.25) + rng.normal(0, 0.04, 3).astype(np.float32))
    tone = relief(alpha, thickness * 0.35, light, 1.4) * (1 + 0.12 * grain)
    shadow = coverage([ellipse((x, y + 0.06 * unit), (0.34 * unit, 0.07 * unit))], size)
    tone = tone * (1 - 0.4 * blur(shadow, 0.05 * unit))
    return blend(image, color * tone[..., None], alpha)


def leaf(frame: Frame, size: int):
    """Coverage and grey tone of a leaf from the frame's origin to (1, 0)."""
    edge = [(0, 0), (0.2, -0.15), (0.5, -0.2), (0.8, -0.1), (1, 0)]
    lower = [(0.8, 0.12), (0.5, 0.21), (0.2, 0.14)]
    alpha = coverage([frame(curve([*edge, *lower]))], size)
    half = coverage([frame(curve([*edge, (0.5, 0.02)], closed=False))], size)
    rib = coverage([frame(ribbon([(0, 0), (0.5, 0.02), (0.95, 0)], (0.035, 0.01)))], size)
    return alpha, 0.86 + 0.22 * half - 0.25 * rib


def foreground(rng: np.random.Generator, image, places, unit: float):
    """Paint a leafy twig over each of the places; returns the image and what it covers."""
    size = image.shape[0]
    hidden = np.zeros((size, size), np.float32)
    for place in places:
        length, angle = unit * rng.uniform(0.22, 0.40), rng.uniform(0, 360)
        color = np.float32(rng.uniform((0.26, 0.38, 0.10), (0.52, 0.58, 0.24)))
        focus = rng.uniform(0.3, 1.4)
        twig = Frame(np.asarray(place), np.eye(2) * length).at((0, 0), degrees=angle)
        stem = ribbon(
            twig([(-0.5, 0.0), (0.3, 0.05), (1.6, -0.1), (9, -1.6)]), (1.2, 0.05 * length)
        )
        alpha = blur(coverage([stem], size), focus)
        image = blend(image, np.float32((0.34, 0.27, 0.19)), alpha)
        hidden = np.maximum(hidden, alpha)
        for x, turn in ((-0.4, 165), (0.1, 70), (0.5, -60), (1.2, 40)):
            at = twig.at((x, 0), degrees=turn + rng.normal(0, 14), scale=rng.uniform(0.8, 1.15))
            alpha, tone = (blur(a, focus) for a in leaf(at, size))
            image = blend(image, color * (tone * rng.uniform(0.85, 1.15))[..., None], alpha)
            hidden = np.maximum(hidden, alpha)
    return image, hidden
