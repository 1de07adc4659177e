"""Pictures of a run: learning curves, confused pairs, and a grid of photos with their evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from fgjax.errors import UserError
from fgjax.show.overlay import Ranked, evidence_scale, heat_overlay, show

# Okabe and Ito's colours, told apart by colour-blind readers.
BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"


class Example(NamedTuple):
    """A photo, the evidence for its first guess, the guesses, and the true class if known."""

    image: UInt8[np.ndarray, "H W 3"]
    contributions: Float[np.ndarray, "h w"]
    ranked: Ranked
    label: str | None = None


def learning_curves(rows: Sequence[Mapping], panels: Mapping[str, Mapping[str, str]]) -> Figure:
    """Metrics over steps, one panel each, with the phases shaded.

    Args:
        rows: what ``training.logs.read`` returned.
        panels: {panel: {metric: name in the legend}}, such as a task's; what was not logged
            is left out.

    Raises:
        UserError: none of the metrics was logged.
    """
    logged = set().union(*rows)
    shown = {panel: metrics for panel, metrics in panels.items() if logged & metrics.keys()}
    if not shown:
        raise UserError("the log holds no metric to plot; train for some steps first")
    figure = Figure(figsize=(4.8 * len(shown), 3.4), layout="constrained")
    grid = figure.subplots(1, len(shown), squeeze=False)[0]
    for axes, (panel, metrics) in zip(grid, shown.items(), strict=True):
        for (metric, name), color in zip(metrics.items(), (BLUE, ORANGE, GREEN, RED), strict=False):
            _draw_curve(axes, rows, metric, label=name, color=color)
        _shade_phases(axes, rows)
        _plain(axes)
        axes.set_xlim(left=0)
        axes.set(xlabel="Step", ylabel=panel)
        axes.legend(frameon=False)
    return figure


def confusion_bars(pairs: Sequence[Mapping]) -> Figure:
    """How often the most confused pairs were taken for each other, in either direction.

    Args:
        pairs: what ``evaluation.confusions.most_confused`` returned.
    """
    figure = Figure(figsize=(7.0, 0.9 + 0.34 * len(pairs)), layout="constrained")
    axes = figure.subplots()
    forth = np.array([pair["first_as_second"] for pair in pairs])
    back = np.array([pair["second_as_first"] for pair in pairs])
    rows = np.arange(len(pairs))
    axes.barh(rows, forth, color=BLUE, label="first taken for second", height=0.7)
    axes.barh(rows, back, left=forth, color=ORANGE, label="second taken for first", height=0.7)
    names = [f"{pair['first']} / {pair['second']}" for pair in pairs]
    axes.set_yticks(rows, names, parse_math=False)
    axes.invert_yaxis()
    _plain(axes)
    axes.locator_params("x", integer=True)
    axes.set_xlabel("Images")
    axes.legend(frameon=False, loc="lower right")
    return figure


def result_grid(examples: Sequence[Example]) -> Figure:
    """Photos with their first guess, green where it is right and red where not, above evidence.

    All maps share one scale, so that strong and weak evidence can be compared.
    """
    height = max(example.image.shape[0] / example.image.shape[1] for example in examples)
    layout = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, compress=True)
    figure = Figure(figsize=(2.1 * len(examples), 4.2 * height + 0.6), layout=layout)
    scale = max(evidence_scale(example.contributions) for example in examples)
    grid = figure.subplots(2, len(examples), squeeze=False)
    for (photo, heat), example in zip(grid.T, examples, strict=True):
        name, probability = example.ranked[0]
        right = example.label in (None, name)
        show(photo, example.image)
        photo.set_title(
            f"{name}\n{probability:.0%}" + ("" if right else f", is {example.label}"),
            fontsize=9,
            color=GREEN if right else RED,
            parse_math=False,
        )
        show(heat, heat_overlay(example.image, example.contributions, scale))
    return figure


def _draw_curve(axes: Axes, rows: Sequence[Mapping], metric: str, **look) -> None:
    points = [(row["step"], row[metric]) for row in rows if row.get(metric) is not None]
    if points:
        marker = "o" if len(points) < 30 else None
        axes.plot(*zip(*points, strict=True), marker=marker, markersize=3.5, **look)


def _shade_phases(axes: Axes, rows: Sequence[Mapping]) -> None:
    """Grey every other phase and write its name at the top."""
    start = 0
    named = [row for row in rows if "phase" in row]
    for number, (phase, members) in enumerate(groupby(named, key=lambda row: row["phase"])):
        stop = max(row["step"] for row in members)
        if number % 2:
            axes.axvspan(start, stop, color="0.94", zorder=0, lw=0)
        axes.annotate(
            phase,
            ((start + stop) / 2, 1.0),
            xycoords=axes.get_xaxis_transform(),
            xytext=(0, 2),
            textcoords="offset points",
            ha="center",
            fontsize=9,
            color="dimgrey",
            parse_math=False,
        )
        start = stop


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9)
