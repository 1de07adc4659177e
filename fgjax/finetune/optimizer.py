"""Per-group optimisers over flat {path: leaf} dictionaries.

Each group has a state of its own, made when the group first trains, kept while it is frozen
again and dropped after its last interval; so a frozen group costs no optimiser memory, and its
moments neither decay nor pile up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from fgjax import trees
from fgjax.errors import UserError
from fgjax.finetune.groups import Leaves
from fgjax.finetune.intervals import Interval, Phase, rate_at

# decay -> transformation that turns gradients into a descent direction (before the rate)
Optimizer = Callable[[float], optax.GradientTransformation]


def _kernels(leaves: Leaves) -> Any:
    return jax.tree.map(lambda leaf: jnp.ndim(leaf) > 1, leaves)


def sgd(momentum: float = 0.9, nesterov: bool = False) -> Optimizer:
    """SGD with momentum; weight decay is added to the gradient, as is the custom for SGD."""
    return lambda decay: optax.chain(
        optax.add_decayed_weights(decay, mask=_kernels),
        optax.trace(decay=momentum, nesterov=nesterov),
    )


def adamw(b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> Optimizer:
    """AdamW (Loshchilov & Hutter 2019); weight decay is decoupled."""
    return lambda decay: optax.chain(
        optax.scale_by_adam(b1=b1, b2=b2, eps=eps),
        optax.add_decayed_weights(decay, mask=_kernels),
    )


OPTIMIZERS = {"sgd": sgd, "adamw": adamw}


def create(name: str, **options) -> Optimizer:
    """The optimiser named in ``config.train.optimizer``.

    Raises:
        UserError: unknown name or option.
    """
    if name not in OPTIMIZERS:
        raise UserError(f"unknown optimizer {name!r}; choose one of {', '.join(OPTIMIZERS)}")
    try:
        return OPTIMIZERS[name](**options)
    except TypeError as error:
        raise UserError(f"the optimizer {name!r} does not take these options: {error}") from None


def trained_leaves(
    parts: Mapping[str, Leaves], phase: Phase, batch_norm: frozenset[str]
) -> dict[str, Leaves]:
    """The leaves that a phase trains; batch-norm parameters only where the mode trains them."""
    return {
        interval.group: {
            path: leaf
            for path, leaf in parts.get(interval.group, {}).items()
            if "affine" in interval.switches or path not in batch_norm
        }
        for interval in phase.intervals
    }


def enter_phase(
    optimizer: Optimizer,
    opt_state: Mapping[str, Any],
    trained: Mapping[str, Leaves],
    remaining: frozenset[str],
) -> dict[str, Any]:
    """Optimiser states for a phase: moments carried over by path, new ones made, others dropped.

    Args:
        optimizer: the optimiser of every group.
        opt_state: {group: state} so far.
        trained: {group: {path: leaf}} that this phase trains.
        remaining: groups that still train in this phase or later.
    """
    states = {group: state for group, state in opt_state.items() if group in remaining}
    for group, leaves in trained.items():
        fresh = optimizer(0.0).init(leaves)
        states[group] = _carry_over(states.get(group), fresh)
    return states


def _carry_over(old: Any, new: Any) -> Any:
    """``new`` with every leaf that ``old`` has at the same path (a bn mode may add leaves)."""
    return trees.like(new, trees.by_path(new) | trees.by_path(old))


def update(
    optimizer: Optimizer,
    interval: Interval,
    step: Any,
    gradients: Leaves,
    state: Any,
    leaves: Leaves,
) -> tuple[Leaves, Any]:
    """One group's optimiser step: the new leaves and the new state."""
    direction, state = optimizer(interval.decay).update(gradients, state, leaves)
    rate = rate_at(interval, step)
    return jax.tree.map(lambda leaf, d: leaf - rate * d, leaves, direction), state
