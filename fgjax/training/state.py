"""What a training run carries from step to step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Int


class TrainState(flax.struct.PyTreeNode):
    """The whole state of a run; a step maps it to the next one.

    Attributes:
        step: number of steps taken, counted over all phases.
        params: parameters, nested by group.
        batch_stats: running statistics of the batch-norm layers, nested by group.
        constants: what was fixed at initialisation and never trains (sketch hashes).
        opt_state: {group: optimiser state} of the groups that train now or later.
        ema: moving average of parameters and statistics, {"params", "batch_stats"}, or None.
        aux: what an objective carries (running feature centres), {} for most.
    """

    step: Int[Array, ""]
    params: dict[str, Any]
    batch_stats: dict[str, Any]
    constants: dict[str, Any]
    opt_state: dict[str, Any]
    ema: dict[str, Any] | None
    aux: dict[str, Any]

    @property
    def variables(self) -> dict[str, Any]:
        """What ``module.apply`` takes."""
        return variables(self.params, self.batch_stats, self.constants)

    @property
    def averaged(self) -> dict[str, Any]:
        """The variables to score: the moving average where there is one."""
        if self.ema is None:
            return self.variables
        return variables(self.ema["params"], self.ema["batch_stats"], self.constants)


def variables(params: Any, batch_stats: Any, constants: Any) -> dict[str, Any]:
    """The Linen variable collections of a recogniser."""
    return {"params": params, "batch_stats": batch_stats, "constants": constants}


def initial_state(variables: Mapping[str, Any], ema: bool, aux: Mapping[str, Any]) -> TrainState:
    """The state before the first step."""
    params, batch_stats = variables["params"], variables["batch_stats"]
    return TrainState(
        step=jnp.int32(0),
        params=params,
        batch_stats=batch_stats,
        constants=variables["constants"],
        opt_state={},
        ema={"params": params, "batch_stats": batch_stats} if ema else None,
        aux=dict(aux),
    )
