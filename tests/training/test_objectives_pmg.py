"""Progressive multi-granularity training, against the same steps written out one by one."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
from scipy.special import log_softmax

from fgjax.errors import UserError
from fgjax.models import heads, merges, pooling, recognizer
from fgjax.models.context import BATCH_NORM_MODES, Context
from fgjax.ops import losses
from fgjax.ops.jigsaw import jigsaw
from fgjax.tasks.classification import measure
from fgjax.training import objectives, parallel
from fgjax.training.objectives.base import example_keys
from fgjax.training.objectives.pmg import pmg
from fgjax.training.step import train_step

BATCH, CLASSES, SIZE = 4, 3, 8
KEY = jax.random.key(5)
PIECES = (4, 2)


def make_batch():
    rng = np.random.default_rng(0)
    labels = jnp.array([0, 2, 1, 0])
    return {
        "inputs": jnp.asarray(rng.normal(size=(BATCH, SIZE, SIZE, 3)), jnp.float32),
        "targets": jax.nn.one_hot(labels, CLASSES),
        "label": labels,
        "mask": jnp.ones(BATCH),
        "carried": {"kept": 1},
    }


def apply(params, images, method):
    """Two levels' classifiers and one of both, each a weighted sum over the pixels."""
    assert method == "granularities"
    return tuple(jnp.einsum("bhwc,hwck->bk", images, p) for p in params), "statistics"


def make_params(count=3):
    rng = np.random.default_rng(1)
    shape = (SIZE, SIZE, 3, CLASSES)
    return [jnp.asarray(0.1 * rng.normal(size=shape), jnp.float32) for _ in range(count)]


def test_each_objective_is_the_loss_of_its_classifier_on_its_jigsaw():
    params, batch = make_params(), make_batch()
    steps = pmg(measure, pieces=PIECES, weight=3.0)
    assert len(steps) == 3
    views = [jigsaw(example_keys(KEY, BATCH, None), batch["inputs"], n) for n in PIECES]
    for place, view in enumerate([*views, batch["inputs"]]):
        values, aux = steps[place].loss(apply, params, batch, KEY)
        logits = np.einsum("bhwc,hwck->bk", view, params[place])
        entropy = -log_softmax(logits.astype(np.float64), -1)[range(BATCH), batch["label"]]
        np.testing.assert_allclose(values, entropy * (3 if place == 2 else 1), rtol=1e-3)
        assert (aux.batch_stats, aux.carried) == ("statistics", {"kept": 1})
    together = sum(np.einsum("bhwc,hwck->bk", batch["inputs"], p) for p in params)
    np.testing.assert_array_equal(
        aux.metrics["accuracy"], np.argmax(together, -1) == np.asarray(batch["label"])
    )


def build():
    plain = toy.build()
    return recognizer.Recognizer(
        backbone=plain.backbone,
        merge=merges.create("stage_blocks", levels=("conv1", "conv2"), hidden=3, features=5),
        pooling=pooling.create("max", levels=("conv1", "conv2")),
        head=heads.create("multi_granularity", classes=toy.CLASSES, levels=2, hidden=6),
    )


RATES = {"conv1": 0.02, "conv2": 0.02, "merge": 0.1, "head": 0.1}
DECAY, MOMENTUM = 0.01, 0.9


