import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fgjax.analysis import attribution, subject

KERNEL = jax.random.normal(jax.random.key(0), (4, 3))


def logits_from(maps):
    """Rectify, average, read out: small enough to differentiate by hand."""
    return jax.nn.relu(maps - 0.2).mean((1, 2)) @ KERNEL


@pytest.fixture
def maps():
    return jax.random.normal(jax.random.key(1), (2, 3, 3, 4))


CLASSES = jnp.array([2, 0])


def test_grad_cam_by_hand(maps):
    gradients = attribution.gradient(logits_from, maps, CLASSES)
    by_hand = np.where(maps > 0.2, 1.0, 0.0) / 9 * np.asarray(KERNEL)[:, CLASSES].T[:, None, None]
    np.testing.assert_allclose(gradients, by_hand, rtol=1e-5)
    weights = by_hand.mean((1, 2))
    expected = np.maximum(np.einsum("bc,bhwc->bhw", weights, maps), 0)
    np.testing.assert_allclose(attribution.grad_cam(maps, gradients), expected, atol=1e-6)


def test_gradient_of_a_class_difference(maps):
    others = jnp.array([1, 1])
    difference = attribution.gradient(logits_from, maps, CLASSES, others)
    np.testing.assert_allclose(
        difference,
        attribution.gradient(logits_from, maps, CLASSES)
        - attribution.gradient(logits_from, maps, others),
        atol=1e-6,
    )


def test_grad_cam_plus_plus_by_higher_derivatives(maps):
    """alpha from second and third derivatives of exp(score), its definition (eq. 10-19)."""

    def score(x):
        return logits_from(x)[0, 2]

    one = maps[:1]
    gradients = attribution.gradient(logits_from, one, CLASSES[:1])
    exponential = jnp.exp(score(one))
    expected = np.zeros((3, 3))
    for channel in range(4):
        weight = 0.0
        for i in range(3):
            for j in range(3):

                def along(t, i=i, j=j, channel=channel):
                    return jnp.exp(score(one.at[0, i, j, channel].add(t)))

                second = jax.grad(jax.grad(along))(0.0)
                third = jax.grad(jax.grad(jax.grad(along)))(0.0)
                total = one[0, :, :, channel].sum()
                denominator = 2 * second + total * third
                alpha = second / denominator if denominator != 0 else 0.0
                weight += alpha * jax.nn.relu(jax.grad(along)(0.0))
        expected += np.asarray(weight / exponential * one[0, :, :, channel])
    result = attribution.grad_cam_plus_plus(one, gradients)[0]
    np.testing.assert_allclose(result, np.maximum(expected, 0), rtol=1e-4, atol=1e-6)


def test_integrated_gradients_sum_to_the_score(maps):
    def smooth(x):
        return jnp.tanh(x).sum((1, 2)) @ KERNEL

    inputs = maps[..., :4]
    shares = attribution.integrated_gradients(smooth, inputs, CLASSES, baseline=0.1, steps=64)
    score = smooth(inputs) - smooth(jnp.full_like(inputs, 0.1))
    expected = np.take_along_axis(np.asarray(score), np.asarray(CLASSES)[:, None], 1)[:, 0]
    np.testing.assert_allclose(shares.sum((1, 2, 3)), expected, rtol=1e-3)


def test_perturbation_curves_of_a_single_decisive_pixel():
    """The class is bright in one pixel: the true map finds it first, the reverse map last."""
    images = jnp.zeros((1, 4, 4, 3)).at[0, 1, 2].set(10.0)

    def logits_of(x):
        bright = x[:, 1, 2].mean(-1)
        return jnp.stack([bright, 5 - bright], 1)

    importance = np.zeros((1, 4, 4))
    importance[0, 1, 2] = 1
    settings = dict(class_ids=np.array([0]), baseline=jnp.zeros_like(images), steps=8)
    good = attribution.perturbation_curves(logits_of, images, importance, **settings)
    bad = attribution.perturbation_curves(logits_of, images, -importance, **settings)
    high, low = 1 / (1 + np.exp(-15.0)), 1 / (1 + np.exp(5.0))
    np.testing.assert_allclose(good["deletion"][0], [high] + [low] * 8, rtol=1e-4)
    np.testing.assert_allclose(good["insertion"][0], [low] + [high] * 8, rtol=1e-4)
    np.testing.assert_allclose(bad["deletion"][0], [high] * 8 + [low], rtol=1e-4)
    assert attribution.area(good["deletion"])[0] == pytest.approx(low + (high - low) / 16, rel=1e-3)


def test_rank_correlation():
    maps = np.random.default_rng(0).random((3, 5, 5))
    other = np.stack([np.exp(3 * maps[0]), -maps[1], np.ones((5, 5))])
    np.testing.assert_allclose(attribution.rank_correlation(maps, other), [1, -1, 0], atol=1e-12)


def test_peak_and_mass():
    maps = np.zeros((2, 3, 4))
    maps[0, 2, 1], maps[0, 0, 0], maps[1] = 3.0, 1.0, -1.0
    rows, columns = attribution.peak(maps)
    assert (rows[0], columns[0]) == (2, 1)
    mask = np.zeros((2, 3, 4), bool)
    mask[:, 2] = True
    np.testing.assert_allclose(attribution.mass_near(maps, mask), [0.75, np.nan])


def linear_subject(levels):
    """A network without weights but those of its head; each level halves the one before."""
    weights = jnp.asarray(np.random.default_rng(0).normal(size=(3, 4)), jnp.float32)

    def finished(hierarchy):
        last = list(hierarchy.values())[-1]
        logits = last.mean((1, 2)) @ weights
        return types.SimpleNamespace(hierarchy=hierarchy, logits=logits)

    def halved(x):
        return x.reshape(len(x), x.shape[1] // 2, 2, x.shape[2] // 2, 2, 3).mean((2, 4))

    def deeper(hierarchy):
        for level in levels[len(hierarchy) :]:
            hierarchy = {**hierarchy, level: halved(list(hierarchy.values())[-1])}
        return hierarchy

    def enter(outputs, maps, level):
        known = {name: outputs.hierarchy[name] for name in levels[: levels.index(level)]}
        return finished(deeper({**known, level: maps}))

    return subject.Subject(
        apply=lambda images: finished(deeper({levels[0]: halved(images)})),
        decide=lambda found: found.logits,
        doors={level: functools.partial(enter, level=level) for level in levels},
        contributions=None,
        normalize=lambda images: images,
    )


def test_difference_evidence_sums_to_the_lead_of_a_linear_network():
    network = linear_subject(("conv3", "conv4", "conv5"))
    assert subject.evidence_level(network) == "conv4"
    images = jnp.asarray(np.random.default_rng(1).normal(size=(2, 16, 16, 3)), jnp.float32)
    classes, others = jnp.array([0, 2]), jnp.array([3, 1])
    maps = subject.difference_map(network, images, classes, others)
    assert maps.shape == (2, 4, 4)
    logits = network.apply(images).logits
    rows = jnp.arange(2)
    lead = logits[rows, classes] - logits[rows, others]
    np.testing.assert_allclose(maps.sum((1, 2)), lead, rtol=1e-5)


def test_evidence_is_at_the_deepest_level_where_there_is_no_middle():
    assert subject.evidence_level(linear_subject(("conv1", "conv2"))) == "conv2"
