"""The measures on next to no data: what cannot be measured is left out, and nothing fails."""

import numpy as np
import pytest

from fgjax.analysis import (
    compression,
    evidence,
    probes,
    similarity,
    transferability,
    units,
)


def test_fewer_training_photos_than_neighbors_all_vote():
    features, labels = np.eye(3), np.array([0, 1, 1])
    votes = probes.nearest_neighbors(features, labels, np.ones((2, 3)), 2)
    np.testing.assert_allclose(votes, [[1 / 3, 2 / 3]] * 2)


@pytest.mark.parametrize("classes", [2, 3])
def test_one_image_a_class_has_finite_figures(classes):
    features = np.random.default_rng(0).normal(size=(classes, 8))
    labels = np.arange(classes)
    figures = {
        "log_me": transferability.log_me(features, labels),
        "h_score": transferability.h_score(features, labels),
        "trans_rate": transferability.trans_rate(features, labels),
        **compression.collapse(features, labels),
    }
    assert all(np.isfinite(figure) for figure in figures.values()), figures
    assert figures["within_between"] == 0


def test_two_images_have_no_alignment():
    grams = np.random.default_rng(0).random((3, 2, 2))
    alignment = similarity.accumulate(None, grams)
    assert alignment is None
    assert similarity.cka(alignment).shape == (0, 0)
    alignment = similarity.accumulate(None, np.stack([np.eye(5)] * 2))
    assert similarity.accumulate(alignment, grams) is alignment


def rows(visible):
    """Collected rows of one level, of as many images as ``visible`` has rows."""
    n, count = visible.shape
    rng = np.random.default_rng(n)
    return {
        "label": np.arange(n) % 2,
        "parts": np.concatenate([rng.uniform(0, 8, (n, count, 2)), visible[..., None]], -1),
        "box": np.tile([0.0, 0, 8, 8], (n, 1)),
        "with_parts": np.ones(n, bool),
        "map_size": {"conv3": 4},
        "levels": {
            "conv3": {
                "peak": (rng.integers(0, 4, (n, 3)), rng.integers(0, 4, (n, 3))),
                "at_parts": rng.normal(size=(n, count, 5)),
            }
        },
    }


def test_a_part_that_no_image_shows_is_left_out():
    train, evaluated = rows(np.ones((4, 2))), rows(np.array([[1.0, 0], [1, 0]]))
    found = units.alignment(train, evaluated, ["beak", "tail"], 8)
    assert list(found["levels"]["conv3"]) == ["beak"]
    assert np.isnan(found["chance"]["tail"])
    assert 0 < found["chance"]["beak"] <= 1


def test_a_part_that_no_training_image_shows_tells_no_classes_apart():
    train, evaluated = rows(np.array([[1.0, 0], [1, 0]])), rows(np.ones((3, 2)))
    scores = units.class_scores(train, evaluated, "conv3", 3)
    assert np.isfinite(scores[0, :, :2]).all()
    assert (scores[0, :, 2] == -np.inf).all()  # no training image of the third class at all
    assert (scores[1] == -np.inf).all()


def test_hidden_parts_of_a_single_image_have_no_mean(monkeypatch):
    monkeypatch.setattr(evidence.parts, "occlude", lambda images, points, radius: images)

    class Network:
        apply = staticmethod(lambda images: images.mean((1, 2)))
        decide = staticmethod(lambda outputs: outputs)

    images = np.random.default_rng(0).integers(256, size=(5, 8, 8, 3), dtype=np.uint8)
    given = (np.zeros(5, int), np.tile([0.0, 0, 8, 8], (5, 1)), np.ones((5, 1, 3)))
    found = evidence.occlusion(Network, images, *given, ["beak"], 2.0)
    assert {name: mean["n"] for name, mean in found.items()} == {"elsewhere": 5, "beak": 5}
    one = (part[:1] for part in given)
    assert evidence.occlusion(Network, images[:1], *one, ["beak"], 2.0) == {}
