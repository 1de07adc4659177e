"""From a config to what a run needs: data, recogniser, initial variables, phases."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections

from fgjax import data
from fgjax.errors import UserError
from fgjax.models import assembly, recognizer, weights
from fgjax.models.context import Context
from fgjax.ops.preprocessing import Preprocessing
from fgjax.run import pretrained

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


@dataclasses.dataclass(frozen=True)
class Model:
    """A recogniser with what must be known to feed it and to restore it.

    Attributes:
        recognizer: the Linen module.
        preprocessing: how images are presented to it, resolved from config and weights.
        dtype: dtype of its activations.
        backbone: its backbone's name.
        backbone_options: what the pretrained weights asked of the backbone.
        source: the pretrained weights, or None.
    """

    recognizer: recognizer.Recognizer
    preprocessing: Preprocessing
    dtype: Any
    backbone: str
    backbone_options: Mapping[str, Any]
    source: weights.PretrainedWeights | None = None

    @property
    def canvas(self) -> int:
        """Short side to which the host resizes, in pixels; the input is cut from it."""
        return round(self.preprocessing.image_size / self.preprocessing.crop_fraction)

    def at(self, size: int | None) -> Model:
        """The same model fed with images of another size, canvas and all; None for its own."""
        if size is None:
            return self
        return dataclasses.replace(self, preprocessing=self.preprocessing._replace(image_size=size))

    def initialize(self, seed: int) -> dict[str, Any]:
        """Variables {"params", "batch_stats", "constants"}: pretrained where there are weights.

        Raises:
            UserError: weights that do not fit.
        """
        size = self.preprocessing.image_size
        images = jnp.zeros((1, size, size, 3), jnp.float32)
        variables = jax.jit(lambda key: self.recognizer.init(key, images, Context()))(
            jax.random.key(seed)
        )
        if self.source is not None:
            variables = weights.assign(self.source, self.backbone, variables)
        return {"batch_stats": {}, "constants": {}} | dict(variables)

    def embedding_width(self, variables: Mapping[str, Any]) -> int:
        """Length of the vector that the head reads."""
        size = self.preprocessing.image_size
        images = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
        outputs = jax.eval_shape(
            lambda v, x: self.recognizer.apply(v, x, Context()), variables, images
        )
        return outputs.embedding.shape[-1]


def build_model(config: ml_collections.ConfigDict, classes: int) -> Model:
    """The recogniser of ``config.model``, its pretrained weights read but not yet assigned.

    Raises:
        UserError: unknown parts or options, or weights that cannot be read.
    """
    backbone = config.model.backbone
    source = None
    if backbone.weights is not None:
        source = pretrained.read(backbone.weights, backbone.name)
    published = source.preprocessing if source else Preprocessing()
    options = source.backbone_options if source else {}
    return restore_model(config, classes, published, options, source)


def restore_model(
    config: ml_collections.ConfigDict,
    classes: int,
    published: Preprocessing,
    backbone_options: Mapping[str, Any],
    source: weights.PretrainedWeights | None = None,
) -> Model:
    """The recogniser of ``config.model`` when what came with its weights is already known."""
    if config.model.dtype not in DTYPES:
        raise UserError(f"model.dtype is {config.model.dtype!r}; choose one of {', '.join(DTYPES)}")
    return Model(
        assembly.build(config.model, classes, **backbone_options),
        _preprocessing(config.data, published),
        DTYPES[config.model.dtype],
        config.model.backbone.name,
        backbone_options,
        source,
    )


def _preprocessing(config: ml_collections.ConfigDict, published: Preprocessing) -> Preprocessing:
    """The published convention with what the config overrides."""
    crop_fraction = config.crop_fraction or published.crop_fraction
    if config.canvas is not None:
        crop_fraction = config.image_size / config.canvas
    return published._replace(
        image_size=config.image_size,
        crop_fraction=crop_fraction,
        interpolation=config.interpolation or published.interpolation,
    )


def load_data(config: ml_collections.ConfigDict, *splits: str) -> data.DataBundle:
    """The named splits of ``config.data`` under the config's protocol."""
    return data.load(config.data, config.protocol, config.seed, splits)
