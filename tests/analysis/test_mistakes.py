import numpy as np

from fgjax.analysis import mistakes


def test_the_rival_is_the_best_class_that_is_not_the_label():
    logits = np.array([[3.0, 2, 1], [3, 2, 1]])
    np.testing.assert_array_equal(mistakes.rivals(logits, np.array([0, 1])), [1, 0])


def test_three_parts_at_most_are_telling_and_only_if_they_tell():
    accuracy = np.array([0.9, 0.5, 0.8, np.nan, 0.95, 0.85])
    np.testing.assert_array_equal(np.flatnonzero(mistakes.telling(accuracy)), [0, 4, 5])
    assert not mistakes.telling(np.full(4, 0.6)).any()


def rows(parts, **changes):
    n = len(parts)
    default = {
        "label": np.zeros(n, int),
        "logits": np.tile([1.0, 0.0], (n, 1)),
        "parts": parts,
        "box": np.tile([0.0, 0, 8, 8], (n, 1)),
        "detail": np.ones(n),
    }
    return default | changes


def test_circumstances_name_what_is_unusual():
    rng = np.random.default_rng(0)
    parts = np.concatenate([rng.random((100, 4, 2)), np.ones((100, 4, 1))], -1)
    train = rows(parts, detail=rng.uniform(0.5, 1, 100))
    here = rows(parts[:4].copy(), detail=np.array([0.1, 0.9, 0.9, 0.9]))
    here["box"][1] = [0, 0, 2, 2]
    here["parts"][2, 0, 2] = 0
    here["logits"][2:] = [0.0, 1.0]  # the two errors
    telling_first = lambda a, b: np.array([1.0, 0.5, 0.5, 0.5])  # noqa: E731
    odd = mistakes.circumstances(train, here, 16, telling_first)
    found = {name: np.flatnonzero(flags).tolist() for name, flags in odd.items()}
    assert found["detail"] == [0]
    assert found["scale"] == [1]
    assert found["telling parts hidden"] == [2]


def test_without_annotations_nothing_is_unusual_but_detail():
    train = rows(np.zeros((20, 0, 3)), box=np.full((20, 4), np.nan))
    odd = mistakes.circumstances(train, train, 16, lambda a, b: np.zeros(0))
    assert not any(flags.any() for flags in odd.values())


def test_causes_are_counted_as_main_and_as_applying():
    explained = [
        {"causes": ["over-compression", "missed part cue"]},
        {"causes": ["missed part cue"]},
    ]
    counts = mistakes.count_causes(explained)
    assert counts["over-compression"] == {"main": 1, "applies": 1}
    assert counts["missed part cue"] == {"main": 1, "applies": 2}
    assert counts["label doubt"] == {"main": 0, "applies": 0}
