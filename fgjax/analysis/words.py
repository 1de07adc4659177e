"""Figures in words, the same in the advice, on the page and in the console."""

from __future__ import annotations


def percent(fraction: float | None) -> str:
    """A fraction as a percentage with one decimal; a dash for None or nan (not measured)."""
    # Only nan differs from itself. The space is one that no line breaks at.
    return "–" if fraction is None or fraction != fraction else f"{100 * fraction:.1f}\u00a0%"
