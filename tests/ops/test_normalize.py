import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from fgjax.ops.normalize import l2_normalize, signed_power, signed_sqrt


def vector(scale=1.0, dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng(0).standard_normal((3, 8)) * scale, dtype)


@pytest.mark.parametrize("exponent", [0.5, 0.3, 1.0])
def test_power_values_and_gradients(exponent):
    x = vector()
    want = np.sign(x) * np.abs(x) ** exponent
    np.testing.assert_allclose(signed_power(x, exponent), want, rtol=2e-6)
    with jax.enable_x64(True):
        check_grads(lambda x: signed_power(x, exponent), (np.asarray(x, np.float64),), 2)


def test_gradient_at_and_near_zero_is_as_documented():
    slope = jax.vmap(jax.grad(signed_sqrt), (0, None))
    x = jnp.asarray([0.0, -0.0, 4.0, -4.0, 1e-30])
    np.testing.assert_allclose(slope(x, 0.0), [0, 0, 0.25, 0.25, 0.5e15], rtol=1e-5)
    np.testing.assert_allclose(slope(x, 0.1), [5, 5, 0.5 / 2.1, 0.5 / 2.1, 5], rtol=1e-5)
    np.testing.assert_array_equal(signed_sqrt(x, 0.1), signed_sqrt(x))


@pytest.mark.parametrize("scale", [1e-30, 1e-15, 1.0, 1e15, 1e30])
def test_l2_has_length_one_at_every_scale(scale):
    x = vector(scale)
    np.testing.assert_allclose(np.linalg.norm(l2_normalize(x), axis=-1), 1, rtol=1e-6)
    np.testing.assert_allclose(l2_normalize(x), l2_normalize(vector()), rtol=1e-5)


def test_l2_gradients():
    with jax.enable_x64(True):
        x = np.asarray(vector(), np.float64)
        check_grads(l2_normalize, (x,), 2)
        check_grads(lambda x: l2_normalize(signed_sqrt(x)), (x,), 2)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_zero_stays_zero_with_gradient_zero(dtype):
    def chain(x):
        return l2_normalize(signed_sqrt(x)).astype(jnp.float32).sum()

    value, slope = jax.value_and_grad(chain)(jnp.zeros((2, 4), dtype))
    assert value == 0
    assert not np.any(slope)
    second = jax.grad(lambda x: jax.grad(chain)(x).astype(jnp.float32).sum())(jnp.zeros((2, 4)))
    assert not np.any(second)
