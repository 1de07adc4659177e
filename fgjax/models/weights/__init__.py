"""Pretrained weights: published files -> the parameter tree, with nothing left to chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from fgjax.errors import UserError
from fgjax.models import backbones
from fgjax.models.weights.sources import PretrainedWeights, digest, read
from fgjax.models.weights.tables import TABLES, target
from fgjax.vocabulary import LEVELS

__all__ = ["PretrainedWeights", "assign", "digest", "match", "read"]


# Layers outside the levels that are pretrained too: EfficientNet's 1x1 before the pooling, HRNet's
# classification head before the classifier. Filled where model and source have all of such a part
# in the same shapes; else it is the user's own.
PUBLISHED_PARTS = ("head/expand", "merge")


def assign(
    source: PretrainedWeights,
    name: str,
    variables: Mapping[str, Any],
    groups: Sequence[str] = LEVELS,
) -> dict[str, Any]:
    """``variables`` with the tensors of ``source`` in place.

    Args:
        source: as :func:`read` gave it.
        name: of the backbone.
        variables: {"params": ..., "batch_stats": ..., ...}, arrays or their shapes.
        groups: the groups to fill. Those that ``variables`` lacks, as a truncated backbone lacks
            conv5, are left out; all others in ``variables`` stay as they are, but for
            :data:`PUBLISHED_PARTS`.

    Raises:
        UserError: something is missing, superfluous, of another shape or not finite; all of it is
            listed.
    """
    template = {
        "/".join(path): leaf for path, leaf in traverse_util.flatten_dict(dict(variables)).items()
    }
    matched, problems = match(source.tensors, name, template, groups)
    if problems:
        listed = "".join(f"\n  {problem}" for problem in problems)
        raise UserError(f"the weights {source.origin} do not fit {name}:{listed}")
    filled = {path: jnp.asarray(value) for path, value in matched.items()}
    tree = {tuple(path.split("/")): leaf for path, leaf in (template | filled).items()}
    return {**variables, **traverse_util.unflatten_dict(tree)}


def match(
    tensors: Mapping[str, np.ndarray],
    name: str,
    template: Mapping[str, Any],
    groups: Sequence[str] = LEVELS,
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Tensors by their path in ``template``, laid out as it is; and all that does not fit."""
    rows = tuple(TABLES[backbones.family(name)](name))
    keys = {
        key: target(key, value.ndim, rows)
        for key, value in tensors.items()
        if not key.endswith("num_batches_tracked")
    }
    present = {_group(path) for path in template} & set(groups)
    wanted = {path: leaf for path, leaf in template.items() if _group(path) in present}
    wanted |= _published_parts(tensors, keys, template)
    matched, problems = {}, []
    for key, path in keys.items():
        value = tensors[key]
        if path is None or (_group(path) in present and path not in wanted):
            problems.append(f"{key} {value.shape} is not part of it")
        elif path in wanted:
            leaf = wanted.pop(path)
            with np.errstate(all="ignore"):  # said below, with the tensor's name
                matched[path] = _layout(key, value, leaf.shape).astype(leaf.dtype)
            if not np.isfinite(matched[path]).all():
                problems.append(f"{key} has values that are no finite {leaf.dtype}")
            if matched[path].shape != leaf.shape:
                problems.append(
                    f"{key} has shape {value.shape}, {path} needs {_published(leaf.shape)}"
                )
    problems += [f"{path} {tuple(leaf.shape)} is missing" for path, leaf in wanted.items()]
    return matched, problems


def _published_parts(tensors, keys, template):
    """Leaves of ``template`` in those published parts that ``tensors`` fill as they are."""
    offered = {path: key for key, path in keys.items()}
    found: dict[str, Any] = {}
    for part in PUBLISHED_PARTS:
        leaves = {
            path: leaf
            for path, leaf in template.items()
            if f"{path.partition('/')[2]}/".startswith(f"{part}/")
        }
        if all(
            path in offered
            and _layout(offered[path], tensors[offered[path]], leaf.shape).shape == leaf.shape
            for path, leaf in leaves.items()
        ):
            found |= leaves
    return found


def _group(path: str) -> str:
    return path.split("/")[1]


def _layout(key: str, value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """From PyTorch's (out, in, height, width) to (height, width, in, out).

    The tensors of a checkpoint of ours, with "/" in their names, stay as they are.

    A matrix that meets a k×k kernel is a linear layer over a flattened map (VGG's fc6); a 1×1
    kernel that meets a matrix is a linear layer written as a convolution.
    """
    if "/" in key:
        return value
    if value.ndim == 2 and len(shape) == 4 and value.size == np.prod(shape):
        value = value.reshape(shape[3], shape[2], shape[0], shape[1])
    if value.ndim == 4 and len(shape) == 2 and value.shape[2:] == (1, 1):
        value = value[:, :, 0, 0]
    return value.transpose(*range(2, value.ndim), 1, 0) if value.ndim >= 2 else value


def _published(shape: tuple[int, ...]) -> tuple[int, ...]:
    """``shape`` in PyTorch's order."""
    return shape if len(shape) < 2 else (shape[-1], shape[-2], *shape[:-2])