def test_a_step_is_three_steps_of_the_optimiser_in_turn():
    module = build()
    settings, state = toy.settings(
        module,
        toy.initial_state(module),
        [dict(name="all", train=RATES, shape="constant", decay=DECAY, bn="train")],
        prepare=lambda batch, keys: (batch["inputs"], batch["targets"]),
        objective=objectives.create("pmg", pieces=PIECES, weight=2.0),
    )
    rng = np.random.default_rng(0)
    labels = jnp.asarray(rng.integers(0, toy.CLASSES, BATCH))
    batch = {
        "inputs": jnp.asarray(rng.normal(size=(BATCH, 16, 16, 3)), jnp.float32),
        "targets": jax.nn.one_hot(labels, toy.CLASSES),
        "label": labels,
        "mask": jnp.ones(BATCH),
    }
    end, metrics = jax.jit(partial(train_step, settings=settings, axis_name=None))(state, batch)

    context = Context(train=True, bn=tuple((g, BATCH_NORM_MODES["train"]) for g in RATES))
    keys = jax.random.split(jax.random.fold_in(jax.random.key(settings.seed), 0), 3)

    def loss(params, stats, place):
        images = batch["inputs"]
        if place < 2:
            key = jax.random.fold_in(keys[place], 0)  # the first of the parts of the batch
            images = jigsaw(example_keys(key, BATCH, None), images, PIECES[place])
        logits, moved = module.apply(
            {"params": params, "batch_stats": stats},
            images,
            context,
            method="granularities",
            mutable=["batch_stats"],
        )
        entropy = losses.cross_entropy(logits[place], batch["targets"]).mean()
        return (1.0 if place < 2 else 2.0) * entropy, moved["batch_stats"]

    params, stats, total = state.params, state.batch_stats, 0.0
    velocity = jax.tree.map(jnp.zeros_like, params)
    for place in range(3):
        descend = jax.jit(jax.value_and_grad(loss, has_aux=True), static_argnums=2)
        (value, moved), slopes = descend(params, stats, place)
        stats, total = stats | moved, total + value
        for group, rate in RATES.items():
            slopes[group] = jax.tree.map(
                lambda g, p: g + DECAY * p if p.ndim > 1 else g, slopes[group], params[group]
            )
            velocity[group] = jax.tree.map(
                lambda v, g: MOMENTUM * v + g, velocity[group], slopes[group]
            )
            params = params | {
                group: jax.tree.map(lambda p, v, r=rate: p - r * v, params[group], velocity[group])
            }
    chex.assert_trees_all_close(end.params, params, rtol=1e-4, atol=1e-6)
    chex.assert_trees_all_close(end.batch_stats, stats, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(metrics["loss"], total, rtol=1e-5)
    assert int(end.step) == 1
    frozen = jax.tree.map(np.array_equal, end.params["conv3"], state.params["conv3"])
    assert all(jax.tree.leaves(frozen))


def test_the_number_of_devices_changes_nothing():
    module = build()
    schedule = [dict(name="all", train=RATES, bn="train")]
    objective = objectives.create("pmg", pieces=PIECES)
    ends = []
    for devices, mode in ((1, "jit"), (2, "jit"), (2, "pmap")):
        settings, state = toy.settings(
            module, toy.initial_state(module), schedule, objective=objective, augmentation=toy.FLIP
        )
        mesh = parallel.make_mesh(devices)
        step = parallel.compile_step(partial(train_step, settings=settings), mode, mesh)
        state = parallel.replicate(state, mesh)
        for number in range(2):
            state, _ = step(state, parallel.shard(toy.batch(4, number), mesh))
        ends.append(jax.device_get(state.params))
    for end in ends[1:]:
        chex.assert_trees_all_close(end, ends[0], rtol=1e-3, atol=1e-5)


def test_what_does_not_fit_is_refused_by_a_sentence():
    batch = make_batch()
    with pytest.raises(UserError, match="'pmg' makes new views of the images, and this phase"):
        pmg()[0].loss(apply, make_params(), batch | {"inputs": {"conv4": 0}}, KEY)
    with pytest.raises(UserError, match="pieces, and data.image_size is 8; choose a multiple of 3"):
        pmg(pieces=(3, 2))[0].loss(apply, make_params(), batch, KEY)
    with pytest.raises(UserError, match="'pmg' has 2 granularities, and the head 4 levels; give"):
        pmg(pieces=PIECES)[2].loss(apply, make_params(5), batch, KEY)
    plain, images = toy.build(), np.zeros((1, 16, 16, 3), np.float32)
    with pytest.raises(UserError, match="set model.head.name to multi_granularity"):
        plain.init(KEY, images, Context(), method="granularities")
