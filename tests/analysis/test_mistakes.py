import numpy as np

from fgjax.analysis import mistakes


def test_the_rival_is_the_best_class_that_is_not_the_label():
    logits = np.array([[3.0, 2, 1], [3, 2, 1]])
    np.testing.assert_array_equal(mistakes.rivals(logits, np.array([0, 1])), [1, 0])


def test_causes_are_counted_as_main_and_as_applying():
    explained = [
        {"causes": ["over-compression", "missed part cue"]},
        {"causes": ["missed part cue"]},
    ]
    counts = mistakes.count_causes(explained)
    assert counts["over-compression"] == {"main": 1, "applies": 1}
    assert counts["missed part cue"] == {"main": 1, "applies": 2}
    assert counts["label doubt"] == {"main": 0, "applies": 0}
