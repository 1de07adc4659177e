import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fgjax.errors import UserError
from fgjax.finetune import optimizer
from fgjax.finetune.intervals import Interval
from fgjax.finetune.schedule import resolve

LEAVES = {"head/kernel": jnp.array([[1.0, -2.0], [0.5, 3.0]]), "head/bias": jnp.array([1.0, 2.0])}
# A rate that float32 holds exactly.
INTERVAL = Interval("head", 0, 100, 0.125, 0.01, "train", "constant", 0, 0, 100)


def _gradients(step):
    rng = np.random.default_rng(step)
    return {path: rng.normal(size=x.shape).astype(np.float32) for path, x in LEAVES.items()}


def _run(optimizer_, steps):
    """Optimise in float64, so that a formula that differs in anything shows."""
    with jax.enable_x64(True):
        leaves = {path: jnp.asarray(np.float64(x)) for path, x in LEAVES.items()}
        state = optimizer_(0.0).init(leaves)
        for step in range(steps):
            gradients = {path: jnp.asarray(np.float64(g)) for path, g in _gradients(step).items()}
            leaves, state = optimizer.update(optimizer_, INTERVAL, step, gradients, state, leaves)
    return leaves


def _reference_sgd(steps, momentum):
    leaves = {path: np.asarray(x, np.float64) for path, x in LEAVES.items()}
    velocity = {path: np.zeros_like(x) for path, x in leaves.items()}
    for step in range(steps):
        for path, g in _gradients(step).items():
            decay = 0.01 if leaves[path].ndim > 1 else 0.0
            velocity[path] = momentum * velocity[path] + np.float64(g) + decay * leaves[path]
            leaves[path] = leaves[path] - 0.125 * velocity[path]
    return leaves


def _reference_adamw(steps):
    leaves = {path: np.asarray(x, np.float64) for path, x in LEAVES.items()}
    m = {path: np.zeros_like(x) for path, x in leaves.items()}
    v = {path: np.zeros_like(x) for path, x in leaves.items()}
    for step in range(steps):
        for path, g in _gradients(step).items():
            g = np.float64(g)
            m[path] = 0.9 * m[path] + 0.1 * g
            v[path] = 0.999 * v[path] + 0.001 * g * g
            unbiased = m[path] / (1 - 0.9 ** (step + 1)), v[path] / (1 - 0.999 ** (step + 1))
            decay = 0.01 if leaves[path].ndim > 1 else 0.0
            direction = unbiased[0] / (np.sqrt(unbiased[1]) + 1e-8) + decay * leaves[path]
            leaves[path] = leaves[path] - 0.125 * direction
    return leaves


def _assert_close(found, reference):
    """Equal to 1e-12 in the norm of every leaf."""
    for path, expected in reference.items():
        error = np.linalg.norm(np.float64(found[path]) - expected)
        assert error <= 1e-12 * np.linalg.norm(expected), path


def test_sgd_equals_its_definition():
    found = _run(optimizer.create("sgd", momentum=0.8), 5)
    _assert_close(found, _reference_sgd(5, 0.8))


def test_adamw_equals_its_definition():
    found = _run(optimizer.create("adamw"), 5)
    _assert_close(found, _reference_adamw(5))


def test_unknown_optimizers_and_options_are_named():
    with pytest.raises(UserError, match="train.optimizer.name is 'lion'; choose one of sgd, adamw"):
        optimizer.create("lion")
    with pytest.raises(
        UserError, match="'sgd' has no option beta; its options are momentum, nesterov"
    ):
        optimizer.create("sgd", beta=1)


PARTS = {"conv5": {"conv5/kernel": jnp.ones((2, 2)), "conv5/bn/scale": jnp.ones(2)}, "head": LEAVES}
BATCH_NORM = frozenset({"conv5/bn/scale"})


def _phases(*trains):
    return resolve([dict(name=str(i), train=train) for i, train in enumerate(trains)], 30)


def test_batch_norm_parameters_train_only_where_the_mode_says_so():
    frozen, affine = _phases({"conv5": 1.0}, {"conv5": dict(rate=1.0, bn="affine")})
    assert optimizer.trained_leaves(PARTS, frozen, BATCH_NORM) == {
        "conv5": {"conv5/kernel": PARTS["conv5"]["conv5/kernel"]}
    }
    assert optimizer.trained_leaves(PARTS, affine, BATCH_NORM) == {"conv5": PARTS["conv5"]}


def test_moments_are_made_kept_and_dropped():
    sgd = optimizer.create("sgd")
    phases = _phases({"head": 1.0}, {"conv5": 1.0}, {"conv5": 1.0, "head": 1.0}, {"conv5": 1.0})
    held = [optimizer.held_leaves(PARTS, phases, index, BATCH_NORM) for index in range(4)]
    assert [set(leaves) for leaves in held] == [{"head"}, *[{"head", "conv5"}] * 2, {"conv5"}]

    first = optimizer.enter_phase(sgd, {}, held[0])
    moved = optimizer.update(sgd, INTERVAL, 0, _gradients(0), first["head"], LEAVES)[1]
    second = optimizer.enter_phase(sgd, {"head": moved}, held[1])
    chex.assert_trees_all_equal(second["head"], moved)  # kept while frozen
    third = optimizer.enter_phase(sgd, second, held[2])
    chex.assert_trees_all_equal(third["head"], moved)
    assert set(optimizer.enter_phase(sgd, third, held[3])) == {"conv5"}


def test_batch_norm_moments_wait_while_the_rest_of_the_group_trains():
    affine = {"conv5": dict(rate=1.0, bn="affine")}
    phases = _phases(affine, {"conv5": 1.0}, affine, {"conv5": 1.0})
    held = [optimizer.held_leaves(PARTS, phases, index, BATCH_NORM)["conv5"] for index in range(4)]
    assert ["conv5/bn/scale" in leaves for leaves in held] == [True, True, True, False]


def test_moments_survive_a_change_of_structure():
    """A batch-norm mode that trains more leaves, and a restored tree of plain dictionaries."""
    sgd = optimizer.create("sgd")
    kernel = {"conv5/kernel": jnp.ones((2, 2))}
    moved = jax.tree.map(lambda x: x + 7, sgd(0.0).init(kernel))
    plain = [{}, {"trace": {"conv5/kernel": moved[1].trace["conv5/kernel"]}}]
    for old in (moved, plain):
        new = optimizer.enter_phase(sgd, {"conv5": old}, PARTS)
        chex.assert_trees_all_equal(
            new["conv5"][1].trace,
            {"conv5/kernel": jnp.full((2, 2), 7.0), "conv5/bn/scale": jnp.zeros(2)},
        )
