import numpy as np
import pytest
from scipy import stats

from fgjax.analysis import intervals


def test_wilson_bounds_are_those_of_scipy():
    correct = np.arange(40) < 31
    figure = intervals.proportion(correct)
    reference = stats.binomtest(31, 40).proportion_ci(method="wilson")
    np.testing.assert_allclose((figure["low"], figure["high"]), reference, rtol=1e-12)
    assert (figure["value"], figure["n"]) == (31 / 40, 40)


def test_no_examples_say_nothing():
    figure = intervals.proportion(np.zeros(0, bool))
    assert (figure["low"], figure["high"], figure["n"]) == (0.0, 1.0, 0)


def test_paired_interval_is_the_one_sample_interval_of_the_differences():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 50))
    figure = intervals.paired_difference(first, second)
    difference = first - second
    reference = stats.norm.interval(0.95, difference.mean(), stats.sem(difference))
    np.testing.assert_allclose((figure["low"], figure["high"]), reference, rtol=1e-12)


def test_bootstrap_interval_of_a_mean_is_near_the_normal_one():
    samples = np.random.default_rng(0).normal(size=400)
    figure = intervals.bootstrap(samples, np.mean)
    reference = stats.norm.interval(0.95, samples.mean(), stats.sem(samples))
    assert figure["value"] == pytest.approx(samples.mean())
    np.testing.assert_allclose((figure["low"], figure["high"]), reference, atol=0.02)
