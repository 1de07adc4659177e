"""Where the parts of a posed bird are."""

from __future__ import annotations

import numpy as np
from numpy import ndarray
from PIL import Image, ImageDraw

from fgjax.data.birds.anatomy import Skeleton
from fgjax.data.birds.raster import ellipse, ribbon
from fgjax.data.birds.species import PARTS

# part: (frame, centre, radii) of the ellipse that it takes up; what comes later lies on top.
_REGIONS = {
    "belly": ("trunk", (-0.06, 0.85), (0.22, 0.25)),
    "back": ("trunk", (-0.02, -0.62), (0.20, 0.20)),
    "flank": ("trunk", (0.0, 0.64), (0.26, 0.36)),
    "breast": ("trunk", (0.36, 0.36), (0.17, 0.66)),
    "rump": ("trunk", (-0.41, -0.14), (0.10, 0.28)),
    "wing": ("wing", (0.50, 0.05), (0.40, 0.85)),
    "nape": ("head", (-0.78, 0.10), (0.28, 0.42)),
    "crown": ("head", (-0.22, -0.76), (0.82, 0.56)),
    "throat": ("face", (0.30, 0.66), (0.78, 0.46)),
    "eye": ("face", (0.34, -0.14), (0.70, 0.42)),
}


def outlines(bird: Skeleton) -> dict[str, ndarray]:
    """The region of every part, as a polygon in the image, in painting order."""
    regions = {"tail": bird.tail([(-0.15, -0.6), (1.2, -1.1), (1.2, 1.1), (-0.15, 0.6)])}
    regions |= {
        part: getattr(bird, frame)(ellipse(center, radii))
        for part, (frame, center, radii) in _REGIONS.items()
    }
    midrib = [(0, 0), (0.5, 0.25 * bird.bend), (1, bird.bend)]
    regions["beak"] = bird.beak(ribbon(midrib, (1.2, 0.9, 0.5)))
    shin = np.linspace(bird.hips.mean(0), bird.feet.mean(0), 3)
    regions["legs"] = ribbon(shin, (0.2 * bird.unit,) * 2)
    return regions


def part_map(regions: dict[str, ndarray], size: int) -> ndarray:
    """For every pixel 1 + the index in `PARTS` of the part that it lies in, or 0."""
    canvas = Image.new("L", (size, size))
    draw = ImageDraw.Draw(canvas)
    for part, region in regions.items():
        draw.polygon(region.ravel().tolist(), fill=1 + PARTS.index(part))
    return np.asarray(canvas)
