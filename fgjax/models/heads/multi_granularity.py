"""The head of PMG: a classifier for each level, and one for all of them together."""

from __future__ import annotations

import dataclasses
import functools

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from fgjax.errors import UserError
from fgjax.models.context import Context
from fgjax.models.heads.base import Head, Maps, Pooled
from fgjax.models.layers import BatchNorm, Dense


class Granularity(nn.Module):
    """A classifier with one hidden layer: norm, dense, norm, ELU, dense (zero at the start)."""

    classes: int
    width: int

    def setup(self):
        """Layers norm, hidden, hidden_norm, out."""
        self.norm, self.hidden_norm = BatchNorm(), BatchNorm()
        self.hidden = Dense(self.width, use_bias=False)  # the norm behind it has one
        self.out = Dense(self.classes, kernel_init=nn.initializers.zeros)

    def activity(self, pooled: Pooled, ctx: Context) -> Float[Array, "b m"]:
        """The hidden layer before its activation."""
        y = self.norm(pooled[:, None, None], ctx)[:, 0, 0]
        return self.hidden_norm(self.hidden(y, ctx)[:, None, None], ctx)[:, 0, 0]

    def __call__(self, pooled: Pooled, ctx: Context) -> Float[Array, "b k"]:
        """The scores."""
        return self.out(nn.elu(self.activity(pooled, ctx)), ctx)

    def direction(self, pooled: Pooled, classes: Int[Array, " b"]) -> Pooled:
        """See :class:`Head`; each hidden unit's activation is held as a factor."""
        y = self.activity(pooled, Context())
        factor = jnp.where(y == 0, 1, nn.elu(y) / jnp.where(y == 0, 1, y))
        last, first = (layer.variables["params"]["kernel"] for layer in (self.out, self.hidden))
        inner, _ = self.hidden_norm.running_affine(self.width)
        outer, _ = self.norm.running_affine(pooled.shape[-1])
        return outer * ((inner * factor * last.T[classes]) @ first.T)


class MultiGranularity(Head):
    """A classifier for each level's stretch of the pooled vector, one for all of it, and their sum.

    The head of PMG (Du et al., ECCV 2020), for a pooling of levels of one width such as the merge
    "stage_blocks" gives.

    Attributes:
        levels: number of levels that are pooled.
        hidden: units of each classifier's hidden layer.
    """

    levels: int = 3
    hidden: int = 512

    def setup(self):
        """Classifiers level_0, level_1, …, fine to coarse, and whole."""
        self.level = [Granularity(self.classes, self.hidden) for _ in range(self.levels)]
        self.whole = Granularity(self.classes, self.hidden)

    def each(self, pooled: Pooled, ctx: Context) -> tuple[Float[Array, "b k"], ...]:
        """The scores by each level, in the order of the pooling, then those by all of them."""
        ctx = dataclasses.replace(ctx, dtype=jnp.float32)
        pooled = self._dropped(pooled, ctx)
        scores = [one(x, ctx) for one, x in zip(self.level, self._split(pooled), strict=True)]
        return (*scores, self.whole(pooled, ctx))

    def __call__(self, pooled: Pooled, ctx: Context) -> Float[Array, "b k"]:
        """The sum of all classifiers' scores."""
        return functools.reduce(jnp.add, self.each(pooled, ctx))

    def direction(self, pooled: Pooled, classes: Int[Array, " b"]) -> Pooled:
        """See :class:`Head`."""
        stretches = zip(self.level, self._split(pooled), strict=True)
        single = [one.direction(x, classes) for one, x in stretches]
        return jnp.concatenate(single, axis=-1) + self.whole.direction(pooled, classes)

    def stem(self, maps: Maps, ctx: Context) -> Maps:
        """See :class:`Head`; refuses what cannot be told apart in the pooled vector."""
        maps = super().stem(maps, ctx)
        widths = [x.shape[-1] for x in maps]
        if len(maps) != self.levels or len(set(widths)) > 1:
            raise UserError(
                f"model.head multi_granularity classifies by {self.levels} levels of one width, "
                f"and the pooling reads maps of {', '.join(map(str, widths))} channels: name as "
                'many in model.pooling.levels, behind the merge "stage_blocks"'
            )
        return maps

    def _split(self, pooled: Pooled) -> list[Array]:
        return jnp.split(pooled, self.levels, axis=-1)
