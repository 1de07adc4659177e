"""Classification losses, one float32 value per example: ``[b, k]`` in, ``[b]`` out.

Targets are distributions over the classes, so that smoothed labels and mixed images need no
variants. How the values of a batch are averaged (padding masks, devices) is the caller's business.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def one_hot(labels: Int[Array, "b"], classes: int) -> Float[Array, "b k"]:
    """Labels as float32 one-hot rows."""
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
        raise ValueError(f"label smoothing must lie in [0, 1], got {amount}.")
    return (1.0 - amount) * targets + amount / targets.shape[-1]


def cross_entropy(
    logits: Float[Array, "b k"],
    targets: Float[Array, "b k"],
    class_weights: Float[Array, "k"] | None = None,
) -> Float[Array, "b"]:
    """Cross-entropy of each example, in nats: ``-sum_k w_k t_k log softmax(logits)_k``.

    Args:
        logits: unnormalised scores in any float type; the loss is computed in float32.
        targets: distributions over the classes (one-hot, smoothed or mixed).
        class_weights: weight of each class, applied per target class; None weighs all alike.

    Raises:
        ValueError: logits, targets and weights disagree in shape.
    """
    _check_shapes(logits, targets)
    if class_weights is not None:
        if class_weights.shape != logits.shape[-1:]:
            raise ValueError(
                f"class_weights must have shape {logits.shape[-1:]}, one weight for each class, "
                f"got {class_weights.shape}."
            )
        targets = targets * class_weights
    return -jnp.sum(targets * _log_softmax(logits), axis=-1)


def focal_loss(
    logits: Float[Array, "b k"], targets: Float[Array, "b k"], gamma: float = 2.0
) -> Float[Array, "b"]:
    """Softmax focal loss: ``-sum_k t_k (1 - p_k)^gamma log p_k`` (Lin et al., 2017, equation 4).

    With ``gamma = 0`` it is the cross-entropy. The modulating factor is computed as a power of
    ``1 - p`` clipped away from zero, because ``x^gamma`` has no finite gradient at zero for
    gamma < 1; the clip is at the resolution of float32, where the loss itself is zero.

    Raises:
        ValueError: shapes disagree, or gamma is negative.
    """
    _check_shapes(logits, targets)
    if gamma < 0:
        raise ValueError(f"gamma of the focal loss must be at least 0, got {gamma}.")
    log_p = _log_softmax(logits)
    doubt = jnp.maximum(-jnp.expm1(log_p), jnp.finfo(jnp.float32).eps)
    return -jnp.sum(targets * doubt**gamma * log_p, axis=-1)


def pairwise_confusion(logits: Float[Array, "b k"], labels: Int[Array, "b"]) -> Float[Array, "b"]:
    """Pairwise confusion: squared distance between two predictions (Dubey et al., 2018).

    Example ``i`` is paired with its neighbour ``i xor 1``, so that partners share a device
    whenever its share of the batch is even. Pairs of the same class cost nothing: only different
    classes are pulled together, which keeps the network from overfitting what is peculiar to
    single images. Each member of a pair carries the pair's value, so that the mean over examples
    is the mean over pairs.

    Raises:
        ValueError: the batch cannot be split into pairs.
    """
    b = logits.shape[0]
    if b % 2:
        raise ValueError(f"pairwise confusion needs an even batch, got {b} examples.")
    p = jnp.exp(_log_softmax(logits))
    partner = jnp.arange(b) ^ 1
    distance = jnp.sum(jnp.square(p - p[partner]), axis=-1)
    return jnp.where(labels != labels[partner], distance, 0.0)


def center_loss(
    embeddings: Float[Array, "b d"], centers: Float[Array, "k d"], labels: Int[Array, "b"]
) -> Float[Array, "b"]:
    """Half the squared distance to the class centre (Wen et al., 2016, equation 2).

    How centres move (a running mean, a gradient) is the training loop's business; pass them
    through ``jax.lax.stop_gradient`` when they are not to be learned by this loss.
    """
    difference = embeddings.astype(jnp.float32) - centers.astype(jnp.float32)[labels]
    return 0.5 * jnp.sum(jnp.square(difference), axis=-1)


def _log_softmax(logits: Float[Array, "b k"]) -> Float[Array, "b k"]:
    return jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)


def _check_shapes(logits: Array, targets: Array) -> None:
    if logits.ndim != 2 or logits.shape != targets.shape:
        raise ValueError(
            "logits and targets must both have the shape [examples, classes], "
            f"got {logits.shape} and {targets.shape}; turn labels into targets with one_hot."
        )
