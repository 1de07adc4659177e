"""A finite set of views of an image: crops and their mirror images.

They are what a frozen trunk's features can be stored for, and what predictions are averaged over at
test time. A view is taken from a batch of square images on the host or on the device, alike.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from fgjax.checking.choices import check_choice
from fgjax.ops import boxes

AnyArray = TypeVar("AnyArray", np.ndarray, jax.Array)


class View(NamedTuple):
    """Where the crop lies, as the share of the room there is above and left of it."""

    top: float
    left: float
    flip: bool


_PLACES = {
    "center": (0.5, 0.5),
    "top_left": (0.0, 0.0),
    "top_right": (0.0, 1.0),
    "bottom_left": (1.0, 0.0),
    "bottom_right": (1.0, 1.0),
}
VIEWS = {name: View(*place, flip=False) for name, place in _PLACES.items()} | {
    ("flip" if name == "center" else f"{name}_flip"): View(*place, flip=True)
    for name, place in _PLACES.items()
}
FIVE_CROP = tuple(_PLACES)
TEN_CROP = tuple(VIEWS)


def take(images: AnyArray, affine: AnyArray, view: str, size: int) -> tuple[AnyArray, AnyArray]:
    """One view of every image.

    Args:
        images: [b s s 3] of any type.
        affine: Float[b 4], map from original pixels to those of ``images``.
        view: a name in ``VIEWS``; static.
        size: side of the crop, in pixels, at most s; static.

    Returns:
        The crops [b size size 3], and the map from original pixels to theirs.

    Raises:
        UserError: the view is unknown.
    """
    check_choice("view", view, tuple(VIEWS))
    place = VIEWS[view]
    room = images.shape[1] - size
    if room < 0:
        raise ValueError(f"a view of {size} pixels does not fit into images of {images.shape[1]}.")
    top, left = int(place.top * room), int(place.left * room)
    crops = images[:, top : top + size, left : left + size]
    step = [1.0, 1.0, -top, -left]
    if place.flip:
        crops, step = crops[:, :, ::-1], [1.0, -1.0, -top, size + left]
    xnp = jnp if isinstance(affine, jax.Array) else np
    return crops, boxes.compose(xnp.asarray(step, affine.dtype), affine)
