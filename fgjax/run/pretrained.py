"""Pretrained weights by what a config calls them: published ones, files, and runs of one's own.

A run's folder is read here, because ``fgjax.models`` knows nothing of training.
"""

from __future__ import annotations

import os
from pathlib import Path

from fgjax import tasks
from fgjax.models import weights
from fgjax.models.weights import sources
from fgjax.models.weights.files import Tensors
from fgjax.ops import trees
from fgjax.run import chosen, workdir
from fgjax.training import checkpoints


def read(spec: str | Path, name: str) -> weights.PretrainedWeights:
    """Pretrained weights for backbone ``name``, with the convention that belongs to them.

    Args:
        spec: "default", or as for :func:`load`.
        name: of the backbone.

    Raises:
        UserError: there is no such backbone, or the source cannot be had or read.
    """
    spec = sources.resolved(spec, name)
    return sources.presented(*load(spec), name, spec)


def load(spec: str | Path) -> tuple[Tensors, dict[str, str]]:
    """Tensors under their published names, and what the source states about itself.

    Args:
        spec: the folder of a run, or as for :func:`fgjax.models.weights.sources.load`.

    Raises:
        UserError: the source cannot be had or read.
    """
    return _load_run(Path(spec).absolute()) if os.path.isdir(spec) else sources.load(spec)


def check_spec(spec: str | Path, name: str) -> None:
    """Find out what is wrong with a source as far as that needs no network and reads no tensor.

    Args:
        spec: as for :func:`read`.
        name: of the backbone.

    Raises:
        UserError: an unknown backbone or one without default weights, an unknown kind of source, a
            missing or unknown file, a package that is not installed, a run without a checkpoint or
            with a record that is damaged.
    """
    spec = sources.resolved(spec, name)
    if not os.path.isdir(spec):
        sources.check(spec)
        return
    where = Path(spec).absolute()
    sources.from_metadata(_stated(where), sources.default_preprocessing(name), spec)
    checkpoints.by_preference(where, best_by=None)


def _load_run(where: Path) -> tuple[Tensors, dict[str, str]]:
    """The checkpoint that ``fgjax.load`` takes, as it is scored: the moving average if it has one.

    The tensors are called "params/conv1/…/kernel", "batch_stats/conv1/…/mean".
    """
    stated = _stated(where)
    config = workdir.read_config(where)
    monitor = tasks.resolve(config.task).monitor
    variables = chosen.read(where, config.protocol, monitor).variables
    return trees.by_path({name: variables[name] for name in ("params", "batch_stats")}), stated


def _stated(where: Path) -> dict[str, str]:
    """What a run says of its weights, as a header would.

    What its own weights asked of the backbone stands in its record; what its config did, there.
    """
    backbone = workdir.read_config(where).model.backbone
    _, preprocessing, asked = workdir.read_recognizer(where)
    chosen = {key: backbone[key] for key in sources.OPTIONS if key in backbone}
    return {"architecture": backbone.name, **sources.to_metadata(preprocessing, chosen | asked)}
