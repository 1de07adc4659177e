from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

from fgjax.data.augment import Augmentation
from fgjax.models.context import Context
from fgjax.ops import trees
from fgjax.training import parallel
from fgjax.training.step import train_step

CROPS = Augmentation(scale=(0.5, 1.0), flip=0.5)
# Without mixup, whose Beta distribution alone takes seconds to compile.
EVERYTHING = Augmentation(
    scale=(0.5, 1.0), flip=0.5, brightness=0.2, contrast=0.2, erase=0.3, cutmix=1.0
)
# The toy has no merge, and its pooling no parameters: empty groups train without complaint.
GROUPS = ("conv1", "conv2", "conv3", "merge", "pooling", "head")
ALL = [dict(name="all", train=dict.fromkeys(GROUPS, 0.1), bn="train")]
HEAD = [dict(name="head", train={"head": 0.1})]


def _step(settings, state, batch):
    return jax.jit(partial(train_step, settings=settings, axis_name=None))(state, batch)


def _trained(module, schedule, devices, mode, steps=5, **changes):
    settings, state = toy.settings(module, toy.initial_state(module), schedule, **changes)
    mesh = parallel.make_mesh(devices)
    step = parallel.compile_step(partial(train_step, settings=settings), mode, mesh)
    state = parallel.replicate(state, mesh)
    for number in range(steps):
        state, metrics = step(state, parallel.shard(toy.batch(16, number), mesh))
    return jax.device_get(state), jax.device_get(metrics)


@pytest.mark.parametrize(
    ("module", "augmentation", "tolerance", "others"),
    [
        (
            toy.build(dropout=0.3),
            EVERYTHING,
            1e-5,
            [(2, "jit"), (8, "jit"), (2, "pmap"), (8, "pmap")],
        ),
        (
            toy.build("compact_bilinear", d=64),
            CROPS,
            1e-3,
            [(4, "jit"), (1, "pmap"), (4, "pmap"), (8, "pmap")],
        ),
    ],
    ids=["average", "signed square root"],
)
def test_the_number_of_devices_changes_nothing(module, augmentation, tolerance, others):
    one, metrics = _trained(module, ALL, 1, "jit", augmentation=augmentation)
    for devices, mode in others:
        other, other_metrics = _trained(module, ALL, devices, mode, augmentation=augmentation)
        for path, leaf in trees.by_path((one.params, one.batch_stats)).items():
            found = trees.by_path((other.params, other.batch_stats))[path]
            error = np.linalg.norm(found - leaf)
            assert error <= tolerance * max(np.linalg.norm(leaf), 1e-3), (devices, mode, path)
        np.testing.assert_allclose(other_metrics["loss"], metrics["loss"], rtol=tolerance)


def test_frozen_is_frozen():
    module = toy.build()
    start = toy.initial_state(module)
    end, _ = _trained(module, HEAD, 1, "jit", augmentation=CROPS)
    assert trees.digest(end.batch_stats) == trees.digest(start.batch_stats)
    for level in ("conv1", "conv2", "conv3"):
        assert trees.digest(end.params[level]) == trees.digest(start.params[level])
    assert set(end.opt_state) == {"head"}
    assert np.abs(end.params["head"]["kernel"]).max() > 0


def test_a_step_equals_the_gradient_of_the_mean_loss():
    """Against a loss written out by hand, images entering without augmentation."""
    module = toy.build()
    settings, state = toy.settings(
        module, toy.initial_state(module), HEAD, augmentation=Augmentation()
    )
    batch = toy.batch(8, canvas=toy.SIZE)
    state = jax.tree.map(jnp.asarray, state)
    new, metrics = _step(settings, state, batch)

    mean, std = (np.array(v) for v in (toy.PREPROCESSING.mean, toy.PREPROCESSING.std))
    images = jnp.asarray((batch["image"] / 255.0 - mean) / std, jnp.float32)
    targets = 0.9 * np.eye(toy.CLASSES)[batch["label"]] + 0.1 / toy.CLASSES

    def loss(params):
        logits = module.apply({**state.variables, "params": params}, images, Context()).logits
        return -jnp.mean(jnp.sum(targets * jax.nn.log_softmax(logits), -1))

    value, gradient = jax.value_and_grad(loss)(state.params)
    np.testing.assert_allclose(metrics["loss"], value, rtol=1e-5)
    kernel = -0.1 * gradient["head"]["kernel"]
    np.testing.assert_allclose(new.params["head"]["kernel"], kernel, rtol=1e-4, atol=1e-7)


def test_accumulated_parts_give_the_step_of_the_whole_batch():
    module = toy.build()
    frozen_statistics = [{**ALL[0], "bn": "affine"}]
    whole, _ = _trained(module, frozen_statistics, 1, "jit", augmentation=CROPS)
    for devices in (1, 2):
        parts, _ = _trained(
            module, frozen_statistics, devices, "jit", augmentation=CROPS, accumulate=4
        )
        chex.assert_trees_all_close(parts.params, whole.params, rtol=1e-4, atol=1e-6)


def test_padding_does_not_count():
    module = toy.build()
    settings, state = toy.settings(
        module, toy.initial_state(module), HEAD, augmentation=Augmentation()
    )
    full = toy.batch(4, canvas=toy.SIZE)
    padded = {name: np.concatenate([value, value[:2]]) for name, value in full.items()}
    padded["mask"][4:] = 0
    state = jax.tree.map(jnp.asarray, state)
    results = [_step(settings, state, b)[0] for b in (full, padded)]
    chex.assert_trees_all_close(results[0].params, results[1].params, rtol=1e-5, atol=1e-8)


def test_clipping_bounds_the_norm_over_trained_leaves():
    module = toy.build()
    plain, metrics = _trained(module, HEAD, 1, "jit", steps=1, augmentation=Augmentation())
    norm = float(metrics["gradient_norm"])
    clipped, _ = _trained(
        module, HEAD, 1, "jit", steps=1, augmentation=Augmentation(), clip_norm=norm / 4
    )
    chex.assert_trees_all_close(
        clipped.params["head"]["kernel"], plain.params["head"]["kernel"] / 4, rtol=1e-5
    )


def test_the_moving_average_follows_what_trains_and_keeps_what_does_not():
    module = toy.build()
    settings, state = toy.settings(
        module,
        toy.initial_state(module, ema=True),
        HEAD,
        augmentation=Augmentation(),
        ema_decay=0.9,
    )
    state = jax.tree.map(jnp.asarray, state)
    new, _ = _step(settings, state, toy.batch(4, canvas=toy.SIZE))
    assert trees.digest(new.ema["params"]["conv2"]) == trees.digest(state.params["conv2"])
    # One step in, the decay has risen to (1 + 0) / (10 + 0).
    chex.assert_trees_all_close(
        new.ema["params"]["head"]["kernel"], 0.9 * new.params["head"]["kernel"], rtol=1e-6
    )
