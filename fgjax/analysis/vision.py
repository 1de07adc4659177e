"""How the levels of a network see: the measures of :mod:`geometry`, taken of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from fgjax.analysis import geometry
from fgjax.analysis.subject import Subject

BATCH = 16


def level_geometry(
    network: Subject, images: UInt8[np.ndarray, "n s s 3"], octaves: Mapping[str, np.ndarray]
) -> dict[str, dict[str, Any]]:
    """Stride, size, channels, fields of view, energy by frequency and selectivity of each level.

    The row ``embedding`` holds only ``channels``.

    Args:
        network: under analysis.
        images: on which it is measured.
        octaves: energy by frequency of each level, see :func:`geometry.octaves`.
    """
    size = images.shape[1]

    def levels_of(x):
        return network.apply(x).hierarchy

    one = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    outputs = jax.eval_shape(network.apply, one)
    shapes = outputs.hierarchy
    fields = geometry.receptive_fields(levels_of, size)
    tuning = _grating_responses(levels_of, size)
    colored, gray = _peaks(levels_of, images), _peaks(levels_of, np.asarray(geometry.gray(images)))
    result = {"embedding": {"channels": outputs.embedding.shape[-1]}}
    for level, shape in shapes.items():
        sensitivity = _sensitivity(levels_of, images, level)
        energy = octaves[level]
        result[level] = {
            "stride": round(size / shape.shape[1]),
            "size": shape.shape[1],
            "channels": shape.shape[-1],
            "receptive_field": fields[level],
            "sees_whole_image": fields[level] >= size,
            "effective_field": geometry.effective_size(sensitivity),
            "energy_by_octave": (energy / energy.sum()).tolist(),
            "orientation_selectivity": _quartiles(geometry.orientation_selectivity(tuning[level])),
            "colour_selectivity": _quartiles(
                geometry.color_selectivity(colored[level], gray[level])
            ),
        }
    return result


def first_filters(params: Mapping[str, Any]) -> UInt8[np.ndarray, "n h w 3"] | None:
    """The first layer's kernels as images, 0 as middle gray; None if it does not take RGB.

    Each is scaled by its own greatest weight.
    """
    leaves = jax.tree.leaves(params.get("conv1", {}))
    kernel = next((x for x in leaves if x.ndim == 4 and x.shape[2] == 3), None)
    if kernel is None:
        return None
    filters = np.moveaxis(np.asarray(kernel, np.float64), -1, 0)
    peak = np.abs(filters).max((1, 2, 3), keepdims=True)
    return np.round(127.5 * (1 + filters / np.maximum(peak, 1e-12))).astype(np.uint8)


def _sensitivity(levels_of, images, level) -> Float[np.ndarray, "s s"]:
    run = jax.jit(lambda x: geometry.sensitivity(levels_of, x, level))
    return np.asarray(run(images[:BATCH].astype(np.float32)))


def _grating_responses(levels_of, size) -> dict[str, Float[np.ndarray, "o p f c"]]:
    """Response of the center unit of every level to each grating."""
    stimuli = geometry.gratings(size)
    flat = 255 * stimuli.reshape(-1, size, size, 3)

    responses = _in_batches(lambda x: jax.tree.map(geometry.center_unit, levels_of(x)), flat)
    return {level: x.reshape(*stimuli.shape[:3], -1) for level, x in responses.items()}


def _peaks(levels_of, images) -> dict[str, Float[np.ndarray, "n c"]]:
    """Greatest response of each unit to each image."""
    # Whole batches only, where there is one: a last, smaller one would be compiled for itself.
    whole = len(images) - len(images) % BATCH or len(images)

    def greatest(x):
        return {level: maps.max((1, 2)) for level, maps in levels_of(x).items()}

    return _in_batches(greatest, images[:whole])


def _in_batches(function, images) -> dict[str, np.ndarray]:
    """A function of images to arrays by level, compiled and run on one batch after the other."""
    run = jax.jit(function)
    batches = [
        jax.device_get(run(images[i : i + BATCH].astype(np.float32)))
        for i in range(0, len(images), BATCH)
    ]
    return jax.tree.map(lambda *found: np.concatenate(found), *batches)


def _quartiles(values: Float[np.ndarray, " c"]) -> dict[str, float]:
    """Median as ``value``, with the lower and the upper quartile."""
    low, median, high = np.percentile(values, [25, 50, 75])
    return {"value": float(median), "low": float(low), "high": float(high), "n": len(values)}
