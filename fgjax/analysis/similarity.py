"""Which levels, of one network or of two, hold the same representation: linear CKA.

Centered kernel alignment (Kornblith et al., 2019) is HSIC(a, b) / sqrt(HSIC(a, a) HSIC(b, b)).
Over a whole data set it is computed batch by batch (Nguyen et al., 2021): unbiased estimates of the
three HSIC are summed over batches and divided only at the end, so that their expectation does not
depend on the size of the batches.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

MIN_EXAMPLES = 4  # of a batch: the unbiased HSIC divides by n (n - 3)


class Alignment(NamedTuple):
    """Sum of unbiased HSIC between every two representations, and the batches it is over."""

    total: Float[np.ndarray, "r r"]
    batches: int


def gram(activations: Float[Array, "b ..."]) -> Float[Array, "b b"]:
    """Inner products between the flattened activations of examples, divided by their number."""
    flat = activations.reshape(activations.shape[0], -1).astype(jnp.float32)
    # The scale cancels in CKA; it keeps the sums of large maps away from float32's limits.
    return jnp.matmul(flat, flat.T, precision="highest") / flat.shape[1]


def hsic(grams: Float[np.ndarray, "r b b"]) -> Float[np.ndarray, "r r"]:
    """Unbiased HSIC (Song et al., 2012, eq. 5) between every two of ``r`` Gram matrices.

    Raises:
        ValueError: if there are fewer than four examples, where it is not defined.
    """
    n = grams.shape[-1]
    if n < MIN_EXAMPLES:
        raise ValueError(
            f"unbiased HSIC needs at least {MIN_EXAMPLES} examples in a batch, got {n}"
        )
    off_diagonal = np.asarray(grams, np.float64) * (1 - np.eye(n))
    rows = off_diagonal.sum(-1)
    sums = rows.sum(-1)
    trace = np.einsum("aij,bij->ab", off_diagonal, off_diagonal)
    return (trace + np.outer(sums, sums) / ((n - 1) * (n - 2)) - 2 * (rows @ rows.T) / (n - 2)) / (
        n * (n - 3)
    )


def accumulate(alignment: Alignment | None, grams: Float[np.ndarray, "r b b"]) -> Alignment | None:
    """``alignment`` with one more batch; None before the first.

    A batch of fewer than four examples is left out: HSIC is not defined for it.
    """
    if grams.shape[-1] < MIN_EXAMPLES:
        return alignment
    total = hsic(grams)
    if alignment is None:
        return Alignment(total, 1)
    return Alignment(alignment.total + total, alignment.batches + 1)


def cka(alignment: Alignment | None) -> Float[np.ndarray, "r r"]:
    """Linear CKA between every two representations; 1 on the diagonal, about 0 if unrelated.

    Empty where no batch had the four examples that :func:`hsic` needs.
    """
    if alignment is None:
        return np.zeros((0, 0))
    self_similarity = np.sqrt(np.maximum(np.diag(alignment.total), 1e-300))
    return alignment.total / np.outer(self_similarity, self_similarity)
