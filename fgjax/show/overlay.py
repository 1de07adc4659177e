"""Where the network looked: evidence maps over photos, and predictions as a file of rows."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from PIL import Image

from fgjax.files import replacing

# (class, probability), from most to least probable.
Ranked = Sequence[tuple[str, float]]

# Perceptually uniform and diverging (Moreland, 2009); safe for colour-blind readers.
COLORS = matplotlib.colormaps["coolwarm"]


_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def heat_overlay(
    image: UInt8[np.ndarray, "H W 3"], contributions: Float[np.ndarray, "h w"], scale: float
) -> UInt8[np.ndarray, "H W 3"]:
    """Blend signed evidence over a photo: red speaks for the class, blue against it.

    The map is enlarged bicubically to the size of the image. Opacity grows with the evidence, and
    the photo beneath is grey, so that every colour in the result is evidence.

    Args:
        image: what the network saw, i.e. the crop that the map belongs to.
        contributions: evidence of each location.
        scale: the evidence that gets full colour; more is clipped.
    """
    evidence = np.clip(_enlarged(contributions, image.shape[:2]) / scale, -1.0, 1.0)
    grey = np.asarray(Image.fromarray(image).convert("L"), np.float32)[..., None]
    colors = 255.0 * COLORS(0.5 + 0.5 * evidence)[..., :3]
    opacity = 0.85 * np.abs(evidence[..., None]) ** 0.8
    return np.round(grey + opacity * (colors - grey)).astype(np.uint8)


def explanation(
    image: UInt8[np.ndarray, "H W 3"], contributions: Float[np.ndarray, "h w"], ranked: Ranked
) -> Figure:
    """Photo with its predictions beside the evidence for the first of them, with a legend.

    Args:
        image: what the network saw.
        contributions: signed share of each location in the score of ``ranked[0]``.
        ranked: (class, probability), from most to least probable; five at most are shown.
    """
    ranked, scale = ranked[:5], evidence_scale(contributions)
    photo_height = 4.0 * image.shape[0] / image.shape[1]
    text_height = 0.2 + 0.2 * len(ranked)
    figure = Figure(figsize=(8.2, photo_height + text_height + 0.4), layout="compressed")
    (photo, heat), (text, bar) = figure.subplots(2, 2, height_ratios=(photo_height, text_height))
    show(photo, image, "Photo")
    show(heat, heat_overlay(image, contributions, scale), f"Evidence for {ranked[0][0]}")
    for axes in (text, bar):
        axes.axis("off")
    caption(text, ranked)
    legend(figure, bar.inset_axes((0.05, 0.75, 0.9, 0.12 / text_height)), scale)
    return figure


def evidence_scale(contributions: Float[np.ndarray, "h w"]) -> float:
    """Largest absolute evidence of a map; 1 where there is none."""
    return float(np.abs(contributions).max()) or 1.0


def show(axes: Axes, image: UInt8[np.ndarray, "H W 3"], title: str = "") -> None:
    """Draw an image without ticks and frame."""
    axes.imshow(image, interpolation="lanczos")
    axes.set(xticks=[], yticks=[])
    axes.set_title(title, fontsize=11, parse_math=False)
    axes.spines[:].set_visible(False)


def caption(axes: Axes, ranked: Ranked) -> None:
    """Write classes and probabilities from the top of the axes down, the first in bold."""
    for row, (name, probability) in enumerate(ranked):
        look: dict[str, Any] = {"weight": "bold"} if row == 0 else {"color": "dimgrey"}
        for x, side, words in ((0, "left", name), (1, "right", f"{100 * probability:.1f} %")):
            axes.annotate(
                words,
                xy=(x, 1.0),
                xycoords="axes fraction",
                xytext=(0, -14 * row),
                textcoords="offset points",
                ha=side,
                va="top",
                fontsize=10,
                parse_math=False,
                **look,
            )


def legend(figure: Figure, axes: Axes, scale: float) -> None:
    """Fill axes with the colour bar of evidence maps, in units of the score."""
    colors = ScalarMappable(Normalize(-scale, scale), COLORS)
    bar = figure.colorbar(colors, cax=axes, orientation="horizontal")
    bar.set_ticks([-scale, 0, scale], labels=[f"against ({-scale:.2g})", "0", f"for ({scale:.2g})"])
    bar.ax.tick_params(labelsize=9, length=0)
    bar.outline.set_visible(False)


def save(figure: Figure, path: str | os.PathLike, dpi: int = 150) -> None:
    """Write a figure atomically, in the format that the suffix of the path names.

    Raises:
        UserError: the folder cannot be written to.
    """
    with replacing(path) as file:
        figure.savefig(file, format=Path(path).suffix[1:], dpi=dpi)


def write_csv(predictions: Iterable[tuple[str, Ranked]], path: str | os.PathLike) -> None:
    """Write predictions as rows ``path, rank, class, probability``; ranks start at 1.

    A path or class that a spreadsheet would take for a formula gets an apostrophe before it.

    Args:
        predictions: (image path, [(class, probability), ...] from most to least probable).
        path: the CSV file (UTF-8, with a header); replaced atomically.

    Raises:
        UserError: the folder cannot be written to.
    """
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\r\n")  # RFC 4180; thus both are quoted in cells
    rows.writerow(("path", "rank", "class", "probability"))
    for image, ranked in predictions:
        for rank, (name, probability) in enumerate(ranked, start=1):
            rows.writerow((_as_text(image), rank, _as_text(name), f"{probability:.6f}"))
    with replacing(path) as file:
        file.write(text.getvalue().encode())


def _as_text(cell: str) -> str:
    """The cell as spreadsheets show it; OWASP lists what they calculate ("CSV Injection")."""
    number = re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", cell)
    return f"'{cell}" if cell.startswith(_FORMULA) and not number else cell


def _enlarged(values: Float[np.ndarray, "h w"], size: tuple[int, int]) -> Float[np.ndarray, "H W"]:
    source = Image.fromarray(np.ascontiguousarray(values, np.float32))
    return np.asarray(source.resize(size[::-1], Image.Resampling.BICUBIC))
