"""One picture of a bird, with the truth about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray

from fgjax.data.birds import palettes, parts, plumage, scenery
from fgjax.data.birds.anatomy import BODY_PLANS, Pose, pose_bird
from fgjax.data.birds.raster import blur as gaussian_blur
from fgjax.data.birds.species import NAMES, PARTS, SPECIES
from fgjax.errors import UserError

VERSION = 1  # raise it whenever the same arguments give another picture


@dataclass(frozen=True)
class Scene:
    """A picture and its annotations, in pixels."""

    image: UInt8[ndarray, "s s 3"]
    mask: Bool[ndarray, "s s"]  # where the bird is seen
    part_map: UInt8[ndarray, "s s"]  # 0: no part, 1 + i: PARTS[i], where it is seen
    box: Float[ndarray, " 4"]  # ymin, xmin, ymax, xmax of what is seen; NaN if nothing is
    parts: Float[ndarray, "p 3"]  # y, x, visible (1) or not (0), in the order of PARTS
    species: str
    pose: Pose


def render(
    species: str,
    seed: int | Sequence[int] = 0,
    size: int = 192,
    difficulty: float = 0.5,
    *,
    pose: Pose | None = None,
    hide_parts: Sequence[str] = (),
    blur: float = 0.0,
) -> Scene:
    """Draw a bird of a species; a pure function of its arguments and `VERSION`.

    Two species of a family drawn with the same seed differ in nothing but their parts.

    Args:
      species: one of `NAMES`.
      seed: what the picture depends on besides: one or several non-negative integers.
      size: side of the square image in pixels.
      difficulty: 0 (large, plain markings, calm scenes) to 1 (small, faint, cluttered).
      pose: replaces the random pose.
      hide_parts: parts to put leaves in front of.
      blur: deviation in pixels of a Gaussian blur of the finished picture.

    Raises:
      UserError: on an unknown species or part, or a difficulty outside 0..1.
    """
    _check(species, difficulty, hide_parts)
    # One generator for each cause of variation: changing one leaves the others alone.
    causes = np.random.SeedSequence([VERSION, *np.atleast_1d(seed)]).spawn(6)
    posing, lighting, setting, coloring, feathering, covering = map(np.random.default_rng, causes)
    kind = SPECIES[NAMES.index(species)]
    pose = pose or random_pose(posing, difficulty)
    bird = pose_bird(BODY_PLANS[kind.family], pose, size, kind.variants)
    light = _light(lighting, difficulty)
    image = scenery.background(setting, size)
    image = scenery.perch(setting, image, bird.feet, bird.unit, light)
    colors = palettes.palette(coloring, kind.family, 0.6 + 0.8 * difficulty)
    markings = plumage.Markings(1.25 - 0.5 * difficulty, 1.0 - 0.3 * difficulty)
    image, alpha = plumage.paint_bird(image, bird, kind, colors, markings, light, feathering)
    regions = parts.outlines(bird)
    front = scenery.Foreground(image)
    for _ in range(covering.binomial(2, 0.6 * difficulty)):
        front.twig(covering, bird.body(covering.uniform((-0.7, -0.35), (0.75, 0.5))), bird.unit)
    for part in hide_parts:
        front.cover(covering, regions[part])
    image = _develop(lighting, front.image, difficulty)
    if blur:
        image = gaussian_blur(image, blur)
    seen = (alpha > 0.5) & (front.hidden < 0.5)
    return Scene(
        image=np.round(np.clip(image, 0, 1) * 255).astype(np.uint8),
        mask=seen,
        part_map=np.where(seen, parts.part_map(regions, size), np.uint8(0)),
        box=_box(seen),
        parts=_part_points(regions, front.hidden),
        species=species,
        pose=pose,
    )


def random_pose(rng: np.random.Generator, difficulty: float) -> Pose:
    """A pose; its spread grows with difficulty."""
    spread = 0.4 + 1.2 * difficulty
    return Pose(
        facing=int(rng.choice((-1, 1))),
        pitch=rng.uniform(-14, 14) * spread,
        nod=rng.uniform(-16, 16) * spread,
        turn=rng.uniform(-34, 34) * spread,
        droop=rng.uniform(-7, 9) * spread,
        fan=rng.uniform(0, 0.5) * spread,
        stance=rng.uniform(-0.06, 0.08),
        stride=rng.uniform(0.05, 0.2),
        scale=rng.uniform(0.46 - 0.10 * spread, 0.50),
        x=0.5 + rng.uniform(-0.07, 0.07) * spread,
        y=0.5 + rng.uniform(-0.07, 0.07) * spread,
    )


def _light(rng, difficulty: float):
    angle = np.deg2rad(rng.uniform(-60, 60) * (0.5 + difficulty))
    direction = np.array((np.sin(angle), -np.cos(angle), rng.uniform(0.9, 1.5)), np.float32)
    return direction / np.linalg.norm(direction)


def _develop(rng, image, difficulty: float):
    """Warmth and exposure of the whole picture, and a slight darkening of its corners."""
    spread = 0.5 + difficulty
    warmth, exposure = rng.normal(0, 0.06) * spread, rng.normal(0, 0.13) * spread
    gain = np.exp(exposure + np.array([warmth, 0, -warmth])).astype(np.float32)
    line = np.linspace(-1, 1, image.shape[0], dtype=np.float32)
    corners = 1 - 0.10 * (line[:, None] ** 2 + line[None] ** 2)
    return image * gain * corners[..., None]


def _box(seen):
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    if not len(rows):
        return np.full(4, np.nan, np.float32)
    return np.array([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1], np.float32)


def _part_points(regions, hidden):
    size = len(hidden)
    points = np.array([regions[part].mean(0)[::-1] for part in PARTS], np.float32)
    inside = ((points >= 0) & (points < size)).all(1)
    y, x = np.clip(points, 0, size - 1).astype(int).T
    return np.column_stack([points, inside & (hidden[y, x] < 0.5)]).astype(np.float32)


def _check(species, difficulty, hide_parts):
    if species not in NAMES:
        raise UserError(f"unknown species {species!r}: choose one of {', '.join(NAMES)}")
    if not 0 <= difficulty <= 1:
        raise UserError(f"difficulty is {difficulty}, but must lie between 0 (easy) and 1 (hard)")
    if unknown := [part for part in hide_parts if part not in PARTS]:
        raise UserError(f"unknown part {unknown[0]!r} to hide: choose among {', '.join(PARTS)}")
