"""What a task is to the rest of fgjax: one value made of functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any, NamedTuple

import numpy as np
from jax import ShapeDtypeStruct
from jaxtyping import Array, Float, UInt8
from matplotlib.figure import Figure
from ml_collections import ConfigDict as Config
from rich.console import RenderableType

from fgjax.data import DataBundle, DatasetInfo
from fgjax.training.objectives import Objective


class Task(NamedTuple):
    """What is learned from the examples, and how it is measured and shown.

    Attributes:
        annotations: config -> what an example holds beside its image, {name: its shape and dtype};
            the names are those of ``fgjax.data.pipeline``'s batches.
        targets: (the data's description, batch with annotations, affine maps of the crops, None
            where views are finite) -> the targets, on the device.
        finish: (config, targets) -> what the objectives see, once the targets are mixed.
        monitor: the figure of a summary that keeps the best checkpoint; more is better.
        progress: {metric of a step: its label in the progress bar}; the metrics are fractions.
        outputs: the data's description -> how many outputs the head has.
        chance: the data's description -> the loss of a network that knows nothing.
        objectives: (config, data) -> what the steps minimise, one or several in turn; ``train`` is
            read of the data.
        scores: (crops -> the network's outputs, ``config.evaluate.views``, side of a crop) -> the
            evaluation pass, from uint8 images to one row of scores each.
        summarize: (predictions of a split, the data's description) -> what is recorded of it:
            ``summary``, numbers or fractions with their intervals, and whatever else there is.
        tables: (what ``summarize`` returned, a title) -> what is printed of it.
        save: write the predictions of a split to a file.
        decode: (outputs of the head for images, the data's description, how many) -> what is
            predicted for each of them, most probable first.
        explain: (a ``fgjax.load``ed recogniser, an image as it reads it, how many) -> what is
            predicted for the image, and a figure that shows why.
        listing: ([(photo, what is predicted for it)]) -> what is printed of photos.
        write: write the same to a CSV file.
        panels: {panel of the learning curves: {logged metric: its name in the legend}}.
    """

    annotations: Callable[[Config], Mapping[str, ShapeDtypeStruct]]
    targets: Callable[[DatasetInfo, Mapping[str, Any], Float[Array, "b 4"] | None], Any]
    finish: Callable[[Config, Any], Any]
    monitor: str
    progress: Mapping[str, str]
    outputs: Callable[[DatasetInfo], int]
    chance: Callable[[DatasetInfo], float]
    objectives: Callable[[Config, DataBundle], tuple[Objective, ...]]
    scores: Callable[
        [Callable[[Array], Any], Sequence[str], int], Callable[[Array], Float[Array, "b k"]]
    ]
    summarize: Callable[[Any, DatasetInfo], dict[str, Any]]
    tables: Callable[[Mapping[str, Any], str], Sequence[RenderableType]]
    save: Callable[[Any, str | PathLike], None]
    decode: Callable[[Float[Array, "b k"], DatasetInfo, int], list[list[tuple[str, float]]]]
    explain: Callable[[Any, UInt8[np.ndarray, "s s 3"], int], tuple[Any, Figure]]
    listing: Callable[[Sequence[tuple[str, Any]]], RenderableType]
    write: Callable[[Sequence[tuple[str, Any]], str | PathLike], None]
    panels: Mapping[str, Mapping[str, str]]
