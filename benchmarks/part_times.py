"""What each way to keep fine detail costs: step times as ratios to the plain network.

    python -m benchmarks.part_times

A whole training step (augmented batch in, new parameters out; every level and part trains) of
EfficientNet-Lite0 at 160 px, batch 16, with each row's parts of benchmarks/tables/parts.py (views
at two scales are bilinear pooling's steps); below them the objectives that pass more than once, PMG
with blocks of a quarter of the paper's width. The steps of all rows take turns within a round, and
the median over the rounds is reported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from benchmarks.ablate import overridden
from benchmarks.tables.parts import ATTENTION, ROWS, get_config
from benchmarks.timing import interleaved
from fgjax.checking.options import named
from fgjax.data import augment
from fgjax.finetune import groups, optimizer, resolve
from fgjax.finetune.optimizer import enter_phase, trained_leaves
from fgjax.ops import losses
from fgjax.run import experiment
from fgjax.training import inputs, objectives
from fgjax.training.state import initial_state
from fgjax.training.step import StepSettings, train_step

CLASSES, ROUNDS = 30, 9
LEVELS = ("conv3", "conv4", "conv5")
BY_PART = {f"model.{part}": value for part, value in ATTENTION.items()}
MORE: dict[str, Mapping[str, Any]] = {
    "CAL": BY_PART | {"train.objective": {"name": "cal"}},
    "PMG": {
        "model.merge": {"name": "stage_blocks", "levels": LEVELS, "hidden": 128, "features": 256},
        "model.pooling": {"name": "max", "levels": LEVELS},
        "model.head": {"name": "multi_granularity", "hidden": 128},
        "train.objective": {"name": "pmg"},
    },
}


def main() -> None:
    """Print the table."""
    rows = {name: row for name, row in ROWS.items() if not name.startswith("views")} | MORE
    steps = {name: compiled(overridden(get_config(), row)) for name, row in rows.items()}
    medians = interleaved(steps, ROUNDS)
    plain = next(iter(medians.values()))
    print("| | step, ms | ratio |\n|---|---|---|")
    for name, value in medians.items():
        print(f"| {name} | {1000 * value:.0f} | {value / plain:.2f} |")


def compiled(config: ConfigDict) -> Callable[[], None]:
    """The step of a config as a function that takes it once, and waits for it."""
    model = experiment.build_model(config, CLASSES)
    variables = model.initialize(0)
    name, options = named("train.objective", config.train.objective)
    found = objectives.create(name, **options)
    carried = objectives.carried_at_start(found, CLASSES, model.embedding_width(variables))
    state = initial_state(variables, False, carried)
    assignment = groups.assign(state.params)
    everything = dict.fromkeys(dict.fromkeys(assignment.values()), 1e-3)
    phase = resolve((dict(name="all", train=everything),), 100)[0]
    sgd, batch_norm = optimizer.create("sgd"), groups.batch_norm_paths(state.batch_stats)
    trained = trained_leaves(groups.split(state.params, assignment), phase, batch_norm)
    state = state.replace(opt_state=enter_phase(sgd, {}, trained))
    settings = StepSettings(
        phase=phase,
        apply=model.recognizer.apply,
        start=None,
        prepare=inputs.from_images(
            augment.Augmentation(flip=0.5),
            model.preprocessing,
            lambda batch, affine: losses.one_hot(batch["label"], CLASSES),
            lambda targets: targets,
        ),
        objective=found,
        optimizer=sgd,
        assignment=assignment,
        batch_norm=batch_norm,
        dtype=model.dtype,
        seed=0,
        clip_norm=None,
        ema_decay=None,
        accumulate=1,
    )
    batch = random_batch(config.data.batch_size, model.canvas)
    step = jax.jit(partial(train_step, settings=settings, axis_name=None))
    program = step.lower(state, batch).compile()
    return lambda: jax.block_until_ready(program(state, batch)) and None


def random_batch(size: int, canvas: int) -> dict[str, np.ndarray]:
    """Noise in place of photos."""
    rng = np.random.default_rng(0)
    return {
        "image": rng.integers(0, 256, (size, canvas, canvas, 3), np.uint8),
        "affine": np.tile(np.float32([1, 1, 0, 0]), (size, 1)),
        "label": rng.integers(0, CLASSES, size).astype(np.int32),
        "mask": np.ones(size, np.float32),
    }


if __name__ == "__main__":
    main()
