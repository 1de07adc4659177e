"""Stratified splits by rule."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int


def held_out(
    labels: Int[np.ndarray, " n"], names: Sequence[str], share: float, salt: str
) -> Bool[np.ndarray, " n"]:
    """Chooses a share of each class's examples, by the digest of their names.

    The choice depends on the names and the salt alone, not on the order in which the examples
    are listed. A class of two or more keeps at least one example on either side; a class of one
    holds out none.

    Args:
        labels: class of every example.
        names: name of every example.
        share: of each class to choose, between 0 and 1.
        salt: another salt gives another choice.

    Returns:
        True where the example is chosen.
    """
    chosen = np.zeros(len(labels), bool)
    if share <= 0:
        return chosen
    digests = [hashlib.sha256(f"{salt}/{name}".encode()).digest() for name in names]
    for label in np.unique(labels):
        members = sorted(np.flatnonzero(labels == label), key=digests.__getitem__)
        count = min(max(round(share * len(members)), 1), len(members) - 1)
        chosen[members[:count]] = True
    return chosen
