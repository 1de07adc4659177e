"""Checks of what a config says."""

from __future__ import annotations

from collections.abc import Sequence

from fgjax.errors import UserError


def check_choice(key: str, value: str, choices: Sequence[str]) -> None:
    """Raises a UserError that lists the choices unless ``value`` is one of them."""
    if value not in choices:
        raise UserError(f"{key}={value!r} is unknown; choose one of {', '.join(choices)}")
