"""Where the evidence for a decision lies, and whether such a map can be trusted.

The methods here work for any network that can be entered at a level: they need ``logits_from``, a
function from the maps of that level to logits. (The exact shares of bilinear and average pooling
are made by the poolings themselves.) The scores at the end judge a map by any method.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy import stats

LogitsFrom = Callable[[Float[Array, "b h w c"]], Float[Array, "b k"]]


def gradient(
    logits_from: LogitsFrom,
    maps: Float[Array, "b h w c"],
    class_ids: Int[Array, " b"],
    other_ids: Int[Array, " b"] | None = None,
) -> Float[Array, "b h w c"]:
    """Gradient of a class's logit, or of its lead over another class, with respect to the maps.

    Args:
        logits_from: maps to logits. One example must not influence another's logits, because the
            gradient is taken of the sum over the batch; outside of training none does.
        maps: of the level.
        class_ids: the class of each example.
        other_ids: the class whose logit is subtracted; None for none.
    """

    def total(x):
        logits = logits_from(x)
        score = jnp.take_along_axis(logits, class_ids[:, None], 1)
        if other_ids is not None:
            score -= jnp.take_along_axis(logits, other_ids[:, None], 1)
        return score.sum()

    return jax.grad(total)(maps)


def grad_cam(
    maps: Float[Array, "b h w c"], gradients: Float[Array, "b h w c"]
) -> Float[Array, "b h w"]:
    """Grad-CAM (Selvaraju et al., 2017): ``relu(sum_c mean(gradient_c) maps_c)``."""
    weights = gradients.mean((1, 2), keepdims=True)
    return jax.nn.relu((weights * maps).sum(-1))


def grad_cam_plus_plus(
    maps: Float[Array, "b h w c"], gradients: Float[Array, "b h w c"]
) -> Float[Array, "b h w"]:
    """Grad-CAM++ (Chattopadhay et al., 2018, eq. 19): locations weighted by their own gradient.

    ``alpha = g^2 / (2 g^2 + sum(maps) g^3)``, the form for the exponential of the logit.
    """
    square = gradients**2
    denominator = 2 * square + maps.sum((1, 2), keepdims=True) * gradients**3
    alpha = jnp.where(square > 0, square / jnp.where(denominator != 0, denominator, 1.0), 0.0)
    weights = (alpha * jax.nn.relu(gradients)).sum((1, 2), keepdims=True)
    return jax.nn.relu((weights * maps).sum(-1))


def integrated_gradients(
    logits_from: LogitsFrom,
    inputs: Float[Array, "b h w c"],
    class_ids: Int[Array, " b"],
    other_ids: Int[Array, " b"] | None = None,
    *,
    baseline: float | Float[Array, ...] = 0.0,
    steps: int = 16,
) -> Float[Array, "b h w c"]:
    """Integrated gradients (Sundararajan et al., 2017), by the midpoint rule.

    Their sum approaches the score at ``inputs`` minus that at ``baseline``.

    Args:
        logits_from: inputs to logits.
        inputs: images, or the maps of a level.
        class_ids: the class of each example.
        other_ids: the class whose logit is subtracted; None for none.
        baseline: where the path to the inputs starts.
        steps: gradients along the path.
    """
    inputs = jnp.asarray(inputs)
    difference = inputs - baseline

    def add(total, share):
        here = baseline + share * difference
        return total + gradient(logits_from, here, class_ids, other_ids), None

    shares = (jnp.arange(steps) + 0.5) / steps
    total, _ = jax.lax.scan(add, jnp.zeros_like(inputs), shares)
    return difference * total / steps


def perturbation_curves(
    logits_of: LogitsFrom,
    images: Float[Array, "b h w 3"],
    importance: Float[np.ndarray, "b h w"],
    class_ids: Int[np.ndarray, " b"],
    *,
    baseline: Float[Array, "b h w 3"],
    steps: int = 8,
) -> dict[str, Float[np.ndarray, "b steps+1"]]:
    """Class probability as the most important pixels are deleted, or inserted, step by step.

    RISE (Petsiuk et al., 2018): deletion starts from the image and replaces pixels by
    ``baseline``, insertion starts from the baseline. A good map has a small area under the first
    curve and a large one under the second.

    Args:
        logits_of: images to logits.
        images: in pixels.
        importance: of each pixel.
        class_ids: the class of each image.
        baseline: what stands in place of a pixel.
        steps: an equal share of the pixels changes at each.

    Returns:
        Probabilities under ``deletion`` and ``insertion``, before the first step and after each.
    """
    b, height, width = importance.shape
    order = np.argsort(-importance.reshape(b, -1), axis=1, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(order.shape[1])[None], axis=1)
    rank = rank.reshape(b, height, width, 1)

    @jax.jit
    def probability(mixed):
        return jax.nn.softmax(logits_of(mixed), -1)[jnp.arange(b), class_ids]

    curves: dict[str, list[np.ndarray]] = {"deletion": [], "insertion": []}
    for step in range(steps + 1):
        first = rank < round(height * width * step / steps)
        curves["deletion"].append(np.asarray(probability(jnp.where(first, baseline, images))))
        curves["insertion"].append(np.asarray(probability(jnp.where(first, images, baseline))))
    return {name: np.stack(curve, 1) for name, curve in curves.items()}


def area(curve: Float[np.ndarray, "b n"]) -> Float[np.ndarray, " b"]:
    """Area under each curve, whose points divide [0, 1] evenly, by the trapezoid rule."""
    return (curve[:, 1:] + curve[:, :-1]).mean(1) / 2


def rank_correlation(
    first: Float[np.ndarray, "b h w"], second: Float[np.ndarray, "b h w"]
) -> Float[np.ndarray, " b"]:
    """Spearman correlation of two maps of each image; 0 where one of them is constant.

    A sanity check (Adebayo et al., 2018): between the maps of a network and those of one with
    random weights it should be small. A map that stays the same shows the image, not the decision.
    """

    def one(a, b):
        if np.ptp(a) == 0 or np.ptp(b) == 0:
            return 0.0
        return stats.spearmanr(a, b, axis=None).statistic

    return np.array([one(a, b) for a, b in zip(first, second, strict=True)])


def peak(maps: Float[np.ndarray, "b h w"]) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of the greatest value of each map."""
    row, column = np.unravel_index(maps.reshape(len(maps), -1).argmax(1), maps.shape[1:])
    return row, column


def mass_near(maps: Float[np.ndarray, "b h w"], masks: np.ndarray) -> Float[np.ndarray, " b"]:
    """Share of the positive evidence that lies inside a mask; nan where no evidence is positive."""
    positive = np.maximum(maps, 0)
    total = positive.sum((1, 2))
    inside = (positive * masks).sum((1, 2))
    return np.where(total > 0, inside / np.where(total > 0, total, 1), np.nan)
