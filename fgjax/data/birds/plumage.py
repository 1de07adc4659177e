"""Paint a posed bird: legs, tail, beak, trunk and head, wing, eye, and the markings on them."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from fgjax.data.birds.anatomy import Skeleton
from fgjax.data.birds.markings import EYE, REGIONS, SHAPES
from fgjax.data.birds.raster import (
    Frame,
    blend,
    blur,
    coverage,
    curve,
    ellipse,
    noise,
    relief,
    ribbon,
    sample,
)
from fgjax.data.birds.species import PARTS, Species

# family: colours in sRGB, 0..1.
PALETTES = {
    "finch": {
        "back": (0.56, 0.42, 0.28), "belly": (0.86, 0.72, 0.52), "wing": (0.42, 0.31, 0.22),
        "beak": (0.62, 0.54, 0.44), "leg": (0.50, 0.36, 0.30),
        "dark": (0.25, 0.15, 0.10), "light": (0.95, 0.90, 0.80),
    },
    "kingfisher": {
        "back": (0.10, 0.46, 0.60), "belly": (0.88, 0.52, 0.24), "wing": (0.06, 0.36, 0.52),
        "beak": (0.20, 0.18, 0.19), "leg": (0.74, 0.34, 0.22),
        "dark": (0.05, 0.16, 0.26), "light": (0.96, 0.93, 0.86),
    },
    "sandpiper": {
        "back": (0.56, 0.51, 0.45), "belly": (0.93, 0.91, 0.87), "wing": (0.46, 0.41, 0.36),
        "beak": (0.27, 0.22, 0.19), "leg": (0.66, 0.56, 0.26),
        "dark": (0.27, 0.21, 0.17), "light": (0.97, 0.95, 0.90),
    },
    "swallow": {
        "back": (0.20, 0.25, 0.44), "belly": (0.90, 0.80, 0.74), "wing": (0.17, 0.18, 0.28),
        "beak": (0.16, 0.15, 0.16), "leg": (0.34, 0.26, 0.24),
        "dark": (0.16, 0.13, 0.20), "light": (0.93, 0.90, 0.86),
    },
}  # fmt: skip
LIGHT_MARKS = ("eye", "wing", "throat")  # the others are dark


@dataclass(frozen=True)
class Markings:
    """How plainly the differing parts show: linear size and contrast, 1 being plain."""

    extent: float = 1.0
    contrast: float = 1.0


def palette(rng: np.random.Generator, family: str, spread: float) -> dict[str, np.ndarray]:
    """The family's colours, with hue, saturation and brightness of this one bird."""
    hue, saturation, value = rng.normal(0, 1, 3) * spread * (0.03, 0.16, 0.14)
    colors = {}
    for name, color in PALETTES[family].items():
        h, s, v = colorsys.rgb_to_hsv(*color)
        own = rng.normal(0, 1, 3) * spread * (0.006, 0.04, 0.05)
        h, s = (h + hue + own[0]) % 1, s * np.exp(saturation + own[1])
        v = v * np.exp(value + own[2])
        colors[name] = np.float32(colorsys.hsv_to_rgb(h, min(s, 1), min(v, 0.98)))
    return colors


class Painter:
    """An image under way, and how much of each of its pixels the bird covers."""

    def __init__(self, image, light):
        self.image, self.light = image, light
        self.size = image.shape[0]
        self.alpha = np.zeros(image.shape[:2], np.float32)

    def coverage(self, polygons, tones=None):
        return coverage(polygons, self.size, tones)

    def add(self, color, alpha, roundness: float, depth: float = 1.0):
        """Paint a shape, lit as if its middle bulged by ``roundness`` pixels of blur."""
        lit = color * np.clip(relief(alpha, roundness, self.light, depth), 0.3, 1.3)[..., None]
        self.image = blend(self.image, lit, alpha)
        self.alpha = np.maximum(self.alpha, alpha)


