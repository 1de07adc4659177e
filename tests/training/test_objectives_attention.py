"""WS-DAN, CAL and their centres, on a recogniser of a few lines."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fgjax.errors import UserError
from fgjax.ops.normalize import l2_normalize
from fgjax.tasks.classification import measure
from fgjax.training.objectives import centers as running
from fgjax.training.objectives.cal import cal, counterfactual_maps
from fgjax.training.objectives.centers import center_loss, initial_centers, move_centers
from fgjax.training.objectives.wsdan import wsdan

BATCH, CLASSES, PARTS, SIZE = 6, 3, 2, 8
KEY = jax.random.key(7)


def classify(params, merged, maps):
    pooled = jnp.einsum("bhwm,bhwc->bmc", maps["conv5"], merged["conv5"])
    embedding = l2_normalize(pooled.reshape(len(pooled), -1))
    return embedding, embedding @ params["head"]


def recogniser(passes=None, counterfactuals=None):
    """Half-size images as features, two mixtures of their channels as part maps."""

    def apply(params, inputs, batch_stats=0, method=None):
        if method == "reclassify":
            if counterfactuals is not None:
                counterfactuals.append(inputs[1])
            return classify(params, *inputs)[1], batch_stats
        if passes is not None:
            passes.append(inputs)
        merged = {"conv5": jax.image.resize(inputs, (len(inputs), 4, 4, 3), "linear")}
        maps = {"conv5": jax.nn.relu(merged["conv5"] @ params["parts"])}
        embedding, logits = classify(params, merged, maps)
        outputs = SimpleNamespace(logits=logits, embedding=embedding, merged=merged, maps=maps)
        return outputs, batch_stats + 1

    return apply


def make_params():
    rng = np.random.default_rng(0)
    return {
        "parts": jnp.asarray(rng.normal(size=(3, PARTS)), jnp.float32),
        "head": jnp.asarray(rng.normal(size=(3 * PARTS, CLASSES)), jnp.float32),
    }


def make_batch():
    rng = np.random.default_rng(1)
    labels = jnp.array([0, 1, 1, 0, 1, 0])
    return {
        "inputs": jnp.asarray(rng.normal(size=(BATCH, SIZE, SIZE, 3)), jnp.float32),
        "targets": jax.nn.one_hot(labels, CLASSES),
        "label": labels,
        "mask": jnp.array([1.0, 1, 1, 1, 1, 0]),
        "carried": {"centers": jnp.asarray(rng.normal(size=(CLASSES, 3 * PARTS)), jnp.float32)},
    }


def nats(logits, labels):
    logits = np.asarray(logits, np.float64)
    return np.log(np.exp(logits).sum(-1)) - logits[np.arange(len(labels)), labels]


def test_centers_move_once_to_the_mean_of_their_class():
    rng = np.random.default_rng(2)
    centers, features = rng.normal(size=(4, 5)), rng.normal(size=(6, 5))
    labels, mask = np.array([1, 1, 0, 1, 2, 2]), np.array([1, 1, 1, 0, 0, 0])
    expected = centers.copy()
    for k in range(4):
        chosen = (labels == k) & (mask == 1)
        if chosen.any():
            expected[k] += 0.3 * (features[chosen].mean(0) - centers[k])
    arguments = [jnp.asarray(x, jnp.float32) for x in (centers, features)]
    moved = move_centers(*arguments, labels, jnp.asarray(mask, jnp.float32), 0.3)
    np.testing.assert_allclose(moved, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(moved[2:], arguments[0][2:])


def test_attention_centers_are_compared_on_the_unit_sphere():
    batch = make_batch()
    embedding = jnp.asarray(np.random.default_rng(3).normal(size=(BATCH, 6)) * 40, jnp.float32)
    unit = np.asarray(embedding) / np.linalg.norm(embedding, axis=1, keepdims=True)
    centers = np.asarray(batch["carried"]["centers"])
    centers = centers / np.linalg.norm(centers, axis=1, keepdims=True)
    values, moved = running.attention_centers(
        batch["carried"]["centers"], embedding, batch["label"], batch["mask"], 0.05
    )
    np.testing.assert_allclose(values, ((unit - centers[batch["label"]]) ** 2).sum(1), rtol=1e-5)
    zeros = centers[0] + 0.05 * (unit[[0, 3]].mean(0) - centers[0])
    np.testing.assert_allclose(moved[0], zeros, rtol=1e-5, atol=1e-6)
    first, _ = running.attention_centers(
        initial_centers(CLASSES, 6)["centers"], embedding, batch["label"], batch["mask"], 0.05
    )
    np.testing.assert_allclose(first, 1.0, rtol=1e-5)


def test_wsdan_looks_at_the_image_at_a_crop_and_at_what_is_left():
    passes, params, batch = [], make_params(), make_batch()
    values, aux = wsdan(measure, center_weight=0.7).loss(recogniser(passes), params, batch, KEY)
    raw, crop, drop = passes
    assert raw is batch["inputs"]
    assert crop.shape == drop.shape == raw.shape
    gone = np.asarray(drop == 0).all(-1)
    assert (gone.any((1, 2)) & ~gone.all((1, 2))).all()
    np.testing.assert_array_equal(np.asarray(drop)[~gone], np.asarray(raw)[~gone])
    assert all(np.abs(a - b).max() > 0.1 for a, b in zip(crop, raw, strict=True))

    outputs = [recogniser()(params, view)[0] for view in passes]
    centers = l2_normalize(batch["carried"]["centers"])[batch["label"]]
    pull = np.sum((np.asarray(outputs[0].embedding) - centers) ** 2, -1)
    entropy = np.mean([nats(o.logits, batch["label"]) for o in outputs], axis=0)
    np.testing.assert_allclose(values, entropy + 0.7 * pull, rtol=1e-5)
    assert aux.batch_stats == 3
    assert aux.carried["centers"].shape == (CLASSES, 3 * PARTS)
    right = np.argmax(outputs[1].logits, -1) == batch["label"]
    np.testing.assert_array_equal(aux.metrics["accuracy_crop"], right)


def test_cal_adds_the_loss_of_what_attention_contributed():
    params, batch = make_params(), make_batch()
    passes, counterfactuals = [], []
    plain = cal(effect_weight=0.0).loss(recogniser(), params, batch, KEY)[0]
    values, _ = cal(effect_weight=0.8).loss(recogniser(passes, counterfactuals), params, batch, KEY)
    assert len(passes) == len(counterfactuals) == 3
    effects = []
    for view, maps in zip(passes, counterfactuals, strict=True):
        outputs, _ = recogniser()(params, view)
        without = classify(params, outputs.merged, maps)[1]
        effects.append(nats(outputs.logits - without, batch["label"]))
    np.testing.assert_allclose(values - plain, 0.8 * np.mean(effects, axis=0), rtol=1e-3)


def test_counterfactual_maps_are_uniform_and_differ():
    maps = {"conv4": jnp.zeros((3, 20, 20, 4)), "conv5": jnp.zeros((3, 20, 20, 4))}
    drawn = counterfactual_maps(jax.random.split(KEY, 3), maps)
    for x in drawn.values():
        assert x.min() >= 0
        assert x.max() < 2
        np.testing.assert_allclose([x.mean(), x.var()], [1, 1 / 3], atol=0.03)
        assert not np.array_equal(x[0], x[1])
    assert not np.array_equal(drawn["conv4"], drawn["conv5"])


@pytest.mark.parametrize("make", [wsdan, cal, center_loss])
def test_the_number_of_devices_changes_nothing(make):
    params, batch, objective = make_params(), make_batch(), make()
    values, aux = objective.loss(recogniser(), params, batch, KEY)
    centers = batch.pop("carried")
    shards = jax.tree.map(lambda x: x.reshape(2, -1, *x.shape[1:]), batch)

    def one(shard):
        values, aux = objective.loss(
            recogniser(), params, {**shard, "carried": centers}, KEY, axis_name="data"
        )
        return values, aux.carried["centers"]

    parts, moved = jax.vmap(one, axis_name="data")(shards)
    np.testing.assert_allclose(parts.reshape(-1), values, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(moved[0], moved[1])
    np.testing.assert_allclose(moved[0], aux.carried["centers"], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("make", [wsdan, cal, center_loss])
def test_gradients_are_finite_and_reach_every_parameter(make):
    batch, objective = make_batch(), make()

    def loss(params):
        return jnp.mean(objective.loss(recogniser(), params, batch, KEY)[0])

    for leaf in jax.tree.leaves(jax.jit(jax.grad(loss))(make_params())):
        assert np.isfinite(leaf).all()
        assert np.abs(leaf).max() > 0


def test_center_loss_is_the_distance_to_the_own_center():
    params, batch = make_params(), make_batch()
    values, aux = center_loss(weight=0.5, rate=1.0).loss(recogniser(), params, batch, KEY)
    outputs, _ = recogniser()(params, batch["inputs"])
    away = np.asarray(outputs.embedding) - batch["carried"]["centers"][batch["label"]]
    expected = nats(outputs.logits, batch["label"]) + 0.5 * 0.5 * np.sum(away**2, -1)
    np.testing.assert_allclose(values, expected, rtol=1e-5)
    mean = np.asarray(outputs.embedding)[[0, 3]].mean(0)
    np.testing.assert_allclose(aux.carried["centers"][0], mean, rtol=1e-4, atol=1e-6)


def test_what_cannot_be_followed_is_refused_by_a_sentence():
    params, batch = make_params(), make_batch()
    with pytest.raises(UserError, match="follows the attention maps of level conv4, and there are"):
        wsdan(level="conv4").loss(recogniser(), params, batch, KEY)
    with pytest.raises(
        UserError, match="makes new views of the images, and this phase trains from"
    ):
        wsdan().loss(recogniser(), params, {**batch, "inputs": {"conv4": batch["inputs"]}}, KEY)
