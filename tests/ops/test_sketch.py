import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from fgjax.ops.gram import gram
from fgjax.ops.normalize import l2_normalize, signed_sqrt
from fgjax.ops.sketch import (
    draw_tensor_sketch,
    gram_is_cheaper,
    sketch_gram,
    tensor_sketch,
    tensor_sketch_map,
)

# batch, height, width, channels of x, channels of y, d
SHAPES = [
    (2, 5, 3, 4, 6, 16),
    (1, 3, 3, 1, 1, 1),
    (1, 4, 7, 1, 5, 8),
    (3, 2, 2, 9, 8, 13),  # d odd and below c²
    (2, 3, 3, 5, 4, 101),  # d above c²
]


def maps(*shape, dtype=jnp.float32, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), dtype)


def reference(x, y, weights, sketch):
    """The definition in float64: every pair of channels at every location."""
    x = np.asarray(x, np.float64)
    y = x if y is None else np.asarray(y, np.float64)
    w = np.ones(x.shape[:3]) if weights is None else np.asarray(weights, np.float64)
    hx, hy, sx, sy = (np.asarray(a) for a in sketch[:4])
    out = np.zeros((x.shape[0], sketch.d))
    for i in range(x.shape[-1]):
        for j in range(y.shape[-1]):
            products = (w * x[..., i] * y[..., j]).sum((1, 2))
            out[:, (hx[i] + hy[j]) % sketch.d] += sx[i] * sy[j] * products
    return out


def reference_slope(x, y, weights, sketch, cotangent):
    """Derivative of ⟨cotangent, sketch⟩ by x, in float64."""
    hx, hy, sx, sy = (np.asarray(a) for a in sketch[:4])
    matrix = sx[:, None] * sy * np.asarray(cotangent, np.float64)[:, (hx[:, None] + hy) % sketch.d]
    w = 1 if weights is None else np.asarray(weights, np.float64)[..., None]
    if y is None:
        return w * np.einsum("bhwi,bij->bhwj", np.asarray(x, np.float64), matrix + matrix.mT)
    return w * np.einsum("bhwj,bij->bhwi", np.asarray(y, np.float64), matrix)


def assert_near(a, b, epsilon):
    assert np.linalg.norm(np.asarray(a, np.float64) - b) <= epsilon * np.linalg.norm(b)


@pytest.mark.parametrize("algorithm", ["gram", "fft"])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("two", "weighted"), [(False, False), (True, True)])
def test_values_and_gradients_equal_the_definition(shape, dtype, algorithm, two, weighted):
    b, h, w, c, e, d = shape
    x, y = maps(b, h, w, c, dtype=dtype), maps(b, h, w, e, dtype=dtype, seed=1) if two else None
    weights = jnp.abs(maps(b, h, w, seed=2)) if weighted else None
    sketch = draw_tensor_sketch(7, c, e if two else c, d)
    cotangent = maps(b, d, seed=3)

    def pooled(x):
        return tensor_sketch(x, y, sketch, weights, algorithm=algorithm)

    z, pull_back = jax.vjp(pooled, x)
    want = reference(x, y, weights, sketch)
    assert z.dtype == jnp.float32
    assert_near(z, want, 1e-5)
    assert_near(signed_sqrt(z), np.sign(want) * np.sqrt(np.abs(want)), 1e-3)
    (slope,) = pull_back(cotangent)
    assert slope.dtype == dtype
    # A bfloat16 gradient carries the rounding of its own last bit.
    tolerance = 1e-5 if dtype == jnp.float32 else 4e-3
    assert_near(slope, reference_slope(x, y, weights, sketch, cotangent), tolerance)


def test_gradient_through_the_normalization_is_the_same_by_both_algorithms():
    x, sketch = jnp.abs(maps(2, 4, 4, 12)), draw_tensor_sketch(0, 12, 12, 32)
    direction = maps(2, 32, seed=4)

    def score(x, algorithm):
        z = tensor_sketch(x, None, sketch, algorithm=algorithm)
        return (direction * l2_normalize(signed_sqrt(z))).sum()

    by_gram, by_fft = (jax.grad(score)(x, algorithm) for algorithm in ("gram", "fft"))
    assert_near(by_gram, np.asarray(by_fft, np.float64), 1e-3)


@pytest.mark.parametrize("algorithm", ["gram", "fft"])
def test_check_grads_to_second_order(algorithm):
    x, y, w = maps(1, 2, 3, 4), maps(1, 2, 3, 3, seed=1), jnp.abs(maps(1, 2, 3, seed=2)) + 0.5
    sketch = draw_tensor_sketch(1, 4, 3, 5)
    own = draw_tensor_sketch(1, 4, 4, 5)
    with jax.enable_x64(True):
        x, y, w = (np.asarray(a, np.float64) for a in (x, y, w))

        def two(x, y, w):
            return tensor_sketch(x, y, sketch, w, algorithm=algorithm)

        def smooth(x):
            return l2_normalize(signed_sqrt(tensor_sketch(x, None, own, algorithm=algorithm)))

        check_grads(jax.jit(two), (x, y, w), 2, modes=["rev"])
        check_grads(jax.jit(smooth), (x,), 2, modes=["rev"])


def test_no_scatter_in_either_direction():
    """A scatter-add on a GPU adds in any order; buckets are read in a fixed one instead."""
    x, sketch = maps(2, 3, 3, 6), draw_tensor_sketch(0, 6, 6, 16)
    for algorithm in ("gram", "fft"):

        def loss(x, algorithm=algorithm):
            return jnp.square(tensor_sketch(x, None, sketch, algorithm=algorithm)).sum()

        text = jax.jit(jax.value_and_grad(loss)).lower(x).as_text()
        assert "gather" in text
        assert "scatter" not in text


