import numpy as np
import pytest

from fgjax.analysis import compression


def test_dimensions_of_known_spectra():
    assert compression.effective_rank(np.array([2.0, 2, 2, 0])) == pytest.approx(3)
    assert compression.participation_ratio(np.array([2.0, 2, 2, 0])) == pytest.approx(3)
    assert compression.participation_ratio(np.array([3.0, 1])) == pytest.approx(16 / 10)
    assert compression.dimension(np.array([5.0, 90, 5]), 0.95) == 2
    assert compression.dimension(np.array([5.0, 90, 5]), 0.96) == 3


def covariances(x, y):
    residual, means, shares = compression.spread(x, y)
    return residual.T @ residual / len(x), means.T @ (shares[:, None] * means)


def test_within_and_between_add_up_to_the_total():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 4)), rng.integers(0, 3, 50)
    within, between = covariances(x, y)
    np.testing.assert_allclose(within + between, np.cov(x.T, bias=True), atol=1e-12)


def test_a_simplex_with_no_spread_has_collapsed():
    labels = np.arange(40) % 4
    figures = compression.collapse(np.eye(4)[labels], labels)
    for name, figure in figures.items():
        assert figure == pytest.approx(0, abs=1e-9), name


def test_collapse_figures_grow_with_the_spread():
    labels = np.arange(400) % 4
    noise = np.random.default_rng(0).normal(size=(400, 4))
    within, between = covariances(np.eye(4)[labels] + 0.5 * noise, labels)
    figures = compression.collapse(np.eye(4)[labels] + 0.5 * noise, labels)
    assert figures["within_between"] == pytest.approx(np.trace(within) / np.trace(between))
    values, vectors = np.linalg.eigh(between)
    inverse = (vectors[:, 1:] / values[1:]) @ vectors[:, 1:].T
    assert figures["nc1"] == pytest.approx(np.trace(within @ inverse) / 4, rel=1e-6)


def test_what_is_lost_and_gained_between_two_read_outs():
    before = np.array([1, 1, 1, 0, 0, 1, 1, 1], bool)
    after = np.array([1, 0, 1, 1, 0, 1, 0, 0], bool)
    figures = compression.lost(before, after)
    assert figures["lost"]["value"] == 3 / 8
    assert figures["gained"]["value"] == 1 / 8
    assert figures["net"]["value"] == pytest.approx(-2 / 8)
    assert figures["net"]["low"] < -2 / 8 < figures["net"]["high"]
