"""Body plans, poses, and the coordinate frames that a posed bird carries.

Local frames have x forwards (towards the beak) and y downwards; the unit of the body frame is the
length of the trunk, that of the head frame the radius of the head. The frames of wing and tail run
along the feathers (x from 0 at the root to 1 at the tip) and across them (y from -1 to 1).
"""

from __future__ import annotations

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
        0.27, (0.38, -0.32), 0.270, 0.0, (1.75, 0.44), (0.76, 0.19, 20), (0.28, 0.08, 0.11),
        0.12, 34, 0.88,
    ),
    "sandpiper": BodyPlan(
        0.235, (0.56, -0.40), 0.150, 1.0, (2.40, 0.36), (0.86, 0.16, 10), (0.24, 0.07, 0.09),
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
    """A posed bird: its frames and the outline of trunk and head."""

    plan: BodyPlan
    world: Frame  # trunk lengths, not pitched: for what obeys gravity
    body: Frame
    head: Frame
    face: Frame  # the head frame, foreshortened by the head's turn
    wing: Frame
    tail: Frame
    outline: ndarray
    feet: ndarray


def pose_bird(plan: BodyPlan, pose: Pose, size: int, *, crest: bool = False) -> Skeleton:
    """Place the frames of a bird in an image of the given size."""
    unit = pose.scale * size / plan.reach
    world = Frame(np.array([pose.x, pose.y]) * size, np.diag([pose.facing * unit, unit]))
    pitch = plan.pitch + pose.pitch
    body = world.at((0, 0), degrees=-pitch)
    head = body.at(plan.head, degrees=pitch * 0.8 + pose.nod, scale=plan.head_radius)
    turn = np.deg2rad(pose.turn)
    face = head.at((0.25 * np.sin(turn), 0), scale=(np.cos(turn), 1))
    length, width, below = plan.wing
    root = (0.27, -0.30 * plan.depth)
    wing = body.at(root, degrees=180 - below - pose.droop, scale=(length, -width))
    length, _, end = plan.tail
    tail = body.at((-0.44, 0.02), degrees=176, scale=(length, -end * (1 + pose.fan)))
    hips = world.at((pose.stance - 0.06, 0))
    feet = hips([(-pose.stride / 2, 0), (pose.stride / 2, 0)])
    feet[:, 1] = body((0, plan.depth))[1] + plan.leg * unit
    return Skeleton(
        plan, world, body, head, face, wing, tail, _outline(plan, body, head, crest), feet
    )


def _outline(plan: BodyPlan, body: Frame, head: Frame, crest: bool) -> ndarray:
    """One smooth curve round head and trunk, so that a moving head draws the neck along."""
    d = plan.depth
    angles = np.deg2rad([42, 0, -45, -88, -128, -172])
    radii = np.ones((6, 1)) if not crest else np.array([[1, 1, 1.02, 1.06, 1.5, 1.08]]).T
    skull = radii * np.stack([np.cos(angles), np.sin(angles)], 1)
    back = [(0.0, -0.86 * d), (-0.30, -0.62 * d), (-0.50, -0.16 * d)]
    below = [
        (-0.50, 0.26 * d),
        (-0.32, 0.66 * d),
        (0.0, 1.0 * d),
        (0.30, 0.78 * d),
        (0.47, 0.16 * d),
    ]
    if plan.neck:
        x, y = plan.head
        back = [(x - 0.24, y + 0.22), *back]
        below = [*below, (x - 0.02, y + 0.27)]
    return curve(np.concatenate([head(skull), body(back), body(below)]))
