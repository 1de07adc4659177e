import numpy as np

from fgjax.analysis import circumstances


def test_three_parts_at_most_are_telling_and_only_if_they_tell():
    accuracy = np.array([0.9, 0.5, 0.8, np.nan, 0.95, 0.85])
    np.testing.assert_array_equal(np.flatnonzero(circumstances.telling(accuracy)), [0, 4, 5])
    assert not circumstances.telling(np.full(4, 0.6)).any()


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
    odd = circumstances.circumstances(train, here, 16, telling_first)
    found = {name: np.flatnonzero(flags).tolist() for name, flags in odd.items()}
    assert found["detail"] == [0]
    assert found["scale"] == [1]
    assert found["telling parts hidden"] == [2]


def test_without_annotations_nothing_is_unusual_but_detail():
    train = rows(np.zeros((20, 0, 3)), box=np.full((20, 4), np.nan))
    odd = circumstances.circumstances(train, train, 16, lambda a, b: np.zeros(0))
    assert not any(flags.any() for flags in odd.values())


def test_unusual_is_the_lower_tail_and_never_the_unknown():
    training = np.r_[np.linspace(0, 1, 101), np.nan]
    examples = np.array([0.001, 0.05, np.nan])
    np.testing.assert_array_equal(circumstances.unusual(training, examples), [True, False, False])
    assert not circumstances.unusual(np.full(3, np.nan), examples).any()


def test_scale_is_the_side_of_the_object():
    boxes = np.array([[0.0, 0, 56, 56], [10, 10, 10, 20], [np.nan] * 4])
    np.testing.assert_allclose(circumstances.scale(boxes, 112), [0.5, 0, np.nan])


def layouts(n, seed):
    rng = np.random.default_rng(seed)
    points = np.array([[0.0, 0], [0, 4], [3, 0], [5, 1]]) + 0.05 * rng.normal(size=(n, 4, 2))
    return np.concatenate([points, np.ones((n, 4, 1))], -1)


def test_pose_likeness_knows_neither_place_nor_size_nor_side():
    training = layouts(20, 0)
    same = training[:3].copy()
    same[..., :2] = 7 + 3 * same[..., :2] * np.array([1, -1])
    other = training[:1].copy()
    other[:, 3, :2] = [-5, 4]
    likeness = circumstances.pose_likeness(training, np.concatenate([same, other]))
    np.testing.assert_allclose(likeness[:3], 0, atol=1e-6)
    assert likeness[3] < -0.5


def test_pose_likeness_is_unknown_for_two_parts_and_leaves_the_example_itself_out():
    training = layouts(5, 0)
    hidden = training[:1].copy()
    hidden[:, :2, 2] = 0
    assert np.isnan(circumstances.pose_likeness(training, hidden)).all()
    assert (circumstances.pose_likeness(training, training, leave_self_out=True) < 0).all()
