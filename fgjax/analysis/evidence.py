"""Attribution on a sample of images: maps by every method, and how far each can be trusted."""

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
from fgjax.ops.resize import resize_plane

BATCH = 16
FEWEST = 5  # images of which a mean is reported: fewer give no interval worth the name
Method = Callable[..., Any]


def methods(network: Subject) -> dict[str, Method]:
    """Every attribution that this network allows, as functions of (images, classes) to maps.

    The exact shares where the pooling has them, gradient times maps at the level of the evidence,
    Grad-CAM at the third level and all later ones, Grad-CAM++ at the last, and integrated gradients
    of the pixels.
    """
    found: dict[str, Method] = {}
    if network.contributions is not None:
        found["exact"] = network.contributions
    found[f"gradient × maps {evidence_level(network)}"] = partial(difference_map, network)
    # At the first two levels, edges and textures, Grad-CAM shows hardly more than the image.
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
    """Maps of all images, at least one, in batches of one size.

    Args:
        method: one of :func:`methods`, or another function of images and ``classes``.
        images: in 0..255.
        classes: what else the method takes, with a row for each image.
    """
    n = len(images)
    # The last batch is filled up with the first images: another size would be compiled anew.
    padded = np.arange(-(-n // BATCH) * BATCH) % n
    maps = [
        np.asarray(method(images[rows].astype(np.float32), *(c[rows] for c in classes)))
        for rows in padded.reshape(-1, BATCH)
    ]
    return np.concatenate(maps)[:n]


def scores(
    network: Subject,
    twin: Subject | None,
    images: UInt8[np.ndarray, "n s s 3"],
    predictions: Int[np.ndarray, " n"],
    box: Float[np.ndarray, "n 4"],
    *,
    perturbed: int = 16,
) -> dict[str, dict[str, Any]]:
    """Each method's score in the pointing game, by insertion and deletion, and in a sanity check.

    Args:
        network: under analysis.
        twin: the same with random weights; None for no sanity check.
        images: the sample.
        predictions: the network's class of each image.
        box: of the object, pixels; nan where there is none.
        perturbed: on how many images pixels are inserted and deleted; this takes most of the time.

    Returns:
        By method: ``pointing``, the share of images whose peak lies inside the object's box;
        ``insertion`` and ``deletion``, mean areas (see :func:`attribution.perturbation_curves`);
        ``sanity``, the mean rank correlation with the maps of the twin, 0 being best. The control
        is a method ``random order``: pixels in random order, and for ``pointing`` the box's mean
        share of the image.
    """
    size = images.shape[1]
    has_box = np.isfinite(box).all(1)
    twins = methods(twin) if twin is not None else {}
    result: dict[str, dict[str, Any]] = {}
    few = slice(0, perturbed)
    for name, method in methods(network).items():
        maps = maps_of(method, images, predictions)
        row = result[name] = _faithfulness(network, images[few], maps[few], predictions[few])
        if has_box.any():
            peaks = parts.to_pixels(*attribution.peak(maps), maps.shape[1], size)
            inside = parts.hits_box(peaks[has_box], box[has_box])
            row["pointing"] = intervals.share(inside)._asdict()
        if name in twins:
            random = maps_of(twins[name], images[few], predictions[few])
            row["sanity"] = float(attribution.rank_correlation(maps[few], random).mean())
    noise = np.random.default_rng(0).random((len(images[few]), size, size))
    result["random order"] = _faithfulness(network, images[few], noise, predictions[few])
    if has_box.any():
        sides = box[has_box, 2:] - box[has_box, :2]
        result["random order"]["pointing"] = {"value": float(sides.prod(1).mean() / size**2)}
    return result


def _faithfulness(
    network: Subject,
    images: UInt8[np.ndarray, "n s s 3"],
    maps: Float[np.ndarray, "n h w"],
    predictions: Int[np.ndarray, " n"],
) -> dict[str, Any]:
    """Mean areas under insertion and deletion in the order of the maps."""
    enlarged = np.asarray(resize_plane(jnp.asarray(maps), images.shape[1:3]))
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

    Args:
        network: under analysis.
        images: the sample.
        labels: the right class of each image.
        box: of the object, pixels; nan where there is none.
        placed: parts, (y, x, visible), in pixels.
        names: of the parts.
        radius: of the disc that hides a part, pixels.

    Returns:
        By part the mean change in nats, with its 95 % interval, over the images that show the
        part; under ``elsewhere`` that for discs at random places of the object, the control. What
        fewer than :data:`FEWEST` images show is left out.
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
    # A disc far outside hides nothing, and needs no second function.
    whole = run(np.full((len(images), 2), -10.0 * size), everywhere)
    corners = np.where(np.isfinite(box), box, np.array([0, 0, size, size]))
    share = np.random.default_rng(0).random((len(images), 2))
    control = corners[:, :2] + share * (corners[:, 2:] - corners[:, :2])
    changes = {"elsewhere": run(control, everywhere) - whole}
    for part, name in enumerate(names):
        seen = placed[:, part, 2] > 0
        if seen.sum() >= FEWEST:
            changes[name] = run(placed[:, part, :2], seen) - whole[seen]
    return {name: _mean(change) for name, change in changes.items() if len(change) >= FEWEST}


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

    Args:
        network: under analysis.
        images: that are looked at.
        classes: the class of each image.
        others: its rival.
        placed: parts, (y, x, visible), in pixels.
        separating: which parts tell the class from its rival.
        radius: of the disc that stands for a part, pixels.

    Returns:
        Shares of the positive evidence; nan where none of these parts is visible.
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
