"""What is collected of a network on a data set, and the read-outs fitted to it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool

from fgjax.analysis import calibration, features, knowledge, probes, subject
from fgjax.analysis.features import Rows
from fgjax.data import pipeline

BATCH = 32


@dataclasses.dataclass(frozen=True)
class Study:
    """A network, the rows collected with it, and what was read off them.

    Attributes:
        network: under analysis.
        twin: the same architecture with random weights, the control; None where there is none.
        info: description of the data.
        size: side of the network's input, pixels.
        concepts: names of the parts; a left and a right part are one.
        train: rows that read-outs are fitted to.
        rows: rows that everything is scored on.
        scores: of the read-outs: (level, kind) -> target -> scores.
        votes: of the nearest neighbors: level -> share of each class.
    """

    network: subject.Subject
    twin: subject.Subject | None
    info: Any
    size: int
    concepts: tuple[str, ...]
    train: Rows
    rows: Rows
    scores: Mapping[tuple[str, str], Mapping[str, np.ndarray]]
    votes: Mapping[str, np.ndarray]

    @property
    def levels(self) -> list[str]:
        """Names of the network's levels, fine to coarse."""
        return list(self.rows["levels"])

    def right(self, level: str, kind: str) -> Bool[np.ndarray, " n"]:
        """Which examples the read-out of that level and kind names rightly."""
        return self.scores[level, kind]["fine"].argmax(1) == self.rows["label"]


def observe(recognizer: Any, twins: Mapping[str, Any], train_source: Any, evaluated: Any) -> Study:
    """One pass over both splits, and the read-outs of every level.

    Args:
        recognizer: as ``fgjax.load`` gives it.
        twins: networks of the same architecture by name; "random" is the control.
        train_source: examples that read-outs are fitted to.
        evaluated: examples that everything is scored on.
    """
    preprocessing = recognizer.preprocessing
    size, info = preprocessing.image_size, train_source.info
    network = subject.subject(recognizer, size)
    others = {name: subject.subject(twin, size) for name, twin in twins.items()}
    twin = others.get("random")
    applies = {name: other.apply for name, other in others.items()}
    groups = features.concepts(info.part_names)
    sizes = subject.map_sizes(network, size)
    examples = len(train_source) + len(evaluated)
    channels = features.second_order_channels(examples, len(sizes) * (1 + len(others)))
    train, rows = (
        features.collect(
            network,
            applies,
            batches(source, preprocessing),
            channels=channels,
            groups=groups,
            stride=-(-len(source) // features.EXAMPLES_WITH_PARTS),
        )
        | {"map_size": sizes}
        for source in (train_source, evaluated)
    )
    scores, fitted = knowledge.read_outs(train, rows, info.coarse_of)
    if subject.untrained(rows["logits"]):
        network, train, rows = _with_probe(network, train, rows, fitted)
        if twin is not None:
            # The control must be asked the same question: it decides by the same probe.
            twin = twin._replace(decide=network.decide, contributions=None)
    votes = knowledge.neighbors(train, rows, len(info.classes))
    return Study(network, twin, info, size, tuple(groups), train, rows, scores, votes)


def _with_probe(
    network: subject.Subject,
    train: Rows,
    rows: Rows,
    fitted: Mapping[tuple[str, str], probes.Probe],
) -> tuple[subject.Subject, Rows, Rows]:
    """The network and its rows with a probe of the embedding in place of an untrained head."""
    probe = fitted["embedding", "average"]
    spectrum = probes.decompose(train["embedding"])
    # The sharpness is fitted to examples that the probe has not seen, for it fits those it has seen
    # too well.
    unseen = probes.leave_one_out(spectrum, train["label"], probe.strength)
    sharpness = 1 / calibration.temperature(unseen, train["label"])
    network = subject.with_probe(network, probe, sharpness)
    train, rows = (
        r | {"logits": sharpness * probes.read(probe, r["embedding"]), "probed": True}
        for r in (train, rows)
    )
    return network, train, rows


def batches(source: Any, preprocessing: Any) -> Iterator[dict[str, np.ndarray]]:
    """Every example of a source once, as the network is to see it."""
    return pipeline.eval_batches(
        source,
        image_size=preprocessing.image_size,
        crop_fraction=preprocessing.crop_fraction,
        batch_size=BATCH,
        interpolation=preprocessing.interpolation,
    )
