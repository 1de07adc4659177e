"""A trained recogniser, restored from the folder of its run."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from fgjax import tasks
from fgjax.data import DatasetInfo, decode, pipeline
from fgjax.errors import UserError
from fgjax.models.context import Context
from fgjax.models.recognizer import Outputs
from fgjax.ops.preprocessing import Preprocessing
from fgjax.run import chosen, experiment, photos, workdir
from fgjax.tasks import Task
from fgjax.training import inputs


@dataclasses.dataclass(frozen=True, repr=False)
class TrainedRecognizer:
    """A recogniser with its weights, its labels and its preprocessing.

    Attributes:
        model: the module and how it is fed.
        info: classes and, where the data had them, families and part names.
        variables: {"params", "batch_stats", "constants"}.
        folder: of the run, or None.
        task: what it learned.
    """

    model: experiment.Model
    info: DatasetInfo
    variables: dict[str, Any]
    folder: Path | None = None
    task: Task = tasks.TASKS["classification"]

    def __repr__(self) -> str:
        parts = (
            f"{len(self.classes)} classes",
            self.model.backbone,
            f"{self.preprocessing.image_size} px",
            "no run" if self.folder is None else str(self.folder),
        )
        return f"{type(self).__name__}({', '.join(parts)})"

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in label order."""
        return self.info.classes

    @property
    def preprocessing(self) -> Preprocessing:
        """How images are presented to the network."""
        return self.model.preprocessing

    def label(self, name: str) -> int:
        """The label of a class.

        Raises:
            UserError: there is no such class.
        """
        if name in self.classes:
            return self.classes.index(name)
        near = difflib.get_close_matches(name, self.classes, 1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UserError(
            f"there is no class {name!r}; {hint}the {len(self.classes)} classes stand in .classes"
        )

    def read(self, photo: Any) -> UInt8[np.ndarray, "s s 3"]:
        """A photo as the network sees it: upright, resized, its central square.

        Args:
            photo: a path, a Pillow image, or uint8 pixels [h w 3] or [h w].

        Raises:
            UserError: the file is missing or is no image.
        """
        data, name = photos.opened(photo)
        canvas, size = self.model.canvas, self.preprocessing.image_size
        decoded = decode.decode(data, name, canvas, self.preprocessing.interpolation)
        return pipeline.central(*decoded, canvas, size)[0]

    def normalize(self, images: UInt8[Array | np.ndarray, "b s s 3"]) -> Float[Array, "b s s 3"]:
        """What the network takes."""
        return inputs.as_float(jnp.asarray(images), self.preprocessing)

    def apply(self, images: Float[Array, "b s s 3"]) -> Outputs:
        """Logits, embedding, hierarchy and maps of normalised images.

        Raises:
            UserError: the images are pixels still.
        """
        _check_normalized(images)
        return _apply(self.model.recognizer, self.model.dtype, self.variables, images, None)

    def apply_from(self, start: str, hierarchy: dict[str, Float[Array, "b h w c"]]) -> Outputs:
        """The same, entered at level ``start`` with the levels before it, at every scale."""
        return _apply(self.model.recognizer, self.model.dtype, self.variables, hierarchy, start)

    def contributions(
        self,
        images: Float[Array, "b s s 3"],
        classes: Int[Array, " b"] | Sequence[int | str],
        others: Int[Array, " b"] | Sequence[int | str] | None = None,
    ) -> Float[Array, "b h w"]:
        """Each location's exact share of a class's score, or of its lead over another class.

        Args:
            images: normalised.
            classes: of each image, by label or by name.
            others: what the class of each image is compared with.

        Raises:
            UserError: an unknown class, images that are pixels still, or a network whose scores
                do not fall into shares.
        """
        _check_normalized(images)
        known = self._labels(classes, len(images))
        rivals = None if others is None else self._labels(others, len(images))
        return _contributions(
            self.model.recognizer, self.model.dtype, self.variables, images, known, rivals
        )

    def _labels(self, classes: Any, count: int) -> Int[Array, " b"]:
        given = [classes] if isinstance(classes, str | int) else classes
        if isinstance(given, np.ndarray | jax.Array) and jnp.issubdtype(given.dtype, jnp.integer):
            return jnp.asarray(given)
        if len(given) != count:
            raise UserError(f"{count} images need as many classes, not {len(given)}; name one each")
        return jnp.asarray([self.label(c) if isinstance(c, str) else c for c in given], jnp.int32)

    def probabilities(self, images: UInt8[np.ndarray, "b s s 3"]) -> Float[np.ndarray, "b k"]:
        """Class probabilities of images as :meth:`read` gives them."""
        return np.asarray(jax.nn.softmax(self.apply(self.normalize(images)).logits))

    def predict(self, images: Any, top: int = 5) -> list[list[tuple[str, float]]]:
        """The ``top`` classes of each photo with their probabilities, most probable first.

        Args:
            images: a photo, a folder of photos, or an iterable of them; a photo is a path, a
                Pillow image, or uint8 pixels [h w 3] or [h w].
            top: how many classes to name.

        Returns:
            Always one list for each photo, also of a single one: ``[[("wren", 0.9), …]]``. The
            photos in a folder come in the order of their paths; a file there that cannot be read
            is left out with a warning that names it.

        Raises:
            UserError: a photo asked for by itself cannot be read, or none of a folder can.
        """
        return [self._ranked(image, top) for image in self._readable(images)]

    def _ranked(self, image: UInt8[np.ndarray, "s s 3"], top: int) -> list[tuple[str, float]]:
        logits = self.apply(self.normalize(image[None])).logits
        return self.task.decode(logits, self.info, top)[0]

    def _readable(self, images: Any) -> Iterator[UInt8[np.ndarray, "s s 3"]]:
        left_out = seen = 0
        for photo, in_folder in photos.each(images):
            try:
                image = self.read(photo)
            except UserError as error:
                if not in_folder:
                    raise
                warnings.warn(f"left out: {error}", stacklevel=4)
                left_out += 1
                continue
            seen += 1
            yield image
        if left_out and not seen:
            raise UserError(f"none of the {left_out} images in {images} can be read")


def _check_normalized(images: Any) -> None:
    if jnp.issubdtype(images.dtype, jnp.integer):
        raise UserError(
            f"the network takes normalised images, not pixels of type {images.dtype}; give what "
            ".normalize(images) returns"
        )


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
    model, info, weights = restore(Path(folder).absolute())
    task = tasks.resolve(workdir.read_config(Path(folder).absolute()).task)
    return TrainedRecognizer(model, info, weights.variables, Path(folder), task)


def restore(where: Path) -> tuple[experiment.Model, DatasetInfo, chosen.Weights]:
    """Module, description of the data and weights of a run."""
    config = workdir.read_config(where)
    info, preprocessing, options = workdir.read_recognizer(where)
    task = tasks.resolve(config.task)
    model = experiment.restore_model(config, task.outputs(info), preprocessing, options)
    return model, info, chosen.read(where, config.protocol, task.monitor)
