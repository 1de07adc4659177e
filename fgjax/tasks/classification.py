"""Classification: one label an image."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8
from matplotlib.figure import Figure
from ml_collections import ConfigDict as Config
from rich.console import RenderableType

from fgjax.checking.options import named
from fgjax.data import DataBundle, DatasetInfo, pipeline
from fgjax.errors import UserError
from fgjax.evaluation import confusions, metrics, predictions
from fgjax.evaluation import views as test_views
from fgjax.ops import losses
from fgjax.show import console, overlay
from fgjax.tasks.base import Task
from fgjax.training.objectives import Objective, create, takes


def annotated(config: Config) -> dict[str, jax.ShapeDtypeStruct]:
    """The label of the class."""
    del config
    return {"label": jax.ShapeDtypeStruct((), np.int32)}


def targets(
    info: DatasetInfo, batch: Mapping[str, Any], affine: Float[Array, "b 4"] | None
) -> Float[Array, "b k"]:
    """All of the probability at the label, wherever the crop lies."""
    del affine
    return losses.one_hot(batch["label"], len(info.classes))


def finish(config: Config, targets: Float[Array, "b k"]) -> Float[Array, "b k"]:
    """Smoothed by ``config.train.label_smoothing``."""
    return losses.smooth_labels(targets, config.train.label_smoothing)


def outputs(info: DatasetInfo) -> int:
    """One for each class."""
    return len(info.classes)


def chance(info: DatasetInfo) -> float:
    """Cross-entropy of a network to which all classes are equally likely, in nats."""
    return math.log(len(info.classes))


def measure(logits: Float[Array, "b k"], targets: Float[Array, "b k"]) -> dict[str, Array]:
    """One where the most likely class is the target's."""
    right = jnp.argmax(logits, -1) == jnp.argmax(targets, -1)
    return {"accuracy": right.astype(jnp.float32)}


def objectives(config: Config, data: DataBundle) -> tuple[Objective, ...]:
    """What ``config.train.objective`` names, with the weights of ``config.train.class_weights``.

    Raises:
        UserError: an unknown name or option, or one that takes no weights of classes.
    """
    name, options = named("train.objective", config.train.objective)
    weights = class_weights(config, data)
    if weights is not None:
        if not takes(name, "class_weights"):
            raise UserError(
                f"train.class_weights is {config.train.class_weights!r}, which the objective "
                f"{name!r} does not take; set it to none, or data.sampling to balanced instead"
            )
        options["class_weights"] = weights
    return create(name, measure, **options)


def class_weights(config: Config, data: DataBundle) -> tuple[float, ...] | None:
    """Weights of the classes in the loss, as ``config.train.class_weights`` says.

    Raises:
        UserError: an unknown choice.
    """
    match config.train.class_weights:
        case "none":
            return None
        case "balanced":
            weights = pipeline.class_weights(data.split("train").labels, len(data.info.classes))
            return tuple(map(float, weights))
        case other:
            raise UserError(f"train.class_weights is {other!r}; choose one of none, balanced")


def scores(
    outputs: Callable[[Array], Any], views: Sequence[str], size: int
) -> Callable[[Array], Float[Array, "b k"]]:
    """Log-probabilities, averaged over the views."""
    return test_views.averaged(
        lambda crops: outputs(crops).logits,
        test_views.resolve(views),
        size,
        attend=lambda crops: _maps(outputs(crops).maps),
    )


def _maps(maps: Mapping[str, Float[Array, "b h w m"]]) -> Float[Array, "b h w m"]:
    if not maps:
        raise UserError(
            "evaluate.views follows attention, and the recogniser makes no attention maps; "
            "set model.attention.name to bilinear_attention, or leave that view out"
        )
    return next(iter(maps.values()))


def summarize(found: predictions.Predictions, info: DatasetInfo) -> dict[str, Any]:
    """The figures of a split, its most confused pairs and the share of errors in the family."""
    coarse_of = None if info.coarse_of is None else np.asarray(info.coarse_of)
    predicted = found.logits.argmax(-1)
    labels = found.labels
    within = None
    if coarse_of is not None:
        within = confusions.errors_within_family(labels, predicted, coarse_of)
    return {
        "summary": metrics.summarize(found.logits, labels, coarse_of),
        "confusions": confusions.most_confused(
            labels, predicted, info.classes, coarse_of=coarse_of
        ),
        "errors_within_family": within,
    }


def tables(figures: Mapping[str, Any], title: str) -> Sequence[RenderableType]:
    """The figures with their intervals, and the classes that are taken for each other."""
    return (
        console.results_table(figures["summary"], title),
        console.confusions_table(figures["confusions"], figures["errors_within_family"]),
    )


def decode(
    logits: Float[Array, "b k"], info: DatasetInfo, top: int
) -> list[list[tuple[str, float]]]:
    """The ``top`` classes of each image with their probabilities."""
    probabilities = np.asarray(jax.nn.softmax(logits))
    orders = np.argsort(-probabilities, axis=-1, kind="stable")[:, :top]
    return [
        [(info.classes[i], float(row[i])) for i in order]
        for row, order in zip(probabilities, orders, strict=True)
    ]


def explain(
    recognizer: Any, image: UInt8[np.ndarray, "s s 3"], top: int
) -> tuple[list[tuple[str, float]], Figure]:
    """The ``top`` classes of an image, and the evidence for the first of them."""
    inputs = recognizer.normalize(image[None])
    (ranked,) = decode(recognizer.apply(inputs).logits, recognizer.info, top)
    shares = recognizer.contributions(inputs, [ranked[0][0]])
    return ranked, overlay.explanation(image, np.asarray(shares)[0], ranked)


TASK = Task(
    annotations=annotated,
    targets=targets,
    finish=finish,
    monitor="top1",
    progress={"accuracy": "acc"},
    outputs=outputs,
    chance=chance,
    objectives=objectives,
    scores=scores,
    summarize=summarize,
    tables=tables,
    save=predictions.save,
    decode=decode,
    explain=explain,
    listing=console.predictions_table,
    write=overlay.write_csv,
    panels={
        "Loss (nats)": {"loss": "training", "validation/nll": "validation"},
        "Accuracy": {"accuracy": "training", "validation/top1": "validation"},
    },
)
