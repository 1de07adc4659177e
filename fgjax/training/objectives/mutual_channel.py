"""Mutual-channel loss: every class has channels of its own, which look at different places.

Chang et al., "The Devil is in the Channels", IEEE TIP 2020. Of a map of k·ξ channels, channels
ξ·i … ξ·(i+1)-1 belong to class i.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from fgjax.errors import UserError
from fgjax.ops import losses
from fgjax.ops.peak import maximum
from fgjax.training.objectives.base import Aux, Measure, Objective, example_keys, unmeasured


def mutual_channel(
    measure: Measure = unmeasured,
    /,
    *,
    level: str = "conv5",
    discriminality_weight: float = 1.5,
    diversity_weight: float = 20.0,
) -> Objective:
    """Cross-entropy, and the mutual-channel loss of the (merged) map of ``level``.

    Args:
        level: whose channels are divided among the classes.
        discriminality_weight: weight of each class's channels having to recognise it alone.
        diversity_weight: weight of a class's channels having to look at different places.
    """

    def loss(apply, params, batch, key, axis_name=None):
        outputs, batch_stats = apply(params, batch["inputs"])
        targets, x = batch["targets"], _map_of(outputs, level)
        keys = example_keys(key, len(x), axis_name)
        alone = losses.cross_entropy(discriminality(keys, x, targets.shape[-1]), targets)
        spread = diversity(x, targets.shape[-1])
        values = losses.cross_entropy(outputs.logits, targets)
        values += discriminality_weight * alone + diversity_weight * (1.0 - spread)
        metrics = measure(outputs.logits, targets) | {"diversity": spread}
        return values, Aux(batch_stats, metrics, batch["carried"])

    return Objective(loss)


def _map_of(outputs, level):
    if level not in outputs.merged:
        raise UserError(
            f"the objective 'mutual_channel' divides the channels of level {level}, and there are "
            f"{', '.join(outputs.merged)}; set train.objective.level to one of them"
        )
    return outputs.merged[level]


def discriminality(
    keys: Key[Array, " b"], x: Float[Array, "b h w c"], classes: int
) -> Float[Array, "b k"]:
    """Logits by a class's channels alone: half of them dropped, then their maximum, averaged.

    The channels kept (⌈ξ/2⌉ of each class) are drawn for each image.
    """
    grouped = _by_class(x, classes)
    share = grouped.shape[-1]
    kept = jnp.arange(share) < -(-share // 2)

    def draw(key):
        keys = jax.random.split(key, classes)
        return jax.vmap(jax.random.permutation, (0, None))(keys, kept)

    masks = jax.vmap(draw)(keys).astype(x.dtype)
    best = maximum(grouped * masks[:, None], -1)
    return jnp.mean(best, axis=1, dtype=jnp.float32)


def diversity(x: Float[Array, "b h w c"], classes: int) -> Float[Array, " b"]:
    """How different the places are that a class's channels look at, from 1/ξ (all alike) to 1.

    Each channel is a distribution over places (softmax); the maximum over a class's channels is
    summed over places, divided by ξ and averaged over the classes.
    """
    places = jax.nn.softmax(_by_class(x, classes).astype(jnp.float32), axis=1)
    return jnp.mean(jnp.sum(maximum(places, -1), axis=1), axis=-1) / places.shape[-1]


def _by_class(x: Float[Array, "b h w c"], classes: int) -> Float[Array, "b p k s"]:
    batch, height, width, channels = x.shape
    if channels % classes:
        raise UserError(
            f"the objective 'mutual_channel' divides channels among {classes} classes, and the map "
            f"has {channels}; choose a level or a merge whose channels are a multiple of {classes}"
        )
    return x.reshape(batch, height * width, classes, channels // classes)
