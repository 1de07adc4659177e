import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy.special import log_softmax, softmax
from sklearn.metrics import log_loss

from fgjax.ops import losses


@pytest.fixture
def logits():
    return np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32) * 3


LABELS = np.array([0, 4, 2, 2, 1, 3])


def test_cross_entropy_of_labels_matches_sklearn(logits):
    values = losses.cross_entropy(logits, losses.one_hot(LABELS, 5))
    expected = log_loss(LABELS, softmax(logits.astype(np.float64), axis=1), labels=range(5))
    chex.assert_shape(values, (6,))
    np.testing.assert_allclose(values.mean(), expected, rtol=1e-6)


def test_cross_entropy_of_soft_targets_and_class_weights(logits):
    rng = np.random.default_rng(1)
    targets = rng.dirichlet(np.ones(5), size=6)
    weights = rng.uniform(0.5, 2, size=5)
    expected = -(weights * targets * log_softmax(logits.astype(np.float64), axis=1)).sum(1)
    values = losses.cross_entropy(logits, jnp.asarray(targets), jnp.asarray(weights))
    np.testing.assert_allclose(values, expected, rtol=1e-5)


def test_losses_of_bfloat16_logits_are_float32(logits):
    rounded = jnp.asarray(logits, jnp.bfloat16)
    targets = losses.one_hot(LABELS, 5)
    values = losses.cross_entropy(rounded, targets)
    assert values.dtype == jnp.float32
    chex.assert_trees_all_equal(values, losses.cross_entropy(rounded.astype(jnp.float32), targets))


def test_smoothing_spreads_the_amount_over_all_classes():
    smoothed = losses.smooth_labels(losses.one_hot(np.array([1]), 4), 0.2)
    np.testing.assert_allclose(smoothed, [[0.05, 0.85, 0.05, 0.05]], rtol=1e-6)


def test_smoothed_cross_entropy_is_the_mixture_of_two(logits):
    targets = losses.one_hot(LABELS, 5)
    mixed = losses.cross_entropy(logits, losses.smooth_labels(targets, 0.3))
    uniform = -log_softmax(logits.astype(np.float64), axis=1).mean(1)
    expected = 0.7 * losses.cross_entropy(logits, targets) + 0.3 * uniform
    np.testing.assert_allclose(mixed, expected, rtol=1e-5)


def test_focal_loss_follows_its_equation(logits):
    log_p = log_softmax(logits.astype(np.float64), axis=1)[np.arange(6), LABELS]
    expected = -((1 - np.exp(log_p)) ** 2) * log_p
    values = losses.focal_loss(logits, losses.one_hot(LABELS, 5), gamma=2.0)
    np.testing.assert_allclose(values, expected, rtol=2e-5)


def test_focal_loss_without_focus_is_cross_entropy(logits):
    targets = losses.one_hot(LABELS, 5)
    chex.assert_trees_all_close(
        losses.focal_loss(logits, targets, gamma=0.0), losses.cross_entropy(logits, targets)
    )


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_focal_gradient_is_finite_when_the_prediction_is_certain(gamma):
    logits, targets = jnp.array([[200.0, 0.0], [0.0, 200.0]]), losses.one_hot(np.array([0, 0]), 2)
    gradient = jax.grad(lambda z: losses.focal_loss(z, targets, gamma).sum())(logits)
    assert jnp.isfinite(gradient).all()
    np.testing.assert_allclose(gradient[1], [-1.0, 1.0], rtol=1e-5)


def test_pairwise_confusion_of_neighbors():
    logits = jnp.log(jnp.array([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8], [0.6, 0.4]]))
    values = losses.pairwise_confusion(logits, np.array([0, 1, 1, 1]))
    np.testing.assert_allclose(values, [0.32, 0.32, 0.0, 0.0], atol=1e-6)


def test_center_loss_is_half_the_squared_distance():
    centers = jnp.array([[0.0, 0.0], [1.0, 1.0]])
    values = losses.center_loss(jnp.array([[3.0, 4.0], [1.0, 3.0]]), centers, np.array([0, 1]))
    np.testing.assert_allclose(values, [12.5, 2.0])


@pytest.mark.parametrize(
    "loss",
    [
        lambda z: losses.cross_entropy(z, losses.smooth_labels(losses.one_hot(LABELS, 5), 0.1)),
        lambda z: losses.focal_loss(z, losses.one_hot(LABELS, 5)),
        lambda z: losses.pairwise_confusion(z, LABELS),
        lambda z: losses.center_loss(z, jnp.eye(5), LABELS),
    ],
    ids=["cross_entropy", "focal", "pairwise_confusion", "center"],
)
def test_gradients(loss, logits):
    check_grads(loss, (logits / 3,), order=1, modes=["rev"], eps=1e-2, atol=5e-3, rtol=5e-3)


def test_bad_input_is_named(logits):
    targets = losses.one_hot(LABELS, 5)
    with pytest.raises(ValueError, match="turn labels into targets with one_hot"):
        losses.cross_entropy(logits, LABELS)
    with pytest.raises(ValueError, match=r"shape \(5,\), one weight for each class"):
        losses.cross_entropy(logits, targets, jnp.ones(4))
    with pytest.raises(ValueError, match=r"lie in \[0, 1\], got 1.5"):
        losses.smooth_labels(targets, 1.5)
    with pytest.raises(ValueError, match="at least 0, got -1"):
        losses.focal_loss(logits, targets, gamma=-1)
    with pytest.raises(ValueError, match="even batch, got 5"):
        losses.pairwise_confusion(logits[:5], LABELS[:5])
