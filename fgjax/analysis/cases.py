"""Single images of the report: errors of the most confused pairs, and close calls.

An error is shown with the training images most alike, a close call with its rival; both with the
evidence for one class against the other laid over the image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int
from scipy import special

from fgjax.analysis import evidence, gallery, mistakes
from fgjax.analysis.study import Study
from fgjax.analysis.subject import difference_map
from fgjax.evaluation import confusions
from fgjax.show.overlay import evidence_scale, heat_overlay

Images = Mapping[int, gallery.Picture]
Pictures = dict[str, gallery.Picture]

PAIRS, CASES = 8, 2  # confused pairs, and errors of each, that are shown
REASONS = 9  # rightly told images that are shown
SIDE = 200  # of pictures, pixels


def named(study: Study, error: Mapping[str, Any]) -> dict[str, Any]:
    """An error with the names of its classes, and the index of its example."""
    classes = study.info.classes
    return {
        **error,
        "index": int(study.rows["index"][error["row"]]),
        "label": classes[error["label"]],
        "prediction": classes[error["prediction"]],
    }


def browse(
    study: Study,
    images: Images,
    explained: Sequence[dict[str, Any]],
    load_training: Callable[[Any], dict[str, np.ndarray]],
    separates: Callable[[int, int], Float[np.ndarray, " p"]],
) -> tuple[list[dict[str, Any]], Pictures]:
    """The most confused pairs of classes, each with the errors that the network is surest of.

    Args:
        study: what was collected.
        images: evaluated images by index; an error whose image is not among them is not shown.
        explained: the errors, see :func:`causes.explain`.
        load_training: from indices of training examples to the batch of these.
        separates: from two classes to how well each part alone tells them apart.

    Returns:
        The pairs, and pictures by name: ``case-INDEX-ROLE`` with the roles ``image``, ``evidence``,
        ``true`` and ``taken`` (most alike training image of the label and of the prediction).
    """
    rows, classes = study.rows, study.info.classes
    pairs = confusions.most_confused(
        rows["label"], rows["logits"].argmax(1), classes, PAIRS, study.info.coarse_of
    )
    shown: list[dict[str, Any]] = []
    for pair in pairs:
        a, b = classes.index(pair["first"]), classes.index(pair["second"])
        both = [
            e
            for e in explained
            if {e["label"], e["prediction"]} == {a, b} and int(rows["index"][e["row"]]) in images
        ]
        both.sort(key=lambda e: -e["confidence"])
        pair["cases"] = [named(study, e) for e in both[:CASES]]
        pair["parts"] = dict(zip(study.concepts, separates(a, b).tolist(), strict=True))
        shown += both[:CASES]
    return pairs, _case_pictures(study, images, shown, load_training) if shown else {}


def _case_pictures(
    study: Study,
    images: Images,
    shown: Sequence[Mapping[str, Any]],
    load_training: Callable[[Any], dict[str, np.ndarray]],
) -> Pictures:
    rows = study.rows
    which, labels, taken = (
        np.array([e[key] for e in shown]) for key in ("row", "label", "prediction")
    )
    pictures = _evidence_pictures(study, images, which, taken, labels, "case-{index}-{role}")
    alike = {
        (int(rows["index"][row]), role): gallery.nearest(
            rows["embedding"][row], study.train["embedding"], study.train["label"] == c
        )
        for row, *pair in zip(which, labels, taken, strict=True)
        for role, c in zip(("true", "taken"), pair, strict=True)
    }
    index_of = {key: int(study.train["index"][row]) for key, row in alike.items()}
    training = gallery.by_index(load_training(sorted(set(index_of.values()))))
    for (index, role), found in index_of.items():
        pictures[f"case-{index}-{role}"] = gallery.resize(training[found], SIDE)
    return pictures


def reasons(
    study: Study,
    images: Images,
    sample: Int[np.ndarray, " s"],
    on_parts: Float[np.ndarray, " n"],
) -> tuple[list[dict[str, Any]], Pictures]:
    """Close calls: rightly told images of the sample whose rival comes nearest to the label.

    Args:
        study: what was collected.
        images: evaluated images by index.
        sample: rows to choose from; of each class the closest call, lest one pair fill the page.
        on_parts: share of the evidence on parts that separate label and rival, of every row.

    Returns:
        The cases, closest first, and pictures ``reason-PLACE-ROLE`` with the roles ``image`` and
        ``evidence``.
    """
    rows, classes = study.rows, study.info.classes
    rivals = mistakes.rivals(rows["logits"], rows["label"])
    right = sample[rows["logits"][sample].argmax(1) == rows["label"][sample]]
    chances = special.softmax(rows["logits"], axis=1)
    closest = sorted(right, key=lambda row: -chances[row, rivals[row]])
    first = {int(rows["label"][row]): row for row in reversed(closest)}
    chosen = np.array([row for row in closest if first[int(rows["label"][row])] == row][:REASONS])
    if not len(chosen):
        return [], {}
    labels, others = rows["label"][chosen], rivals[chosen]
    pictures = _evidence_pictures(study, images, chosen, labels, others, "reason-{place}-{role}")
    found = [
        {
            "index": int(rows["index"][row]),
            "label": classes[label],
            "rival": classes[other],
            "confidence": float(chances[row, label]),
            "rival_confidence": float(chances[row, other]),
            "on_separating_parts": float(on_parts[row]),
        }
        for row, label, other in zip(chosen, labels, others, strict=True)
    ]
    return found, pictures


def _evidence_pictures(
    study: Study,
    images: Images,
    which: Int[np.ndarray, " m"],
    classes: Int[np.ndarray, " m"],
    others: Int[np.ndarray, " m"],
    name: str,
) -> Pictures:
    """Each image, and the evidence for its class against the other laid over it.

    ``name`` is a template of {index}, {place} and {role}.
    """
    method = jax.jit(lambda x, a, b: difference_map(study.network, x, a, b))
    shown = [images[int(i)] for i in study.rows["index"][which]]
    maps = evidence.maps_of(method, np.stack(shown), classes, others)
    pictures = {}
    for place, (row, image, found) in enumerate(zip(which, shown, maps, strict=True)):
        index = int(study.rows["index"][row])
        overlay = heat_overlay(image, found, evidence_scale(found))
        for role, picture in (("image", image), ("evidence", overlay)):
            key = name.format(index=index, place=place, role=role)
            pictures[key] = gallery.resize(picture, SIDE)
    return pictures
