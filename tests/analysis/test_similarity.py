import jax.numpy as jnp
import numpy as np
import pytest

from fgjax.analysis import similarity


def hsic_by_definition(x, y):
    """Unbiased HSIC as a U-statistic: over all quadruples of distinct examples."""
    first, second = x @ x.T, y @ y.T
    n, total, count = len(x), 0.0, 0
    for i in range(n):
        for j in range(n):
            for q in range(n):
                for r in range(n):
                    if len({i, j, q, r}) == 4:
                        total += first[i, j] * (second[i, j] + second[q, r] - 2 * second[i, q])
                        count += 1
    return total / count


def value(*representations):
    grams = np.stack([similarity.gram(jnp.asarray(x)) for x in representations])
    return similarity.cka(similarity.accumulate(None, grams))


def test_hsic_is_the_u_statistic():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(7, 3)), rng.normal(size=(7, 4))
    grams = np.stack([x @ x.T, y @ y.T])
    result = similarity.hsic(grams)
    np.testing.assert_allclose(result[0, 1], hsic_by_definition(x, y), rtol=1e-10)
    np.testing.assert_allclose(result[1, 1], hsic_by_definition(y, y), rtol=1e-10)


def test_invariances():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 6)), rng.normal(size=(30, 2, 2, 3))
    rotation = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    base = value(x, y)
    moved = value(3.0 * x @ rotation + rng.normal(size=6), y)
    np.testing.assert_allclose(base, base.T)
    np.testing.assert_allclose(moved, base, atol=1e-5)
    stretched = value(x * np.array([10, 1, 1, 1, 1, 1]), y)
    assert abs(stretched[0, 1] - base[0, 1]) > 1e-3


def test_batches_agree_with_the_whole_in_the_mean_and_do_not_depend_on_their_size():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3000, 4))
    y = x @ rng.normal(size=(4, 4)) + rng.normal(size=(3000, 4))
    centered_x, centered_y = x - x.mean(0), y - y.mean(0)
    cross = np.linalg.norm(centered_y.T @ centered_x) ** 2
    whole = cross / (
        np.linalg.norm(centered_x.T @ centered_x) * np.linalg.norm(centered_y.T @ centered_y)
    )
    for size in (6, 100):
        alignment = None
        for start in range(0, 3000, size):
            part = slice(start, start + size)
            grams = np.stack([x[part] @ x[part].T, y[part] @ y[part].T])
            alignment = similarity.accumulate(alignment, grams)
        assert alignment.batches == 3000 // size
        assert similarity.cka(alignment)[0, 1] == pytest.approx(whole, abs=0.03)


def test_unrelated_representations_score_about_zero_however_small_the_batch():
    rng = np.random.default_rng(0)
    alignment = None
    for _ in range(600):
        x, y = rng.normal(size=(2, 8, 50))
        alignment = similarity.accumulate(alignment, np.stack([x @ x.T, y @ y.T]))
    assert abs(similarity.cka(alignment)[0, 1]) < 0.05


def test_three_examples_are_too_few():
    with pytest.raises(ValueError, match="at least 4 examples"):
        similarity.hsic(np.ones((2, 3, 3)))
