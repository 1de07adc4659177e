"""Every second-order head on one frozen trunk.

    python -m benchmarks.heads --data PATH/CUB_200_2011 --workdir runs/heads

EfficientNet-Lite0 at 224 px, its trunk frozen and run once (centre and mirrored view), 15 epochs of
the head, protocol "develop". Each head's rate is the better of two on the validation split of seed
0 (by negative log-likelihood); what the table shows is then trained and scored on seed 1, whose
training and validation images are drawn anew. Every run is a process of its own, so that its peak
memory can be told; finished runs are not repeated.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax

from fgjax.config import default, model, parse_arguments
from fgjax.run import experiment

# The rates that are tried; where a pooling does not normalise, a run divides them by the mean
# squared length of its vectors (600 for the average, 1500 for GeM, 400 for iSQRT-COV).
UNIT = (0.1, 1.0)
LONG = (6.0, 60.0)


class Entry(NamedTuple):
    """A head: pooling, classifier, and the rates that are tried."""

    pooling: dict[str, Any]
    rates: tuple[float, float] = UNIT
    head: str = "linear"


HEADS = {
    "average": Entry({"name": "average"}, LONG),
    "GeM, p = 3": Entry({"name": "gem", "trainable": False}, LONG),
    "full bilinear": Entry({"name": "bilinear"}),
    "full bilinear, triangle": Entry({"name": "bilinear", "triangle": True}),
    "compact, Tensor Sketch 8192": Entry({"name": "compact_bilinear"}),
    "compact, Random Maclaurin 8192": Entry({"name": "compact_bilinear", "sketch": "maclaurin"}),
    "low-rank bilinear": Entry({"name": "low_rank_bilinear"}, head="low_rank_bilinear"),
    "MLB 1024": Entry({"name": "factorized_bilinear"}),
    "MFB 1024, 5 factors": Entry({"name": "factorized_bilinear", "factors": 5}),
    "hierarchical, conv3-conv5": Entry({"name": "hierarchical_bilinear"}),
    "iSQRT-COV": Entry({"name": "isqrt_cov"}, LONG),
    "improved bilinear": Entry({"name": "improved_bilinear"}),
}


def slug(name: str) -> str:
    """A head's name as an argument and as a folder."""
    return re.sub(r"\W+", "_", name)


def get_config(arguments=""):
    """The experiment of one head, for ``python -m fgjax.main --config benchmarks/heads.py:...``."""
    args = parse_arguments(arguments, first="head", head="average", rate=1.0, seed=0)
    entry = HEADS[next(name for name in HEADS if slug(name) == args["head"])]
    c = default()
    c.seed = args["seed"]
    c.data.name = "cub200"
    c.data.batch_size = 16
    c.model = model("efficientnet_lite0", pooling=entry.pooling, head={"name": entry.head})
    train = {"pooling": args["rate"], "head": args["rate"]}
    c.schedule = (dict(name="head", train=train, decay=1e-5, views=("center", "flip")),)
    c.train.epochs = c.evaluate.epochs = c.train.checkpoint_epochs = 15.0
    return c


def trained(name: str, rate: float, seed: int, data: str, where: Path) -> dict[str, Any]:
    """The results of one run, with its peak resident memory in GiB."""
    folder = where / slug(name) / f"{rate}-{seed}"
    summary = folder / "summary.json"
    if not summary.exists():
        argument = f"{folder.parent.name},rate={rate},seed={seed}"
        command = [sys.executable, "-m", "fgjax.main", "--workdir", str(folder)]
        command += [f"--config=benchmarks/heads.py:{argument}", f"--config.data.dir={data}"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"the run in {folder} failed; its message stands above")
        found = json.loads((folder / "results.json").read_text())
        classes = len(json.loads((folder / "recognizer.json").read_text())["classes"])
        found |= {"classes": classes, "peak_gib": usage.ru_maxrss / 2**20}
        summary.write_text(json.dumps(found))
    return json.loads(summary.read_text())


def parameters(name: str, classes: int) -> int:
    """Parameters of the pooling and the head together."""
    built = experiment.build_model(get_config(slug(name)), classes)
    shapes = jax.eval_shape(lambda: built.initialize(0))["params"]
    groups = [shapes.get(group, {}) for group in ("pooling", "head")]
    return sum(leaf.size for leaf in jax.tree.leaves(groups))


def row(name: str, data: str, where: Path) -> str:
    """The line of the table."""
    tried = {rate: trained(name, rate, 0, data, where) for rate in HEADS[name].rates}
    rate = min(tried, key=lambda rate: tried[rate]["validation"]["nll"])
    found = trained(name, rate, 1, data, where)
    score, phase = found["validation"], found["phases"]["head"]
    epoch = 16 * (phase["stop"] - phase["start"]) / phase["images_per_second"] / 15
    interval = f"{score['top1_low']:.3f} – {score['top1_high']:.3f}"
    cells = [name, f"{rate:g}", f"{score['top1']:.3f}", interval, f"{score['nll']:.2f}"]
    cells += [f"{parameters(name, found['classes']):,}", f"{epoch:.1f}", f"{found['peak_gib']:.1f}"]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Train what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--workdir", type=Path, required=True)
    flags = parser.parse_args()
    print("| head | rate | top-1 | 95 % | nll | parameters | s / epoch | peak GiB |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for name in HEADS:
        print(row(name, flags.data, flags.workdir), flush=True)


if __name__ == "__main__":
    main()
