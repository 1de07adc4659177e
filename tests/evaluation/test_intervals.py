import numpy as np
import pytest
from scipy.stats import binomtest, norm

from fgjax.evaluation import intervals


@pytest.mark.parametrize(("s", "n"), [(0, 7), (7, 7), (1, 1), (3, 10), (697, 801), (5, 5794)])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_wilson_matches_scipy(s, n, confidence):
    estimate = intervals.wilson(s, n, confidence)
    expected = binomtest(s, n).proportion_ci(confidence, method="wilson")
    np.testing.assert_allclose(estimate[1:3], (expected.low, expected.high), atol=1e-12)
    assert estimate.value == s / n
    assert estimate.n == n
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1


def test_mean_of_proportions_follows_its_equation():
    estimate = intervals.mean_of_proportions(np.array([9, 2, 0]), np.array([10, 8, 0]))
    half = norm.ppf(0.975) * np.sqrt(9.5 * 1.5 / 11**2 / 10 + 2.5 * 6.5 / 9**2 / 8) / 2
    mean = (0.9 + 0.25) / 2
    np.testing.assert_allclose(estimate, (mean, mean - half, mean + half, 18))


@pytest.mark.parametrize("spread", [(8, 2), (2, 5)])
def test_mean_of_proportions_covers_the_true_mean(spread):
    rng = np.random.default_rng(0)
    p, n = rng.beta(*spread, size=30), rng.integers(5, 30, size=30)
    estimates = [intervals.mean_of_proportions(rng.binomial(n, p), n) for _ in range(4000)]
    covered = np.mean([e.low <= p.mean() <= e.high for e in estimates])
    assert 0.94 < covered < 0.97


def test_mean_of_proportions_stays_uncertain_when_all_is_right():
    n = np.full(30, 27)
    estimate = intervals.mean_of_proportions(n, n)
    assert estimate.value == estimate.high == 1.0
    assert 0.98 < estimate.low < 0.995


def test_paired_bootstrap_agrees_with_resampling_examples():
    rng = np.random.default_rng(0)
    a, b = rng.random(200) < 0.8, rng.random(200) < 0.7
    estimate = intervals.paired_bootstrap(a, b)
    rows = rng.integers(200, size=(10_000, 200))
    direct = np.quantile(a[rows].mean(1) - b[rows].mean(1), [0.025, 0.975])
    assert estimate.value == pytest.approx(a.mean() - b.mean())
    np.testing.assert_allclose(estimate[1:3], direct, atol=0.006)
    assert estimate == intervals.paired_bootstrap(a, b)


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (3, 3), (1, 9), (12, 2), (0, 6)])
def test_mcnemar_matches_the_binomial_test(only_a, only_b):
    a = np.array([1] * only_a + [0] * only_b + [1, 0, 1], bool)
    b = np.array([0] * only_a + [1] * only_b + [1, 0, 1], bool)
    result = intervals.mcnemar(a, b)
    assert (result.only_a, result.only_b) == (only_a, only_b)
    n = only_a + only_b
    assert result.p_value == pytest.approx(binomtest(only_a, n).pvalue if n else 1.0)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="got 3/2"):
        intervals.wilson(3, 2)
    with pytest.raises(ValueError, match="at least one class with examples"):
        intervals.mean_of_proportions(np.zeros(2, int), np.zeros(2, int))
    with pytest.raises(ValueError, match=r"got \(2,\) and \(3,\)"):
        intervals.mcnemar(np.ones(2, bool), np.ones(3, bool))
