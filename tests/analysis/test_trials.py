import numpy as np
import pytest

from fgjax.analysis import diagnosis, trials


def test_check_reports_how_well_the_order_was_predicted():
    options = [diagnosis.Option(str(i), {"i": i}, 0.1 * i, "") for i in range(4)]
    good = trials.check(options, lambda changes: 0.5 + 0.02 * changes.get("i", 0), {})
    bad = trials.check(options, lambda changes: 0.5 - 0.02 * changes.get("i", 0), {})
    assert (good["tau"]["value"], bad["tau"]["value"]) == (1, -1)
    assert good["options"][3] == {
        "name": "3",
        "predicted": pytest.approx(0.3),
        "measured": pytest.approx(0.06),
    }


def test_agreement_is_the_mean_over_settings_with_an_interval():
    scores = np.array([[1.0, 2, 3], [1, 2, 3], [1, 2, 3]])
    gains = np.array([[1.0, 2, 3], [1, 3, 2], [3, 2, 1]])
    found = trials.agreement(scores, gains)
    assert found["value"] == pytest.approx((1 + 1 / 3 - 1) / 3)
    assert -1 <= found["low"] < found["value"] < found["high"] <= 1
    assert found["n"] == 3


def test_kendall_of_a_constant_says_nothing():
    assert trials.kendall(np.zeros(3), np.arange(3.0)) == 0
