import numpy as np
import pytest
from scipy import optimize, stats
from sklearn.covariance import LedoitWolf

from fgjax.analysis import transferability


@pytest.fixture
def examples():
    rng = np.random.default_rng(0)
    labels = np.arange(48) % 4
    return np.random.default_rng(1).normal(size=(4, 5))[labels] + rng.normal(size=(48, 5)), labels


def marginal(features, target, alpha, beta):
    """log N(y; 0, I / beta + F F' / alpha) / n by its definition."""
    n = len(target)
    covariance = np.eye(n) / beta + features @ features.T / alpha
    return stats.multivariate_normal(np.zeros(n), covariance).logpdf(target) / n


def test_log_evidence_is_the_gaussian_marginal_likelihood(examples):
    features, labels = examples
    target = (labels == 0).astype(float)
    left, singular, _ = np.linalg.svd(features, full_matrices=False)
    projected = (left.T @ target) ** 2
    value = transferability.log_evidence(
        singular**2, projected, target @ target - projected.sum(), 48, 0.7, 3.0
    )
    assert value == pytest.approx(marginal(features, target, 0.7, 3.0), rel=1e-9)


def test_log_me_is_the_maximum_of_the_marginal_likelihood(examples):
    features, labels = examples
    maxima = []
    for label in range(4):
        target = (labels == label).astype(float)
        found = optimize.minimize(
            lambda p, y=target: -marginal(features, y, *np.exp(p)),
            np.zeros(2),
            method="Nelder-Mead",
            options={"xatol": 1e-7, "fatol": 1e-11},
        )
        maxima.append(-found.fun)
    assert transferability.log_me(features, labels) == pytest.approx(np.mean(maxima), abs=1e-7)


def test_shrinkage_is_that_of_scikit_learn(examples):
    centered = examples[0] - examples[0].mean(0)
    reference = LedoitWolf(assume_centered=True).fit(centered).shrinkage_
    assert transferability.ledoit_wolf(centered) == pytest.approx(reference, rel=1e-9)


def test_h_score_by_its_definition(examples):
    features, labels = examples
    fitted = LedoitWolf().fit(features)
    means = np.stack([features[labels == y].mean(0) for y in labels])
    between = np.cov(means.T, bias=True)
    reference = (1 - fitted.shrinkage_) * np.trace(np.linalg.inv(fitted.covariance_) @ between)
    assert transferability.h_score(features, labels) == pytest.approx(reference, rel=1e-9)


def test_trans_rate_by_determinants(examples):
    features, labels = examples
    centered = features - features.mean(0)

    def rate(z):
        return 0.5 * np.log(np.linalg.det(np.eye(5) + z.T @ z / (len(z) * 1e-2)))

    reference = rate(centered) - np.mean([rate(centered[labels == y]) for y in range(4)])
    assert transferability.trans_rate(features, labels, 1e-2) == pytest.approx(reference)


def test_coding_rate_of_few_examples_uses_the_small_determinant():
    wide = np.random.default_rng(0).normal(size=(4, 9))
    reference = 0.5 * np.log(np.linalg.det(np.eye(9) + wide.T @ wide / (4 * 0.1)))
    assert transferability.coding_rate(wide, 0.1) == pytest.approx(reference)


@pytest.mark.parametrize("score", ["log_me", "h_score", "trans_rate"])
def test_scores_fall_when_labels_are_shuffled(score, examples):
    features, labels = examples
    function = getattr(transferability, score)
    shuffled = np.random.default_rng(0).permutation(labels)
    assert function(features, labels) > function(features, shuffled)
