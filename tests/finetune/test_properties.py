"""Random trees, groups and schedules: what trains follows its definition, what does not stays."""

import dataclasses
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fgjax import finetune
from fgjax.errors import UserError
from fgjax.finetune import groups, optimizer
from fgjax.finetune.intervals import rate_at
from fgjax.finetune.optimizer import enter_phase, held_leaves, trained_leaves
from fgjax.ops import trees

SHAPES = [(3,), (2, 3), (2, 2, 2)]
NAMES = ("conv1", "conv3", "conv5", "head")
CASES = range(8)


class Case:
    """A tree, its phases and its gradients, drawn from a seed."""

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        self.seed, self.steps = seed, int(rng.integers(8, 14))
        self.params = {
            name: {
                f"layer{i}": {"kernel": self._draw(rng), "bn": {"scale": self._draw(rng, 0)}}
                for i in range(rng.integers(1, 3))
            }
            for name in NAMES
        }
        self.batch_norm = frozenset(p for p in trees.by_path(self.params) if "/bn/" in p)
        self.phases = finetune.resolve(
            [self._phase(rng, i) for i in range(rng.integers(2, 5))], self.steps
        )
        self.sgd = bool(rng.integers(2))
        self.optimizer = optimizer.sgd(momentum=0.8) if self.sgd else optimizer.adamw()
        self.assignment = groups.assign(self.params)

    @staticmethod
    def _draw(rng, shape=None):
        shape = SHAPES[rng.integers(len(SHAPES)) if shape is None else shape]
        return rng.normal(size=shape).astype(np.float32)

    @staticmethod
    def _phase(rng, index):
        chosen = rng.choice(NAMES, rng.integers(1, len(NAMES)), replace=False)
        train = {
            str(name): dict(
                rate=float(rng.uniform(0.01, 0.1)),
                decay=float(rng.uniform(0, 0.1)),
                bn=str(rng.choice(["frozen", "affine"])),
                warmup=float(rng.uniform(0, 0.5)),
                shape=str(rng.choice(["constant", "cosine", "linear"])),
                clock=str(rng.choice(["phase", "unfreeze", "run"])),
            )
            for name in chosen
        }
        return dict(name=str(index), share=float(rng.uniform(1, 3)), train=train)

    def gradients(self, step):
        rng = np.random.default_rng((self.seed, step))
        return jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), self.params)

    def train(self, params=None, opt_state=None, start=0, stop=None, after=lambda *_: None):
        """What the trainer does, less the network; ``after`` sees every step."""
        params, opt_state = self.params if params is None else params, opt_state or {}
        for index, phase in enumerate(self.phases):
            first, last = max(start, phase.start), min(phase.stop, stop or self.steps)
            if first >= last:
                continue
            parts = groups.split(params, self.assignment)
            held = held_leaves(parts, self.phases, index, self.batch_norm)
            opt_state = enter_phase(self.optimizer, opt_state, held)
            for step in range(first, last):
                parts = groups.split(params, self.assignment)
                trained = self._trained(params, phase)
                given = groups.flatten(self.gradients(step))
                for interval in phase.intervals:
                    group, leaves = interval.group, trained[interval.group]
                    mine = {path: jnp.asarray(given[path]) for path in leaves}
                    leaves, opt_state[group] = optimizer.update(
                        self.optimizer, interval, step, mine, opt_state[group], leaves
                    )
                    parts[group] = parts[group] | leaves
                before, params = params, groups.join(parts)
                after(phase, before, params, opt_state)
        return params, opt_state

    def _trained(self, params, phase):
        return trained_leaves(groups.split(params, self.assignment), phase, self.batch_norm)


def _rate(interval, step):
    done = step - interval.origin
    if done < interval.warmup:
        return interval.rate * (done + 1) / interval.warmup
    progress = (done - interval.warmup) / max(interval.end - interval.origin - interval.warmup, 1)
    return (
        interval.rate
        * {
            "constant": 1.0,
            "cosine": 0.5 * (1 + math.cos(math.pi * progress)),
            "linear": 1 - progress,
        }[interval.shape]
    )


def _reference(case):
    """One optimiser a leaf, written out in float64; Adam counts each leaf's steps."""
    leaves = {path: np.float64(x) for path, x in groups.flatten(case.params).items()}
    first = {path: np.zeros_like(x) for path, x in leaves.items()}
    second = {path: np.zeros_like(x) for path, x in leaves.items()}
    counts = dict.fromkeys(leaves, 0)
    for phase in case.phases:
        for step in range(phase.start, phase.stop):
            given = groups.flatten(case.gradients(step))
            for interval in phase.intervals:
                for path in leaves:
                    frozen_bn = path in case.batch_norm and interval.bn == "frozen"
                    if case.assignment[path] != interval.group or frozen_bn:
                        continue
                    counts[path] += 1
                    g, rate, n = np.float64(given[path]), _rate(interval, step), counts[path]
                    decayed = interval.decay * leaves[path] * (leaves[path].ndim > 1)
                    if case.sgd:
                        first[path] = 0.8 * first[path] + g + decayed
                        direction = first[path]
                    else:
                        first[path] = 0.9 * first[path] + 0.1 * g
                        second[path] = 0.999 * second[path] + 0.001 * g * g
                        scale = np.sqrt(second[path] / (1 - 0.999**n)) + 1e-8
                        direction = first[path] / (1 - 0.9**n) / scale + decayed
                    leaves[path] = leaves[path] - rate * direction
    return leaves


