"""Attention: weighing channels and places of a feature map by the map itself, and part maps.

Every *block* below is ``(x, ctx) -> x``, of one map's shape, so that it may stand behind a level or
inside a residual block, where its paper puts it: ``block("se")``. :func:`create` places one on each
of the given levels of a hierarchy. ``bilinear_attention`` leaves the hierarchy as it is and adds
part maps, for bilinear attention pooling and for training that follows attention.

    name                weighs               source
    se, ese, eca        channels             CVPR 2018, CVPR 2020 (CenterMask), CVPR 2020
    cbam                channels, places     ECCV 2018
    coordinate          channels at places   CVPR 2021
    global_context      channels             ICCV workshops 2019 (GCNet)
    non_local           pairs of places      CVPR 2018
    bilinear_attention  parts                WS-DAN, arXiv 1901.09891
"""

from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fgjax.errors import UserError
from fgjax.models.context import Context
from fgjax.models.factory import check_levels, make
from fgjax.models.layers import BatchNorm, Conv, ConvBN, Dense
from fgjax.ops.peak import maximum, maximum_over_places
from fgjax.vocabulary import Hierarchy

Map = Float[Array, "b h w c"]


class SqueezeExcite(nn.Module):
    """Squeeze and excitation: ``x · σ(W2 relu(W1 mean(x)))``, C/reduction hidden units.

    The hidden width is a multiple of 8, as in timm.
    """

    reduction: int = 16

    @nn.compact
    def __call__(self, x: Map, ctx: Context) -> Map:
        """The map with weighed channels."""
        hidden = max(8, int(x.shape[-1] / self.reduction + 4) // 8 * 8)
        y = nn.relu(Dense(hidden, name="reduce")(x.mean((1, 2)), ctx))
        return x * _over_places(nn.sigmoid(Dense(x.shape[-1], name="expand")(y, ctx)))


class EffectiveSqueezeExcite(nn.Module):
    """Squeeze and excitation by one full layer, without loss of width: ``x · hσ(W mean(x))``."""

    @nn.compact
    def __call__(self, x: Map, ctx: Context) -> Map:
        """The map with weighed channels."""
        y = Dense(x.shape[-1], name="weigh")(x.mean((1, 2)), ctx)
        return x * _over_places(nn.hard_sigmoid(y))


class EfficientChannel(nn.Module):
    """ECA: a convolution over neighbouring channels' means, of width ``|log2(C) + 1| / 2``, odd."""

    @nn.compact
    def __call__(self, x: Map, ctx: Context) -> Map:
        """The map with weighed channels."""
        width = max(3, int((math.log2(x.shape[-1]) + 1) / 2) | 1)
        line = x.mean((1, 2))[:, None, :, None]
        y = Conv(1, (1, width), padding="SAME", name="conv")(line, ctx)
        return x * _over_places(nn.sigmoid(y[:, 0, :, 0]))


class CBAM(nn.Module):
    """Convolutional block attention: channels by mean and maximum, then places by a 7x7."""

    reduction: int = 16
    kernel_size: int = 7

    @nn.compact
    def __call__(self, x: Map, ctx: Context) -> Map:
        """The map with weighed channels, then weighed places."""
        hidden = max(1, int(x.shape[-1] / self.reduction + 0.5))
        y = jnp.stack([x.mean((1, 2)), maximum_over_places(x)], axis=1)
        y = nn.relu(Dense(hidden, use_bias=False, name="reduce")(y, ctx))
        y = Dense(x.shape[-1], use_bias=False, name="expand")(y, ctx).sum(axis=1)
        x = x * _over_places(nn.sigmoid(y))
        y = jnp.stack([x.mean(-1), maximum(x, -1)], axis=-1)
        pad = self.kernel_size // 2
        return x * nn.sigmoid(ConvBN(1, self.kernel_size, padding=pad, name="places")(y, ctx))


class Coordinate(nn.Module):
    """Coordinate attention: ``x · σ(g_h) · σ(g_w)``, a gate for each row and for each column."""

    reduction: int = 32

    @nn.compact
    def __call__(self, x: Map, ctx: Context) -> Map:
        """The map with weighed rows and columns, channel by channel."""
        height, features = x.shape[1], x.shape[-1]
        rows, columns = x.mean(2), x.mean(1)
        y = jnp.concatenate([rows, columns], axis=1)
        y = Dense(max(8, features // self.reduction), use_bias=False, name="reduce")(y, ctx)
        y = nn.hard_swish(BatchNorm(name="bn")(y[:, :, None], ctx)[:, :, 0])
        rows = Dense(features, use_bias=False, name="rows")(y[:, :height], ctx)
        columns = Dense(features, use_bias=False, name="columns")(y[:, height:], ctx)
        return x * nn.sigmoid(rows)[:, :, None] * nn.sigmoid(columns)[:, None]


class GlobalContext(nn.Module):
    """GCNet's block: one context for all places, pooled by attention, through a bottleneck.

    ``fuse="add"`` adds it (the paper's choice), ``fuse="scale"`` gates the channels by its sigmoid.
    The last layer starts at zero, so that "add" starts as the identity.
    """

    reduction: int = 16
    fuse: str = "add"

    @nn.compact
    def __call__(self, x: Map, ctx: Context) -> Map:
        """The map with its global context."""
        if self.fuse not in ("add", "scale"):
            raise UserError(f"model.attention.fuse is {self.fuse!r}; choose one of add, scale")
        features = x.shape[-1]
        places = x.reshape(x.shape[0], -1, features)
        logits = Dense(1, use_bias=False, name="attend")(places, ctx).astype(jnp.float32)
        weights = nn.softmax(logits, axis=1).astype(ctx.dtype)
        y = jnp.einsum("bpo,bpc->bc", weights, places)
        y = Dense(max(1, features // self.reduction), name="reduce")(y, ctx)
        y = nn.relu(nn.LayerNorm(dtype=ctx.dtype, name="norm")(y))
        y = _over_places(Dense(features, kernel_init=nn.initializers.zeros, name="expand")(y, ctx))
        return x + y if self.fuse == "add" else x * nn.sigmoid(y)


class NonLocal(nn.Module):
    """Embedded Gaussian non-local block, which is self-attention over places (equation 6).

    ``x + out(softmax(query · keyᵀ / sqrt(d)) value)``. The last layer starts at zero, so that the
    block starts as the identity. Keys have no bias: added to all of them, it changes no softmax.
    """

    reduction: int = 2
    heads: int = 1

    @nn.compact
    def __call__(self, x: Map, ctx: Context) -> Map:
        """The map with what its places gather from each other."""
        batch, height, width, features = x.shape
        depth = max(1, features // (self.reduction * self.heads))

        def project(name, use_bias=True):
            y = Dense(self.heads * depth, use_bias=use_bias, name=name)(x, ctx)
            return y.reshape(batch, height * width, self.heads, depth)

        query, key, value = project("query"), project("key", use_bias=False), project("value")
        y = jax.nn.dot_product_attention(query, key, value)
        y = y.reshape(batch, height, width, self.heads * depth)
        return x + Dense(features, kernel_init=nn.initializers.zeros, name="out")(y, ctx)


BLOCKS: dict[str, type[nn.Module]] = {
    "se": SqueezeExcite,
    "ese": EffectiveSqueezeExcite,
    "eca": EfficientChannel,
    "cbam": CBAM,
    "coordinate": Coordinate,
    "global_context": GlobalContext,
    "non_local": NonLocal,
}


def block(name: str, **options: Any) -> nn.Module | None:
    """One attention block ``(x, ctx) -> x``, or None for "none".

    Raises:
        UserError: an unknown name or option.
    """
    return make("attention", BLOCKS, name, options)


class LevelAttention(nn.Module):
    """A block behind each of some levels; a block's name is its level."""

    blocks: tuple[nn.Module, ...]

    preserve_adopted_names = True

    @property
    def levels(self) -> tuple[str, ...]:
        """The levels that are attended to; no other is read."""
        return tuple(str(one.name) for one in self.blocks)

    def __call__(self, hierarchy: Hierarchy, ctx: Context) -> tuple[Hierarchy, Hierarchy]:
        """The hierarchy with those levels attended to, and no maps."""
        attended = {
            level: one(_level(hierarchy, level), ctx)
            for level, one in zip(self.levels, self.blocks, strict=True)
        }
        return hierarchy | attended, {}


class BilinearAttention(nn.Module):
    """Part maps ``relu(bn(1x1(x)))`` of each level, for bilinear attention pooling (WS-DAN).

    Attributes:
        levels: levels to make part maps of.
        maps: number of parts.
    """

    levels: tuple[str, ...] = ("conv5",)
    maps: int = 32

    @nn.compact
    def __call__(self, hierarchy: Hierarchy, ctx: Context) -> tuple[Hierarchy, Hierarchy]:
        """The hierarchy as it is, and the part maps by level."""
        return hierarchy, {
            level: ConvBN(self.maps, activation=nn.relu, name=level)(_level(hierarchy, level), ctx)
            for level in self.levels
        }


def create(
    name: str, levels: tuple[str, ...] = ("conv5",), **options: Any
) -> LevelAttention | BilinearAttention | None:
    """The attention called ``name`` on each of ``levels``, or None for "none".

    Raises:
        UserError: an unknown name or option.
    """
    check_levels("attention", levels)
    if name in BLOCKS:
        template = make("attention", BLOCKS, name, options)
        return LevelAttention(tuple(template.clone(name=level) for level in levels))
    kinds = BLOCKS | {"bilinear_attention": BilinearAttention}
    return make("attention", kinds, name, {"levels": tuple(levels), **options})


def _level(hierarchy: Hierarchy, level: str) -> Map:
    if level not in hierarchy:
        raise UserError(
            f"model.attention.levels names {level}, but the hierarchy has "
            f"{', '.join(hierarchy)}; name levels that it has"
        )
    return hierarchy[level]


def _over_places(weights: Float[Array, "b c"]) -> Float[Array, "b 1 1 c"]:
    return weights[:, None, None]
