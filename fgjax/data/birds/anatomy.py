"""Body plans, poses, and the coordinate frames that a posed bird carries.

Local frames have x forwards (towards the beak) and y downwards; the unit of the body frame is the
length of the trunk, that of the head frame the radius of the head. The frames of wing and tail run
along the feathers (x from 0 at the root to 1 at the tip) and across them (y from -1 to 1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from fgjax.data.birds.raster import Frame, curve


@dataclass(frozen=True)
class BodyPlan:
    """Proportions of a family, in trunk lengths, and how it sits."""

    depth: float  # half the height of the trunk
    head: tuple[float, float]
    head_radius: float
    neck: float  # how far the neck is drawn out, 0..1
    beak: tuple[float, float]  # length and thickness at the root, in head radii
    wing: tuple[float, float, float]  # length, half width, degrees below the back
    tail: tuple[float, float, float]  # length, half width at the root and at the end
    leg: float
    pitch: float  # degrees that the trunk points up at rest
    reach: float  # from the trunk's middle to what is farthest away


BODY_PLANS = {
    "finch": BodyPlan(
        0.30, (0.36, -0.29), 0.215, 0.0, (0.62, 0.80), (0.80, 0.20, 17), (0.46, 0.07, 0.12),
        0.20, 22, 0.86,
    ),
    "kingfisher": BodyPlan(
        0.27, (0.38, -0.32), 0.270, 0.0, (1.75, 0.44), (0.72, 0.18, 8), (0.28, 0.08, 0.11),
        0.12, 24, 0.88,
    ),
    "sandpiper": BodyPlan(
        0.235, (0.56, -0.40), 0.150, 1.0, (2.40, 0.36), (0.84, 0.13, 7), (0.24, 0.07, 0.09),
        0.62, 8, 1.00,
    ),
    "swallow": BodyPlan(
        0.20, (0.44, -0.17), 0.175, 0.0, (0.42, 0.44), (1.14, 0.15, 10), (0.64, 0.06, 0.17),
        0.10, 26, 1.02,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Pose:
    """How a bird holds itself and where it stands in the image."""

    facing: int = 1  # 1: to the right, -1: to the left
    pitch: float = 0.0  # degrees, added to the body plan's
    nod: float = 0.0  # degrees that the beak points down
    turn: float = 0.0  # degrees that the head turns out of the image plane
    droop: float = 0.0  # degrees that the wing hangs
    fan: float = 0.0  # spread of the tail, added to 1
    stance: float = 0.0  # trunk lengths that the feet stand ahead
    stride: float = 0.1  # trunk lengths between the feet
    scale: float = 0.42  # share of the image's side that the body plan's reach covers
    x: float = 0.5  # of the trunk's middle, as a share of the image
    y: float = 0.5


@dataclass(frozen=True)
class Skeleton:
    """A posed bird: its frames, and the outlines of what has one frame only in part.

    `world` is not pitched, for what obeys gravity; `trunk` is the body frame with half the trunk's
    height as its y unit; `face` is the head frame, foreshortened by the head's turn.
    """

    plan: BodyPlan
    world: Frame
    body: Frame
    trunk: Frame
    head: Frame
    face: Frame
    beak: Frame
    wing: Frame
    tail: Frame
    bend: float  # of the beak: how far its tip lies below its root, in thicknesses
    outline: ndarray  # of trunk and head together
    hips: ndarray  # of the far and of the near leg
    feet: ndarray

    @property
    def unit(self) -> float:
        """Length of the trunk in pixels."""
        return float(np.linalg.norm(self.body.axes[0]))


def pose_bird(plan: BodyPlan, pose: Pose, size: int, variants: Mapping[str, str]) -> Skeleton:
    """Place the frames of a bird in an image of the given size."""
    unit = pose.scale * size / plan.reach
    world = Frame(np.array([pose.x, pose.y]) * size, np.diag([pose.facing * unit, unit]))
    pitch = plan.pitch + pose.pitch
    body = world.at((0, 0), degrees=-pitch)
    head = body.at(plan.head, degrees=pitch * 0.8 + pose.nod, scale=plan.head_radius)
    turn = np.deg2rad(pose.turn)
    face = head.at((0.25 * np.sin(turn), 0), scale=(np.cos(turn), 1))
    beak, bend = _beak(face, plan, variants.get("beak"))
    length, width, below = plan.wing
    root = (0.27, -0.30 * plan.depth)
    wing = body.at(root, degrees=180 - below - pose.droop, scale=(length, -width))
    length, _, end = plan.tail
    tail = body.at((-0.44, 0.02), degrees=176, scale=(length, -end * (1 + pose.fan)))
    hips = body([(-0.11, plan.depth * 0.8), (0.02, plan.depth * 0.8)])
    feet = world([(pose.stance - 0.06 + side * pose.stride / 2, 0) for side in (-1, 1)])
    feet[:, 1] = body((0, plan.depth))[1] + plan.leg * unit
    outline = _outline(plan, body, head, variants.get("crown") == "crested")
    trunk = body.at((0, 0), scale=(1, plan.depth))
    return Skeleton(
        plan, world, body, trunk, head, face, beak, wing, tail, bend, outline, hips, feet
    )


def _beak(face: Frame, plan: BodyPlan, variant: str | None) -> tuple[Frame, float]:
    """The beak's frame (x along it, y in thicknesses) and its bend."""
    length, thickness = plan.beak
    if variant == "heavy":
        length, thickness = length * 0.74, thickness * 1.36
    if variant == "curved":
        return face.at((0.84, 0.06), scale=(length, thickness)), 2.5
    return face.at((0.84, 0.06), degrees=5, scale=(length, thickness)), 0.12


def _outline(plan: BodyPlan, body: Frame, head: Frame, crest: bool) -> ndarray:
    """One smooth curve round head and trunk, so that a moving head draws the neck along."""
    d = plan.depth
    angles = np.deg2rad([56, 4, -45, -88, -112, -134, -150, -174])
    radii = np.array([1, 1, 1, 1.03, 1.14, 1.58, 1.14, 1]) if crest else np.ones(8)
    skull = head(np.stack([np.cos(angles), np.sin(angles)], 1) * radii[:, None])
    back = [(0.0, -0.86 * d), (-0.28, -0.66 * d), (-0.50, -0.26 * d), (-0.61, 0.06 * d)]
    below = [(-0.50, 0.36 * d), (-0.30, 0.74 * d), (0.0, 1.0 * d), (0.26, 0.86 * d)]
    if plan.neck:
        x, y = plan.head
        back = [(x - 0.24, y + 0.22), *back]
        below = [*below, (0.45, 0.38 * d), (x - 0.02, y + 0.27)]
    upper, lower = body(back), body(below)
    breast = _bulge(lower[-1], skull[0], body.axes[0], 0.0 if plan.neck else 0.20)
    return curve(np.concatenate([skull, upper, lower, breast]))


def _bulge(start, stop, forwards, depth: float) -> ndarray:
    """A point half way between two, and ``depth`` of their distance off their line."""
    along = stop - start
    normal = np.array([along[1], -along[0]])
    return ((start + stop) / 2 + normal * depth * np.sign(normal @ forwards))[None]