@pytest.mark.parametrize("seed", CASES)
def test_trained_leaves_follow_their_definition_in_float64(seed):
    case = Case(seed)
    with jax.enable_x64(True):
        start = jax.tree.map(lambda x: jnp.asarray(np.float64(x)), case.params)
        found = groups.flatten(case.train(start)[0])
    for path, expected in _reference(case).items():
        # Rates are float32 even here.
        error = np.linalg.norm(np.asarray(found[path]) - expected)
        assert error <= 1e-6 * np.linalg.norm(expected), path


@pytest.mark.parametrize("seed", CASES)
def test_frozen_leaves_and_their_moments_stay_bit_for_bit(seed):
    case, moments = Case(seed), {}

    def after(phase, before, params, opt_state):
        for path, leaf in groups.flatten(params).items():
            group = case.assignment[path]
            mode = {i.group: i.bn for i in phase.intervals}.get(group)
            if mode is None or (mode == "frozen" and path in case.batch_norm):
                chex.assert_trees_all_equal(leaf, groups.flatten(before)[path])
        for group, state in opt_state.items():
            leaves = trees.by_path(state)
            if group not in phase.groups:  # some may be dropped, for no later phase needs them
                chex.assert_trees_all_equal(leaves, {path: moments[group][path] for path in leaves})
            moments[group] = leaves

    _, opt_state = case.train(after=after)
    # At the end only what the last phase trains still has moments.
    assert set(opt_state) == set(case.phases[-1].groups)


@pytest.mark.parametrize("seed", CASES)
def test_a_run_that_goes_on_in_the_middle_ends_at_the_same_bits(seed):
    case = Case(seed)
    whole, _ = case.train()
    for stop in (1, case.phases[0].stop, case.steps - 1):
        half, opt_state = case.train(stop=stop)
        # As a checkpoint holds it: tuples have become dictionaries.
        restored = {
            group: groups.unflatten(trees.by_path(state)) for group, state in opt_state.items()
        }
        assert trees.digest(case.train(half, restored, start=stop)[0]) == trees.digest(whole)


@pytest.mark.parametrize("seed", CASES)
def test_the_plain_transformation_equals_the_trainer_step_by_step(seed):
    case, wanted = Case(seed), []
    case.train(after=lambda phase, before, params, _: wanted.append(params))
    tx = finetune.partitioned(case.phases, case.optimizer, batch_norm=case.batch_norm)

    @jax.jit
    def step(params, state, gradients):
        updates, state = tx.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    params = jax.tree.map(jnp.asarray, case.params)
    state = tx.init(params)
    for number, expected in enumerate(wanted):
        before = params
        params, state = step(params, state, case.gradients(number))
        for path, leaf in groups.flatten(params).items():
            want = np.asarray(groups.flatten(expected)[path])
            assert np.linalg.norm(leaf - want) <= 1e-6 * np.linalg.norm(want), (number, path)
            phase = next(p for p in case.phases if p.start <= number < p.stop)
            if case.assignment[path] not in phase.groups:
                chex.assert_trees_all_equal(leaf, groups.flatten(before)[path])


def test_the_plain_transformation_takes_any_tree_and_any_optimizer():
    params = {"body": [jnp.ones((2, 2)), jnp.full(2, -0.0)], "top": (jnp.ones((2, 2)),)}
    phases = finetune.resolve(
        [
            dict(name="a", train={"new": 1.0}),
            dict(name="b", train={"old": dict(rate=0.5, decay=1)}),
        ],
        4,
        groups=("old", "new"),
    )
    tx = finetune.partitioned(
        phases,
        optax.scale_by_sign(),
        assign=lambda tree: groups.assign(tree, [("body/.*", "old"), ("top/0", "new")]),
    )
    state = tx.init(params)
    for step in range(4):
        updates, state = tx.update(jax.tree.map(jnp.ones_like, params), state, params)
        new = optax.apply_updates(params, updates)
        still, moved = ("body", "top") if step < 2 else ("top", "body")
        assert trees.digest(new[still]) == trees.digest(params[still])
        rate = float(rate_at(phases[step // 2].intervals[0], step))
        decay = 0.0 if step < 2 else 1.0
        kernel = params[moved][0]
        np.testing.assert_allclose(new[moved][0], kernel - rate * (1 + decay * kernel), rtol=1e-6)
        params = new


def test_what_only_a_run_can_tell_is_no_plain_transformation():
    phases = finetune.resolve([dict(name="a", train={"head": 1.0}, auto="rgn")], 4)
    with pytest.raises(UserError, match="'a' depends on the run"):
        finetune.partitioned(phases, optimizer.sgd())


def test_phases_that_overlap_are_no_schedule():
    first, second = finetune.resolve([dict(name=n, train={"head": 1.0}) for n in "ab"], 8)
    late = dataclasses.replace(first, stop=6)
    with pytest.raises(UserError, match="'a' and 'b' overlap: the first ends at step 6, .* step 4"):
        finetune.partitioned((late, second), optimizer.sgd())
