"""Running centres of the classes' features, and the losses that pull features to them.

A centre follows the mean of its class's features in the batch. A class that occurs several times
moves its centre once, by that mean: neither once for each example nor, as in PyTorch's indexed
assignment, by whichever example comes last. Sums run over all devices.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from fgjax.ops import losses
from fgjax.ops.normalize import l2_normalize
from fgjax.training import parallel
from fgjax.training.objectives.base import Aux, Measure, Objective, unmeasured


def initial_centers(classes: int, features: int) -> dict[str, Float[Array, "k d"]]:
    """What the objectives with centres carry at the start: all centres at the origin."""
    return {"centers": jnp.zeros((classes, features))}


def move_centers(
    centers: Float[Array, "k d"],
    features: Float[Array, "b d"],
    labels: Int[Array, " b"],
    mask: Float[Array, " b"],
    rate: float,
    axis_name: str | None = None,
) -> Float[Array, "k d"]:
    """Each centre ``rate`` of the way to the mean feature of its class in the batch.

    Args:
        centers: of all classes.
        features: one vector an example.
        labels: classes of the examples.
        mask: zero for examples that do not count.
        rate: share of the way, in [0, 1].
        axis_name: mapped axis whose devices share the batch.
    """

    def by_class(values):
        return jax.ops.segment_sum(values, labels, num_segments=centers.shape[0])

    features = jax.lax.stop_gradient(features.astype(jnp.float32))
    sums, counts = parallel.psum((by_class(features * mask[:, None]), by_class(mask)), axis_name)
    means = sums / jnp.maximum(counts, 1.0)[:, None]
    return jnp.where(counts[:, None] > 0, centers + rate * (means - centers), centers)


def attention_centers(
    centers: Float[Array, "k d"],
    embedding: Float[Array, "b d"],
    labels: Int[Array, " b"],
    mask: Float[Array, " b"],
    rate: float,
    axis_name: str | None = None,
) -> tuple[Float[Array, " b"], Float[Array, "k d"]]:
    """Attention regularisation of WS-DAN (section 3.2): its losses, and the moved centres.

    Part features and centres are compared on the unit sphere, without which it does not work: each
    example's loss is ``‖p̂ - ĉ_y‖²``, and ``c_y = ĉ_y + rate · (mean p̂ - ĉ_y)`` afterwards. (The
    authors' code adds the same step to the centre *before* it is normalised, whose length stays
    near ``rate``: such a centre keeps nothing but the last few features.)
    """
    features = l2_normalize(embedding.astype(jnp.float32))
    values = 2.0 * losses.center_loss(features, l2_normalize(centers), labels)
    return values, move_centers(l2_normalize(centers), features, labels, mask, rate, axis_name)


def center_loss(
    measure: Measure = unmeasured, /, *, weight: float = 0.003, rate: float = 0.5
) -> Objective:
    """Cross-entropy, and ``weight`` times the distance to the class centre (Wen et al., ECCV 2016).

    Args:
        weight: λ of equation 5.
        rate: α, how far a centre moves to the mean of its class in the batch.
    """

    def loss(apply, params, batch, key, axis_name=None):
        del key
        outputs, batch_stats = apply(params, batch["inputs"])
        centers, labels = batch["carried"]["centers"], batch["label"]
        pull = losses.center_loss(outputs.embedding, centers, labels)
        moved = move_centers(centers, outputs.embedding, labels, batch["mask"], rate, axis_name)
        values = losses.cross_entropy(outputs.logits, batch["targets"]) + weight * pull
        metrics = measure(outputs.logits, batch["targets"]) | {"center": pull}
        return values, Aux(batch_stats, metrics, {**batch["carried"], "centers": moved})

    return Objective(loss, initial_centers)