def paint_bird(image, bird: Skeleton, species: Species, colors, markings, light, rng):
    """Paint the bird; returns the image, its coverage by the bird and the map of its parts.

    In the part map 0 stands for "no part" and ``1 + i`` for ``PARTS[i]``.
    """
    painter = Painter(image, light)
    unit = float(np.linalg.norm(bird.body.axes[0]))
    frames = {name: getattr(bird, name) for name in ("world", "head", "face", "wing", "tail")}
    frames["body"] = bird.body.at((0, 0), scale=(1, bird.plan.depth))
    frames["beak"], bend = _beak_frame(bird, species.variants.get("beak", "straight"))
    marks = _marks(species, frames, markings, painter)
    grain = noise(rng, (96, 96), (1.0, 3.0))
    _legs(painter, bird, colors["leg"], unit)
    _tail(painter, bird, colors, species.variants.get("tail"), unit)
    _beak(painter, frames["beak"], bend, colors["beak"], unit)
    _trunk(painter, bird, frames, colors, marks, grain, unit)
    _wing(painter, bird, colors, marks, unit)
    _eye(painter, frames["face"], colors, unit)
    centers = {part: frames[REGIONS[part][0]](REGIONS[part][1]) for part in PARTS}
    centers["beak"] = frames["beak"]((0.5, bend * 0.25))
    centers["legs"] = (bird.feet.mean(0) + bird.body((-0.03, bird.plan.depth))) / 2
    return painter.image, painter.alpha, _part_map(painter, frames, bend), centers


def _marks(species, frames, markings, painter):
    shapes = {
        part: [frames[REGIONS[part][0]](s) for s in SHAPES[part, variant](markings.extent)]
        for part, variant in species.variants.items()
        if (part, variant) in SHAPES
    }
    return {part: painter.coverage(s) * markings.contrast for part, s in shapes.items()}


def _mark(color, part, marks, colors):
    if part not in marks:
        return color
    return blend(color, colors["light" if part in LIGHT_MARKS else "dark"], marks[part])


def _beak_frame(bird: Skeleton, variant: str) -> tuple[Frame, float]:
    length, thickness = bird.plan.beak
    if variant == "heavy":
        length, thickness = length * 0.74, thickness * 1.36
    bend = 1.7 if variant == "curved" else 0.12
    frame = bird.face.at((0.84, 0.06), degrees=5 - 5 * (bend > 1), scale=(length, thickness))
    return frame, bend


def _beak(painter, frame, bend, color, unit):
    t = np.linspace(0, 1, 12)[:, None]
    ridge = np.concatenate([t, bend * t**2 - 0.5 * (1 - t**1.7)], 1)
    middle = np.concatenate([t, bend * t**2 + 0.06 * (1 - t)], 1)
    keel = np.concatenate([t, bend * t**2 + 0.46 * (1 - t**1.3)], 1)
    upper, lower = (frame(np.concatenate([a, middle[::-1]])) for a in (ridge, keel))
    tone = painter.coverage([upper], [255])[..., None]
    gape = painter.coverage([ribbon(frame(middle), (0.022 * unit, 0.004 * unit))])
    color = color * (0.72 + 0.34 * tone) * (1 - 0.5 * gape[..., None])
    painter.add(color, painter.coverage([upper, lower]), 0.025 * unit, 1.5)


def _legs(painter, bird, color, unit):
    hips = bird.body([(-0.11, bird.plan.depth * 0.8), (0.02, bird.plan.depth * 0.8)])
    knees = (hips + bird.feet) / 2 - [np.sign(bird.world.axes[0, 0]) * 0.05 * unit, 0]
    width = 0.036 * unit
    forward = np.sign(bird.world.axes[0, 0]) * unit
    for hip, knee, foot, shade in zip(hips, knees, bird.feet, (0.7, 1.0), strict=True):
        limb = ribbon([hip, knee, foot], (width * 1.8, width, width))
        toes = [
            ribbon([foot, foot + (dx * forward, 0.025 * unit)], (width, width * 0.6))
            for dx in (-0.08, 0.07, 0.11)
        ]
        painter.add(color * shade, painter.coverage([limb, *toes]), width * 0.5, 0.8)


def _tail(painter, bird, colors, variant, unit):
    root = bird.plan.tail[1] / bird.plan.tail[2]
    across = np.array([-1.0, -0.62, -0.3, 0.3, 0.62, 1.0, 0.0])
    reach = 1.0 - 0.08 * np.abs(across)
    if variant == "forked":
        reach = 0.62 + 0.62 * np.abs(across) ** 1.6
    feathers = [
        bird.tail(curve([(-0.1, root * a - 0.1), (0.5, 0.6 * a - 0.2), (r * 0.97, 0.86 * a - 0.13),
                         (r, 0.86 * a), (r * 0.97, 0.86 * a + 0.13), (0.5, 0.6 * a + 0.2),
                         (-0.1, root * a + 0.1)]))
        for a, r in zip(across, reach, strict=True)
    ]  # fmt: skip
    tone = painter.coverage(feathers, (150, 185, 215, 190, 160, 130, 240))
    color = colors["wing"] * (0.7 + 0.5 * tone[..., None])
    painter.add(color, painter.coverage(feathers), 0.05 * unit, 0.6)


