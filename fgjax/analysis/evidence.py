"""Attribution on a sample of images: maps by every method, and what each of them is worth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from fgjax.analysis import attribution, parts
from fgjax.analysis.subject import Subject, difference_map, evidence_level, level_gradient
from fgjax.evaluation import intervals

BATCH = 16
Method = Callable[..., Any]


def methods(network: Subject, size: int) -> dict[str, Method]:
    """Every attribution this network allows: (images, classes) to maps ``[b h w]``.

    Grad-CAM at every level from the middle on, Grad-CAM++ at the last, gradient times maps at the
    level of the evidence, integrated gradients of the pixels, and the exact evidence where the
    pooling has it.
    """
    found: dict[str, Method] = {}
    if network.contributions is not None:
        found["exact"] = network.contributions
    found[f"gradient × maps {evidence_level(network)}"] = partial(difference_map, network)
    for level in reversed(list(network.doors)[2:] or list(network.doors)):
        found[f"Grad-CAM {level}"] = lambda images, classes, level=level: attribution.grad_cam(
            *level_gradient(network, images, level, classes)
        )
    last = list(network.doors)[-1]
    found[f"Grad-CAM++ {last}"] = lambda images, classes: attribution.grad_cam_plus_plus(
        *level_gradient(network, images, last, classes)
    )
    found["integrated gradients"] = lambda images, classes: jnp.abs(
        attribution.integrated_gradients(
            lambda x: network.decide(network.apply(x)),
            images,
            classes,
            baseline=images.mean((1, 2), keepdims=True),
            steps=8,
        ).sum(-1)
    )
    return {name: jax.jit(method) for name, method in found.items()}


def maps_of(
    method: Method, images: UInt8[np.ndarray, "n s s 3"], *classes: Int[np.ndarray, " n"]
) -> Float[np.ndarray, "n h w"]:
    """Maps of all images, in batches of one size."""
    n = len(images)
    padded = np.arange(-(-n // BATCH) * BATCH) % n
    parts_ = [
        np.asarray(method(images[rows].astype(np.float32), *(c[rows] for c in classes)))
        for rows in padded.reshape(-1, BATCH)
    ]
    return np.concatenate(parts_)[:n]


def scores(
    network: Subject,
    twin: Subject | None,
    images: UInt8[np.ndarray, "n s s 3"],
    predictions: Int[np.ndarray, " n"],
    box: Float[np.ndarray, "n 4"],
    *,
    perturbed: int = 16,
) -> dict[str, dict[str, Any]]:
    """Each method by pointing game, insertion and deletion, and what weights change in it.

    ``pointing``: share of images whose peak is inside the object's box; beside it, under
    ``chance``, the box's mean share of the image. ``insertion`` and ``deletion``: mean area on the
    first ``perturbed`` images; ``random order`` is the control. ``sanity``: mean rank correlation
    with the map of a network with random weights, which should be near 0.
    """
    size = images.shape[1]
    has_box = np.isfinite(box).all(1)
    twins = methods(twin, size) if twin is not None else {}
    result: dict[str, dict[str, Any]] = {}
    few = slice(0, perturbed)
    for name, method in methods(network, size).items():
        maps = maps_of(method, images, predictions)
        row = result[name] = _faithfulness(network, images[few], maps[few], predictions[few])
        if has_box.any():
            peaks = parts.to_pixels(*attribution.peak(maps), maps.shape[1], size)
            inside = parts.hits_box(peaks[has_box], box[has_box])
            row["pointing"] = intervals.wilson(int(inside.sum()), len(inside))._asdict()
        if name in twins:
            random = maps_of(twins[name], images[few], predictions[few])
            row["sanity"] = float(attribution.rank_correlation(maps[few], random).mean())
    noise = np.random.default_rng(0).random((len(images[few]), size, size))
    result["random order"] = _faithfulness(network, images[few], noise, predictions[few])
    if has_box.any():
        sides = box[has_box, 2:] - box[has_box, :2]
        result["random order"]["pointing"] = {"value": float(sides.prod(1).mean() / size**2)}
    return result


def _faithfulness(network, images, maps, predictions) -> dict[str, Any]:
    enlarged = np.asarray(parts.upsample(jnp.asarray(maps), images.shape[1]))
    pixels = jnp.asarray(images, jnp.float32)
    curves = attribution.perturbation_curves(
        lambda x: network.decide(network.apply(x)),
        pixels,
        enlarged,
        predictions,
        baseline=pixels.mean((1, 2), keepdims=True),
    )
    return {name: float(attribution.area(curve).mean()) for name, curve in curves.items()}


def occlusion(
    network: Subject,
    images: UInt8[np.ndarray, "n s s 3"],
    labels: Int[np.ndarray, " n"],
    box: Float[np.ndarray, "n 4"],
    placed: Float[np.ndarray, "n p 3"],
    names: Sequence[str],
    radius: float,
) -> dict[str, dict[str, float]]:
    """What hiding a part does to the log probability of the right class.

    By part: mean change with its 95 % interval, over images where the part is visible; under
    ``elsewhere``, the same for discs at random places of the object, the control.
    """
    size = images.shape[1]
    pixels = images.astype(np.float32)

    @jax.jit
    def log_probability(images, labels, points):
        hidden = parts.occlude(images, points, radius)
        log_p = jax.nn.log_softmax(network.decide(network.apply(hidden)))
        return jnp.take_along_axis(log_p, labels[:, None], 1)[:, 0]

    def run(points, seen):
        rows = np.flatnonzero(seen)
        return maps_of(log_probability, pixels[rows], labels[rows], points[rows])

    everywhere = np.ones(len(images), bool)
    whole = run(np.full((len(images), 2), -10.0 * size), everywhere)
    corners = np.where(np.isfinite(box), box, np.array([0, 0, size, size]))
    share = np.random.default_rng(0).random((len(images), 2))
    control = corners[:, :2] + share * (corners[:, 2:] - corners[:, :2])
    changes = {"elsewhere": run(control, everywhere) - whole}
    for part, name in enumerate(names):
        seen = placed[:, part, 2] > 0
        if seen.sum() >= 5:
            changes[name] = run(placed[:, part, :2], seen) - whole[seen]
    return {name: _mean(change) for name, change in changes.items()}


def _mean(values: Float[np.ndarray, " n"]) -> dict[str, float]:
    """Mean with its normal 95 % interval."""
    half = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
    mean = float(values.mean())
    return {"value": mean, "low": mean - float(half), "high": mean + float(half), "n": len(values)}


def on_separating_parts(
    network: Subject,
    images: UInt8[np.ndarray, "n s s 3"],
    classes: Int[np.ndarray, " n"],
    others: Int[np.ndarray, " n"],
    placed: Float[np.ndarray, "n p 3"],
    separating: Bool[np.ndarray, "n p"],
    radius: float,
) -> Float[np.ndarray, " n"]:
    """Share of the evidence for a class against another that lies on parts which separate them.

    nan where none of these parts is visible.
    """
    method = jax.jit(lambda images, a, b: difference_map(network, images, a, b))
    maps = maps_of(method, images, classes, others)
    size, map_size = images.shape[1], maps.shape[1]
    counted = separating & (placed[..., 2] > 0)
    scale = map_size / size
    # Half a cell is added: evidence is known to a cell of the map only.
    discs = parts.disc_masks(placed[..., :2] * scale, map_size, radius * scale + 0.5)
    masks = np.any(discs & counted[..., None, None], axis=1)
    return np.where(counted.any(1), attribution.mass_near(maps, masks), np.nan)
