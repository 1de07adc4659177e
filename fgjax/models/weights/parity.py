"""A network with loaded weights against what another implementation computed, level by level."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from fgjax.errors import UserError
from fgjax.models import backbones, heads, pooling, recognizer, weights
from fgjax.models.backbones import efficientnet_lite
from fgjax.models.backbones.hrnet import ClassificationHead
from fgjax.models.context import Context
from fgjax.models.layers import ConvBN, relu6
from fgjax.models.weights.sources import PretrainedWeights
from fgjax.vocabulary import LEVELS


class Difference(NamedTuple):
    """Between an array and its reference.

    Attributes:
        shape: of both.
        relative: ‖a − b‖ / ‖b‖.
        largest: of the absolute differences of single values.
        same_largest: share of rows whose five largest values stand at the same places.
    """

    shape: tuple[int, ...]
    relative: float
    largest: float
    same_largest: float


def difference(found: Any, expected: Any) -> Difference:
    """How far ``found`` is from ``expected``, arrays of one shape with examples in front.

    Raises:
        ValueError: the shapes differ.
    """
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    if found.shape != expected.shape:
        raise ValueError(f"shape {found.shape} cannot be compared with {expected.shape}")
    gap = found - expected
    top = [np.argsort(-x.reshape(len(x), -1), kind="stable")[:, :5] for x in (found, expected)]
    return Difference(
        expected.shape,
        float(np.linalg.norm(gap) / np.linalg.norm(expected)),
        float(np.max(np.abs(gap))),
        float(np.mean(np.all(top[0] == top[1], axis=1))),
    )


def published_network(name: str, source: PretrainedWeights, classes: int) -> tuple[Any, Any]:
    """The recogniser that a published ResNet, EfficientNet-Lite or HRNet is, and its variables.

    Raises:
        UserError: weights that do not fit, or a family whose classifier is of another form.
    """
    family = backbones.family(name)
    if family not in ("resnet", "efficientnet_lite", "hrnet"):
        raise UserError(f"the classifier of {name} is not one that fgjax builds; compare levels")
    expand = ConvBN(1280, activation=relu6, epsilon=efficientnet_lite.EPSILON)
    module = recognizer.Recognizer(
        backbones.create(name, **source.backbone_options),
        pooling.create("average"),
        heads.Linear(classes, expand=expand if family == "efficientnet_lite" else None),
        merge=ClassificationHead() if family == "hrnet" else None,
    )
    size = source.preprocessing.image_size
    images = jax.ShapeDtypeStruct((1, size, size, 3), np.float32)
    template = jax.eval_shape(lambda x: module.init(jax.random.key(0), x, Context()), images)
    return module, weights.assign(source, name, template, (*LEVELS, "head"))


def compare(
    name: str, source: PretrainedWeights, reference: Mapping[str, np.ndarray]
) -> dict[str, Difference]:
    """Levels, their spatial means and logits against ``reference``.

    Args:
        name: of the backbone.
        source: its weights, the classifier among them.
        reference: ``images``, uint8 (n, h, w, 3); ``logits`` (n, k); for any level ``conv3`` its
            map (n, h, w, c) or ``conv3_mean`` its mean over locations (n, c).
    """
    module, variables = published_network(name, source, reference["logits"].shape[-1])
    published = source.preprocessing
    images = (reference["images"] / 255.0 - published.mean) / published.std
    run = jax.jit(lambda variables, x: module.apply(variables, x, Context()))
    outputs = run(variables, images.astype(np.float32))
    found = {**outputs.hierarchy, "logits": outputs.logits}
    found |= {f"{level}_mean": maps.mean((1, 2)) for level, maps in outputs.hierarchy.items()}
    return {key: difference(found[key], reference[key]) for key in reference if key in found}


def table(differences: Mapping[str, Difference]) -> str:
    """The differences as aligned text, one line each."""
    rows = [("what", "shape", "relative", "largest", "same top 5")]
    rows += [
        (key, "×".join(map(str, d.shape)), f"{d.relative:.1e}", f"{d.largest:.1e}",
         f"{d.same_largest:.0%}")
        for key, d in differences.items()
    ]  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
