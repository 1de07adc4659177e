import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from fgjax.evaluation import confusions

NAMES = ("tern", "gull", "wren", "crow")


def test_confusion_matrix_matches_sklearn():
    rng = np.random.default_rng(0)
    labels, predictions = rng.integers(6, size=(2, 200)).astype(np.int32)
    expected = sklearn_metrics.confusion_matrix(labels, predictions, labels=range(7))
    np.testing.assert_array_equal(confusions.confusion_matrix(labels, predictions, 7), expected)


def test_most_confused_pairs_are_ranked_by_both_directions():
    labels = np.array([0, 0, 0, 1, 1, 2, 2, 3, 3, 3])
    predictions = np.array([1, 1, 0, 0, 1, 3, 2, 2, 0, 3])
    pairs = confusions.most_confused(labels, predictions, NAMES, k=2, coarse_of=[0, 0, 1, 1])
    assert pairs == [
        dict(first="tern", second="gull", first_as_second=2, second_as_first=1, errors=3,
             examples=5, same_family=True),
        dict(first="wren", second="crow", first_as_second=1, second_as_first=1, errors=2,
             examples=5, same_family=True),
    ]  # fmt: skip


def test_pairs_that_were_never_confused_are_left_out():
    labels = np.array([0, 1, 2, 3])
    assert confusions.most_confused(labels, labels, NAMES) == []
    (pair,) = confusions.most_confused(labels, np.array([0, 1, 0, 3]), NAMES)
    assert (pair["first"], pair["second"], pair["errors"]) == ("tern", "wren", 1)
    assert "same_family" not in pair


def test_share_of_errors_inside_the_family():
    labels, predictions = np.array([0, 0, 1, 2, 3]), np.array([1, 2, 1, 3, 0])
    share = confusions.errors_within_family(labels, predictions, np.array([0, 0, 1, 1]))
    assert (share["value"], share["n"]) == (0.5, 4)
    assert share["low"] == pytest.approx(1 - share["high"])
    assert confusions.errors_within_family(labels, labels, np.zeros(4, int)) is None
