import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from fgjax.ops.factorized import draw_random_maclaurin, factorized


def maps(*shape, dtype=jnp.float32, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), dtype)


def reference(x, y, u, v, w):
    x, u, v = (np.asarray(a, np.float64) for a in (x, u, v))
    y = x if y is None else np.asarray(y, np.float64)
    w = np.ones(x.shape[:3]) if w is None else np.asarray(w, np.float64)
    return ((x @ u) * (y @ v) * w[..., None]).sum((1, 2))


@pytest.mark.parametrize("algorithm", ["gram", "locations"])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("two", [False, True])
def test_equals_the_definition(algorithm, dtype, two):
    x, w = maps(2, 5, 3, 4, dtype=dtype), jnp.abs(maps(2, 5, 3, seed=2))
    y = maps(2, 5, 3, 6, dtype=dtype, seed=1) if two else None
    # Signs and eighths are the same numbers in bfloat16.
    u, v = jnp.round(8 * maps(4, 7, seed=3)) / 8, jnp.sign(maps(6 if two else 4, 7, seed=4))
    for weights in (None, w):
        got = factorized(x, y, u, v, weights, algorithm=algorithm)
        want = reference(x, y, u, v, weights)
        assert got.dtype == jnp.float32
        assert np.linalg.norm(got - want) <= 1e-5 * np.linalg.norm(want)


@pytest.mark.parametrize("algorithm", ["gram", "locations"])
def test_gradients(algorithm):
    with jax.enable_x64(True):
        args = [np.asarray(maps(*s, seed=i), np.float64)
                for i, s in enumerate([(1, 2, 3, 4), (4, 5), (4, 5), (1, 2, 3)])]  # fmt: skip
        check_grads(lambda x, u, v, w: factorized(x, None, u, v, w, algorithm=algorithm), args, 2)


def test_auto_takes_the_cheaper_way():
    def projected_locations(h, w):
        text = jax.jit(factorized).lower(
            maps(1, h, w, 8), None, maps(8, 64), maps(8, 64)
        ).as_text()  # fmt: skip
        return f"tensor<1x{h}x{w}x64xf32>" in text

    assert not projected_locations(9, 9)
    assert projected_locations(1, 3)


def test_mean_and_variance_of_random_maclaurin():
    """E⟨φ(x), φ(y)⟩ = ⟨x, y⟩² and the exact variance of products of Rademacher forms."""
    rng = np.random.default_rng(0)
    x, y = (a / np.linalg.norm(a) for a in rng.random((2, 16)))
    d, draws = 32, 1500
    pair = jnp.asarray(np.stack([x, y]), jnp.float32)[:, None, None]
    project = jax.jit(lambda u, v: factorized(pair, None, u, v, algorithm="locations"))
    phi = np.stack([project(*draw_random_maclaurin(s, 16, 16, d)) for s in range(draws)]) / d**0.5
    estimates = (phi[:, 0] * phi[:, 1]).sum(-1)
    inner = x @ y
    second_moment = 1 + 2 * inner**2 - 2 * (x**2 * y**2).sum()
    variance = (second_moment**2 - inner**4) / d
    assert abs(estimates.mean() - inner**2) < 4 * np.sqrt(variance / draws)
    assert abs(estimates.var() / variance - 1) < 0.2


def test_signs_repeat_and_are_shared():
    u, v = draw_random_maclaurin(1, 4, 6, 10)
    wide, _ = draw_random_maclaurin(1, 9, 6, 10)
    assert set(np.unique(wide)) == {-1, 1}
    np.testing.assert_array_equal(u, wide[:4])
    assert not np.array_equal(u, v[:4])


def test_errors():
    x, u = maps(1, 2, 2, 4), maps(4, 5)
    with pytest.raises(ValueError, match='unknown algorithm \'fft\': use "gram", "locations"'):
        factorized(x, None, u, u, algorithm="fft")
    with pytest.raises(ValueError, match="d is -1"):
        draw_random_maclaurin(0, 4, 4, -1)
