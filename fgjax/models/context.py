"""The one small object that goes down every module call."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax.numpy as jnp


class BatchNormMode(NamedTuple):
    """What the batch-norm layers of one group do in training; each switch is its own.

    Attributes:
        affine: train scale and bias.
        batch: normalise by the statistics of the batch instead of the running ones.
        update: let the batch move the running statistics.
    """

    affine: bool
    batch: bool
    update: bool


FROZEN = BatchNormMode(affine=False, batch=False, update=False)
BATCH_NORM_MODES = {
    "frozen": FROZEN,
    "affine": BatchNormMode(affine=True, batch=False, update=False),
    "train": BatchNormMode(affine=True, batch=True, update=True),
}


@dataclasses.dataclass(frozen=True)
class Context:
    """How a forward pass is to be made. Static and hashable: it selects the compiled program.

    Attributes:
        train: whether this is a training pass (dropout, batch statistics).
        bn: (group, mode) pairs; a group that is not named is frozen.
        axis_name: the mapped axis over which batch statistics are shared under ``jax.pmap``;
            None under ``jax.jit``, where a batch is global by itself.
        dtype: dtype of the activations; parameters and statistics stay float32.
        group: the group whose layers are being called, set by :meth:`at`.
    """

    train: bool = False
    bn: tuple[tuple[str, BatchNormMode], ...] = ()
    axis_name: str | None = None
    dtype: Any = jnp.float32
    group: str | None = None

    def at(self, group: str) -> Context:
        """The same context, for the layers of ``group``."""
        return dataclasses.replace(self, group=group)

    @property
    def bn_mode(self) -> BatchNormMode:
        """The batch-norm mode of the current group; frozen outside training."""
        return dict(self.bn).get(self.group or "", FROZEN) if self.train else FROZEN
