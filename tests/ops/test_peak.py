import jax
import jax.numpy as jnp
import numpy as np

from fgjax.ops.peak import maximum, maximum_over_places


def test_maxima_against_numpy():
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    np.testing.assert_array_equal(maximum_over_places(x), x.max((1, 2)))
    for axis in (-1, 2):
        np.testing.assert_array_equal(maximum(jnp.asarray(x), axis), x.max(axis))


def test_the_first_of_equal_values_gets_the_gradient():
    x = jnp.asarray([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]])
    slope = jax.grad(lambda x: maximum(x, -1).sum())(x)
    np.testing.assert_array_equal(slope, [[0, 1, 0], [1, 0, 0]])


def test_a_value_rounded_anew_still_has_a_gradient():
    """Of a product and a sum that a compiler may fuse, and round once instead of twice."""
    rng = np.random.default_rng(1)
    a, b = (jnp.asarray(rng.normal(size=(2, 9, 7, 3)), jnp.float32) for _ in range(2))

    def peak(a):
        return maximum_over_places(jax.nn.relu(a * b + 0.1 * b)).sum()

    program = jax.jit(jax.grad(peak)).lower(a)
    slope = program.compile({"xla_backend_optimization_level": 0})(a)
    assert np.isfinite(slope).all()
    assert np.count_nonzero(slope) == 6
