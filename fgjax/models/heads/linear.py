"""Heads that are one matrix product, or the cosine that is one of unit vectors."""

from __future__ import annotations

import math

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from fgjax.errors import UserError
from fgjax.models.context import Context
from fgjax.models.heads.base import Head, Pooled
from fgjax.ops.normalize import l2_normalize


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
