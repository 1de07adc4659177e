"""What the feature cache saves in a head phase: against its parts, and against no cache.

    python -m benchmarks.feature_cache --config configs/cub_bilinear.py:efficientnet_lite0,phases=head,pooling=compact \
        --workdir runs/cache --epochs 30 --config.data.dir=PATH/CUB_200_2011

Four timings of the first phase of a config, each in a run of its own: with the cache filled on the
way; the pass that fills it alone; the head alone on features that are there already; and one epoch
without a cache, from which the whole follows. The first holds all compilation; the others find
most of their programs compiled.
"""  # noqa: E501

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from fgjax import main
from fgjax.evaluation import results
from fgjax.finetune import groups, resolve
from fgjax.run import experiment, feeds, train
from fgjax.training import parallel
from fgjax.training.state import initial_state


def run() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--epochs", type=float, default=30.0)
    parser.add_argument("--views", help="comma-separated, instead of the config's")
    parser.add_argument("--workdir", type=Path, required=True)
    flags, rest = parser.parse_known_args()
    config = main.parse([sys.argv[0], *rest]).config
    head = dict(config.schedule[0])
    if flags.views:
        head["views"] = tuple(flags.views.split(","))
    config.schedule, views = (head,), len(head["views"])
    shutil.rmtree(flags.workdir, ignore_errors=True)

    cached, digest = trained(config, flags.workdir / "cached", "disk", flags.epochs)
    filled = fill_seconds(config, flags.workdir / "alone")
    alone, again = trained(config, flags.workdir / "alone", "disk", flags.epochs)
    once, _ = trained(config, flags.workdir / "none", "none", 1.0)
    if digest != again:
        raise SystemExit("features found on disk gave other parameters than those just computed")
    images = once["stop"] * config.data.batch_size
    uncached = once["seconds"] + (flags.epochs - 1) * images / once["images_per_second"]
    parts = cached["seconds"] / (filled + alone["seconds"])
    print(f"| head phase, {flags.epochs:g} epochs, {views} views | seconds | ratio |")
    print("|---|---|---|")
    print(f"| {views} trunk passes | {filled:.1f} | |")
    print(f"| head alone on stored features | {alone['seconds']:.1f} | |")
    print(f"| with the cache, all in | {cached['seconds']:.1f} | {parts:.2f} x the parts |")
    times = uncached / cached["seconds"]
    print(f"| without, at the rate of one epoch | {uncached:.1f} | {times:.1f} x the cache |")


def fill_seconds(config: ConfigDict, workdir: Path) -> float:
    """Seconds until the features of the first phase are on disk in ``workdir``."""
    config = config.copy_and_resolve_references()
    config.train.feature_cache = "disk"
    data = experiment.load_data(config, "train")
    model = experiment.build_model(config, len(data.info.classes))
    state = initial_state(model.initialize(config.seed), False, {})
    phase = resolve(config.schedule, 10)[0]
    assignment, mesh = groups.assign(state.params), parallel.make_mesh(config.train.devices)
    feed = feeds.batches(config, model, assignment, data.train, workdir, mesh)
    began = time.monotonic()
    next(feed(phase, state, 0))
    return time.monotonic() - began


def trained(
    config: ConfigDict, workdir: Path, feature_cache: str, epochs: float
) -> tuple[dict[str, Any], str]:
    """The record of the first phase, and the digest of its final parameters."""
    config = config.copy_and_resolve_references()
    config.train.feature_cache, config.train.epochs = feature_cache, epochs
    config.train.checkpoint_epochs = config.evaluate.epochs = epochs
    train.train(config, str(workdir))
    found = results.read(workdir)
    [phase] = found["phases"].values()
    return phase, found["params_digest"]


if __name__ == "__main__":
    run()
