import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from jax.test_util import check_grads

from fgjax.ops.matrix_sqrt import damp, matrix_log, matrix_power, newton_schulz, root_residual


def covariance(c=6, n=40, seed=0, batch=()):
    x = np.random.default_rng(seed).standard_normal((*batch, n, c))
    return x.swapaxes(-1, -2) @ x / n


def spectrum(*values):
    """A matrix with these eigenvalues."""
    q, _ = np.linalg.qr(np.random.default_rng(1).standard_normal((len(values),) * 2))
    return (q * np.asarray(values)) @ q.T


def test_newton_schulz_converges_to_the_square_root():
    a = covariance(batch=(2,))
    root, inverse = newton_schulz(jnp.asarray(a, jnp.float32), 12)
    for k in range(2):
        want = scipy.linalg.sqrtm(a[k])
        np.testing.assert_allclose(root[k], want, atol=1e-5)
        np.testing.assert_allclose(inverse[k], np.linalg.inv(want), atol=1e-4)
    assert np.all(root_residual(root, inverse) < 1e-4)


def test_five_iterations_damp_small_eigenvalues_as_documented():
    shares = np.asarray([0.85, 0.1, 0.03, 0.01, 0.009, 0.001])
    root, inverse = newton_schulz(jnp.asarray(spectrum(*shares), jnp.float32), 5)
    got = np.sort(np.linalg.eigvalsh(root) / np.sqrt(np.sort(shares)))
    np.testing.assert_allclose(got[[0, 2, 3, 4]], [0.237, 0.659, 0.901, 0.997], atol=2e-3)
    np.testing.assert_allclose(root, spectrum(*shares) @ inverse, atol=1e-5)
    assert root_residual(root, inverse) > 0.3


def test_damping_lifts_every_eigenvalue_by_a_share_of_their_mean():
    a = spectrum(3.0, 1.0, 0.0, 0.0)
    got = np.linalg.eigvalsh(damp(jnp.asarray(a, jnp.float32), 0.5))
    np.testing.assert_allclose(got, [0.5, 0.5, 1.5, 3.5], atol=1e-5)


@pytest.mark.parametrize("exponent", [0.5, 0.3, -0.5, 2.0])
def test_power_equals_scipy(exponent):
    a = covariance()
    want = scipy.linalg.fractional_matrix_power(a, exponent)
    np.testing.assert_allclose(matrix_power(jnp.asarray(a, jnp.float32), exponent), want, atol=2e-5)


def test_power_of_a_singular_matrix_keeps_its_null_space():
    a = spectrum(2.0, 1.0, 0.0)
    for exponent, want in ((0.5, [0, 1, 2**0.5]), (-0.5, [0, 2**-0.5, 1])):
        got = matrix_power(jnp.asarray(a, jnp.float32), exponent)
        np.testing.assert_allclose(np.linalg.eigvalsh(got), want, atol=1e-5)


def test_log_equals_scipy():
    a = covariance()
    np.testing.assert_allclose(
        matrix_log(jnp.asarray(a, jnp.float32)), scipy.linalg.logm(a), atol=2e-5
    )


@pytest.mark.parametrize(
    "function",
    [
        lambda a: newton_schulz(a, 3)[0],
        lambda a: newton_schulz(a, 3)[1],
        lambda a: matrix_power(a, 0.5),
        lambda a: matrix_log(a),
    ],
    ids=["root", "inverse", "power", "log"],
)
def test_gradients(function):
    with jax.enable_x64(True):
        x = np.random.default_rng(0).standard_normal((9, 4))
        check_grads(jax.jit(lambda x: function(x.T @ x)), (x,), 2)


def test_gradient_at_equal_eigenvalues():
    """d tr(a^p) = p a^(p-1), here where no two eigenvalues differ."""
    a = 4.0 * jnp.eye(5)
    slope = jax.grad(lambda a: jnp.trace(matrix_power(a, 0.5)))(a)
    np.testing.assert_allclose(slope, np.eye(5) / 4, atol=1e-6)


def test_backward_keeps_two_matrices_a_step():
    a = jnp.asarray(covariance(8), jnp.float32)

    def kept(iterations):
        _, pull_back = jax.vjp(lambda a: newton_schulz(a, iterations)[0], a)
        return sum(leaf.size >= a.size for leaf in jax.tree.leaves(pull_back))

    assert kept(9) - kept(5) == 2 * 4


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e30])
@pytest.mark.parametrize(
    "function",
    [lambda a: newton_schulz(a, 5)[0], lambda a: matrix_power(a, 0.5), matrix_log],
    ids=["newton_schulz", "power", "log"],
)
@pytest.mark.parametrize("matrix", [np.ones((4, 4)), spectrum(1.0, 1e-3, 0.0, 0.0), np.eye(4)])
def test_finite_for_every_scale_and_rank(scale, function, matrix):
    a = jnp.asarray(matrix * scale, jnp.float32)
    value, slope = jax.value_and_grad(lambda a: function(a).sum())(a)
    assert np.isfinite(value)
    assert np.all(np.isfinite(slope))


def test_errors():
    with pytest.raises(ValueError, match="iterations is 0: Newton-Schulz needs at least one"):
        newton_schulz(jnp.eye(3), 0)
    with pytest.raises(ValueError, match=r"the matrix has shape \(3, 2\): give square"):
        newton_schulz(jnp.ones((3, 2)))
    with pytest.raises(ValueError, match=r"the matrix has shape \(3,\)"):
        matrix_power(jnp.ones(3), 0.5)
