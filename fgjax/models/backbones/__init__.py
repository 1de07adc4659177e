"""Backbones: images in, the hierarchy conv1 ... conv5 out."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fgjax.checking.options import Kinds, fitted, number, whole
from fgjax.errors import UserError
from fgjax.models.backbones import convnext, efficientnet_lite, hrnet, resnet, vgg
from fgjax.models.backbones.base import Backbone, Variants
from fgjax.models.context import Context
from fgjax.models.cost import multiply_adds

# family: (builder, {name: its options})
FAMILIES: dict[str, tuple[Callable[..., Backbone], Variants]] = {
    "convnext": (convnext.convnext, convnext.VARIANTS),
    "efficientnet_lite": (efficientnet_lite.efficientnet_lite, efficientnet_lite.VARIANTS),
    "hrnet": (hrnet.hrnet, hrnet.VARIANTS),
    "resnet": (resnet.resnet, resnet.VARIANTS),
    "vgg": (vgg.vgg, vgg.VARIANTS),
}

COUNT = whole(1, 100)  # of blocks
MULTIPLE = number(0, 20, above=True)
KINDS: Kinds = {
    "blocks": COUNT,
    "bottlenecks": COUNT,
    "depth": MULTIPLE,
    "depths": COUNT,
    "modules": COUNT,
}
SCALED = (efficientnet_lite.efficientnet_lite, vgg.vgg)  # whose width is a multiple, no count


def names() -> tuple[str, ...]:
    """The names that :func:`create` knows."""
    return tuple(name for _, variants in FAMILIES.values() for name in variants)


def family(name: str) -> str:
    """The family of a backbone, e.g. "resnet"; UserError for a name that does not exist."""
    for key, (_, variants) in FAMILIES.items():
        if name in variants:
            return key
    raise UserError(f"there is no backbone {name!r}; choose one of {', '.join(names())}")


def create(name: str, **options: Any) -> Backbone:
    """The backbone ``name``; ``options`` are those of its family's builder.

    Raises:
        UserError: unknown name or option; the message lists what exists.
    """
    build, variants = FAMILIES[family(name)]
    kinds = {**KINDS, "width": MULTIPLE} if build in SCALED else KINDS
    options = fitted("model.backbone", name, build, options, kinds)
    return build(**{**variants[name], **options})


class LevelInfo(NamedTuple):
    """What a level is, at one image size.

    Stride, channels and size describe the map of that name; parameters and multiply-adds belong to
    the group of that name. In HRNet the two differ: its maps are named by resolution, its groups
    by depth.

    Attributes:
        stride: pixels of the image per pixel of the map.
        channels: of the map.
        size: side of the map, in its own pixels.
        parameters: of the group of that name.
        multiply_adds: to compute the group's stage for one image.
    """

    stride: int
    channels: int
    size: int
    parameters: int
    multiply_adds: int


def level_info(backbone: str | Backbone, image_size: int = 224) -> dict[str, LevelInfo]:
    """A :class:`LevelInfo` for each level of the hierarchy; nothing is run."""
    if isinstance(backbone, str):
        backbone = create(backbone)
    ctx = Context()
    images = jax.ShapeDtypeStruct((1, image_size, image_size, 3), jnp.float32)
    variables = jax.eval_shape(lambda x: backbone.init(jax.random.key(0), x, ctx), images)

    def run(method, start=None):
        return lambda variables, x: backbone.apply(variables, x, ctx, start, method=method)

    stages = jax.eval_shape(run("stages"), variables, images)
    hierarchy = jax.eval_shape(run("__call__"), variables, images)
    costs, inputs = {}, images
    for step in backbone.steps:
        group = {key: tree.get(step.name, {}) for key, tree in variables.items()}
        costs[step.name] = multiply_adds(
            lambda group, x, step=step: step.clone(name=None).apply(group, x, ctx), group, inputs
        )
        inputs = stages[step.name]
    return {
        level: LevelInfo(
            stride=2 ** round(math.log2(image_size / maps.shape[1])),  # sides may leave a rest
            channels=maps.shape[-1],
            size=maps.shape[1],
            parameters=sum(x.size for x in jax.tree.leaves(variables["params"].get(level, {}))),
            multiply_adds=costs[level],
        )
        for level, maps in hierarchy.items()
    }