def _scallops(u, v):
    """Overlapping feather edges: rows along u, staggered across v, in -0.5..0.5."""
    row = np.floor(u)
    across = v + 0.5 * (row % 2)
    across = across - np.floor(across) - 0.5
    return (u - 1.4 * across**2) % 1.0 - 0.5


def _trunk(painter, bird, frames, colors, marks, grain, unit):
    alpha = painter.coverage([bird.outline])
    x, y = frames["body"].coordinates(painter.size)
    _, above = frames["head"].coordinates(painter.size)
    head = coverage([bird.head(ellipse((0, 0), (1.05, 1.1)))], painter.size)
    head = blur(head, 0.04 * unit)
    ripple = sample(grain, x * 40, y * 12)
    under = np.where(head > 0.5, above * 0.9 - 0.12, y + 0.35 * np.clip(x, 0, 0.6))
    under = head * (above * 1.0 - 0.15) + (1 - head) * (y * 1.1 + 0.5 * x - 0.05)
    under = 1 / (1 + np.exp(-5.5 * (under + 0.10 * ripple)))
    color = blend(np.broadcast_to(colors["back"], (*alpha.shape, 3)), colors["belly"], under)
    color = (
        color * (1 + 0.035 * ripple + 0.10 * _scallops(-x * 15, y * 4.2) * (1 - head))[..., None]
    )
    for part in ("crown", "throat", "breast", "flank", "eye"):
        color = _mark(color, part, marks, colors)
    painter.add(color, alpha, 0.11 * unit, 1.1)


def _wing(painter, bird, colors, marks, unit):
    outline = [(0, -0.1), (0.05, -0.72), (0.24, -0.98), (0.6, -0.72), (1.0, -0.25), (1.0, -0.08),
               (0.86, 0.26), (0.62, 0.66), (0.34, 0.94), (0.1, 0.66)]  # fmt: skip
    alpha = painter.coverage([bird.wing(curve(outline))])
    tips = np.linspace((0.44, 0.96), (1.02, -0.16), 8)
    polygons, tones = [], []
    for k, tip in enumerate(tips):
        quill = [(0.18, 0.35 - 0.09 * k), (0.45, 0.62 - 0.12 * k), tip]
        for width, tone in ((0.36, 60), (0.27, 150 - 6 * k)):
            edge = ribbon(quill, (width, width, 0.12))
            polygons.append(bird.wing(edge))
            tones.append(tone)
    tone = painter.coverage(polygons, tones)
    u, v = bird.wing.coordinates(painter.size)
    coverts = np.clip((0.36 - u - 0.10 * v) * 14, 0, 1)
    tone = tone * (1 - coverts) + coverts * (0.55 + 0.34 * _scallops(u * 15, v * 3.2))
    color = colors["wing"] * (0.62 + 0.72 * tone[..., None])
    color = _mark(color, "wing", marks, colors)
    below = blur(np.roll(alpha, round(0.03 * unit), 0), 0.03 * unit) * (painter.alpha > 0.5)
    painter.image = painter.image * (1 - 0.30 * below)[..., None]
    painter.add(color, alpha, 0.06 * unit, 0.8)


def _eye(painter, face, colors, unit):
    """An eye with a dark iris, a pupil and the light's reflection."""
    for center, radius, color in (
        (EYE, 0.225, colors["dark"] * 0.55),
        (EYE, 0.195, np.float32((0.20, 0.12, 0.07))),
        (EYE, 0.135, np.float32((0.03, 0.03, 0.04))),
        (EYE + (0.06, -0.08), 0.055, np.float32((1.0, 1.0, 1.0))),
    ):
        circle = painter.coverage([face(ellipse(center, (radius, radius)))])
        painter.image = blend(painter.image, color, circle)


def _part_map(painter, frames, bend):
    canvas = Image.new("L", (painter.size,) * 2)
    draw = ImageDraw.Draw(canvas)
    for part, (frame, center, radii) in REGIONS.items():
        if part == "beak":
            center, radii = (0.5, bend * 0.25), (0.55, 0.5 + bend * 0.4)
        region = frames[frame](ellipse(center, radii))
        draw.polygon(region.ravel().tolist(), fill=1 + PARTS.index(part))
    return np.where(painter.alpha > 0.5, np.asarray(canvas), 0).astype(np.uint8)
