import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from fgjax.ops.gram import align, gram, triangle

SHAPES = [(2, 5, 3, 4, 6), (1, 1, 1, 1, 1), (3, 7, 7, 1, 5), (2, 2, 4, 9, 1)]


def maps(*shape, dtype=jnp.float32, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), dtype)


def reference(x, y=None, weights=None, center=False, mean=False):
    """float64, location by location."""
    x = np.asarray(x, np.float64)
    y = x if y is None else np.asarray(y, np.float64)
    w = np.ones(x.shape[:3]) if weights is None else np.asarray(weights, np.float64)
    out = np.zeros((x.shape[0], x.shape[-1], y.shape[-1]))
    for b in range(x.shape[0]):
        total = w[b].sum()
        mx, my = ((m[b] * w[b][..., None]).sum((0, 1)) / total for m in (x, y))
        for p in np.ndindex(x.shape[1:3]):
            u, v = (x[b][p] - mx, y[b][p] - my) if center else (x[b][p], y[b][p])
            out[b] += w[b][p] * np.outer(u, v)
        out[b] /= total if mean else 1
    return out


def assert_near(a, b, epsilon):
    assert np.linalg.norm(np.asarray(a, np.float64) - b) <= epsilon * np.linalg.norm(b)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("options", [{}, {"mean": True}, {"center": True, "mean": True}])
def test_equals_the_sum_of_outer_products(shape, dtype, options):
    b, h, w, c, e = shape
    x, y = maps(b, h, w, c, dtype=dtype), maps(b, h, w, e, dtype=dtype, seed=1)
    weights = jnp.abs(maps(b, h, w, seed=2))
    if options.get("center") and h * w == 1:
        assert not np.any(gram(x, y, weights, **options))
        return
    for second in (None, y):
        for place in (None, weights):
            got = gram(x, second, place, **options)
            assert got.dtype == jnp.float32
            assert_near(got, reference(x, second, place, **options), 2e-6)


def test_is_symmetric_and_a_mask_leaves_locations_out():
    x = maps(2, 4, 3, 5)
    mask = jnp.asarray(np.random.default_rng(3).integers(0, 2, (2, 4, 3)), jnp.float32)
    got = gram(x, None, mask)
    np.testing.assert_array_equal(got, got.mT)
    kept = x[0].reshape(-1, 5)[np.flatnonzero(mask[0])]
    np.testing.assert_allclose(got[0], kept.T @ kept, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("center", [False, True])
def test_gradients(center):
    x, y, w = maps(2, 3, 2, 4), maps(2, 3, 2, 3, seed=1), jnp.abs(maps(2, 3, 2, seed=2)) + 0.5
    with jax.enable_x64(True):
        x, y, w = (jnp.asarray(np.asarray(a), jnp.float64) for a in (x, y, w))
        options = {"center": center, "mean": center}
        check_grads(jax.jit(lambda x: gram(x, **options)), (x,), 2)
        check_grads(jax.jit(lambda x, w: gram(x, None, w, **options)), (x, w), 2)
        check_grads(jax.jit(lambda x, y, w: gram(x, y, w, **options)), (x, y, w), 2)


def test_the_symmetric_gradient_costs_one_product():
    x = maps(2, 3, 2, 4)
    cotangent = maps(2, 4, 4, seed=5)  # not symmetric
    text = jax.jit(jax.grad(lambda x: (gram(x) * cotangent).sum())).lower(x).as_text()
    assert text.count("stablehlo.dot_general") == 1
    got = jax.grad(lambda x: (gram(x) * cotangent).sum())(x)
    want = jnp.einsum("bhwc,bce->bhwe", x, cotangent + cotangent.mT)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_vmap_equals_the_batch():
    x = maps(2, 3, 2, 4)
    np.testing.assert_allclose(jax.vmap(gram)(x), gram(x), rtol=1e-6)


def test_bfloat16_gradient_keeps_its_dtype_and_float32_accuracy():
    x = maps(2, 5, 3, 4, dtype=jnp.bfloat16)
    cotangent = maps(2, 4, 4, seed=5)
    got = jax.grad(lambda x: (gram(x) * cotangent).sum())(x)
    want = np.einsum(
        "bhwc,bce->bhwe", np.asarray(x, np.float64), np.asarray(cotangent + cotangent.mT)
    )
    assert got.dtype == jnp.bfloat16
    assert_near(got, want, 4e-3)  # the rounding of the result itself


def test_a_map_without_weight_is_zero():
    x = maps(2, 4, 3, 5)
    for center in (False, True):
        value, slope = jax.value_and_grad(
            lambda x, center=center: gram(
                x, None, jnp.zeros((2, 4, 3)), center=center, mean=True
            ).sum()
        )(x)
        assert value == 0
        assert not np.any(slope)


def test_triangle_and_align():
    matrix = maps(2, 4, 4)
    got = triangle(matrix)
    rows, columns = np.triu_indices(4)
    np.testing.assert_array_equal(got, np.asarray(matrix)[:, rows, columns])
    slope = jax.grad(lambda m: triangle(m).sum())(matrix)
    np.testing.assert_array_equal(slope, np.broadcast_to(np.triu(np.ones((4, 4))), (2, 4, 4)))
    fine, coarse = align((maps(2, 6, 5, 3), maps(2, 3, 2, 4)))
    assert fine.shape == (2, 6, 5, 3)
    assert coarse.shape == (2, 6, 5, 4)


def test_errors():
    x = maps(2, 4, 3, 5)
    with pytest.raises(ValueError, match=r"x has shape \(4, 3\): give a feature map"):
        gram(x[0, :, :, 0])
    with pytest.raises(ValueError, match="batch and grid must be the same"):
        gram(x, x[:1])
    with pytest.raises(ValueError, match=r"weights have shape \(2, 4\): give one per location"):
        gram(x, None, x[:, :, 0, 0])
