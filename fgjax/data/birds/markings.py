"""The shapes that the variants of a part take.

Shapes are polygons in the frame of the part (see `anatomy`). Variants of a part cover about the
same area; ``extent`` scales their linear size.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fgjax.data.birds.raster import ellipse, ribbon

FRAMES = {
    "crown": "head",
    "eye": "face",
    "throat": "face",
    "breast": "trunk",
    "flank": "trunk",
    "wing": "wing",
}
EYE = np.array([0.34, -0.14])


def _arc(start: float, stop: float, inner: float, outer: float):
    angles = np.deg2rad(np.linspace(start, stop, 16))[:, None]
    rim = np.concatenate([np.cos(angles), np.sin(angles)], 1)
    return np.concatenate([outer * rim, inner * rim[::-1]])


def _stripe(e):
    return [_arc(-30, -172, 0.88 - 0.26 * e, 0.88)]


def _cap(e):
    return [_arc(-78 + 44 * e, -78 - 44 * e, 0.86 - 0.32 * e, 1.2)]


def _ring(e):
    outer, inner = 0.24 + 0.17 * e, 0.24
    circle = ellipse(EYE, (outer, outer))
    hole = ellipse(EYE, (inner, inner))[::-1]
    return [np.concatenate([circle, circle[:1], hole, hole[:1]])]


def _brow(e):
    points = [(0.92, -0.30), (0.45, -0.52), (-0.15, -0.50), (-0.80, -0.22)]
    return [ribbon(points, (0.10 * e, 0.27 * e, 0.24 * e, 0.06 * e))]


def _bib(e):
    return [ellipse((0.62, 0.72), (0.50 * e, 0.36 * e), degrees=-35)]


def _whisker(e):
    return [
        ribbon([(0.82, 0.20), (0.45, 0.48), (-0.10, 0.72), (-0.45, 0.74)], (0.30 * e, 0.44 * e))
    ]


# Places on the breast and on the flank: along the trunk, and down it in half depths.
_BREAST = np.array([(x + 0.03 * (r % 2), y) for r, y in enumerate((-0.05, 0.26, 0.57, 0.86))
                    for x in (0.22, 0.33, 0.44)])  # fmt: skip


def _spots(e):
    return [ellipse(at, (0.030 * e, 0.030 / 0.26 * e)) for at in _BREAST]


def _streaks(e):
    return [ellipse(at, (0.010 * e, 0.33 * e), degrees=2) for at in _BREAST]


def _band(e):
    return [ribbon([(0.24, -0.45), (0.31, 0.10), (0.40, 0.50), (0.56, 0.74)], (0.094 * e,) * 2)]


def _flank_bars(e):
    return [
        ribbon([(x + 0.03, 0.30), (x, 0.62), (x + 0.03, 0.98)], (0.034 * e, 0.044 * e))
        for x in (-0.20, -0.08, 0.04, 0.16)
    ]


def _flank_patch(e):
    return [ellipse((0.03, 0.66), (0.157 * e, 0.21 * e))]


def _wing_bars(e):
    return [
        ribbon([(u + 0.05, -0.75), (u - 0.03, 0.0), (u + 0.04, 0.80)], (0.055 * e,) * 2)
        for u in (0.27, 0.43)
    ]


def _wing_panel(e):
    return [ribbon([(0.46, 0.42), (0.64, 0.36), (0.80, 0.16)], (0.34 * e, 0.62 * e, 0.30 * e))]


SHAPES: dict[tuple[str, str], Callable] = {
    ("crown", "stripe"): _stripe,
    ("crown", "cap"): _cap,
    ("eye", "ring"): _ring,
    ("eye", "brow"): _brow,
    ("throat", "bib"): _bib,
    ("throat", "whisker"): _whisker,
    ("breast", "spots"): _spots,
    ("breast", "streaks"): _streaks,
    ("breast", "band"): _band,
    ("flank", "bars"): _flank_bars,
    ("flank", "patch"): _flank_patch,
    ("wing", "bars"): _wing_bars,
    ("wing", "panel"): _wing_panel,
}