def test_map_sums_to_the_pooled_sketch_and_vmap_is_the_batch():
    x, sketch = maps(2, 4, 3, 5), draw_tensor_sketch(0, 5, 5, 24)
    pooled = tensor_sketch(x, None, sketch)
    everywhere = tensor_sketch_map(x, None, sketch)
    assert everywhere.shape == (2, 4, 3, 24)
    np.testing.assert_allclose(everywhere.sum((1, 2)), pooled, atol=1e-4)
    one = jax.vmap(lambda x: tensor_sketch(x, None, sketch, algorithm="gram"))(x)
    np.testing.assert_allclose(one, sketch_gram(gram(x), sketch), atol=1e-5)


def test_sketches_of_a_seed_repeat_and_share_their_hashes():
    small, large = draw_tensor_sketch(3, 4, 6, 100), draw_tensor_sketch(3, 50, 9, 100)
    for field in ("hashes_x", "signs_x", "hashes_y", "signs_y"):
        a, b = getattr(small, field), getattr(large, field)
        np.testing.assert_array_equal(a, b[: a.size])
    assert not np.array_equal(large.hashes_x[:9], large.hashes_y)
    again = draw_tensor_sketch(3, 4, 6, 100)
    np.testing.assert_array_equal(again.members, small.members)
    other = draw_tensor_sketch(4, 50, 9, 100)
    assert not np.array_equal(other.hashes_x, large.hashes_x)


def test_every_pair_is_in_one_bucket():
    sketch = draw_tensor_sketch(0, 7, 5, 11)
    members = np.asarray(sketch.members)
    np.testing.assert_array_equal(np.sort(members[members < 35]), np.arange(35))


def test_mean_and_variance_of_the_kernel_estimate():
    """E⟨φ(x), φ(y)⟩ = ⟨x, y⟩²; d Var ≤ 2 + 3² for unit vectors (Avron et al. 2014)."""
    rng = np.random.default_rng(0)
    x, y = (v / np.linalg.norm(v) for v in rng.random((2, 16)))
    d, draws = 64, 3000
    estimates = np.empty(draws)
    for seed in range(draws):
        hashes = rng.integers(0, d, (2, 16))
        signs = rng.choice([-1.0, 1.0], (2, 16))
        if seed < 3:  # the drawn sketches are the definition simulated below
            sketch = draw_tensor_sketch(seed, 16, 16, d)
            hashes, signs = np.stack(sketch[:2]), np.stack(sketch[2:4])
            got = [tensor_sketch(jnp.asarray(v, jnp.float32)[None, None, None], None, sketch)
                   for v in (x, y)]  # fmt: skip
        spectra = [
            np.fft.rfft(np.stack([np.bincount(hashes[k], signs[k] * v, d) for k in (0, 1)])).prod(0)
            for v in (x, y)
        ]
        phi = [np.fft.irfft(s, d) for s in spectra]
        if seed < 3:
            np.testing.assert_allclose(np.concatenate(got), phi, atol=1e-6)
        estimates[seed] = phi[0] @ phi[1]
    deviation = estimates.std()
    assert abs(estimates.mean() - (x @ y) ** 2) < 4 * deviation / np.sqrt(draws)
    assert d * deviation**2 < 11
    assert d * deviation**2 > 1


def test_auto_follows_the_shapes():
    assert gram_is_cheaper(28 * 28, 512, 512, 8192)
    assert gram_is_cheaper(7 * 7, 320, 320, 8192)
    assert not gram_is_cheaper(14 * 14, 2048, 2048, 8192)
    x, sketch = maps(1, 1, 1, 40), draw_tensor_sketch(0, 40, 40, 4)
    few = jax.jit(lambda x: tensor_sketch(x, None, sketch)).lower(x).as_text()
    many = jax.jit(lambda x: tensor_sketch(x, None, sketch)).lower(maps(1, 60, 60, 40)).as_text()
    assert "fft" in few
    assert "fft" not in many


@pytest.mark.parametrize("scale", [1e-15, 1e15])
@pytest.mark.parametrize("algorithm", ["gram", "fft"])
def test_scales_change_nothing_after_normalization(scale, algorithm):
    x, sketch = maps(2, 3, 3, 6), draw_tensor_sketch(0, 6, 6, 20)

    def pooled(x):
        return l2_normalize(signed_sqrt(tensor_sketch(x, None, sketch, algorithm=algorithm)))

    np.testing.assert_allclose(pooled(x * scale), pooled(x), atol=1e-3)
    slope = jax.grad(lambda x: pooled(x)[:, 0].sum())(x * scale)
    assert np.all(np.isfinite(slope))


def test_errors():
    x, sketch = maps(2, 3, 3, 6), draw_tensor_sketch(0, 6, 6, 20)
    with pytest.raises(ValueError, match='unknown algorithm \'dft\': use "gram", "fft" or "auto"'):
        tensor_sketch(x, None, sketch, algorithm="dft")
    with pytest.raises(ValueError, match="d is 0: a sketch needs at least one dimension"):
        draw_tensor_sketch(0, 6, 6, 0)
    with pytest.raises(ValueError, match="batch and grid must be the same"):
        tensor_sketch(x, x[:1], sketch)
    with pytest.raises(ValueError, match="give a feature map"):
        tensor_sketch(x[0, 0], None, sketch)
