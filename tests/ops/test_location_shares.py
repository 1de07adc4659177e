import jax.numpy as jnp
import numpy as np

from fgjax.ops.attribution import location_shares, secant
from fgjax.ops.gram import gram
from fgjax.ops.normalize import l2_normalize, signed_sqrt


def test_secant_is_linear_and_exact_at_the_point():
    z = jnp.asarray([[4.0, -9.0, 0.0]])
    held = secant(z, signed_sqrt(z))
    np.testing.assert_allclose(held(z), [[2, -3, 0]])
    np.testing.assert_allclose(held(2 * z), [[4, -6, 0]])


def test_shares_are_the_quadratic_forms_of_the_locations():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 3, 4, 5))
    direction = rng.standard_normal((2, 25))
    weights = np.abs(rng.standard_normal((2, 3, 4)))
    maps = jnp.asarray(x, jnp.float32)

    def flat(w):
        return gram(maps, None, w).reshape(2, -1)

    z = flat(jnp.asarray(weights, jnp.float32))
    y = l2_normalize(signed_sqrt(z))
    held = secant(z, y)
    got = location_shares(
        lambda w: held(flat(w)), jnp.asarray(weights, jnp.float32), jnp.asarray(direction)
    )
    exact = np.einsum("bhw,bhwi,bhwj->bij", weights, x, x)
    norm = np.sqrt(np.abs(exact).sum((1, 2), keepdims=True))
    matrix = direction.reshape(2, 5, 5) / (np.sqrt(np.abs(exact)) * norm)
    want = weights * np.einsum("bhwi,bij,bhwj->bhw", x, matrix, x)
    np.testing.assert_allclose(got, want, rtol=2e-4, atol=2e-5)
    np.testing.assert_allclose(got.sum((1, 2)), (direction * y).sum(-1), rtol=1e-5)
