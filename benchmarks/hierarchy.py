"""The hierarchy of an ImageNet network on cub30, against read-outs that were made independently.

python -m benchmarks.hierarchy --data PATH/cub30 --out benchmarks/results/hierarchy.json
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from fgjax.analysis import knowledge, study
from fgjax.config import default, model
from fgjax.run import experiment
from fgjax.run.trained import TrainedRecognizer

# Ridge probes, strength chosen on validation, test accuracy fine and coarse; made without fgjax.
INDEPENDENT = {
    ("conv1", "average"): (0.13, 0.23),
    ("conv2", "average"): (0.20, 0.32),
    ("conv3", "average"): (0.22, 0.37),
    ("conv4", "average"): (0.35, 0.49),
    ("conv5", "average"): (0.77, 0.85),
    ("embedding", "average"): (0.81, 0.88),
    ("conv4", "second_order"): (0.61, 0.74),
    ("conv5", "second_order"): (0.83, 0.91),
}


def config(folder: str):
    """EfficientNet-Lite0 as published, its 1280 head features averaged; all of train, and test."""
    c = default()
    c.protocol = "final"
    c.data.name, c.data.dir, c.data.image_size = "cub200", folder, 224
    c.model = model("efficientnet_lite0", head={"name": "linear", "expand": 1280})
    return c


def measure(folder: str) -> dict[str, dict[str, dict[str, float]]]:
    """Accuracies of the read-outs, ``"level, kind"`` -> target -> value and bounds."""
    c = config(folder)
    data = experiment.load_data(c, "train", "test")
    module = experiment.build_model(c, len(data.info.classes))
    recogniser = TrainedRecognizer(module, data.info, module.initialize(c.seed))
    found = study.observe(recogniser, {}, data.train, data.test)
    return {
        f"{level}, {kind}": knowledge.accuracies(scores, found.rows["label"], data.info.coarse_of)
        for (level, kind), scores in found.scores.items()
    }


def main() -> None:
    """Print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="folder of cub30")
    parser.add_argument("--out", type=Path, default=Path("hierarchy.json"))
    arguments = parser.parse_args()
    began = time.monotonic()
    found = measure(arguments.data)
    print("| features | fine | independent | coarse | independent | coarse, shared families |")
    print("|---|---|---|---|---|---|")
    worst = 0.0
    for name, targets in found.items():
        values = [targets[key]["value"] for key in ("fine", "coarse", "coarse_shared")]
        expected = INDEPENDENT.get(tuple(name.split(", ")))
        cells = [f"{value:.3f}" for value in values]
        beside = [f"{value:.2f}" for value in expected] if expected else ["–", "–"]
        if expected:
            gaps = [abs(v - e) for v, e in zip(values, expected, strict=False)]
            worst = max(worst, *gaps)
        print("|", " | ".join([name, cells[0], beside[0], cells[1], beside[1], cells[2]]), "|")
    print(f"largest difference {worst:.3f}; {time.monotonic() - began:.0f} s")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
