"""A drawn world of look-alike birds in which the truth is known: parts, poses, causes."""

from fgjax.data.birds.anatomy import Pose
from fgjax.data.birds.scene import VERSION, Scene, render
from fgjax.data.birds.species import FAMILIES, NAMES, PARTS, SPECIES, Species, separating_parts

__all__ = [
    "FAMILIES",
    "NAMES",
    "PARTS",
    "SPECIES",
    "VERSION",
    "Pose",
    "Scene",
    "Species",
    "render",
    "separating_parts",
]
