"""A trained recogniser, restored from the folder of its run."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import rich
from jaxtyping import Array, Float, Int, UInt8

from fgjax import experiment, workdir
from fgjax.data import DatasetInfo, decode
from fgjax.errors import UserError
from fgjax.models.context import Context
from fgjax.models.recognizer import Outputs
from fgjax.preprocessing import Preprocessing
from fgjax.training import inputs, restoring
from fgjax.training.state import variables as collections


@dataclasses.dataclass(frozen=True)
class TrainedRecognizer:
    """A recogniser with its weights, its labels and its preprocessing.

    Attributes:
        model: the module and how it is fed.
        info: classes and, where the data had them, families and part names.
        variables: {"params", "batch_stats", "constants"}.
    """

    model: experiment.Model
    info: DatasetInfo
    variables: dict[str, Any]

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in label order."""
        return self.info.classes

    @property
    def preprocessing(self) -> Preprocessing:
        """How images are presented to the network."""
        return self.model.preprocessing

    def read(self, path: str | Path) -> UInt8[np.ndarray, "s s 3"]:
        """A photo as the network sees it: upright, resized, its central square.

        Raises:
            UserError: the file is missing or is no image.
        """
        path = Path(path)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise UserError(f"cannot read the image {path} ({error.strerror})") from error
        size = self.preprocessing.image_size
        image, _ = decode.decode(
            data, str(path), self.model.canvas, self.preprocessing.interpolation
        )
        top, left = ((side - size) // 2 for side in image.shape[:2])
        return image[top : top + size, left : left + size]

    def normalize(self, images: UInt8[Array | np.ndarray, "b s s 3"]) -> Float[Array, "b s s 3"]:
        """What the network takes."""
        return inputs.as_float(jnp.asarray(images), self.preprocessing)

    def apply(self, images: Float[Array, "b s s 3"]) -> Outputs:
        """Logits, embedding, hierarchy and maps of normalised images."""
        return _apply(self.model.recognizer, self.model.dtype, self.variables, images, None)

    def apply_from(self, start: str, hierarchy: dict[str, Float[Array, "b h w c"]]) -> Outputs:
        """The same, entered at level ``start`` with the levels before it, at every scale."""
        return _apply(self.model.recognizer, self.model.dtype, self.variables, hierarchy, start)

    def contributions(
        self,
        images: Float[Array, "b s s 3"],
        classes: Int[Array, " b"],
        others: Int[Array, " b"] | None = None,
    ) -> Float[Array, "b h w"]:
        """Each location's exact share of a class's score, or of its lead over another class."""
        return _contributions(
            self.model.recognizer, self.model.dtype, self.variables, images, classes, others
        )

    def probabilities(self, images: UInt8[np.ndarray, "b s s 3"]) -> Float[np.ndarray, "b k"]:
        """Class probabilities of images as :meth:`read` gives them."""
        return np.asarray(jax.nn.softmax(self.apply(self.normalize(images)).logits))

    def predict(self, paths: Sequence[str | Path], top: int = 5) -> list[list[tuple[str, float]]]:
        """The ``top`` classes of each photo with their probabilities, most probable first."""
        ranked = []
        for path in paths:
            row = self.probabilities(self.read(path)[None])[0]
            order = np.argsort(-row, kind="stable")[:top]
            ranked.append([(self.classes[i], float(row[i])) for i in order])
        return ranked


# A Linen module is hashable: it selects the compiled program.
@functools.partial(jax.jit, static_argnames=("recognizer", "dtype", "start"))
def _apply(recognizer, dtype, variables, x, start):
    return recognizer.apply(variables, x, Context(dtype=dtype), start)


@functools.partial(jax.jit, static_argnames=("recognizer", "dtype"))
def _contributions(recognizer, dtype, variables, images, classes, others):
    return recognizer.apply(
        variables, images, classes, Context(dtype=dtype), others, method="contributions"
    )


def load(folder: str | Path) -> TrainedRecognizer:
    """The recogniser that a run trained: its best weights in "develop", its last in "final".

    Raises:
        UserError: there is no run in the folder, or its checkpoint is damaged.
    """
    return TrainedRecognizer(*restore(Path(folder).absolute()))


def restore(where: Path) -> tuple[experiment.Model, DatasetInfo, dict[str, Any]]:
    """Module, description of the data and variables of a run."""
    config = workdir.read_config(where)
    info, preprocessing, options = workdir.read_recognizer(where)
    model = experiment.restore_model(config, len(info.classes), preprocessing, options)
    names = ("params", "batch_stats", "constants", "ema")
    _, items = restoring.chosen(where, config.protocol == "develop", names, rich.print)
    averaged = items.get("ema") or {}
    return (
        model,
        info,
        collections(
            averaged.get("params", items["params"]),
            averaged.get("batch_stats", items.get("batch_stats", {})),
            items.get("constants", {}),
        ),
    )
