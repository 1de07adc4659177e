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

from fgjax.analysis import atlas, study, trials
from fgjax.config import default, model
from fgjax.run import analyze, experiment
from fgjax.run.trained import TrainedRecognizer

SIZE = 96
IMAGES = {"synthetic_birds": (10, 20, 40), "cub200": (8, 15, 30)}  # of a species, to train on
SETTINGS = {f"{name}, {n} images": (name, n) for name, counts in IMAGES.items() for n in counts}
# As dear as training from conv3, whose inputs promise as much in nearly every case.
LEFT_OUT = ("train conv2 and what follows",)
BY_IMAGE = ("images", "image_class_labels", "train_test_split", "bounding_boxes", "parts/part_locs")


def main() -> None:
    """Print the table of all settings, and the mean Kendall tau."""
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
    print_table({setting: known[setting] for setting in SETTINGS if setting in known})


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
    c.train.epochs = c.train.checkpoint_epochs = analyze.SHORT
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
    train = analyze.short_trainings(c, "final")
    changes = {"baseline": setting["unchanged"]}
    changes |= {option["name"]: option["changes"] for option in setting["options"]}
    for name, change in changes.items():
        if name not in accuracy and name not in LEFT_OUT:
            began = time.monotonic()
            accuracy[name] = train(change)
            print(f"{name}: {accuracy[name]:.3f} in {time.monotonic() - began:.0f} s", flush=True)


def print_table(known: dict) -> None:
    """Predicted and measured gain of every option in every setting, and how well they agree."""
    measured = {
        name: {key: value - s["accuracy"]["baseline"] for key, value in s["accuracy"].items()}
        for name, s in known.items()
    }
    predicted = {name: {o["name"]: o["gain"] for o in s["options"]} for name, s in known.items()}
    options = sorted(set(next(iter(measured.values()))) - {"baseline"})
    scores = np.array([[predicted[name][option] for option in options] for name in known])
    gains = np.array([[measured[name][option] for option in options] for name in known])
    baselines = [s["accuracy"]["baseline"] for s in known.values()]
    taus = [trials.kendall(*pair) for pair in zip(scores, gains, strict=True)]
    print("| points, predicted / measured |", " | ".join(known), "|")
    print("|---|" + "---|" * len(known))
    print("| accuracy without change, % |", " | ".join(f"{100 * b:.1f}" for b in baselines), "|")
    for option, s, g in zip(options, scores.T, gains.T, strict=True):
        cells = [f"{100 * a:+.1f} / {100 * b:+.1f}" for a, b in zip(s, g, strict=True)]
        print(f"| {option} |", " | ".join(cells), "|")
    print("| Kendall tau |", " | ".join(f"{tau:.2f}" for tau in taus), "|")
    found = trials.agreement(scores, gains)
    print(f"\nmean tau {found['value']:.2f} ({found['low']:.2f} to {found['high']:.2f})")


if __name__ == "__main__":
    main()
