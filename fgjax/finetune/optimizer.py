"""Per-group optimisers over flat {path: leaf} dictionaries.

Each group has a state of its own, made when the group first trains, kept while it is frozen
again and dropped after its last interval; so a frozen group costs no optimiser memory, and its
moments neither decay nor pile up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from fgjax.checking.options import fitted, number
from fgjax.errors import UserError
from fgjax.finetune.groups import Leaves
from fgjax.finetune.intervals import Interval, Phase, rate_at
from fgjax.ops import trees

# decay -> transformation that turns gradients into a descent direction (before the rate)
Optimizer = Callable[[float], optax.GradientTransformation]


def kernels(leaves: Leaves) -> Any:
    """Mask of what weight decay acts on: no biases, no scales."""
    return jax.tree.map(lambda leaf: jnp.ndim(leaf) > 1, leaves)


def sgd(momentum: float = 0.9, nesterov: bool = False) -> Optimizer:
    """SGD with momentum; weight decay is added to the gradient, as is the custom for SGD."""
    return lambda decay: optax.chain(
        optax.add_decayed_weights(decay, mask=kernels),
        optax.trace(decay=momentum, nesterov=nesterov),
    )


def adamw(b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> Optimizer:
    """AdamW (Loshchilov & Hutter 2019); weight decay is decoupled."""
    return lambda decay: optax.chain(
        _adam_by_leaf(optax.scale_by_adam(b1=b1, b2=b2, eps=eps)),
        optax.add_decayed_weights(decay, mask=kernels),
    )


def _adam_by_leaf(adam: optax.GradientTransformation) -> optax.GradientTransformation:
    """Adam with a count of steps for each leaf, over flat {path: leaf} dictionaries.

    The count says how far the moments have come from the zeros that they began with. A leaf that
    starts later than its group (batch norm that a phase turns on) has moments younger than the
    group's: by the group's count its first steps would be several times too long.
    """

    def init(leaves):
        state = adam.init(leaves)
        return state._replace(count=dict.fromkeys(leaves, state.count))

    def update(gradients, state, leaves=None):
        del leaves
        each = {
            path: adam.update(g, type(state)(*(part[path] for part in state)))
            for path, g in gradients.items()
        }
        moved = {path: direction for path, (direction, _) in each.items()}
        parts = zip(*(after for _, after in each.values()), strict=True)
        return moved, type(state)(*(dict(zip(each, part, strict=True)) for part in parts))

    return optax.GradientTransformation(init, update)


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {"sgd": sgd, "adamw": adamw}
# Whose steps are as long as the gradient; Adam's do not depend on its length.
PROPORTIONAL = ("sgd",)
_SHARE = number(0, 1, below=True)
_KINDS = {"momentum": _SHARE, "b1": _SHARE, "b2": _SHARE, "eps": number(0, 1, above=True)}


def create(name: str, **options) -> Optimizer:
    """The optimiser named in ``config.train.optimizer``.

    Raises:
        UserError: unknown name or option.
    """
    if name not in OPTIMIZERS:
        raise UserError(f"train.optimizer.name is {name!r}; choose one of {', '.join(OPTIMIZERS)}")
    return OPTIMIZERS[name](**fitted("train.optimizer", name, OPTIMIZERS[name], options, _KINDS))


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


def held_leaves(
    parts: Mapping[str, Leaves], phases: Sequence[Phase], index: int, batch_norm: frozenset[str]
) -> dict[str, Leaves]:
    """The leaves that have moments in a phase: trained in it or before, and in it or later."""
    earlier, later = (
        [trained_leaves(parts, phase, batch_norm) for phase in some]
        for some in (phases[: index + 1], phases[index:])
    )
    held: dict[str, Leaves] = {}
    for trained in earlier:
        for group, leaves in trained.items():
            kept = {path for phase in later for path in phase.get(group, {})}
            mine = {path: leaf for path, leaf in leaves.items() if path in kept}
            held[group] = held.get(group, {}) | mine
    return {group: leaves for group, leaves in held.items() if leaves}


def enter_phase(
    optimizer: Optimizer, opt_state: Mapping[str, Any], held: Mapping[str, Leaves]
) -> dict[str, Any]:
    """Optimiser states for a phase: moments carried over by path, new ones made, others dropped.

    Args:
        optimizer: the optimiser of every group.
        opt_state: {group: state} so far.
        held: {group: {path: leaf}} of :func:`held_leaves`.
    """
    return {
        group: carry_over(_counted(opt_state.get(group)), optimizer(0.0).init(leaves))
        for group, leaves in held.items()
    }


def _counted(state: Any) -> dict[str, Any]:
    """A group's state by path, with Adam's count for every leaf, as older runs did not save it."""
    found = trees.by_path(state)
    return found | {
        path.replace("/mu/", "/count/", 1): found[f"{path.partition('/mu/')[0]}/count"]
        for path in found
        if f"{path.partition('/mu/')[0]}/count" in found
    }


def carry_over(old: Any, new: Any) -> Any:
    """``new`` with every leaf that ``old`` has at the same path."""
    return trees.like(new, trees.by_path(new) | trees.by_path(old))


def descend(
    optimizer: Optimizer,
    interval: Interval,
    step: Any,
    gradients: Leaves,
    state: Any,
    leaves: Leaves,
) -> tuple[Leaves, Any]:
    """What one group's optimiser subtracts from the leaves at a step, and its new state.

    The state may hold moments of more leaves than train now; those stay as they are.
    """
    transformation = optimizer(interval.decay)
    own = carry_over(state, transformation.init(leaves))
    direction, own = transformation.update(gradients, own, leaves)
    rate = rate_at(interval, step)
    return jax.tree.map(lambda d: rate * d, direction), carry_over(own, state)


def update(
    optimizer: Optimizer,
    interval: Interval,
    step: Any,
    gradients: Leaves,
    state: Any,
    leaves: Leaves,
) -> tuple[Leaves, Any]:
    """One group's optimiser step: the new leaves and the new state."""
    change, state = descend(optimizer, interval, step, gradients, state, leaves)
    return jax.tree.map(jnp.subtract, leaves, change), state
