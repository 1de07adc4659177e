"""A schedule as a plain optax transformation, for any training loop and any tree.

Beside what optax has: ``optax.partition`` gives groups optimisers of their own, but for the whole
run; ``optax.masked`` and ``optax.freeze`` leave a part of the tree alone, also for the whole run;
``optax.conditionally_mask`` switches one transformation on and off, and counts its own steps. Use
those where nothing changes during the run. :func:`partitioned` follows phases: a frozen group gets
no update and no weight decay, its moments neither decay nor pile up, and after a switch they are
as they were left.

What a transformation of gradients cannot do, and fgjax's own trainer does: freeze batch-norm
statistics, spare the backward pass of a frozen prefix, and hold no moments before a group's first
interval and after its last.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from fgjax.errors import UserError
from fgjax.finetune import groups
from fgjax.finetune.groups import Leaves
from fgjax.finetune.intervals import Interval, Phase
from fgjax.finetune.optimizer import Optimizer, descend, kernels, trained_leaves
from fgjax.ops import trees

Assign = Callable[[Any], Mapping[str, str]]


class PartitionedState(NamedTuple):
    """State of :func:`partitioned`.

    Attributes:
        step: number of updates so far.
        groups: {group: state of its optimiser} of every group that ever trains.
    """

    step: Int[Array, ""]
    groups: dict[str, Any]


def partitioned(
    schedule: Sequence[Phase],
    base_optimizer: Optimizer | optax.GradientTransformation,
    assign: Assign = groups.assign,
    batch_norm: frozenset[str] = frozenset(),
) -> optax.GradientTransformation:
    """Train groups of parameters as a schedule says; equal, step by step, to fgjax's trainer.

        phases = finetune.resolve(({"name": "head", "train": {"head": 1.0}}, ...), total_steps)
        tx = finetune.partitioned(phases, optimizer.sgd(momentum=0.9))

    Args:
        schedule: phases, as ``fgjax.finetune.resolve`` gives them.
        base_optimizer: a function of the weight decay (``optimizer.sgd()``, ``optimizer.adamw()``)
            or a transformation without learning rate, such as ``optax.scale_by_adam()``, to which
            the schedule's decay is added.
        assign: the tree to {path: group}; a path joins keys, attributes and indices by "/".
        batch_norm: paths of batch-norm scales and biases, which train only where ``bn`` says so.

    Raises:
        UserError: a phase that only a run can resolve, or one that begins before another ends.
    """
    _check(schedule)
    optimizer = _with_decay(base_optimizer)

    def init(params):
        everything: dict[str, Leaves] = {}
        parts = _split(params, assign(params))
        for phase in schedule:
            for group, leaves in trained_leaves(parts, phase, batch_norm).items():
                everything[group] = everything.get(group, {}) | leaves
        states = {group: optimizer(0.0).init(leaves) for group, leaves in everything.items()}
        return PartitionedState(jnp.zeros((), jnp.int32), states)

    def update(gradients, state, params=None):
        if params is None:
            raise ValueError("partitioned needs the parameters: update(gradients, state, params)")
        assignment = assign(params)
        given, parts = _split(gradients, assignment), _split(params, assignment)
        # Minus zero: adding it changes no bit, not even of a zero.
        updates = jax.tree.map(lambda leaf: jnp.full_like(leaf, -0.0), trees.by_path(params))
        states = dict(state.groups)
        for phase in schedule:
            trained = trained_leaves(parts, phase, batch_norm)
            for interval in phase.intervals:
                group, leaves = interval.group, trained[interval.group]
                mine = {path: given[group][path] for path in leaves}
                moved, states[group] = _during(
                    optimizer, interval, phase, state.step, mine, states[group], leaves,
                    {path: updates[path] for path in leaves},
                )  # fmt: skip
                updates |= moved
        return trees.like(params, updates), PartitionedState(state.step + 1, states)

    return optax.GradientTransformation(init, update)


def _check(schedule: Sequence[Phase]) -> None:
    for phase in schedule:
        if phase.auto or phase.patience or phase.restore_best:
            raise UserError(
                f"phase {phase.name!r} depends on the run; give it rates and a length, without "
                "auto, patience and restore_best"
            )
    for before, phase in itertools.pairwise(sorted(schedule, key=lambda phase: phase.start)):
        if phase.start < before.stop:
            raise UserError(
                f"the phases {before.name!r} and {phase.name!r} overlap: the first ends at step "
                f"{before.stop}, the second begins at step {phase.start}; let it begin later"
            )


def _split(tree: Any, assignment: Mapping[str, str]) -> dict[str, Leaves]:
    """The leaves of any tree by group."""
    parts: dict[str, Leaves] = {}
    for path, leaf in trees.by_path(tree).items():
        parts.setdefault(assignment[path], {})[path] = leaf
    return parts


def _with_decay(base: Optimizer | optax.GradientTransformation) -> Optimizer:
    if not isinstance(base, optax.GradientTransformation):
        return base
    return lambda decay: optax.chain(base, optax.add_decayed_weights(decay, mask=kernels))


def _during(
    optimizer: Optimizer,
    interval: Interval,
    phase: Phase,
    step: Int[Array, ""],
    gradients: Leaves,
    state: Any,
    leaves: Leaves,
    otherwise: Leaves,
) -> tuple[Leaves, Any]:
    """The group's updates and state in one of its phases; at any other time as they were."""

    def active():
        change, after = descend(optimizer, interval, step, gradients, state, leaves)
        return jax.tree.map(jnp.negative, change), after

    inside = (step >= phase.start) & (step < phase.stop)
    return jax.lax.cond(inside, active, lambda: (otherwise, state))
