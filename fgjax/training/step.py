"""One optimisation step: a pure function of the state and a batch.

The gradient is taken of the trained leaves only. A frozen prefix is therefore never
differentiated: it costs its forward pass, no backward pass, no optimiser memory, and its
batch-norm statistics do not move.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key

from fgjax.finetune import groups
from fgjax.finetune.intervals import SWITCHES, Phase, rate_at
from fgjax.finetune.optimizer import Optimizer, trained_leaves, update
from fgjax.models.context import BatchNormMode, Context
from fgjax.training import inputs, parallel
from fgjax.training.gradients import Loss, Parts, gradients_of
from fgjax.training.objectives import Objective
from fgjax.training.state import TrainState, variables

Batch = Mapping[str, Any]


class StepSettings(NamedTuple):
    """What is fixed while a phase lasts; it selects the compiled program.

    Attributes:
        phase: who trains, at which rates.
        apply: ``(variables, inputs, ctx, start, **linen) -> outputs`` (``module.apply``).
        start: the level at which stored features enter, or None when the batch holds images.
        prepare: ``(batch, keys) -> (inputs, targets)``: augmentation and mixing, on the device.
        objective: what is minimised: one objective, or several in turn.
        optimizer: the optimiser of every group.
        assignment: {path: group} of every parameter.
        batch_norm: paths of batch-norm scales and biases.
        dtype: dtype of the activations.
        seed: seed of every random choice of the run.
        clip_norm: largest global gradient norm over the trained leaves, or None.
        ema_decay: decay of the moving average, or None.
        accumulate: number of equal parts a batch is processed in.
    """

    phase: Phase
    apply: Callable[..., Any]
    start: str | None
    prepare: Callable[[Batch, Key[Array, " b"]], tuple[Any, Any]]
    objective: tuple[Objective, ...]
    optimizer: Optimizer
    assignment: Mapping[str, str]
    batch_norm: frozenset[str]
    dtype: Any
    seed: int
    clip_norm: float | None
    ema_decay: float | None
    accumulate: int


def train_step(
    state: TrainState, batch: Batch, *, settings: StepSettings, axis_name: str | None
) -> tuple[TrainState, dict[str, Float[Array, ""]]]:
    """Take one step: the next state, and the means of what was logged.

    Several objectives are followed in turn, each from the parameters that the one before has left
    and at the same rates; the loss is their sum.
    """
    batch, keys = _prepared(state, batch, settings, axis_name)
    metrics: dict[str, Any] = {"loss": 0.0}
    for objective, key in zip(settings.objective, keys, strict=True):
        state, found = _descended(state, batch, objective, key, settings, axis_name)
        metrics |= found | {"loss": metrics["loss"] + found["loss"]}
    metrics |= {
        f"rate/{interval.group}": rate_at(interval, state.step)
        for interval in settings.phase.intervals
    }
    ema = _moving_average(
        state.ema, state.step, state.params, state.batch_stats, settings.ema_decay
    )
    return state.replace(step=state.step + 1, ema=ema), metrics


def phase_gradients(
    state: TrainState, batch: Batch, *, settings: StepSettings, axis_name: str | None
) -> dict[str, groups.Leaves]:
    """The gradients that a step would follow, {group: {path: leaf}} of the trained leaves."""
    trained = _trained(state, settings)
    batch, keys = _prepared(state, batch, settings, axis_name)
    found = [
        gradients_of(
            _loss_of(state, objective, settings, axis_name),
            state,
            trained,
            batch,
            key,
            settings.accumulate,
            axis_name,
        )[0]
        for objective, key in zip(settings.objective, keys, strict=True)
    ]
    return jax.tree.map(lambda *leaves: sum(leaves), *found)


def _prepared(
    state: TrainState, batch: Batch, settings: StepSettings, axis_name: str | None
) -> tuple[dict[str, Any], Any]:
    """The batch as the network reads it, and a key for each objective."""
    key = jax.random.fold_in(jax.random.key(settings.seed), state.step)
    index = parallel.example_index(len(batch["mask"]), axis_name)
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(index)
    given, targets = settings.prepare(batch, keys)
    batch = inputs.unfed(batch) | {"inputs": given, "targets": targets}
    count = len(settings.objective)
    return batch, [key] if count == 1 else jax.random.split(key, count)


def _descended(
    state: TrainState,
    batch: Batch,
    objective: Objective,
    key: Key[Array, ""],
    settings: StepSettings,
    axis_name: str | None,
) -> tuple[TrainState, dict[str, Any]]:
    """The state after one update of the parameters, and what was logged."""
    trained = _trained(state, settings)
    loss = _loss_of(state, objective, settings, axis_name)
    gradients, batch_stats, carried, metrics = gradients_of(
        loss, state, trained, batch, key, settings.accumulate, axis_name
    )
    gradients, norm = _clip(gradients, settings.clip_norm)
    params, opt_state = _apply_gradients(state, trained, gradients, settings)
    state = state.replace(params=params, batch_stats=batch_stats, opt_state=opt_state, aux=carried)
    return state, metrics | {"gradient_norm": norm}


def _trained(state, settings):
    parts = groups.split(state.params, settings.assignment)
    return trained_leaves(parts, settings.phase, settings.batch_norm)


def _loss_of(
    state: TrainState, objective: Objective, settings: StepSettings, axis_name: str | None
) -> Loss:
    """This device's part of the mean loss, and of every metric's mean, as a function."""
    context = Context(
        train=True,
        bn=tuple(
            (interval.group, BatchNormMode(*(switch in interval.switches for switch in SWITCHES)))
            for interval in settings.phase.intervals
        ),
        axis_name=axis_name,
        dtype=settings.dtype,
    )

    def loss(trained, batch_stats, carried, batch, count, key):
        def apply(leaves, inputs, batch_stats=batch_stats, **linen):
            params = _with_leaves(state.params, leaves)
            outputs, moved = settings.apply(
                variables(params, batch_stats, state.constants),
                inputs,
                context,
                settings.start,
                mutable=["batch_stats"],
                rngs={"dropout": key},
                **linen,
            )
            return outputs, {**batch_stats, **moved.get("batch_stats", {})}

        batch = {**batch, "carried": carried}
        values, aux = objective.loss(apply, trained, batch, key, axis_name)
        means = {
            name: jnp.sum(value * batch["mask"]) / count
            for name, value in {"loss": values, **aux.metrics}.items()
        }
        return means["loss"], (aux, means)

    return loss


def _with_leaves(params: Mapping, parts: Mapping[str, groups.Leaves]) -> dict:
    """The parameter tree with the trained leaves in their places."""
    new = {path: leaf for leaves in parts.values() for path, leaf in leaves.items()}
    return groups.unflatten(groups.flatten(params) | new)


def _clip(gradients, clip_norm):
    norm = optax.tree.norm(gradients)
    if clip_norm is None:
        return gradients, norm
    scale = jnp.minimum(1.0, clip_norm / jnp.maximum(norm, 1e-12))
    return jax.tree.map(lambda g: g * scale, gradients), norm


def _apply_gradients(
    state: TrainState, trained: Parts, gradients: Parts, settings: StepSettings
) -> tuple[dict[str, Any], dict[str, Any]]:
    opt_state, new = dict(state.opt_state), {}
    for interval in settings.phase.intervals:
        group = interval.group
        if not trained[group]:  # a part without parameters, or that the config leaves out
            continue
        new[group], opt_state[group] = update(
            settings.optimizer,
            interval,
            state.step,
            gradients[group],
            opt_state[group],
            trained[group],
        )
    return _with_leaves(state.params, new), opt_state


def _moving_average(
    ema: Any, step: Int[Array, ""], params: Any, batch_stats: Any, decay: float | None
) -> Any:
    """The moving average after a step; its decay rises to ``decay`` over the first steps.

    Written so that a leaf that does not move is its own average, bit for bit.
    """
    if decay is None:
        return ema
    rate = 1.0 - jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    new = {"params": params, "batch_stats": batch_stats}
    return jax.tree.map(lambda old, leaf: old + rate * (leaf - old), ema, new)
