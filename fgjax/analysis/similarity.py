"""Which levels, of one network or of two, hold the same representation: linear CKA.

Centred kernel alignment (Kornblith et al., 2019) of activations of any size, streamed: the three
unbiased HSIC terms are averaged over batches separately and divided at the end (Nguyen et al.,
2021), so that the value does not depend on the batch size in expectation.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


class Alignment(NamedTuple):
    """Sum of unbiased HSIC between every two representations, and the batches it is over."""

    total: Float[np.ndarray, "r r"]
    batches: int


def gram(activations: Float[Array, "b ..."]) -> Float[Array, "b b"]:
    """Inner products between the flattened activations of the examples, scaled by their size."""
    flat = activations.reshape(activations.shape[0], -1).astype(jnp.float32)
    # The scale cancels in CKA; it keeps the sums of large maps away from float32's limits.
    return jnp.matmul(flat, flat.T, precision="highest") / flat.shape[1]


def hsic(grams: Float[np.ndarray, "r b b"]) -> Float[np.ndarray, "r r"]:
    """Unbiased HSIC (Song et al., 2012, eq. 5) between every two of ``r`` Gram matrices.

    Raises:
        ValueError: if there are fewer than four examples, where it is not defined.
    """
    n = grams.shape[-1]
    if n < 4:
        raise ValueError(f"unbiased HSIC needs at least 4 examples in a batch, got {n}")
    off_diagonal = np.asarray(grams, np.float64) * (1 - np.eye(n))
    rows = off_diagonal.sum(-1)
    sums = rows.sum(-1)
    trace = np.einsum("aij,bij->ab", off_diagonal, off_diagonal)
    return (trace + np.outer(sums, sums) / ((n - 1) * (n - 2)) - 2 * (rows @ rows.T) / (n - 2)) / (
        n * (n - 3)
    )


def accumulate(alignment: Alignment | None, grams: Float[np.ndarray, "r b b"]) -> Alignment:
    """``alignment`` with one more batch; start from None."""
    total = hsic(grams)
    if alignment is None:
        return Alignment(total, 1)
    return Alignment(alignment.total + total, alignment.batches + 1)


def cka(alignment: Alignment) -> Float[np.ndarray, "r r"]:
    """Linear CKA between every two representations; 1 on the diagonal, about 0 if unrelated."""
    self_similarity = np.sqrt(np.maximum(np.diag(alignment.total), 1e-300))
    return alignment.total / np.outer(self_similarity, self_similarity)
