"""What the objectives share.

An objective is a pair of pure functions: what it carries at the start, ``init``, and its ``loss``,
``(apply, params, batch, key, axis_name=None) -> (losses, Aux)``:

    apply       (params, inputs, batch_stats=…, method=…) -> (outputs, batch_stats), the recogniser
                in the phase's context; statistics are threaded from pass to pass
    batch       inputs, targets, mask [b], carried, and the annotations of the task by their names
                (of a classification: targets [b k], label [b])
    key         one for the step; what is drawn for an example depends on its place in the batch
    axis_name   the mapped axis under ``jax.pmap``
    losses      [b], one value an example: how they are averaged is the step's business
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Float, Key

from fgjax.errors import UserError
from fgjax.training import parallel

Apply = Callable[..., tuple[Any, Any]]
Batch = Mapping[str, Any]


class Aux(NamedTuple):
    """What an objective hands on besides its losses.

    Attributes:
        batch_stats: the batch-norm statistics after the last pass.
        metrics: per-example values to average and log.
        carried: new ``state.aux``, e.g. running feature centres.
    """

    batch_stats: Any
    metrics: dict[str, Float[Array, " b"]]
    carried: dict[str, Any]


Metrics = dict[str, Float[Array, " b"]]
# (logits, targets) -> what is logged of them, by its name: the task says it.
Measure = Callable[[Float[Array, "b k"], Float[Array, "b k"]], Metrics]


def unmeasured(logits: Float[Array, "b k"], targets: Float[Array, "b k"]) -> Metrics:
    """Logs nothing but the loss."""
    del logits, targets
    return {}


def _nothing(outputs: int, features: int) -> dict[str, Any]:
    del outputs, features
    return {}


class Objective(NamedTuple):
    """What a step minimises.

    Attributes:
        loss: (apply, params, batch, key, axis_name=None) -> (losses [b], Aux).
        init: (outputs of the head, width of the embedding) -> what ``loss`` carries from step to
            step in ``state.aux``, as it is before the first one.
    """

    loss: Callable[..., tuple[Float[Array, " b"], Aux]]
    init: Callable[[int, int], dict[str, Any]] = _nothing


def suffixed(metrics: Metrics, suffix: str) -> Metrics:
    """The metrics of one of several passes."""
    return {f"{name}_{suffix}": values for name, values in metrics.items()}


def example_keys(key: Key[Array, ""], local: int, axis_name: str | None) -> Key[Array, " b"]:
    """A key for each example, the same on however many devices."""
    index = parallel.example_index(local, axis_name)
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(index)


def images_of(batch: Batch, objective: str) -> Float[Array, "b h w c"]:
    """The batch's images; refuses stored features, which cannot be looked at anew."""
    if isinstance(batch["inputs"], Mapping):
        raise UserError(
            f"the objective {objective!r} makes new views of the images, and this phase trains "
            "from stored features; train at least one level of the backbone, or turn the cache off"
        )
    return batch["inputs"]


def maps_of(outputs: Any, level: str | None, objective: str) -> Float[Array, "b h w m"]:
    """The part maps of ``level``, or of the only level that has some."""
    names = ", ".join(outputs.maps) or "no level"
    if level is None and len(outputs.maps) == 1:
        return next(iter(outputs.maps.values()))
    if level not in outputs.maps:
        raise UserError(
            f"the objective {objective!r} follows the attention maps of level {level}, and there "
            f"are maps of {names}; set model.attention.name to bilinear_attention, and the "
            "objective's level to one of its levels"
        )
    return outputs.maps[level]
