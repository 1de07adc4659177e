"""Classification losses, one float32 value per example: ``[b, k]`` in, ``[b]`` out.

Targets are distributions over the classes, so that smoothed labels and mixed images need no losses
of their own. The caller averages over the batch: it knows of padding and of other devices.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def one_hot(labels: Int[Array, "b"], classes: int) -> Float[Array, "b k"]:
    """Float32 rows with 1 at the label and 0 elsewhere: certain targets."""
    return jax.nn.one_hot(labels, classes, dtype=jnp.float32)


def smooth_labels(targets: Float[Array, "b k"], amount: float) -> Float[Array, "b k"]:
    """Mix targets with the uniform distribution (Szegedy et al., 2016, section 7).

    Args:
        targets: distributions over the k classes.
        amount: share of the uniform distribution, in [0, 1].

    Raises:
        ValueError: amount outside [0, 1].
    """
    if not 0.0 <= amount <= 1.0:
        raise ValueError(f"label smoothing must lie in [0, 1], got {amount}")
    return (1.0 - amount) * targets + amount / targets.shape[-1]


def cross_entropy(
    logits: Float[Array, "b k"],
    targets: Float[Array, "b k"],
    class_weights: Float[Array, "k"] | None = None,
) -> Float[Array, "b"]:
    """Cross-entropy of each example, in nats: ``-sum_k w_k t_k log softmax(logits)_k``.

    Args:
        logits: unnormalized scores in any float type; the loss is computed in float32.
        targets: distributions over the classes (one-hot, smoothed or mixed).
        class_weights: w, the weight of each class; None weighs all alike.

    Raises:
        ValueError: logits, targets and weights disagree in shape.
    """
    _check_shapes(logits, targets)
    if class_weights is not None:
        if class_weights.shape != logits.shape[-1:]:
            raise ValueError(
                f"class_weights must have shape {logits.shape[-1:]}, one weight for each class, "
                f"got {class_weights.shape}"
            )
        targets = targets * class_weights
    return -jnp.sum(targets * _log_softmax(logits), axis=-1)


def focal_loss(
    logits: Float[Array, "b k"], targets: Float[Array, "b k"], gamma: float = 2.0
) -> Float[Array, "b"]:
    """Softmax focal loss: ``-sum_k t_k (1 - p_k)^gamma log p_k`` (Lin et al., 2017, equation 4).

    With ``gamma = 0`` it is the cross-entropy; the greater gamma, the less an example counts that
    is told rightly already.

    Args:
        logits: unnormalized scores in any float type.
        targets: distributions over the classes.
        gamma: at least 0.

    Raises:
        ValueError: shapes disagree, or gamma is negative.
    """
    _check_shapes(logits, targets)
    if gamma < 0:
        raise ValueError(f"gamma of the focal loss must be at least 0, got {gamma}")
    log_p = _log_softmax(logits)
    # 1 - p, but never 0, where the gradient of the power is infinite for gamma < 1. Float32 tells
    # nothing smaller than eps from 0 beside 1, and where 1 - p is as small the loss is nearly 0.
    doubt = jnp.maximum(-jnp.expm1(log_p), jnp.finfo(jnp.float32).eps)
    return -jnp.sum(targets * doubt**gamma * log_p, axis=-1)


def pairwise_confusion(logits: Float[Array, "b k"], labels: Int[Array, "b"]) -> Float[Array, "b"]:
    """Pairwise confusion: squared distance between two predictions (Dubey et al., 2018).

    Examples 0 and 1 are a pair, 2 and 3, and so on: partners are on one device if its share of the
    batch is even. A pair of different classes is pulled together, which keeps the network from
    overfitting to what is peculiar to single images; a pair of the same class has the loss 0. Both
    members bear the pair's value, so that the mean over examples is that over pairs.

    Raises:
        ValueError: the batch cannot be split into pairs.
    """
    b = logits.shape[0]
    if b % 2:
        raise ValueError(f"pairwise confusion needs an even batch, got {b} examples")
    p = jnp.exp(_log_softmax(logits))
    partner = jnp.arange(b) ^ 1  # flips the last bit: 0 <-> 1, 2 <-> 3, ...
    distance = jnp.sum(jnp.square(p - p[partner]), axis=-1)
    return jnp.where(labels != labels[partner], distance, 0.0)


def center_loss(
    embeddings: Float[Array, "b d"], centers: Float[Array, "k d"], labels: Int[Array, "b"]
) -> Float[Array, "b"]:
    """Half the squared distance to the class center (Wen et al., 2016, equation 2).

    Its gradient moves the centers too. Where they are to move otherwise, as running means, pass
    them through ``jax.lax.stop_gradient``.
    """
    difference = embeddings.astype(jnp.float32) - centers.astype(jnp.float32)[labels]
    return 0.5 * jnp.sum(jnp.square(difference), axis=-1)


def _log_softmax(logits: Float[Array, "b k"]) -> Float[Array, "b k"]:
    return jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)


def _check_shapes(logits: Array, targets: Array) -> None:
    if logits.ndim != 2 or logits.shape != targets.shape:
        raise ValueError(
            "logits and targets must both have the shape [examples, classes], "
            f"got {logits.shape} and {targets.shape}; turn labels into targets with one_hot"
        )
