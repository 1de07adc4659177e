"""Paint a posed bird: legs, tail, beak, trunk and head, wing, eye, and the markings on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fgjax.data.birds.anatomy import Skeleton
from fgjax.data.birds.markings import EYE, FRAMES, SHAPES
from fgjax.data.birds.raster import (
    blend,
    blur,
    coverage,
    curve,
    ellipse,
    float32,
    noise,
    relief,
    ribbon,
    sample,
)
from fgjax.data.birds.species import Species

LIGHT_MARKS = ("eye", "wing", "throat")  # the others are dark
# The folded wing, in its own frame, and the feathers of the tail: where they end across it, and
# in which tones of grey they are painted, the middle one last.
WING = ((0.0, -0.1), (0.05, -0.72), (0.24, -0.98), (0.6, -0.72), (1.0, -0.25), (1.0, -0.08),
        (0.86, 0.26), (0.62, 0.66), (0.34, 0.94), (0.1, 0.66))  # fmt: skip
TAIL_ACROSS = np.array([-1.0, -0.62, -0.3, 0.3, 0.62, 1.0, 0.0])
TAIL_TONES = (150, 185, 215, 190, 160, 130, 240)


@dataclass(frozen=True)
class Markings:
    """How plainly the differing parts show: linear size and contrast, 1 being plain."""

    extent: float
    contrast: float


class Painter:
    """An image under way, and how much of each of its pixels the bird covers."""

    def __init__(self, image, light):
        self.image, self.light = image, light
        self.size = len(image)
        self.alpha = np.zeros(image.shape[:2], np.float32)

    def add(self, color, alpha, roundness: float, depth: float = 1.0):
        """Paint a shape, lit as if its middle bulged by ``roundness`` pixels of blur."""
        lit = color * np.clip(relief(alpha, roundness, self.light, depth), 0.3, 1.3)[..., None]
        self.image = blend(self.image, lit, alpha)
        self.alpha = np.maximum(self.alpha, alpha)


def paint_bird(image, bird: Skeleton, species: Species, colors, markings: Markings, light, rng):
    """Paint a bird; returns the image and how much of every pixel the bird covers."""
    painter = Painter(image, light)
    marks = _marks(bird, species, markings, painter.size)
    _legs(painter, bird, colors["leg"])
    _tail(painter, bird, colors["wing"], species.variants.get("tail"))
    _beak(painter, bird, colors["beak"])
    _trunk(painter, bird, colors, marks, noise(rng, (96, 96), (1.0, 3.0)))
    _wing(painter, bird, colors, marks)
    _eye(painter, bird, colors["dark"])
    return painter.image, painter.alpha


def _marks(bird, species, markings, size: int):
    """The alpha of the marking on each part that has one."""
    alphas = {}
    for part, variant in species.variants.items():
        if (part, variant) in SHAPES:
            shapes = map(getattr(bird, FRAMES[part]), SHAPES[part, variant](markings.extent))
            alphas[part] = blur(coverage(shapes, size), 0.006 * bird.unit) * markings.contrast
    return alphas


def _mark(color, part, marks, colors):
    if part not in marks:
        return color
    return blend(color, colors["light" if part in LIGHT_MARKS else "dark"], marks[part])


def _legs(painter, bird, color):
    forwards = bird.world.axes[0]
    width = 0.036 * bird.unit
    knees = (bird.hips + bird.feet) / 2 - 0.05 * forwards
    for hip, knee, foot, shade in zip(bird.hips, knees, bird.feet, (0.7, 1.0), strict=True):
        limb = ribbon([hip, knee, foot], (width * 1.8, width, width))
        tips = [foot + reach * forwards + [0, 0.7 * width] for reach in (-0.08, 0.07, 0.11)]
        toes = [ribbon([foot, tip], (width, width * 0.6)) for tip in tips]
        painter.add(color * shade, coverage([limb, *toes], painter.size), width * 0.5, 0.8)


def _tail(painter, bird, color, variant: str | None):
    root = bird.plan.tail[1] / bird.plan.tail[2]
    reach = 1.0 - 0.08 * np.abs(TAIL_ACROSS)
    if variant == "forked":
        reach = 0.62 + 0.62 * np.abs(TAIL_ACROSS) ** 1.6
    feathers = []
    for a, r in zip(TAIL_ACROSS, reach, strict=True):
        blade = ribbon([(-0.15, root * a), (0.5, 0.62 * a), (r, 0.84 * a)], (0.1, 0.36, 0.24))
        feathers += [bird.tail(blade), bird.tail(ellipse((r, 0.84 * a), (0.07, 0.12)))]
    tone = coverage(feathers, painter.size, np.repeat(TAIL_TONES, 2))
    alpha = coverage(feathers, painter.size)
    painter.add(color * (0.7 + 0.5 * tone[..., None]), alpha, 0.05 * bird.unit, 0.6)


def _beak(painter, bird, color):
    t = np.linspace(0, 1, 12)
    midrib = bird.bend * t**2
    ridge, gape, keel = (
        bird.beak(np.stack([t, midrib + y], 1))
        for y in (-0.5 * (1 - t**1.7), 0.06 * (1 - t), 0.46 * (1 - t**1.3))
    )
    upper, lower = (np.concatenate([edge, gape[::-1]]) for edge in (ridge, keel))
    tone = 0.72 + 0.34 * coverage([upper], painter.size)
    line = ribbon(gape, (0.022 * bird.unit, 0.004 * bird.unit))
    tone = tone * (1 - 0.5 * coverage([line], painter.size))
    alpha = coverage([upper, lower], painter.size)
    painter.add(color * tone[..., None], alpha, 0.025 * bird.unit, 1.5)


def _scallops(u, v):
    """Overlapping feather edges: rows along u, staggered across v, in -0.5..0.5."""
    across = v + 0.5 * (np.floor(u) % 2)
    across = across - np.floor(across) - 0.5
    return (u - 1.4 * across**2) % 1.0 - 0.5


def _trunk(painter, bird, colors, marks, grain):
    """Trunk and head: dark above and pale below, feathered, with the markings on them."""
    x, y = bird.trunk.coordinates(painter.size)
    below_eye = bird.head.coordinates(painter.size)[1]
    head = coverage([bird.head(ellipse((0, 0), (1.05, 1.1)))], painter.size)
    head = blur(head, 0.04 * bird.unit)
    ripple = sample(grain, x * 40, y * 12)
    scales = (1 - head) * _scallops(0.2 * ripple - x * 15, y * 4.2 + 0.15 * ripple)
    lower = head * (below_eye - 0.15) + (1 - head) * (1.1 * y + 0.5 * x - 0.05)
    pale = 1 / (1 + np.exp(-5.5 * lower - 0.55 * ripple))
    color = colors["back"] + (colors["belly"] - colors["back"]) * pale[..., None]
    color = color * (1 + 0.035 * ripple + 0.10 * scales)[..., None]
    for part in ("crown", "throat", "breast", "flank", "eye"):
        color = _mark(color, part, marks, colors)
    painter.add(color, coverage([bird.outline], painter.size), 0.11 * bird.unit, 1.1)


def _wing(painter, bird, colors, marks):
    """The folded wing: scaly coverts over long feathers, and its shadow on the trunk."""
    alpha = coverage([bird.wing(curve(WING))], painter.size)
    u, v = bird.wing.coordinates(painter.size)
    coverts = np.clip((0.36 - u - 0.10 * v) * 14, 0, 1)
    scales = 0.55 + 0.34 * _scallops(u * 15, v * 3.2)
    tone = (1 - coverts) * _quills(bird, painter.size) + coverts * scales
    color = _mark(colors["wing"] * (0.62 + 0.72 * tone[..., None]), "wing", marks, colors)
    drop = 0.03 * bird.unit
    shadow = blur(np.roll(alpha, round(drop), 0), drop) * painter.alpha
    painter.image = painter.image * (1 - 0.30 * shadow)[..., None]
    painter.add(color, alpha, 0.06 * bird.unit, 0.8)


def _quills(bird, size: int):
    """Grey tones of the flight feathers, each with a dark edge, from the body to the tip."""
    feathers, tones = [], []
    for k, tip in enumerate(np.linspace((0.44, 0.96), (1.02, -0.16), 8)):
        quill = [(0.18, 0.35 - 0.09 * k), (0.45, 0.62 - 0.12 * k), tip]
        feathers += [bird.wing(ribbon(quill, (width, width, 0.12))) for width in (0.36, 0.27)]
        tones += [60, 150 - 6 * k]
    return coverage(feathers, size, tones)


def _eye(painter, bird, rim):
    """An eye with a dark rim, an iris, a pupil and the reflection of the sky."""
    for center, radius, color in (
        (EYE, 0.225, rim * 0.55),
        (EYE, 0.195, (0.20, 0.12, 0.07)),
        (EYE, 0.135, (0.03, 0.03, 0.04)),
        (EYE + np.array([0.06, -0.08]), 0.055, (1.0, 1.0, 1.0)),
    ):
        circle = bird.face(ellipse(center, (radius, radius)))
        painter.image = blend(painter.image, float32(color), coverage([circle], painter.size))
