"""Every pooling in the place of another: does a schedule train all of them?

    python -m benchmarks.swaps --workdir runs/swaps

EfficientNet-Lite0 with ImageNet weights at 160 px; the schedules of ``configs/quickstart.py`` (on
drawn birds from their data set) and ``configs/own_photos.py`` (on a folder of them), half as
long, with eight training and twenty test images of each of sixteen species. For each pooling: the
accuracy at the end of the head's phase, at the end of the run (conv4 and conv5 trained with it),
and the head's rates after they have been divided by the mean squared length of what it reads.
Finished rows are not repeated. About 15 minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict as Config
from PIL import Image

from configs import own_photos, quickstart
from fgjax.data import birds
from fgjax.models.pooling import POOLINGS
from fgjax.run import train

SIZE, EPOCHS = 160, 19.0
COUNTS = {"train": 8, "test": 20}


def main() -> None:
    """Train what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=POOLINGS, default=list(POOLINGS))
    flags = parser.parse_args()
    where = flags.workdir.absolute()
    # Most programs are those of the row before.
    jax.config.update("jax_compilation_cache_dir", str(where / "programs"))
    rows = [
        [name, pooling, *trained(name, pooling, where)]
        for name in CONFIGS
        for pooling in flags.only
    ]
    print("| config | pooling | head phase | end | head's rates |")
    print("|---|---|---|---|---|")
    for name, pooling, head, end, rates in rows:
        shown = ", ".join(f"{rate:.2g}" for rate in rates)
        print(f"| {name} | {pooling} | {head:.1%} | {end:.1%} | {shown} |")


def trained(name: str, pooling: str, where: Path) -> tuple[float, float, list[float]]:
    """Accuracy after the head's phase and at the end, and the head's rates in both."""
    folder = where / name / pooling
    path = folder / "swap.json"
    if not path.exists():
        c = CONFIGS[name](where)
        c.model.pooling = {"name": pooling}
        if pooling == "bilinear_attention":
            c.model.attention = {"name": pooling, "levels": ("conv5",), "maps": 32}
        found = train.train(c, str(folder))
        path.write_text(json.dumps(_row(found)))
    head, end, rates = json.loads(path.read_text())
    return head, end, rates


def _row(found: dict[str, Any]) -> tuple[float, float, list[float]]:
    split = "test" if "test" in found else "validation"
    end = found.get(f"{split}_after_tune", found[split])
    rates = [found["phases"][phase]["rates"]["head"] for phase in ("head", "tune")]
    return found[f"{split}_after_head"]["top1"], end["top1"], rates


def _short(c: Config) -> Config:
    c.data.image_size = SIZE
    c.train.epochs = c.train.checkpoint_epochs = c.evaluate.epochs = EPOCHS
    c.evaluate.after_phases = True
    return c


def _quickstart(where: Path) -> Config:
    c = _short(quickstart.get_config())
    c.data.counts = COUNTS
    return c


def _own_photos(where: Path) -> Config:
    c = _short(own_photos.get_config())
    c.data.dir = str(_photos(where / "photos"))
    c.train.ema = None  # the average of so few steps would still be that of the start
    return c


def _photos(folder: Path) -> Path:
    """Drawn birds as a user has photos, a folder for each species."""
    counts = {"train": COUNTS["train"], "val": COUNTS["test"]}
    for number, (split, count) in enumerate(counts.items()):
        for species in birds.NAMES:
            for i in range(count):
                path = folder / split / species / f"{i}.jpg"
                if not path.exists():
                    path.parent.mkdir(parents=True, exist_ok=True)
                    scene = birds.render(species, (number, i), 192)
                    Image.fromarray(scene.image).save(path, quality=95)
    return folder


CONFIGS = {"quickstart": _quickstart, "own_photos": _own_photos}

if __name__ == "__main__":
    main()
