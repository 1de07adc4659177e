import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsClassifier

from fgjax.analysis import probes


def examples(n, d, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    centers = np.random.default_rng(99).normal(size=(classes, d))
    return (centers[labels] + 2 * rng.normal(size=(n, d)) + 3.0).astype(np.float32), labels


@pytest.mark.parametrize("shape", [(60, 12), (30, 80)], ids=["tall", "wide"])
@pytest.mark.parametrize("strength", [1e-3, 1.0, 100.0])
def test_ridge_is_that_of_scikit_learn(shape, strength):
    x, y = examples(*shape)
    spectrum = probes.decompose(x)
    probe = probes.ridge(spectrum, y, strength)
    penalty = strength * np.var(x, axis=0, dtype=np.float64).sum()
    reference = Ridge(alpha=penalty).fit(x.astype(np.float64), np.eye(4)[y])
    np.testing.assert_allclose(probe.weights, reference.coef_.T, rtol=1e-4, atol=1e-6)
    queries, _ = examples(20, shape[1], seed=1)
    np.testing.assert_allclose(
        probes.read(probe, queries), reference.predict(queries), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("shape", [(40, 6), (20, 50)], ids=["tall", "wide"])
def test_leave_one_out_is_a_refit_without_each_example(shape):
    x, y = examples(*shape)
    x = x.astype(np.float64)
    found = probes.leave_one_out(probes.decompose(x), y, 0.3)
    penalty = 0.3 * np.var(x, axis=0).sum()
    for left_out in range(len(x)):
        rest = np.arange(len(x)) != left_out
        fitted = Ridge(alpha=penalty).fit(x[rest], np.eye(4)[y[rest]])
        np.testing.assert_allclose(found[left_out], fitted.predict(x[[left_out]])[0], atol=1e-8)


def test_strength_is_the_one_that_is_right_most_often_on_left_out_examples():
    x, y = examples(60, 50)
    spectrum = probes.decompose(x)
    right = {
        s: np.mean(probes.leave_one_out(spectrum, y, s).argmax(1) == y) for s in probes.STRENGTHS
    }
    chosen = max(s for s in right if right[s] == max(right.values()))
    fitted = probes.fit(x, {"fine": y, "coarse": y // 2})
    assert fitted["fine"].strength == chosen
    assert chosen > min(probes.STRENGTHS)  # which fits the training examples best
    np.testing.assert_allclose(fitted["fine"].weights, probes.ridge(spectrum, y, chosen).weights)
    assert fitted["coarse"].weights.shape == (50, 2)


def test_half_precision_features_give_the_same_probe():
    x, y = examples(50, 90)
    half = x.astype(np.float16)
    from_half = probes.ridge(probes.decompose(half), y, 1.0)
    from_double = probes.ridge(probes.decompose(half.astype(np.float64)), y, 1.0)
    np.testing.assert_allclose(
        probes.read(from_half, half), probes.read(from_double, half.astype(np.float64)), atol=1e-4
    )


def test_constant_features_predict_the_most_frequent_class():
    x, y = np.ones((9, 3)), np.array([0, 1, 1, 1, 2, 1, 2, 0, 1])
    probe = probes.ridge(probes.decompose(x), y, 1.0)
    assert (probes.read(probe, x).argmax(1) == 1).all()


def test_nearest_neighbors_are_those_of_scikit_learn():
    x, y = examples(80, 6)
    queries, _ = examples(33, 6, seed=1)
    votes = probes.nearest_neighbors(x, y, queries, 4, k=5, block=10)
    reference = KNeighborsClassifier(5, metric="cosine").fit(x, y)
    np.testing.assert_allclose(votes, reference.predict_proba(queries), atol=1e-12)


def test_second_order_has_the_inner_products_of_the_full_bilinear_feature():
    maps = np.random.default_rng(0).normal(size=(3, 4, 5, 6)).astype(np.float32)
    feature = np.asarray(probes.second_order(jnp.asarray(maps)))
    flat = maps.reshape(3, 20, 6).astype(np.float64)
    full = np.einsum("bpi,bpj->bij", flat, flat).reshape(3, -1) / 20
    full = np.sign(full) * np.sqrt(np.abs(full))
    full /= np.linalg.norm(full, axis=1, keepdims=True)
    assert feature.shape == (3, 21)
    np.testing.assert_allclose(feature @ feature.T, full @ full.T, atol=1e-5)


def test_second_order_stays_within_its_limit():
    maps = jnp.ones((2, 3, 3, 10))
    feature = probes.second_order(maps, limit=4)
    assert feature.shape == (2, 10)
    np.testing.assert_allclose(np.linalg.norm(feature, axis=1), 1.0, rtol=1e-5)


def test_second_order_tells_apart_what_the_average_cannot():
    """Two channels with equal means, that fire together or apart: only co-occurrence differs."""
    rng = np.random.default_rng(0)
    labels = np.arange(80) % 2
    first = rng.random((80, 4, 4)) > 0.5
    second = np.where(labels[:, None, None] == 0, first, ~first)
    first[:, 0, 0] ^= first.mean((1, 2)) > 0.5
    maps = jnp.asarray(np.stack([first, second], -1), jnp.float32)
    held = slice(40, 80)
    result = {}
    for name, describe in {"average": probes.average, "second": probes.second_order}.items():
        x = np.asarray(describe(maps))
        probe = probes.ridge(probes.decompose(x[:40]), labels[:40], 1e-3)
        result[name] = np.mean(probes.read(probe, x[held]).argmax(1) == labels[held])
    assert result["second"] == 1.0
    assert result["average"] < 0.9


def test_folding_keeps_inner_products_in_the_mean():
    x = np.random.default_rng(0).normal(size=(3, 40)).astype(np.float32)
    assert probes.folded(x, 40) is x
    products = []
    for seed in range(400):
        small = np.asarray(probes.folded(x, 8, seed))
        assert small.shape == (3, 8)
        products.append(small @ small.T)
    error = np.std(products, axis=0) / np.sqrt(len(products))
    assert np.all(np.abs(np.mean(products, axis=0) - x @ x.T) < 4 * error)
