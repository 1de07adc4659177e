"""The sixteen synthetic species: four families, told apart inside a family by named parts only.

A family fixes body plan and palette. A species adds one variant of each part in which its family
varies; everything else of a bird is nuisance. Variants of a part cover similar areas in the same
colour, so that neither of them can be told by how much of a colour there is in the image.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

PARTS = (
    "beak",
    "crown",
    "eye",
    "nape",
    "throat",
    "breast",
    "belly",
    "flank",
    "back",
    "wing",
    "rump",
    "tail",
    "legs",
)
FAMILIES = ("finch", "kingfisher", "sandpiper", "swallow")


@dataclass(frozen=True)
class Species:
    """A class of the data set: its name, its family and its variant of each varying part."""

    name: str
    family: str
    variants: Mapping[str, str]


def _family(family: str, parts: str, rows: Mapping[str, str]) -> tuple[Species, ...]:
    return tuple(
        Species(f"{name} {family}", family, dict(zip(parts.split(), row.split(), strict=True)))
        for name, row in rows.items()
    )


# Two species of the first or third family differ in two parts, of the others in one to three.
SPECIES = (
    *_family(
        "finch",
        "crown wing breast",
        {
            "amber": "stripe bars streaks",
            "bramble": "cap bars spots",
            "copper": "stripe panel spots",
            "dusky": "cap panel streaks",
        },
    ),
    *_family(
        "kingfisher",
        "crown beak throat",
        {
            "azure": "smooth straight bib",
            "brook": "crested straight bib",
            "coral": "crested heavy bib",
            "delta": "crested heavy whisker",
        },
    ),
    *_family(
        "sandpiper",
        "beak eye flank",
        {
            "ashen": "straight ring bars",
            "bay": "curved ring patch",
            "coastal": "straight brow patch",
            "dune": "curved brow bars",
        },
    ),
    *_family(
        "swallow",
        "tail breast wing",
        {
            "alpine": "square band bars",
            "barn": "forked band bars",
            "cliff": "forked spots bars",
            "dawn": "forked spots panel",
        },
    ),
)
NAMES = tuple(species.name for species in SPECIES)


def separating_parts() -> dict[tuple[str, str], tuple[str, ...]]:
    """For every two species of a family, in either order, the parts in which they differ."""
    return {
        (a.name, b.name): tuple(p for p in PARTS if a.variants.get(p) != b.variants.get(p))
        for a, b in itertools.permutations(SPECIES, 2)
        if a.family == b.family
    }
