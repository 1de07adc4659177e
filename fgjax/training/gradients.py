"""Gradients of a batch's masked mean loss, over its parts and the devices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from fgjax.finetune import groups
from fgjax.training import parallel
from fgjax.training.objectives import Aux
from fgjax.training.state import TrainState

Parts = Mapping[str, groups.Leaves]  # {group: {path: leaf}}
# (trained leaves, statistics, what is carried, batch, examples that count, key) -> the loss and
# (what the objective hands on, {metric: mean}).
Loss = Callable[..., tuple[Float[Array, ""], tuple[Aux, dict[str, Any]]]]


def gradients_of(
    loss: Loss,
    state: TrainState,
    trained: Parts,
    batch: Mapping[str, Any],
    key: Key[Array, ""],
    parts: int,
    axis_name: str | None,
) -> tuple[Parts, Any, Any, dict[str, Any]]:
    """Gradients and metrics of the masked mean loss, over the batch's parts and the devices."""
    count = parallel.psum(jnp.sum(batch["mask"]), axis_name)
    differentiate = jax.value_and_grad(loss, has_aux=True)

    def one(part, batch_stats, carried, examples):
        part_key = jax.random.fold_in(key, part)
        (_, (aux, means)), gradients = differentiate(
            trained, batch_stats, carried, examples, count, part_key
        )
        return (gradients, means), aux.batch_stats, aux.carried

    run = partial(one, 0) if parts == 1 else partial(_accumulate, one, parts)
    sums, batch_stats, carried = run(state.batch_stats, state.aux, batch)
    gradients, metrics = parallel.psum(sums, axis_name)
    return gradients, batch_stats, carried, metrics


def _accumulate(
    one: Callable[..., Any], parts: int, batch_stats: Any, carried: Any, batch: Mapping[str, Any]
) -> tuple[Any, Any, Any]:
    """``one`` over the equal parts of a batch in turn, its sums added up."""
    batches = jax.tree.map(lambda leaf: _interleave(leaf, parts), batch)
    first = jax.tree.map(lambda leaf: leaf[0], batches)
    shapes = jax.eval_shape(one, 0, batch_stats, carried, first)[0]
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

    def body(carry, numbered):
        sums, batch_stats, carried = carry
        new, batch_stats, carried = one(numbered[0], batch_stats, carried, numbered[1])
        return (jax.tree.map(jnp.add, sums, new), batch_stats, carried), None

    numbered = jnp.arange(parts), batches
    return jax.lax.scan(body, (zeros, batch_stats, carried), numbered)[0]


def _interleave(leaf: Array, parts: int) -> Array:
    # Pairs (2i, 2i + 1) stay together, as losses over neighbours need; strided parts keep every
    # device's share of the batch on that device.
    if leaf.shape[0] % (2 * parts) == 0:
        pairs = leaf.reshape(-1, parts, 2, *leaf.shape[1:])
        return jnp.moveaxis(pairs, 1, 0).reshape(parts, -1, *leaf.shape[1:])
    return jnp.moveaxis(leaf.reshape(-1, parts, *leaf.shape[1:]), 1, 0)
