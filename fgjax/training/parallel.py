"""One step function on one device or many: compiled here, and nowhere else.

Under ``jax.jit`` over a one-axis mesh the batch is sharded, the state is replicated and every
reduction is global by itself; ``axis_name`` is None and the collectives below do nothing. Under
``jax.pmap`` each device sees its shard, and the same collectives do the reductions.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int, Num

from fgjax.errors import UserError

AXIS = "data"
MODES = ("jit", "pmap")


def psum(tree: Any, axis_name: str | None) -> Any:
    """Sum over the devices."""
    return tree if axis_name is None else jax.lax.psum(tree, axis_name)


def example_index(local: int, axis_name: str | None) -> Int[Array, " b"]:
    """Position in the global batch of each of the ``local`` examples that this program sees."""
    shard = 0 if axis_name is None else jax.lax.axis_index(axis_name)
    return shard * local + jnp.arange(local)


def make_mesh(devices: int | None = None, at_most: bool = False) -> Mesh:
    """A one-axis mesh over the first ``devices`` devices (all of them by default).

    Args:
        devices: their number.
        at_most: take fewer where there are fewer.

    Raises:
        UserError: there are fewer.
    """
    there = jax.device_count()
    count = there if devices is None else min(devices, there) if at_most else devices
    if not 1 <= count <= there:
        raise UserError(
            f"train.devices is {devices}, but this machine has {there}; choose 1 to {there}, or "
            "None for all of them"
        )
    return jax.make_mesh(
        (count,), (AXIS,), axis_types=(AxisType.Auto,), devices=jax.devices()[:count]
    )


def replicate(tree: Any, mesh: Mesh) -> Any:
    """A fresh copy of the tree on every device; the source may be donated or freed safely."""
    sharding = NamedSharding(mesh, PartitionSpec())
    return jax.tree.map(lambda leaf: jax.device_put(_owned(leaf), sharding), tree)


def _owned(leaf: Any) -> Any:
    # device_put of a jax.Array aliases its buffer, and donating the replica would delete it.
    return jnp.copy(leaf) if isinstance(leaf, jax.Array) else leaf


def shard(batch: Any, mesh: Mesh) -> Any:
    """A host batch spread over the devices along its first axis."""
    sharding = NamedSharding(mesh, PartitionSpec(AXIS))
    return jax.tree.map(
        lambda leaf: jax.make_array_from_process_local_data(sharding, np.asarray(leaf)), batch
    )


def filled(rows: Num[np.ndarray, "b ..."], mesh: Mesh) -> Num[np.ndarray, "c ..."]:
    """The rows, the last one repeated until every device gets as many."""
    missing = -len(rows) % mesh.size
    return np.pad(rows, ((0, missing), *((0, 0),) * (rows.ndim - 1)), "edge") if missing else rows


def check_batch_size(batch_size: int, mesh: Mesh) -> None:
    """Raises UserError unless every device gets the same, even number of examples."""
    if batch_size % mesh.size:
        raise UserError(
            f"data.batch_size is {batch_size}, which {mesh.size} devices cannot share equally; "
            f"choose a multiple of {mesh.size}"
        )


def compile_step(
    step: Callable[..., Any],
    mode: str,
    mesh: Mesh,
    donate: bool = True,
    shapes: tuple[Any, Any] | None = None,
) -> Callable[..., Any]:
    """Compile ``step(state, batch, axis_name=…) -> (replicated tree, …)`` for the mesh.

    Args:
        step: a pure function whose outputs are the same on every device.
        mode: "jit" (default everywhere) or "pmap".
        mesh: the devices.
        donate: let the new state take the old one's memory.
        shapes: abstract (state, batch) to compile for now; at the first call if not given.

    Raises:
        UserError: an unknown mode.
    """
    if mode == "jit":
        replicated = NamedSharding(mesh, PartitionSpec())
        sharded = NamedSharding(mesh, PartitionSpec(AXIS))

        def train_step(state, batch):
            return step(state, batch, axis_name=None)

        program = jax.jit(
            train_step,
            in_shardings=(replicated, sharded),
            out_shardings=replicated,
            donate_argnums=(0,) if donate else (),
        )
        return program.lower(*shapes).compile() if shapes else program
    if mode == "pmap":

        def train_step(state, batch):
            return step(state, batch, axis_name=AXIS)

        devices = list(mesh.devices.flat)
        program = jax.pmap(
            train_step, axis_name=AXIS, in_axes=(None, 0), out_axes=None, devices=devices
        )
        stack = functools.partial(_stack, devices=mesh.size)
        if shapes:
            program = program.lower(shapes[0], jax.eval_shape(stack, shapes[1])).compile()
        return lambda state, batch: program(state, stack(batch))
    raise UserError(f"train.parallel is {mode!r}; choose one of {', '.join(MODES)}")


def compile_forward(forward: Callable[..., Any], mesh: Mesh) -> Callable[..., Any]:
    """Compile ``forward(variables, batch) -> rows``: variables everywhere, rows by their batch."""
    replicated = NamedSharding(mesh, PartitionSpec())
    sharded = NamedSharding(mesh, PartitionSpec(AXIS))
    return jax.jit(forward, in_shardings=(replicated, sharded), out_shardings=sharded)


def _stack(batch: Any, devices: int) -> Any:
    return jax.tree.map(lambda leaf: leaf.reshape(devices, -1, *leaf.shape[1:]), batch)
