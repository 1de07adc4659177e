"""The colours of the families, and how they vary from bird to bird."""

from __future__ import annotations

import colorsys

import numpy as np

# family: colours in sRGB, 0..1.
PALETTES = {
    "finch": {
        "back": (0.56, 0.42, 0.28), "belly": (0.86, 0.72, 0.52), "wing": (0.42, 0.31, 0.22),
        "beak": (0.78, 0.64, 0.46), "leg": (0.50, 0.36, 0.30),
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


def palette(rng: np.random.Generator, family: str, spread: float) -> dict[str, np.ndarray]:
    """The family's colours, with hue, saturation and brightness of this one bird."""
    hue, saturation, value = rng.normal(0, 1, 3) * spread * (0.03, 0.16, 0.14)
    colors = {}
    for name, color in PALETTES[family].items():
        h, s, v = colorsys.rgb_to_hsv(*color)
        own = rng.normal(0, 1, 3) * spread * (0.006, 0.04, 0.05)
        h, s = (h + hue + own[0]) % 1, s * np.exp(saturation + own[1])
        v = v * np.exp(value + own[2])
        colors[name] = np.array(colorsys.hsv_to_rgb(h, min(s, 1), min(v, 0.98)), np.float32)
    return colors
