"""Square roots, powers and logarithms of symmetric positive semi-definite matrices.

All are functions of the eigenvalues. ``newton_schulz`` needs matrix products alone, which suits
accelerators; ``matrix_power`` and ``matrix_log`` diagonalise and are exact.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

Matrix = Float[Array, "*b c c"]


def damp(a: Matrix, damping: float) -> Matrix:
    """a + damping (tr a / c) I: lifts every eigenvalue by a share of their mean."""
    return a + damping * _trace(a) / a.shape[-1] * jnp.eye(a.shape[-1], dtype=a.dtype)


def newton_schulz(a: Matrix, iterations: int = 5) -> tuple[Matrix, Matrix]:
    """Square root of ``a`` and its inverse by ``iterations`` steps (iSQRT-COV, Li et al. 2018).

    The matrix is divided by its trace, iterated upon (Y ← Y T, Z ← T Z with T = (3I - Z Y) / 2,
    from Y = A, Z = I), and multiplied back by the root of the trace. ``iterations`` is less a
    precision than a spectral damping: after five steps an eigenvalue of 0.1 of the trace has 99.7 %
    of its root, one of 0.01 has 66 %, one of 0.001 has 24 %; null directions stay null.

    At every step the root is ``a @ inverse``, converged or not. The gradient is that of the
    iteration, which keeps two matrices a step and recomputes T.

    Raises:
        ValueError: on a matrix that is not square, or iterations < 1.
    """
    _check_square(a)
    if iterations < 1:
        raise ValueError(f"iterations is {iterations}: Newton-Schulz needs at least one.")
    a, scale = _unit_trace(a)
    trace = _nonzero(_trace(a))  # one, but for its gradient
    y = a / trace
    z = (3 * jnp.eye(a.shape[-1], dtype=a.dtype) - y) / 2  # the first step, where Z is I
    y = _matmul(y, z)
    for _ in range(iterations - 1):
        y, z = _newton_schulz_step(y, z)
    root = jnp.sqrt(trace)
    return jnp.sqrt(scale) * (root * y), z / root / jnp.sqrt(scale)


def root_residual(root: Matrix, inverse: Matrix) -> Float[Array, "*b"]:
    """‖Z Y - I‖ / √c in the Frobenius norm: 0 converged, and √(share of dimensions) left out."""
    error = _matmul(inverse, root) - jnp.eye(root.shape[-1], dtype=root.dtype)
    return jnp.sqrt(jnp.mean(jnp.sum(jnp.square(error), axis=-1), axis=-1))


def matrix_power(a: Matrix, exponent: float) -> Matrix:
    """``a`` to a power, by its eigenvalues; null directions stay null, for negative powers too.

    Eigenvalues below √c · ε of the trace count as null. The gradient is Daleckii and Krein's, which
    does not divide by the gaps between eigenvalues and keeps the decomposition alone; between null
    directions it is defined as zero.
    """
    _check_square(a)
    unit, scale = _unit_trace(a)
    return scale**exponent * _spectral(unit, exponent)


def matrix_log(a: Matrix) -> Matrix:
    """Logarithm of ``a``, by its eigenvalues, of which the smallest count as √c · ε of the trace.

    :func:`damp` the matrix first to choose the floor; the logarithm of zero is zero.
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
    (a,), (da,) = primals, tangents
    values, vectors = jnp.linalg.eigh(a)
    f, _ = _function(values, exponent)
    rows, columns = values[..., :, None], values[..., None, :]
    gap = rows - columns
    # Where two eigenvalues nearly meet, the slope between them is the derivative halfway.
    near = jnp.abs(gap) <= 1e-3 * (jnp.abs(rows) + jnp.abs(columns))
    secant = (f[..., :, None] - f[..., None, :]) / jnp.where(near, 1, gap)
    slope = jnp.where(near, _function((rows + columns) / 2, exponent)[1], secant)
    null = jnp.maximum(rows, columns) <= _floor(a)
    inner = jnp.where(null, 0, slope) * _matmul(_matmul(vectors.mT, da), vectors)
    return _compose(vectors, f), _matmul(_matmul(vectors, inner), vectors.mT)


def _function(values: Array, exponent: float | None) -> tuple[Array, Array]:
    """f(λ) and f'(λ)."""
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
    t = (3 * jnp.eye(y.shape[-1], dtype=y.dtype) - _matmul(z, y)) / 2
    return _matmul(y, t), _matmul(t, z)


def _unit_trace(a: Matrix) -> tuple[Matrix, Float[Array, "*b 1 1"]]:
    """``a`` over its trace, and the trace, a constant.

    Every function here knows what a constant factor does to its value, so this changes no gradient;
    it keeps the square of a small trace out of the quotient's.
    """
    scale = jax.lax.stop_gradient(_nonzero(_trace(a)))
    return a / scale, scale


def _matmul(x: Array, y: Array) -> Array:
    return jnp.matmul(x, y, precision=jax.lax.Precision.HIGHEST)


def _trace(a: Matrix) -> Float[Array, "*b 1 1"]:
    return jnp.trace(a, axis1=-2, axis2=-1)[..., None, None]


def _nonzero(trace: Array) -> Array:
    """A divisor that leaves the zero matrix alone."""
    return jnp.where(trace > jnp.finfo(trace.dtype).tiny, trace, 1)


def _check_square(a: Array) -> None:
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        raise ValueError(f"the matrix has shape {a.shape}: give square matrices (..., c, c).")
