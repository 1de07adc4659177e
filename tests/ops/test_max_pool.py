"""Max pooling against the library's, values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fgjax.ops.max_pool import _pool, max_pool

NONE, ONE = (0, 0), (1, 1)
# Window, strides, padding: overlapping, tiling, with gaps, dense, ragged.
CASES = [
    ((3, 3), (2, 2), (ONE, ONE)),
    ((2, 2), (2, 2), (NONE, NONE)),
    ((2, 2), (3, 3), (NONE, NONE)),
    ((3, 3), (1, 1), (ONE, ONE)),
    ((3, 2), (2, 1), ((0, 1), (1, 0))),
    ((5, 5), (4, 4), (NONE, (2, 2))),
]


@pytest.mark.parametrize("size", [(8, 9), (11, 7)])
@pytest.mark.parametrize(("window", "strides", "pads"), CASES)
def test_equals_the_library(window, strides, pads, size):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.integers(-2, 2, (2, *size, 3)), jnp.float32)  # windows full of ties
    shape = jax.eval_shape(lambda: max_pool(x, window, strides, pads)).shape
    g = jnp.asarray(rng.integers(1, 9, shape), jnp.float32)  # sums of integers are exact

    def both(pool):
        y, pull = jax.vjp(lambda x: pool(x, window, strides, pads), x)
        return y, *pull(g)

    for got, expected in zip(
        *(jax.jit(both, static_argnums=0)(f) for f in (max_pool, _pool)), strict=True
    ):
        np.testing.assert_array_equal(got, expected)


def test_the_library_scatters_on_other_backends_only():
    x = jnp.ones((1, 4, 4, 1))

    def loss(x):
        return max_pool(x, (2, 2), (2, 2), (NONE, NONE)).sum()

    scatters = "select_and_scatter" in str(jax.make_jaxpr(jax.grad(loss))(x))
    assert scatters == (jax.default_backend() != "cpu")
