import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fgjax.errors import UserError
from fgjax.evaluation import predictions
from fgjax.evaluation.predictions import Predictions


def batches(order, size=4):
    """Batches of examples 10, 11, ... whose single feature is their index; the last one padded."""
    for start in range(0, len(order), size):
        index = np.resize(order[start : start + size], size)
        mask = (np.arange(size) < len(order) - start).astype(np.float32)
        yield {
            "feature": index.astype(np.float32),
            "label": index % 3,
            "index": index,
            "mask": mask,
        }


@jax.jit
def apply(feature):
    return jnp.stack([feature, -feature], axis=1).astype(jnp.bfloat16)


@pytest.mark.parametrize("n", [4, 7, 9])
def test_every_example_is_predicted_exactly_once_in_order(n):
    order = np.random.default_rng(0).permutation(np.arange(10, 10 + n))
    result = predictions.predict(lambda batch: apply(batch["feature"]), batches(order))
    index = np.arange(10, 10 + n)
    np.testing.assert_array_equal(result.index, index)
    np.testing.assert_array_equal(result.labels, index % 3)
    np.testing.assert_array_equal(result.logits, np.stack([index, -index], axis=1))
    assert result.logits.dtype == np.float32


def test_next_batch_is_dispatched_before_the_last_one_is_fetched():
    events = []

    class Logits:
        def __init__(self, number):
            self.number = number

        def __array__(self, dtype=None, copy=None):
            events.append(f"fetch {self.number}")
            return np.zeros((4, 2), dtype)

    def apply(batch):
        events.append(f"dispatch {batch['index'][0]}")
        return Logits(batch["index"][0])

    predictions.predict(apply, batches(np.arange(12)))
    assert events == ["dispatch 0", "dispatch 4", "fetch 0", "dispatch 8", "fetch 4", "fetch 8"]


def test_repeated_and_missing_examples_are_refused():
    with pytest.raises(ValueError, match=r"examples \[3\] were predicted more than once"):
        predictions.predict(lambda b: apply(b["feature"]), batches(np.array([1, 2, 3, 4, 3])))
    with pytest.raises(ValueError, match="no batch"):
        predictions.predict(lambda b: apply(b["feature"]), [])


def some_predictions(seed):
    rng = np.random.default_rng(seed)
    labels = np.arange(50) % 5
    logits = (rng.normal(size=(50, 5)) + np.eye(5)[labels]).astype(np.float32)
    return Predictions(logits, labels, np.arange(50))


def test_saved_predictions_come_back(tmp_path):
    path = tmp_path / "deep" / "test.npz"
    predictions.save(some_predictions(0), path)
    for saved, loaded in zip(some_predictions(0), predictions.load(path), strict=True):
        np.testing.assert_array_equal(saved, loaded)
    assert [p.name for p in path.parent.iterdir()] == ["test.npz"]


def test_unreadable_predictions_are_named(tmp_path):
    with pytest.raises(UserError, match=r"no predictions at .*none\.npz"):
        predictions.load(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(UserError, match=r"text\.npz does not hold predictions"):
        predictions.load(tmp_path / "text.npz")
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(UserError, match=r"other\.npz does not hold predictions"):
        predictions.load(tmp_path / "other.npz")


def test_comparison_is_paired():
    a, b = some_predictions(0), some_predictions(1)
    right_a, right_b = (p.logits.argmax(1) == p.labels for p in (a, b))
    comparison = predictions.compare(a, b)
    assert comparison["difference"]["value"] == pytest.approx(right_a.mean() - right_b.mean())
    assert comparison["mcnemar"]["only_a"] == np.sum(right_a & ~right_b)
    with pytest.raises(UserError, match="different examples"):
        predictions.compare(a, b._replace(index=b.index + 1))
