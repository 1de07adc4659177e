"""Test-time views: probabilities averaged over crops, mirror images and scales of an image.

A config declares them in one line, ``views = "ten_crop"`` or ``views = ("center", "flip@1.25")``.
A view is one of

    a name of ``data.views.VIEWS``, with ``@scale`` if it is to be magnified;
    "attention": the region of the center view that the network's own attention maps fill, enlarged
        (WS-DAN, Hu et al. 2019, section 3.4), with ``@threshold`` if that is not 0.1;
    "attention_flip": the same of the mirror image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from fgjax.data import views as crops
from fgjax.errors import UserError
from fgjax.ops.attention_crop import attention_boxes, crop_and_resize

PRESETS = {
    "single": ("center",),
    "mirrored": ("center", "flip"),
    "five_crop": crops.FIVE_CROP,
    "ten_crop": crops.TEN_CROP,
    "attention_crop": ("center", "attention"),
}
# The views that follow attention, each with the view that attention is computed on.
FOLLOWING = {"attention": "center", "attention_flip": "flip"}

Apply = Callable[[Num[Array, "b s s 3"]], Float[Array, "b k"]]
Attend = Callable[[Num[Array, "b s s 3"]], Float[Array, "b h w m"]]


def resolve(views: str | Sequence[str]) -> tuple[str, ...]:
    """The views that a config declares: the name of a preset, or the views themselves.

    Raises:
        UserError: a preset, view or scale is unknown, or there is no view.
    """
    if isinstance(views, str):
        if views not in PRESETS:
            raise UserError(f"unknown set of views {views!r}; choose from {', '.join(PRESETS)}")
        return PRESETS[views]
    if len(views) == 1 and views[0] in PRESETS:  # as --config.evaluate.views=ten_crop is read
        return PRESETS[views[0]]
    if not views:
        raise UserError('evaluate.views is empty; name at least one view, such as "center"')
    for view in views:
        _parse(view)
    return tuple(views)


def cut(images: Num[Array, "b c c 3"], view: str, size: int) -> Num[Array, "b s s 3"]:
    """One view of every image, ``size`` pixels wide.

    A scale of 1.25 cuts a window of ``size / 1.25`` pixels and enlarges it bilinearly to ``size``,
    which every view must have; a scale below 1 shows more than the usual crop, and smaller.

    Args:
        images: squares with room around the crop (a canvas larger than ``size``), in pixels.
        view: e.g. "flip" or "center@1.25"; static.
        size: side of the network's input; static.

    Raises:
        UserError: the images are too small for the view.
    """
    name, scale = _parse(view)
    if name in FOLLOWING:
        raise UserError(f"the view {view!r} follows attention; it can stand in evaluate.views only")
    window, canvas = round(size / scale), images.shape[1]
    off_center = crops.VIEWS[name][:2] != crops.VIEWS["center"][:2]
    if window > canvas or (off_center and window == canvas):
        raise UserError(
            f"images of {canvas} pixels are too small for the view {view!r} at {size} pixels; "
            "evaluate with a larger canvas or without this view"
        )
    crop, _ = crops.take(images, jnp.zeros((len(images), 4)), name, window)
    if window == size:
        return crop
    shape = (len(images), size, size, images.shape[-1])
    return jax.image.resize(crop.astype(jnp.float32), shape, "bilinear")


def attended(
    images: Num[Array, "b c c 3"], view: str, size: int, attend: Attend
) -> Float[Array, "b s s 3"]:
    """A view that follows attention: the box that the mean of the attention maps fills, enlarged.

    Args:
        images: as in :func:`cut`.
        view: e.g. "attention" or "attention_flip@0.3"; static.
        size: side of the network's input; static.
        attend: attention maps of images of ``size`` pixels.
    """
    name, threshold = _parse(view)
    seen = cut(images, FOLLOWING[name], size).astype(jnp.float32)
    maps = attend(seen).mean(-1)
    boxes = attention_boxes(maps, jnp.full(len(maps), threshold), (size, size))
    return crop_and_resize(seen, boxes, (size, size))


def averaged(
    apply: Apply,
    views: Sequence[str],
    size: int,
    attend: Attend | None = None,
) -> Apply:
    """A function from images to log-probabilities: those of the mean probability over all views.

    The views go through the network one after the other, so that memory is that of one view.

    Args:
        apply: a network on images of ``size`` pixels.
        views: what ``resolve`` returned.
        size: side of the network's input.
        attend: the network's attention maps, for the views that follow them.

    Raises:
        UserError: when called, if images are too small for a view.
    """

    def look(images: Num[Array, "b c c 3"], view: str) -> Num[Array, "b s s 3"]:
        if attend is not None and _parse(view)[0] in FOLLOWING:
            return attended(images, view, size, attend)
        return cut(images, view, size)

    def apply_all(images: Num[Array, "b c c 3"]) -> Float[Array, "b k"]:
        logits = jnp.stack([apply(look(images, view)) for view in views]).astype(jnp.float32)
        # The logarithm of the mean, without leaving the logarithm: small probabilities stay exact.
        log_p = jax.nn.log_softmax(logits, axis=-1)
        return jax.nn.logsumexp(log_p, axis=0) - jnp.log(len(views))

    return apply_all


def _parse(view: str) -> tuple[str, float]:
    """A view's name and number: its scale, or its threshold if it follows attention."""
    name, _, raw = view.partition("@")
    known = (*crops.VIEWS, *FOLLOWING)
    if name not in known:
        raise UserError(f"unknown view {view!r}; choose from {', '.join(known)}")
    try:
        number = float(raw or (0.1 if name in FOLLOWING else 1))
    except ValueError:
        number = 0.0  # which both ranges below refuse
    if name in FOLLOWING:
        if not 0 < number < 1:
            raise UserError(
                f'the threshold of the view {view!r} must be a number such as "{name}@0.1"'
            )
    elif not 0.1 <= number <= 10:
        raise UserError(f'the scale of the view {view!r} must be a number such as "{name}@1.25"')
    return name, number
