"""The mutual-channel loss and pairwise confusion."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from fgjax.errors import UserError
from fgjax.training.objectives.mutual_channel import discriminality, diversity, mutual_channel
from fgjax.training.objectives.pairwise_confusion import pairwise_confusion

CLASSES, SHARE = 4, 3
KEY = jax.random.key(0)


def features(batch=2, size=(3, 2), seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(size=(batch, *size, CLASSES * SHARE)).astype(np.float32)


def batch_of(x, labels):
    labels = jnp.asarray(labels)
    ones = jnp.ones(len(labels))
    targets = jax.nn.one_hot(labels, CLASSES)
    return {"inputs": x, "targets": targets, "label": labels, "mask": ones, "carried": {}}


def test_diversity_against_a_loop():
    x = features()
    for image, got in zip(x, diversity(x, CLASSES), strict=True):
        total = 0.0
        for k in range(CLASSES):
            channels = image.reshape(-1, CLASSES * SHARE)[:, k * SHARE : (k + 1) * SHARE]
            places = np.exp(channels) / np.exp(channels).sum(0)
            total += places.max(1).sum() / SHARE
        np.testing.assert_allclose(got, total / CLASSES, rtol=1e-5)


def test_diversity_runs_from_one_share_to_one():
    alike = np.repeat(features()[..., ::SHARE], SHARE, axis=-1)
    np.testing.assert_allclose(diversity(alike, CLASSES), 1 / SHARE, rtol=1e-5)
    apart = np.zeros((1, 3, 1, SHARE), np.float32)
    apart[0, range(3), 0, range(3)] = 100.0
    np.testing.assert_allclose(diversity(apart, 1), 1.0, rtol=1e-5)


def test_discriminality_keeps_two_of_three_channels_of_each_class():
    x = np.broadcast_to(np.array([1.0, 10.0, 100.0] * CLASSES, np.float32), (900, 1, 1, 12))
    logits = np.asarray(discriminality(jax.random.split(KEY, 900), x, CLASSES))
    assert set(np.unique(logits)) == {10.0, 100.0}
    np.testing.assert_allclose((logits == 100).mean(0), 2 / 3, atol=0.05)
    assert len({tuple(row) for row in logits}) == 2**CLASSES


def test_discriminality_averages_over_places():
    x = np.repeat(features(1, seed=1)[..., ::SHARE], SHARE, axis=-1)
    logits = discriminality(jax.random.split(KEY, 1), x, CLASSES)
    np.testing.assert_allclose(logits, x[..., ::SHARE].mean((1, 2)), rtol=1e-5)


def test_mutual_channel_objective_adds_up():
    x = features()
    batch = batch_of(x, [1, 3])

    def apply(params, inputs):
        merged = {"conv5": inputs * params}
        return SimpleNamespace(logits=merged["conv5"].mean((1, 2))[:, :CLASSES], merged=merged), {}

    plain, _ = mutual_channel(discriminality_weight=0.0, diversity_weight=0.0).loss(
        apply, 1.0, batch, KEY
    )
    spread, aux = mutual_channel(discriminality_weight=0.0).loss(apply, 1.0, batch, KEY)
    np.testing.assert_allclose(spread - plain, 20 * (1 - diversity(x, CLASSES)), rtol=1e-4)
    np.testing.assert_allclose(aux.metrics["diversity"], diversity(x, CLASSES))

    def loss(scale):
        return mutual_channel().loss(apply, scale, batch, KEY)[0].sum()

    check_grads(loss, (jnp.float32(1.3),), 1, ["rev"], 0.02, 0.02, eps=1e-2)


def test_channels_that_cannot_be_shared_are_refused_by_a_sentence():
    with pytest.raises(UserError, match="among 5 classes, and the map has 12; choose a level or a"):
        diversity(features(), 5)


def test_pairwise_confusion_objective_pulls_neighbours_of_different_classes():
    logits = jnp.asarray(np.random.default_rng(2).normal(size=(6, CLASSES)), jnp.float32)
    batch = batch_of(logits, [0, 1, 2, 2, 3, 0])
    batch["mask"] = jnp.array([1.0, 1, 1, 1, 1, 0])

    def apply(params, inputs):
        return SimpleNamespace(logits=inputs), "statistics"

    plain, _ = pairwise_confusion(weight=0.0).loss(apply, {}, batch, KEY)
    values, aux = pairwise_confusion(weight=2.0).loss(apply, {}, batch, KEY)
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    distance = np.sum((p[0] - p[1]) ** 2)
    padded = np.sum((p[4] - p[5]) ** 2)
    expected = [2 * distance, 2 * distance, 0, 0, 0, 2 * padded]
    np.testing.assert_allclose(values - plain, expected, rtol=1e-4, atol=1e-6)
    assert aux.batch_stats == "statistics"
