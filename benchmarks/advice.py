"""Is the advice of the report worth anything? Its predicted gains against those of short trainings.

    python -m benchmarks.advice --cub PATH/cub30 --out benchmarks/results/advice.json

Six settings: drawn birds and cub30, each with three numbers of training images a species. In each,
the read-outs of an ImageNet EfficientNet-Lite0 with an untrained head predict what every option
would gain, and each option is trained for a few epochs; both are scored on the test images. What is
in the file already is not done again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict as Config

from fgjax import analyzing, experiment
from fgjax.analysis import atlas, diagnosis, study
from fgjax.config import default, model
from fgjax.trained import TrainedRecognizer

SIZE = 96
IMAGES = {"synthetic_birds": (10, 20, 40), "cub200": (8, 15, 30)}  # of a species, to train on
SETTINGS = {f"{name}, {n} images": (name, n) for name, counts in IMAGES.items() for n in counts}
# As dear as training from conv3, whose inputs promise as much in nearly every case.
LEFT_OUT = ("train conv2 and what follows",)
BY_IMAGE = ("images", "image_class_labels", "train_test_split", "bounding_boxes", "parts/part_locs")


def main() -> None:
    """Print a table for every setting, and the mean Kendall tau."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cub", type=Path, required=True, help="folder of cub30")
    parser.add_argument("--out", type=Path, default=Path("advice.json"))
    parser.add_argument("--only", choices=SETTINGS, help="one setting")
    arguments = parser.parse_args()
    known = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    for setting in [arguments.only] if arguments.only else SETTINGS:
        with tempfile.TemporaryDirectory() as folder:
            c = config(*SETTINGS[setting], arguments.cub, Path(folder))
            fill(known.setdefault(setting, {}), c)
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(known, indent=1) + "\n")
    print_tables(known)


def config(name: str, count: int, cub: Path, folder: Path) -> Config:
    """Averages of an ImageNet network and a linear head, on so many images of a species."""
    c = default()
    c.protocol = "final"
    c.data.name, c.data.image_size, c.data.batch_size = name, SIZE, 16
    if name == "cub200":
        c.data.dir = str(fewer(cub, count, folder))
        c.data.cache_dir = str(folder / "cache")
    else:
        c.data.counts.train = count
    c.model = model("efficientnet_lite0")
    c.train.epochs = c.train.checkpoint_epochs = analyzing.SHORT
    c.train.augment = dict(scale=(0.5, 1.0), ratio=(0.8, 1.25), flip=0.5)
    return c


def fewer(cub: Path, count: int, folder: Path) -> Path:
    """The data set with the first ``count`` training images of each species, and all of test."""

    def read(name):
        return [row.split(" ", 1) for row in (cub / name).read_text().splitlines()]

    species, is_train = dict(read("image_class_labels.txt")), dict(read("train_test_split.txt"))
    seen: dict[str, int] = {}
    kept = set()
    for image, train in is_train.items():
        place = seen[species[image]] = seen.get(species[image], 0) + (train.strip() == "1")
        if train.strip() == "0" or place <= count:
            kept.add(image)
    (folder / "parts").mkdir()
    (folder / "images").symlink_to((cub / "images").absolute())
    for name in ("classes.txt", "parts/parts.txt"):
        (folder / name).write_text((cub / name).read_text())
    for name in BY_IMAGE:
        rows = [" ".join(row) for row in read(f"{name}.txt") if row[0] in kept]
        (folder / f"{name}.txt").write_text("\n".join(rows) + "\n")
    return folder


def fill(setting: dict, c: Config) -> None:
    """Predictions and measured gains of a setting, those that are not there yet."""
    if "options" not in setting:
        data = experiment.load_data(c, "train", "test")
        module = experiment.build_model(c, len(data.info.classes))
        recogniser = TrainedRecognizer(module, data.info, module.initialize(c.seed))
        found = study.observe(recogniser, {}, data.train, data.test)
        setting |= atlas.advice(found, c.model, {})
    accuracy = setting.setdefault("accuracy", {})
    train = analyzing.short_trainings(c, "final")
    changes = {"baseline": setting["unchanged"]}
    changes |= {option["name"]: option["changes"] for option in setting["options"]}
    for name, change in changes.items():
        if name not in accuracy and name not in LEFT_OUT:
            began = time.monotonic()
            accuracy[name] = train(change)
            print(f"{name}: {accuracy[name]:.3f} in {time.monotonic() - began:.0f} s", flush=True)


def print_tables(known: dict) -> None:
    """Every option of every setting, then the agreement of the two orders."""
    scores, gains = [], []
    for name, setting in known.items():
        accuracy = dict(setting["accuracy"])
        baseline = accuracy.pop("baseline")
        print(f"\n{name}: {baseline:.3f} as it is\n\n| option | predicted | measured |")
        print("|---|---|---|")
        options = [option for option in setting["options"] if option["name"] in accuracy]
        gain = {option["name"]: accuracy[option["name"]] - baseline for option in options}
        for option in options:
            name, predicted = option["name"], option["gain"]
            print("|", " | ".join((name, _points(predicted), _points(gain[name]))), "|")
        scores.append([option["gain"] for option in options])
        gains.append([gain[option["name"]] for option in options])
        tau = diagnosis.kendall(np.array(scores[-1]), np.array(gains[-1]))
        order = sorted(gain.values(), reverse=True)
        place = 1 + order.index(gain[options[0]["name"]])
        print(
            f"\nKendall tau {tau:.2f}; the first advice comes in as number {place} of {len(order)}"
        )
    found = diagnosis.agreement(np.array(scores), np.array(gains))
    print(f"\nmean tau {found['value']:.2f} ({found['low']:.2f} to {found['high']:.2f})")


def _points(gain: float) -> str:
    return f"{100 * gain:+.1f}"


if __name__ == "__main__":
    main()
