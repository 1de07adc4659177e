"""The picture of the README: test photos, first guesses, and why this class, not its look-alike.

    python -m benchmarks.picture --workdir runs/quickstart --out docs/quickstart.png

Shows the first test image of two classes of every family; nothing is chosen by its result.
"""

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np

import fgjax
from fgjax.data import pipeline
from fgjax.run import experiment, workdir
from fgjax.show import overlay, plots


def first_of_each_class(source, recogniser):
    """{label: image as the network sees it} of the first example of each class."""
    preprocessing = recogniser.preprocessing
    batches = pipeline.eval_batches(
        source,
        image_size=preprocessing.image_size,
        crop_fraction=preprocessing.crop_fraction,
        interpolation=preprocessing.interpolation,
        batch_size=64,
    )
    images = {}
    for batch in batches:
        for image, label, real in zip(batch["image"], batch["label"], batch["mask"], strict=True):
            if real:
                images.setdefault(int(label), image)
    return images


def two_of_each_family(coarse_of):
    """Labels of the first two classes of every family."""
    members = defaultdict(list)
    for label, coarse in enumerate(coarse_of):
        members[int(coarse)].append(label)
    return [label for labels in members.values() for label in labels[:2]]


def explained(recogniser, image, label):
    """The guess, and the evidence for it against the most probable other class of the family."""
    inputs = recogniser.normalize(image[None])
    probabilities = recogniser.probabilities(image[None])[0]
    order = np.argsort(-probabilities, kind="stable")
    family = recogniser.info.coarse_of
    rival = next(i for i in order[1:] if family[i] == family[order[0]])
    shares = recogniser.contributions(inputs, order[:1], np.array([rival]))
    ranked = [(recogniser.classes[i], float(probabilities[i])) for i in order[:2]]
    return plots.Example(image, np.asarray(shares)[0], ranked, recogniser.classes[label])


def main():
    """Draw it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workdir", required=True)
    parser.add_argument("--out", required=True)
    arguments = parser.parse_args()
    recogniser = fgjax.load(arguments.workdir)
    config = workdir.read_config(Path(arguments.workdir))
    data = experiment.load_data(config, "test")
    images = first_of_each_class(data.test, recogniser)
    labels = two_of_each_family(recogniser.info.coarse_of)
    examples = [explained(recogniser, images[label], label) for label in labels]
    overlay.save(plots.result_grid(examples), arguments.out, dpi=110)


if __name__ == "__main__":
    main()
