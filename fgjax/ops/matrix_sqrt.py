"""Square roots, powers and logarithms of symmetric positive semi-definite matrices.

All are functions of the eigenvalues. ``newton_schulz`` needs matrix products alone, which suits
accelerators; ``matrix_power`` and ``matrix_log`` diagonalize and are exact.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

Matrix = Float[Array, "*b c c"]


def damp(a: Matrix, damping: float) -> Matrix:
    """a + damping (tr a / c) I: every eigenvalue raised by ``damping`` times their mean."""
    return a + damping * _trace(a) / a.shape[-1] * jnp.eye(a.shape[-1], dtype=a.dtype)


def newton_schulz(a: Matrix, iterations: int = 5) -> tuple[Matrix, Matrix]:
    """Square root of ``a`` and its inverse by Newton-Schulz steps (iSQRT-COV, Li et al. 2018).

    The matrix is divided by its trace. From Y = A and Z = I, each step replaces Y by Y T and Z by
    T Z, with T = (3I - Z Y) / 2; Y tends to the root and Z to its inverse. In the end Y is
    multiplied, and Z divided, by the root of the trace.

    Few steps damp small eigenvalues rather than compute imprecisely: after five, an eigenvalue of
    0.1 of the trace has 99.7 % of its root, one of 0.01 has 66 %, one of 0.001 has 24 %, and one
    of 0 stays 0. After any number of steps the root is ``a @ inverse``.

    The gradient is that of the iteration. It keeps two matrices a step and recomputes T.

    Args:
        a: symmetric and positive semi-definite.
        iterations: number of steps.

    Raises:
        ValueError: on a matrix that is not square, or iterations < 1.
    """
    _check_square(a)
    if iterations < 1:
        raise ValueError(f"iterations is {iterations}: Newton-Schulz needs at least one")
    a, scale = _unit_trace(a)
    trace = _nonzero(_trace(a))  # one by now; divided by for the sake of its gradient
    y = a / trace
    z = (3 * jnp.eye(a.shape[-1], dtype=a.dtype) - y) / 2  # the first step, where Z is I
    y = _matmul(y, z)
    for _ in range(iterations - 1):
        y, z = _newton_schulz_step(y, z)
    root = jnp.sqrt(trace)
    return jnp.sqrt(scale) * (root * y), z / root / jnp.sqrt(scale)


def root_residual(root: Matrix, inverse: Matrix) -> Float[Array, "*b"]:
    """‖Z Y - I‖ / √c in the Frobenius norm: how far the iteration is from its limit.

    0 where it has converged. A null direction never does: if a share s of all directions is null,
    and the others have converged, the residual is √s.
    """
    error = _matmul(inverse, root) - jnp.eye(root.shape[-1], dtype=root.dtype)
    return jnp.sqrt(jnp.mean(jnp.sum(jnp.square(error), axis=-1), axis=-1))


def matrix_power(a: Matrix, exponent: float) -> Matrix:
    """``a`` to a power, by its eigenvalues; 0 stays 0, for negative powers too.

    Eigenvalues below √c · ε of the trace count as 0. The gradient is that of Daleckii and Krein:
    unlike the gradient of an eigendecomposition, it is finite where eigenvalues are equal. Between
    two directions of eigenvalue 0 it is defined as zero.
    """
    _check_square(a)
    unit, scale = _unit_trace(a)
    return scale**exponent * _spectral(unit, exponent)


def matrix_log(a: Matrix) -> Matrix:
    """Logarithm of ``a``, by its eigenvalues.

    Eigenvalues below √c · ε of the trace are raised to it; :func:`damp` the matrix first for a
    higher floor. The logarithm of the zero matrix is defined as zero.
    """
    _check_square(a)
    unit, scale = _unit_trace(a)
    log = jnp.log(scale) * jnp.eye(a.shape[-1], dtype=a.dtype) + _spectral(unit, None)
    return jnp.where(_trace(a) > 0, log, 0)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _spectral(a: Matrix, exponent: float | None) -> Matrix:
    """U f(λ) Uᵀ of a matrix of trace one, with f a power or, for None, the logarithm."""
    values, vectors = jnp.linalg.eigh(a)
    return _compose(vectors, _function(values, exponent)[0])


@_spectral.defjvp
def _spectral_jvp(exponent, primals, tangents):
    """U (S ∘ Uᵀ da U) Uᵀ, where S_ij is the slope of f between the eigenvalues i and j."""
    (a,), (da,) = primals, tangents
    values, vectors = jnp.linalg.eigh(a)
    f, _ = _function(values, exponent)
    rows, columns = values[..., :, None], values[..., None, :]
    gap = rows - columns
    # Where two eigenvalues nearly meet, the quotient would cancel: the derivative halfway instead.
    near = jnp.abs(gap) <= 1e-3 * (jnp.abs(rows) + jnp.abs(columns))
    secant = (f[..., :, None] - f[..., None, :]) / jnp.where(near, 1, gap)
    slope = jnp.where(near, _function((rows + columns) / 2, exponent)[1], secant)
    null = jnp.maximum(rows, columns) <= _floor(a)
    inner = jnp.where(null, 0, slope) * _matmul(_matmul(vectors.mT, da), vectors)
    return _compose(vectors, f), _matmul(_matmul(vectors, inner), vectors.mT)


def _function(values: Array, exponent: float | None) -> tuple[Array, Array]:
    """f(λ) and f'(λ), where f is a power (0 below the floor) or, for None, the logarithm."""
    floor = _floor(values)
    kept = values > floor
    clipped = jnp.where(kept, values, floor)
    if exponent is None:
        return jnp.log(clipped), 1 / clipped
    return jnp.where(kept, clipped**exponent, 0), exponent * clipped ** (exponent - 1)


def _floor(a: Array) -> float:
    """Share of the trace below which an eigenvalue is rounding."""
    return a.shape[-1] ** 0.5 * jnp.finfo(a.dtype).eps


def _compose(vectors: Matrix, values: Float[Array, "*b c"]) -> Matrix:
    return _matmul(vectors * values[..., None, :], vectors.mT)


@jax.checkpoint
def _newton_schulz_step(y: Matrix, z: Matrix) -> tuple[Matrix, Matrix]:
    """One step; under checkpoint, so that T is recomputed in the backward pass and not kept."""
    t = (3 * jnp.eye(y.shape[-1], dtype=y.dtype) - _matmul(z, y)) / 2
    return _matmul(y, t), _matmul(t, z)


def _unit_trace(a: Matrix) -> tuple[Matrix, Float[Array, "*b 1 1"]]:
    """``a`` divided by its trace, and that trace, a constant to the gradient.

    All functions here multiply back, in closed form, what a constant factor does to their value:
    values and gradients are right for any constant. A trace that took part in the gradient would
    be squared in it, which underflows where it is small.
    """
    scale = jax.lax.stop_gradient(_nonzero(_trace(a)))
    return a / scale, scale


def _matmul(x: Array, y: Array) -> Array:
    return jnp.matmul(x, y, precision=jax.lax.Precision.HIGHEST)


def _trace(a: Matrix) -> Float[Array, "*b 1 1"]:
    return jnp.trace(a, axis1=-2, axis2=-1)[..., None, None]


def _nonzero(trace: Array) -> Array:
    """The trace as a divisor: 1 in place of 0, so that the zero matrix stays zero."""
    return jnp.where(trace > jnp.finfo(trace.dtype).tiny, trace, 1)


def _check_square(a: Array) -> None:
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        raise ValueError(f"the matrix has shape {a.shape}: give square matrices (..., c, c)")
