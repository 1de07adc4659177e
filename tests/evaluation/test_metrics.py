import json

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import balanced_accuracy_score, log_loss, top_k_accuracy_score

from fgjax.errors import UserError
from fgjax.evaluation import metrics

FAMILY = np.array([0, 0, 0, 1, 1, 2, 2, 2])


@pytest.fixture(scope="module")
def scores():
    rng = np.random.default_rng(0)
    labels = np.concatenate([np.arange(8), rng.integers(8, size=92)])
    logits = rng.normal(size=(100, 8)) + 2.0 * np.eye(8)[labels]
    return logits.astype(np.float32), labels


@pytest.fixture(scope="module")
def summary(scores):
    return metrics.summarize(*scores, coarse_of=FAMILY)


def test_accuracies_match_sklearn(scores, summary):
    logits, labels = scores
    predicted = logits.argmax(1)
    assert summary["top1"]["value"] == np.mean(predicted == labels)
    assert summary["top5"]["value"] == top_k_accuracy_score(labels, logits, k=5)
    assert summary["mean_per_class"]["value"] == pytest.approx(
        balanced_accuracy_score(labels, predicted)
    )
    assert summary["coarse"]["value"] == np.mean(FAMILY[predicted] == FAMILY[labels])


@pytest.mark.parametrize("name", ["top1", "top5", "coarse"])
def test_bounds_are_wilson_bounds(summary, name):
    figure = summary[name]
    test = binomtest(round(figure["value"] * 100), 100).proportion_ci(method="wilson")
    assert (figure["low"], figure["high"]) == pytest.approx((test.low, test.high))
    assert figure["n"] == 100


def test_likelihood_matches_sklearn_and_does_not_overflow(scores, summary):
    logits, labels = scores
    p = np.exp(logits.astype(np.float64))
    expected = log_loss(labels, p / p.sum(1, keepdims=True))
    assert summary["nll"] == pytest.approx(expected, rel=1e-9)
    far = metrics.summarize(np.array([[2000.0, 0.0]]), np.array([1]))
    assert far["nll"] == pytest.approx(2000.0)


def test_calibration_error_by_hand():
    # Bin (0.5, 0.6] holds two with accuracy 0.5, bin (0.9, 1.0] two with accuracy 1.
    confidence, correct = np.array([0.55, 0.6, 0.95, 1.0]), np.array([True, False, True, True])
    error = metrics.expected_calibration_error(confidence, correct, bins=10)
    assert error == pytest.approx(0.5 * (0.575 - 0.5) + 0.5 * (1.0 - 0.975))


def test_chance_is_what_uniform_guessing_reaches(scores, summary):
    guesses = np.random.default_rng(1).normal(size=(20_000, 8))
    labels = np.resize(scores[1], 20_000)
    reached = metrics.summarize(guesses, labels, FAMILY)
    for name, chance in summary["chance"].items():
        assert reached[name]["value"] == pytest.approx(chance, abs=0.015)


def test_untrained_head_scores_chance():
    labels = np.repeat(np.arange(10), 3)
    summary = metrics.summarize(np.zeros((30, 10)), labels)
    assert summary["top1"]["value"] == pytest.approx(0.1)
    assert summary["top5"]["value"] == pytest.approx(0.5)
    assert summary["nll"] == pytest.approx(np.log(10))


def test_absent_classes_do_not_enter_the_mean_and_few_classes_have_a_top5():
    summary = metrics.summarize(np.array([[2.0, 1.0, 0.0], [0.0, 1.0, 2.0]]), np.array([0, 1]))
    assert summary["mean_per_class"]["value"] == 0.5
    assert summary["top5"]["value"] == 1.0
    assert "coarse" not in summary


def test_summary_is_plain_json(summary):
    assert json.loads(json.dumps(summary)) == summary


def test_bad_input_is_named(scores):
    logits, labels = scores
    with pytest.raises(UserError, match="not finite for 1 of 100 examples"):
        metrics.summarize(np.where(np.arange(100)[:, None] == 3, np.nan, logits), labels)
    with pytest.raises(UserError, match="no example"):
        metrics.summarize(logits[:0], labels[:0])
    with pytest.raises(ValueError, match=r"got \(100, 8\) and \(99,\)"):
        metrics.summarize(logits, labels[1:])
    with pytest.raises(ValueError, match=r"lie in \[0, 8\)"):
        metrics.summarize(logits, labels + 1)
