"""What every pooling shares: a statistic linear in the weights of the locations, then a finish."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from fgjax.errors import UserError
from fgjax.models.context import Context
from fgjax.ops.attribution import location_shares, secant
from fgjax.ops.gram import align
from fgjax.ops.normalize import l2_normalize, signed_power, signed_sqrt
from fgjax.ops.resize import Size, resize_bilinear

Maps = tuple[Float[Array, "b _h _w _c"], ...]
Weights = Float[Array, "b h w"]


class Part(NamedTuple):
    """One stretch of the pooled vector: of one map, or of one pair of maps.

    Attributes:
        statistic: from the weights of the locations (None: all ones) to the weighted sum over
            locations; linear in the weights.
        finish: from the statistic to the pooled values, [b, d].
        hold: from the statistic to a linear map that equals ``finish`` there; None for a finish
            that scales every value.
    """

    statistic: Callable[[Weights | None], Array]
    finish: Callable[[Array], Float[Array, "b d"]]
    hold: Callable[[Array], Callable[[Array], Array]] | None = None

    def held(self, z: Array) -> Callable[[Array], Array]:
        """The finish as a linear map, exact at ``z``."""
        return (self.hold or (lambda z: secant(z, self.finish(z))))(z)


class Pooling(nn.Module):
    """Maps of the chosen levels in, one float32 vector per image out.

    Maps of several levels are first resized to the grid of the finest. A subclass gives the
    :class:`Part` s; their vectors are concatenated.

    Attributes:
        levels: the levels of the hierarchy that are pooled.
        reduce: "mean" or "sum" over locations.
        attend: weigh the locations by the attention maps of the first level (their mean).
    """

    levels: tuple[str, ...] = ("conv5",)
    reduce: str = "mean"
    attend: bool = False

    def parts(self, maps: Maps, ctx: Context, attention: dict[str, Array]) -> list[Part]:
        """The stretches of the pooled vector, in order."""
        raise NotImplementedError

    @property
    def reads_attention(self) -> bool:
        """Whether the vector depends on attention maps."""
        return self.attend

    @property
    def unit_length(self) -> bool:
        """Whether every stretch of the vector has length one, whatever the features' size."""
        return False

    @property
    def gives_gram(self) -> bool:
        """Whether the vector is a square Gram matrix, row by row."""
        return False

    def align(self, maps: Maps) -> Maps:
        """The maps on the grid of the finest."""
        return align(maps)

    def validate(self) -> None:
        """Raise a UserError if the options do not fit each other."""
        require(len(self.levels) > 0, "levels is empty: name at least one level")
        require(self.reduce in ("mean", "sum"), f'reduce is {self.reduce!r}: use "mean" or "sum"')

    def __call__(
        self, maps: Maps, ctx: Context, attention: dict[str, Array] | None = None
    ) -> Float[Array, "b d"]:
        """The pooled vector.

        Args:
            maps: one feature map for each of ``levels``.
            ctx: how the pass is made.
            attention: attention maps by level, where the pooling uses them.
        """
        parts, weights, scale = self._prepare(maps, ctx, attention)
        return jnp.concatenate([p.finish(scale * p.statistic(weights)) for p in parts], axis=-1)

    def contributions(
        self,
        maps: Maps,
        direction: Float[Array, "b d"],
        ctx: Context,
        attention: dict[str, Array] | None = None,
    ) -> Weights:
        """Exact share of each location in ⟨direction, pooled⟩; see ``ops.attribution``.

        With the direction of a class (``head.direction``) the shares sum to its score less the
        bias; with the difference of two classes' directions, to the lead of one over the other.
        """
        parts, weights, scale = self._prepare(maps, ctx, attention)
        held = [p.held(scale * p.statistic(weights)) for p in parts]

        def pooled(weights):
            values = [h(scale * p.statistic(weights)) for h, p in zip(held, parts, strict=True)]
            return jnp.concatenate(values, axis=-1)

        if weights is None:
            weights = jnp.ones(self.align(maps)[0].shape[:3], jnp.float32)
        return location_shares(pooled, weights, direction)

    def _prepare(self, maps, ctx, attention):
        """The parts, the weights of the locations, and what their sums are multiplied by."""
        maps, attention = self.align(maps), attention or {}
        size = maps[0].shape[1:3]
        parts = self.parts(maps, ctx.at("pooling"), attention)
        if not self.attend:
            return parts, None, 1 / math.prod(size) if self.reduce == "mean" else 1.0
        weights = attention_maps(attention, self.levels[0], size).mean(-1).astype(jnp.float32)
        if self.reduce == "mean":
            total = weights.sum((1, 2), keepdims=True)
            weights = weights / jnp.where(total == 0, 1, total)
        return parts, weights, 1.0


class NormalizedPooling(Pooling):
    """A pooling whose vector is normalised, one step after the other.

    Attributes:
        normalize: steps among "signed_sqrt", "signed_power" and "l2".
        exponent: of "signed_power".
        delta: bounds the gradient of the root or power at zero; 0 is the exact gradient, 0.1 what
            the original compact-bilinear code used.
    """

    normalize: tuple[str, ...] = ("signed_sqrt", "l2")
    exponent: float = 0.5
    delta: float = 0.0

    @property
    def unit_length(self) -> bool:
        """See :class:`Pooling`."""
        return self.normalize[-1:] == ("l2",)

    def validate(self) -> None:
        """See :class:`Pooling`."""
        super().validate()
        unknown = [step for step in self.normalize if step not in _STEPS]
        require(not unknown, f"normalize has {unknown}: choose among {', '.join(_STEPS)}")

    def normalized(self, z: Float[Array, "b d"]) -> Float[Array, "b d"]:
        """``z`` after the steps of ``normalize``."""
        for step in self.normalize:
            z = _STEPS[step](self, z)
        return z


_STEPS = {
    "signed_sqrt": lambda pooling, z: signed_sqrt(z, pooling.delta),
    "signed_power": lambda pooling, z: signed_power(z, pooling.exponent, pooling.delta),
    "l2": lambda pooling, z: l2_normalize(z),
}


def attention_maps(attention: dict[str, Array], level: str, size: Size) -> Float[Array, "b h w m"]:
    """The attention maps of ``level``, resized to the grid of the features."""
    if level not in attention:
        raise UserError(
            f"the pooling needs attention maps of {level}, and the attention part gives "
            f"{', '.join(attention) or 'none'}: add that level to model.attention.levels"
        )
    return resize_bilinear(attention[level], size)


def require(condition: bool, message: str) -> None:
    """Raise a UserError about an option of the pooling unless ``condition``."""
    if not condition:
        raise UserError(f"model.pooling: {message}")
