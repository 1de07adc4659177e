"""Adam's first steps are as long as the rate says, whenever a leaf begins to train."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fgjax.finetune import optimizer, partitioned
from fgjax.finetune.optimizer import enter_phase, held_leaves, trained_leaves, update
from fgjax.finetune.schedule import resolve

RATE, SCALE = 0.01, "conv5/bn/scale"
PARTS = {"conv5": {"conv5/kernel": jnp.ones((2, 2)), SCALE: jnp.ones(2)}}
BATCH_NORM = frozenset({SCALE})


def phases(first, second):
    return resolve(
        [
            dict(name="a", train={"conv5": RATE}, steps=first, shape="constant"),
            dict(name="b", train={"conv5": dict(rate=RATE, bn="affine")}, shape="constant"),
        ],
        first + second,
    )


def moves(name, first=100, second=10):
    """How far each leaf goes at each step of the second phase, under constant gradients."""
    adam, parts = optimizer.create(name), dict(PARTS)
    opt_state, found = {}, []
    for index, phase in enumerate(phases(first, second)):
        held = held_leaves(parts, phases(first, second), index, BATCH_NORM)
        opt_state = enter_phase(adam, opt_state, held)
        for step in range(phase.start, phase.stop):
            leaves = trained_leaves(parts, phase, BATCH_NORM)["conv5"]
            gradients = jax.tree.map(lambda leaf: jnp.full_like(leaf, 0.1), leaves)
            new, opt_state["conv5"] = update(
                adam, phase.intervals[0], step, gradients, opt_state["conv5"], leaves
            )
            if index:
                found.append({path: np.abs(new[path] - leaves[path]).max() for path in leaves})
            parts = {"conv5": parts["conv5"] | new}
    return found


def test_batch_norm_that_starts_later_than_its_level_moves_by_the_rate():
    for step in moves("adamw"):
        for path, moved in step.items():
            assert moved == pytest.approx(RATE, rel=0.01), path


def test_the_plain_transformation_moves_late_leaves_by_the_rate_as_well():
    tx = partitioned(phases(20, 5), optimizer.adamw(), batch_norm=BATCH_NORM)
    params = {"conv5": {"kernel": jnp.ones((2, 2)), "bn": {"scale": jnp.ones(2)}}}
    state, step = tx.init(params), jax.jit(tx.update)
    for number in range(25):
        change, state = step(jax.tree.map(lambda x: jnp.full_like(x, 0.1), params), state, params)
        if number >= 20:
            np.testing.assert_allclose(np.abs(change["conv5"]["bn"]["scale"]), RATE, rtol=0.01)
        params = optax.apply_updates(params, change)


def test_a_run_saved_with_one_count_a_group_goes_on_as_it_would_have():
    adam = optimizer.create("adamw")
    kernel = {"conv5/kernel": PARTS["conv5"]["conv5/kernel"]}
    gradients = {"conv5/kernel": jnp.full((2, 2), 0.1)}
    interval = phases(10, 10)[0].intervals[0]
    state = enter_phase(adam, {}, {"conv5": kernel})["conv5"]
    for step in range(3):
        kernel, state = update(adam, interval, step, gradients, state, kernel)
    moments = state[0]
    saved = [{"count": jnp.int32(3), "mu": moments.mu, "nu": moments.nu}, {}]
    entered = enter_phase(adam, {"conv5": saved}, PARTS)["conv5"]
    assert entered[0].count == {"conv5/kernel": 3, SCALE: 0}
    restored = enter_phase(adam, {"conv5": saved}, {"conv5": kernel})["conv5"]
    chex.assert_trees_all_equal(restored, state)
