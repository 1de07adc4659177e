import numpy as np
import pytest
from scipy import special

from fgjax.analysis import calibration


def test_temperature_finds_how_much_scores_were_sharpened():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 5))
    labels = (special.softmax(logits, 1).cumsum(1) < rng.random((4000, 1))).sum(1)
    assert calibration.temperature(3 * logits, labels) == pytest.approx(3, rel=0.1)


def test_reliability_by_hand():
    probabilities = np.array([[0.95, 0.05], [0.95, 0.05], [0.55, 0.45]])
    low, high = calibration.reliability(probabilities, np.array([0, 1, 0]))
    assert low == {"confidence": pytest.approx(0.55), "accuracy": 1.0, "n": 1}
    assert high == {"confidence": pytest.approx(0.95), "accuracy": 0.5, "n": 2}
