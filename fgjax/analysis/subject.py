"""What the analysis needs of a network, as functions of images in 0..255."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from fgjax.analysis import attribution, probes
from fgjax.errors import UserError
from fgjax.models.scales import level_of
from fgjax.vocabulary import MIDDLE


class Subject(NamedTuple):
    """A network under analysis.

    Attributes:
        apply: images to ``Outputs``.
        decide: ``Outputs`` to class scores; a probe's where the network has no trained head.
        doors: for each level at which the network can be entered, a function from ``Outputs`` and
            other maps of that level (at scale 1, if the network sees several) to ``Outputs``.
        contributions: images, classes and perhaps rival classes to exact evidence maps; None where
            the pooling has none.
        normalize: images to what the network's layers take.
    """

    apply: Callable[[Array], Any]
    decide: Callable[[Any], Float[Array, "b k"]]
    doors: Mapping[str, Callable[[Any, Float[Array, "b h w c"]], Any]]
    contributions: Callable[..., Float[Array, "b h w"]] | None
    normalize: Callable[[Array], Float[Array, "b h w 3"]]


def subject(recognizer: Any, image_size: int) -> Subject:
    """A recognizer as a :class:`Subject`. What it can do is found out by tracing, without a run.

    Args:
        recognizer: with ``normalize``, ``apply``, ``apply_from(start, hierarchy)`` and
            ``contributions(images, classes, others)``, such as ``fgjax.load`` gives.
        image_size: side of its input, in pixels.
    """
    images = jax.ShapeDtypeStruct((1, image_size, image_size, 3), jnp.float32)
    outputs = jax.eval_shape(recognizer.apply, images)
    levels = list(outputs.hierarchy)

    def door(level):
        position = levels.index(level)
        start = levels[position + 1] if level != levels[-1] else "merge"
        known = levels[: position + 1]

        def enter(outputs, maps):
            # What follows may read all levels so far, at every scale; later ones are made anew.
            every = {**outputs.hierarchy, **outputs.rescaled, level: maps}
            return recognizer.apply_from(
                start, {key: x for key, x in every.items() if level_of(key) in known}
            )

        return enter

    doors = {level: door(level) for level in levels}
    one = jax.ShapeDtypeStruct((1,), jnp.int32)
    return Subject(
        apply=lambda images: recognizer.apply(recognizer.normalize(images)),
        decide=lambda outputs: outputs.logits,
        doors={
            level: enter
            for level, enter in doors.items()
            if _works(enter, outputs, outputs.hierarchy[level])
        },
        contributions=(
            lambda images, *classes: recognizer.contributions(
                recognizer.normalize(images), *classes
            )
        )
        if _works(recognizer.contributions, images, one, one)
        else None,
        normalize=recognizer.normalize,
    )


def _works(function: Callable, *shapes: Any) -> bool:
    """Whether the network offers this function: it raises a UserError where it does not."""
    try:
        jax.eval_shape(function, *shapes)
    except UserError:
        return False
    return True


def map_sizes(network: Subject, image_size: int) -> dict[str, int]:
    """Side of the map of each level, in locations."""
    images = jax.ShapeDtypeStruct((1, image_size, image_size, 3), jnp.float32)
    hierarchy = jax.eval_shape(network.apply, images).hierarchy
    return {level: maps.shape[1] for level, maps in hierarchy.items()}


def with_probe(network: Subject, probe: probes.Probe, sharpness: float) -> Subject:
    """The network with a probe of its embedding in place of a head that was never trained.

    Args:
        network: under analysis.
        probe: fitted to the embedding.
        sharpness: multiplies the probe's scores, so that their softmax gives probabilities.
    """
    weights = jnp.asarray(probe.weights * sharpness, jnp.float32)
    bias = jnp.asarray(probe.bias * sharpness, jnp.float32)
    return network._replace(
        decide=lambda outputs: probes.folded(outputs.embedding) @ weights + bias,
        contributions=None,
    )


def untrained(logits: Float[np.ndarray, "n k"]) -> bool:
    """Whether every class gets the same score, as from a head whose weights are still zero."""
    return bool(np.ptp(logits, axis=1).max() == 0)


def difference_map(
    network: Subject,
    images: Float[Array, "b h w 3"],
    classes: Int[Array, " b"],
    others: Int[Array, " b"] | None = None,
) -> Float[Array, "b h' w'"]:
    """Signed evidence for a class, or for its lead over another, at each location.

    Gradient times maps, summed over channels, at :func:`evidence_level`. It is finer than the
    exact shares at the last level and, on drawn birds, whose differences are known, it peaks more
    often on a part that tells the classes apart (``python -m benchmarks.truth``).

    Args:
        network: under analysis.
        images: that it sees.
        classes: the class of each image.
        others: the class whose score is subtracted; None for none.
    """
    maps, gradients = level_gradient(network, images, evidence_level(network), classes, others)
    return (gradients * maps).sum(-1)


def evidence_level(network: Subject) -> str:
    """The deepest middle level that can be entered; the deepest of all where there is none."""
    doors = list(network.doors)
    return ([level for level in doors if level in MIDDLE] or doors)[-1]


def level_gradient(
    network: Subject,
    images: Array,
    level: str,
    classes: Int[Array, " b"],
    others: Int[Array, " b"] | None = None,
) -> tuple[Float[Array, "b h w c"], Float[Array, "b h w c"]]:
    """Maps of a level, and the gradient of a class's score, or lead, with respect to them.

    Args:
        network: under analysis.
        images: that it sees.
        level: one of ``network.doors``.
        classes: the class of each image.
        others: the class whose score is subtracted; None for none.
    """
    outputs = network.apply(images)

    def logits_from(maps):
        return network.decide(network.doors[level](outputs, maps))

    maps = outputs.hierarchy[level]
    return maps, attribution.gradient(logits_from, maps, classes, others)
