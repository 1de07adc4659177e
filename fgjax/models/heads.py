"""Heads: from the pooled vector to the classes' scores, in float32.

Given the vector, every head is linear in it: ``direction`` gives the weights, so that a score is
⟨direction, pooled⟩ + bias and ``pooling.contributions`` can divide it among the locations. (The
hidden layer of "multi_granularity" is held where it is: its bias depends on the example.)
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from fgjax.checking.options import check, or_none, whole
from fgjax.errors import UserError
from fgjax.models.context import Context
from fgjax.models.factory import make
from fgjax.models.layers import BatchNorm, ConvBN, Dense, relu6
from fgjax.ops.normalize import l2_normalize

Maps = tuple[Float[Array, "b _h _w _c"], ...]
Pooled = Float[Array, "b d"]


class Head(nn.Module):
    """What heads share: an optional layer before the pooling, dropout, and the classes' directions.

    Attributes:
        classes: number of classes, k.
        dropout: rate at which pooled values are dropped in training.
        expand: layer on the map *before* the pooling, such as EfficientNet's 1x1 to 1280.
    """

    classes: int
    dropout: float = 0.0
    expand: nn.Module | None = None

    # Whether the scores are weights times the vector as it is: their gradient is as long as that.
    linear = False

    def stem(self, maps: Maps, ctx: Context) -> Maps:
        """The maps as the pooling is to see them."""
        if self.expand is None:
            return maps
        if len(maps) != 1:
            raise UserError(
                f"model.head.expand widens one map, and the pooling reads {len(maps)}: "
                "leave expand out or pool one level"
            )
        return (self.expand(maps[0], ctx.at("head")),)

    def direction(self, pooled: Pooled, classes: Int[Array, " b"]) -> Pooled:
        """Weights by which each example's pooled vector enters the score of its class."""
        raise NotImplementedError

    def _dropped(self, pooled: Pooled, ctx: Context) -> Pooled:
        if not (ctx.train and self.dropout):
            return pooled
        # A key for each example by its place in the global batch, on however many devices.
        place = jnp.arange(len(pooled))
        if ctx.axis_name is not None:
            place = place + len(pooled) * jax.lax.axis_index(ctx.axis_name)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(self.make_rng("dropout"), place)
        keep = 1 - self.dropout
        kept = jax.vmap(lambda key: jax.random.bernoulli(key, keep, pooled.shape[1:]))(keys)
        return jnp.where(kept, pooled / keep, 0)


class Linear(Head):
    """``pooled @ kernel + bias``, zero at the start: every class is equally likely."""

    use_bias: bool = True

    linear = True

    @nn.compact
    def tensors(self, d: int) -> tuple[Float[Array, "d k"], Float[Array, " k"] | float]:
        """Parameters kernel and bias."""
        kernel = self.param("kernel", nn.initializers.zeros, (d, self.classes))
        bias = self.param("bias", nn.initializers.zeros, (self.classes,)) if self.use_bias else 0.0
        return kernel, bias

    def __call__(self, pooled: Pooled, ctx: Context) -> Float[Array, "b k"]:
        """The scores."""
        kernel, bias = self.tensors(pooled.shape[-1])
        return self._dropped(pooled, ctx) @ kernel + bias

    def direction(self, pooled: Pooled, classes: Int[Array, " b"]) -> Pooled:
        """See :class:`Head`."""
        return self.tensors(pooled.shape[-1])[0].T[classes]


class Cosine(Head):
    """``scale`` times the cosine between the pooled vector and each class's weight vector."""

    scale: float = 16.0

    @nn.compact
    def weights(self, d: int) -> Float[Array, "k d"]:
        """The classes' unit vectors, from the parameter kernel."""
        kernel = self.param("kernel", nn.initializers.normal(1.0), (d, self.classes))
        return l2_normalize(kernel.T)

    def __call__(self, pooled: Pooled, ctx: Context) -> Float[Array, "b k"]:
        """The scores."""
        unit = l2_normalize(self._dropped(pooled, ctx))
        return self.scale * unit @ self.weights(pooled.shape[-1]).T

    def direction(self, pooled: Pooled, classes: Int[Array, " b"]) -> Pooled:
        """See :class:`Head`."""
        norm = jnp.linalg.norm(pooled, axis=-1, keepdims=True)
        return self.scale * self.weights(pooled.shape[-1])[classes] / jnp.where(norm, norm, 1)


class LowRankBilinear(Head):
    """Low-rank bilinear classifier (Kong & Fowlkes 2017), on the pooling "low_rank_bilinear".

    The score of class k is ‖U₊ᵀX‖² - ‖U₋ᵀX‖² + b with U = P V_k and a projection P that the classes
    share, which is the pooling's. It reads the Gram matrix of the projected features, m x m: the
    outer product of the features themselves is never formed, nor is any k x m x m weight. V₊ and V₋
    start equal, so that every score starts at zero, but the gradient does not.

    Attributes:
        rank: columns of V₊ and V₋ together, even.
    """

    rank: int = 8

    @nn.compact
    def tensors(self, d: int) -> tuple[Array, Array, Float[Array, " k"]]:
        """Parameters positive and negative, V₊ and V₋ of (k, m, rank / 2), and bias."""
        m = math.isqrt(d)
        if m * m != d or self.rank % 2:
            raise UserError(
                f"model.head low_rank_bilinear reads a Gram matrix by an even rank; it got {d} "
                f"values and rank {self.rank}: use it on the pooling low_rank_bilinear"
            )
        shape = (self.classes, m, self.rank // 2)
        positive = self.param("positive", nn.initializers.normal(m**-0.5), shape)
        negative = self.param("negative", lambda key: positive)
        return positive, negative, self.param("bias", nn.initializers.zeros, (self.classes,))

    def __call__(self, pooled: Pooled, ctx: Context) -> Float[Array, "b k"]:
        """The scores."""
        positive, negative, bias = self.tensors(pooled.shape[-1])
        gram = self._dropped(pooled, ctx).reshape(-1, *2 * positive.shape[1:2])

        def energy(v):
            return jnp.einsum("bmn,kmr,knr->bk", gram, v, v, optimize="optimal")

        return energy(positive) - energy(negative) + bias

    def direction(self, pooled: Pooled, classes: Int[Array, " b"]) -> Pooled:
        """See :class:`Head`."""
        positive, negative = (v[classes] for v in self.tensors(pooled.shape[-1])[:2])
        weights = positive @ positive.mT - negative @ negative.mT
        return weights.reshape(pooled.shape)


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


HEADS = {
    "linear": Linear,
    "cosine": Cosine,
    "low_rank_bilinear": LowRankBilinear,
    "multi_granularity": MultiGranularity,
}


def create(name: str, classes: int, expand: int | None = None, **options: Any) -> Head:
    """The head that ``model.head`` describes, for ``classes`` classes.

    Args:
        name: "linear", "cosine", "low_rank_bilinear" or "multi_granularity".
        classes: number of classes.
        expand: width of EfficientNet's 1x1 convolution, batch norm (epsilon 1e-3) and ReLU6 on the
            map before the pooling.
        **options: the head's own.

    Raises:
        UserError: an unknown name or option.
    """
    given: dict[str, Any] = {"classes": classes}
    check("model.head.expand", expand, or_none(whole()))
    if expand is not None:
        given["expand"] = ConvBN(expand, activation=relu6, epsilon=1e-3)
    return make("head", HEADS, name, options, given)
