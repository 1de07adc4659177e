"""Cells of the report's tables, and what stands in place of what was not measured."""

from __future__ import annotations

from collections.abc import Mapping

from fgjax.analysis.page import html
from fgjax.analysis.words import percent

Plots = Mapping[str, str]


def interval(found: Mapping[str, float] | None) -> str:
    """A percentage with its bounds in small print below it; a dash where it was not measured."""
    if found is None:
        return "–"
    if "low" not in found:
        return percent(found["value"])
    bounds = f"{100 * found['low']:.0f}–{100 * found['high']:.0f}"
    return f"{percent(found['value'])}<small>{bounds}</small>"


def number(value: float | None, digits: int = 2) -> str:
    """A number with a thousands separator; a dash where it was not measured."""
    if value is None or value != value:
        return "–"
    # Beyond a thousand, decimals are noise.
    digits = digits if abs(value) < 1000 else 0
    return f"{round(value, digits) + 0.0:,.{digits}f}".replace("-", "−")  # + 0.0: never minus zero


def plot(plots: Plots, name: str, caption: str) -> str:
    """The plot of that name, or nothing where there is none."""
    return html.plot(name, plots[name], caption) if name in plots else ""


def between(found: Mapping[str, float]) -> str:
    """The bounds of a number, as in "0.12 to 0.34"."""
    return f"{number(found['low'])} to {number(found['high'])}"


def signed(gain: float) -> str:
    """A gain or loss of accuracy in percentage points, with its sign."""
    return f"{100 * gain:+.1f} points".replace("-", "−")


def needs(what: str, needed: str) -> str:
    """What a section says if the data lack what it would show."""
    return f"{what} would need {needed}, which these data do not have."
