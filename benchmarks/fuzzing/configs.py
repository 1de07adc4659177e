"""Random configs and command lines: each either works, or ends in one sentence.

An example begins with the tiny form of a config in ``configs/`` and replaces a few of its keys by
values of any type: wrong ones, extreme ones, and plausible ones that belong to other parts.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from benchmarks.fuzzing.config_values import (
    OPTIONS,
    anything,
    fixed,
    leaves_of,
    mutable,
    plausible,
    replace,
)
from fgjax import main, tasks
from fgjax.checking.options import plain
from fgjax.errors import UserError
from fgjax.finetune import groups
from fgjax.finetune.optimizer import enter_phase, held_leaves
from fgjax.ops.preprocessing import Preprocessing
from fgjax.run import checks, experiment, feeds, plan
from fgjax.training import objectives
from fgjax.training.state import initial_state
from fgjax.training.step import train_step

Example = ConfigDict | list[str]

ROOT = Path(__file__).parents[2]
NAMES = (
    "quickstart", "own_photos", "cub_bilinear", "cub_cal", "cub_fpn", "cub_hbp", "cub_isqrt",
    "cub_pmg", "cub_wsdan",
)  # fmt: skip
CLASSES = 16
LARGEST = 2**28  # values in a step's state and batch, above which no step is taken


def example(rng: np.random.Generator, folder: Path) -> Example:
    """A random config, or flags for the command line.

    Args:
        rng: decides everything.
        folder: where the config says that its data and their cache lie.
    """
    name = str(rng.choice(NAMES))
    config = importlib.import_module(f"configs.{name}").get_config("tiny")
    config.data.cache_dir = str(folder / "cache")
    if name == "own_photos":
        config.data.dir = str(_photos(folder / "photos"))
    tree = mutable(plain(config))
    count = int(rng.integers(1, 4))
    if rng.random() < 0.3:
        return _flags(rng, name, config, tree, count)
    for _ in range(count):
        replace(rng, tree)
    return ConfigDict(fixed(tree))


def outcome(given: Example) -> str:
    """What comes of it: "works" if it passes every check, "refused" if it ends in one sentence.

    Raises:
        Exception: neither; it is a fault of fgjax.
    """
    try:
        checks.before_data(_config(given))
    except UserError as error:
        if "\n" in str(error) or not str(error).strip():
            raise AssertionError(f"not one sentence: {error}") from error
        return "refused"
    return "works"


def step(given: Example) -> float | None:
    """The loss of one training step on random images, as the first phase takes it.

    Args:
        given: an example that works. Weights are random, whatever it says.

    Returns:
        None where a step would not fit into memory, or the number of classes forbids it.
    """
    try:
        return _step(_config(given))
    except UserError:
        return None


def _step(config: ConfigDict) -> float | None:
    model = experiment.restore_model(config, CLASSES, Preprocessing(), {})
    data = checks.unread(CLASSES)
    shapes = jax.eval_shape(lambda: model.initialize(config.seed))
    assignment = groups.assign(shapes["params"], config.train.groups)
    phases = plan.phases(config, assignment, checks.BATCHES * config.data.batch_size)
    if _size(shapes) > LARGEST:
        return None
    variables = model.initialize(config.seed)
    found = tasks.resolve(config.task).objectives(config, data)
    carried = objectives.carried_at_start(found, CLASSES, model.embedding_width(variables))
    state = initial_state(variables, config.train.ema is not None, carried)
    settings = plan.step_settings(config, model, data, state)(phases[0])
    batch = feeds.abstract_batch(config, model, assignment, phases[0], state)
    if _size(batch) > LARGEST:
        return None
    parts = groups.split(state.params, assignment)
    held = held_leaves(parts, phases, 0, settings.batch_norm)
    state = state.replace(opt_state=enter_phase(settings.optimizer, {}, held))
    taken = jax.jit(partial(train_step, settings=settings, axis_name=None))
    _, metrics = taken(state, _random(batch, len(phases[0].views or (0,))))
    return float(metrics["loss"])


def _size(tree: Any) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def _random(batch: dict[str, Any], views: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    draw: dict[str, Callable[[tuple[int, ...]], Any]] = {
        "image": lambda shape: rng.integers(0, 256, shape),
        "label": lambda shape: rng.integers(0, CLASSES, shape),
        "view": lambda shape: rng.integers(0, views, shape),
        "index": lambda shape: np.arange(shape[0]),
        "affine": lambda shape: np.tile([1, 1, 0, 0], (shape[0], 1)),
        "mask": np.ones,
    }

    def filled(key, leaf):
        make = draw.get(key, lambda shape: rng.normal(size=shape))
        return np.asarray(make(leaf.shape)).astype(leaf.dtype)

    return {key: jax.tree.map(partial(filled, key), value) for key, value in batch.items()}


def _config(given: Example) -> ConfigDict:
    if isinstance(given, ConfigDict):
        return given
    sys.modules.pop("config_config", None)  # ml_collections loads every config file into this one
    return main.parse(["fgjax", *given]).config


def _flags(rng, name, config, tree, count) -> list[str]:
    """The same faults as a user types them."""
    flags = [f"--config={ROOT / 'configs' / name}.py:tiny"]
    flags += [
        f"--config.data.{key}={config.data[key]}"
        for key in ("dir", "cache_dir")
        if config.data[key]
    ]
    leaves = leaves_of(tree)
    for _ in range(count):
        place, now = leaves[rng.integers(len(leaves))]
        path = [str(part) for part in place]
        value = plausible(rng, place, now) if rng.random() < 0.6 else anything(rng)
        if rng.random() < 0.15:
            path[-1] = str(rng.choice(OPTIONS))
        if rng.random() < 0.15:
            path.pop()
        if path:
            key = path[0] + "".join(f"[{p}]" if p.isdigit() else f".{p}" for p in path[1:])
            flags.append(f"--config.{key}={fixed(value)}")
    return flags


def _photos(folder: Path) -> Path:
    """Three photos of two classes, made once."""
    for split in ("train", "test"):
        for kind in ("gull", "wren"):
            for number in range(3):
                path = folder / split / kind / f"{number}.png"
                if not path.exists():
                    path.parent.mkdir(parents=True, exist_ok=True)
                    Image.new("RGB", (70, 80), (60 * number, 90, 30)).save(path)
    return folder
