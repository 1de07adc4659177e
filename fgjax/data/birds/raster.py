"""Anti-aliased drawing on float arrays: polygons, smooth curves, noise and soft shading.

Points are ``(x, y)`` in pixels, y downwards, the image covering ``[0, size] x [0, size]``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from PIL import Image, ImageDraw
from scipy import ndimage

SUPERSAMPLING = 3
TRUNCATE = 2.5  # deviations at which Gaussian blurs are cut off


@dataclass(frozen=True)
class Frame:
    """An affine coordinate frame: local points go to the image by ``p @ axes + origin``."""

    origin: Float[ndarray, 2]
    axes: Float[ndarray, "2 2"]

    def __call__(self, points) -> Float[ndarray, "*n 2"]:
        """Where local points lie in the image."""
        return np.asarray(points, float) @ self.axes + self.origin

    def at(self, point, *, degrees: float = 0.0, scale=1.0) -> Frame:
        """The frame with its origin at a local point, turned (x towards y) and then scaled."""
        angle = np.deg2rad(degrees)
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        local = np.broadcast_to(scale, 2)[:, None] * turn
        return Frame(self(point), local @ self.axes)

    def coordinates(self, size: int) -> Float[ndarray, "2 size size"]:
        """Local x and y of every pixel centre."""
        x, y = np.meshgrid(*(np.arange(size, dtype=np.float32) + 0.5 - self.origin[:, None]))
        inverse = np.linalg.inv(self.axes).astype(np.float32)
        return np.stack([x * inverse[0, i] + y * inverse[1, i] for i in (0, 1)])


def curve(points, *, closed: bool = True, steps: int = 6) -> Float[ndarray, "n 2"]:
    """A smooth (Catmull-Rom) curve through the points."""
    p = np.asarray(points, float)
    ends = (p[-1:], p[:2]) if closed else (p[:1], p[-1:])
    p = np.concatenate([ends[0], p, ends[1]])
    t = np.linspace(0, 1, steps, endpoint=False)[:, None, None]
    a, b, c, d = p[:-3], p[1:-2], p[2:-1], p[3:]
    segments = b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
    line = segments.transpose(1, 0, 2).reshape(-1, 2)
    return line if closed else np.concatenate([line, p[-2:-1]])


def ellipse(center, radii, *, degrees: float = 0.0) -> Float[ndarray, "24 2"]:
    """The outline of an ellipse."""
    t = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    angle = np.deg2rad(degrees)
    x, y = radii[0] * np.cos(t), radii[1] * np.sin(t)
    turned = [x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)]
    return np.stack(turned, 1) + center


def ribbon(points, widths) -> Float[ndarray, "n 2"]:
    """The outline of a stroke along a smooth curve, its width interpolated from end to end."""
    line = curve(points, closed=False)
    along = np.gradient(line, axis=0)
    normal = np.stack([-along[:, 1], along[:, 0]], 1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9
    width = np.interp(np.linspace(0, 1, len(line)), np.linspace(0, 1, len(widths)), widths)
    side = normal * width[:, None] / 2
    return np.concatenate([line + side, (line - side)[::-1]])


def coverage(polygons: Iterable, size: int, tones: Iterable[int] | None = None):
    """Share of every pixel that the polygons cover, or their grey tones, painted in order."""
    canvas = Image.new("L", (size * SUPERSAMPLING,) * 2)
    draw = ImageDraw.Draw(canvas)
    polygons = list(polygons)
    tones = [255] * len(polygons) if tones is None else tones
    for polygon, tone in zip(polygons, tones, strict=True):
        draw.polygon((np.asarray(polygon) * SUPERSAMPLING).ravel().tolist(), fill=int(tone))
    return np.asarray(canvas.reduce(SUPERSAMPLING), np.float32) / 255


def float32(values) -> ndarray:
    """A colour or a direction in single precision."""
    return np.asarray(values, np.float32)


def window(alpha, margin: float = 0) -> tuple[slice, slice]:
    """The rows and columns where there is something, and ``margin`` more on every side."""
    margin = int(np.ceil(margin))

    def span(axis):
        filled = np.flatnonzero(alpha.any(1 - axis))
        if not len(filled):
            return slice(0)
        return slice(max(filled[0] - margin, 0), filled[-1] + 1 + margin)

    return span(0), span(1)


def blend(image, color, alpha):
    """Paint a colour, or an image, over an image with a per-pixel alpha."""
    where = window(alpha)
    below, color = image[where], np.asarray(color)
    above = color[where] if color.ndim == 3 else color
    image = image.copy()
    image[where] = below + (above - below) * alpha[where][..., None]
    return image


def blur(array, sigma: float):
    """Gaussian blur of the first two axes."""
    return ndimage.gaussian_filter(
        array, (sigma, sigma) + (0,) * (array.ndim - 2), mode="nearest", truncate=TRUNCATE
    )


def enlarge(array, size: int):
    """A small image, bicubically enlarged: smooth, so that it looks out of focus."""
    planes = [
        np.asarray(Image.fromarray(plane).resize((size, size), Image.Resampling.BICUBIC))
        for plane in np.moveaxis(array.astype(np.float32), -1, 0)
    ]
    return np.stack(planes, -1)


def noise(rng: np.random.Generator, shape: tuple[int, int], sigma) -> Float[ndarray, "h w"]:
    """Periodic smooth noise of zero mean and unit deviation."""
    field = ndimage.gaussian_filter(rng.standard_normal(shape, np.float32), sigma, mode="wrap")
    return (field - field.mean()) / field.std()


def sample(texture, u, v):
    """A periodic texture looked up at real coordinates (its rows by v, its columns by u)."""
    return ndimage.map_coordinates(texture, [v, u], order=1, mode="grid-wrap")


def relief(alpha, sigma: float, light: Float[ndarray, 3], depth: float = 1.0):
    """Diffuse light on a shape puffed up from its silhouette: 1 where it faces the viewer.

    The blurred silhouette serves as the height of the shape, ``light`` points towards the light.
    """
    shade = np.ones_like(alpha)
    where = window(alpha, TRUNCATE * sigma + 1)
    height = blur(alpha[where], sigma)
    slope_y, slope_x = np.gradient(height * (sigma * 2.5 * depth))
    facing = light[2] - slope_x * light[0] - slope_y * light[1]
    shade[where] = facing / np.sqrt(1 + slope_x**2 + slope_y**2) / light[2]
    return shade
