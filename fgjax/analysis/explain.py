"""The measures that need the network and its images once more, and the pictures of the report.

Fields of view, attribution, hidden parts and the evidence for errors cannot be had from collected
rows. They are measured on a sample of the evaluated images, and on errors.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, UInt8

from fgjax.analysis import (
    cases,
    causes,
    circumstances,
    evidence,
    gallery,
    mistakes,
    parts,
    units,
    vision,
)
from fgjax.analysis.features import Rows
from fgjax.analysis.study import Study
from fgjax.analysis.subject import evidence_level
from fgjax.vocabulary import MIDDLE

Load = Callable[[Any], dict[str, np.ndarray]]

ERRORS = 200  # how many are explained; more only repeat the same causes
UNITS = 4  # how many of each level are shown
OCCLUDED = 48  # in how many images parts are hidden: it takes a pass of the network for each part
SEEN = 32  # images on which fields of view and selectivity are measured


class Pictured(NamedTuple):
    """What :func:`explain` found.

    Attributes:
        content: sections of the report by name.
        geometry: figures to add to each level, and to the embedding.
        pictures: by name.
    """

    content: dict[str, Any]
    geometry: dict[str, dict[str, Any]]
    pictures: dict[str, gallery.Picture]


def explain(
    study: Study, chosen: Int[np.ndarray, " s"], load: Load, load_training: Load, params: Any
) -> Pictured:
    """Everything that is measured on images rather than on collected rows.

    Images are read once: those of the sample, of the errors, and those that units respond to most.

    Args:
        study: what was collected.
        chosen: rows of the sample.
        load: from indices of evaluated examples to the batch of these.
        load_training: the same for training examples.
        params: parameters of the network, for its first filters.
    """
    rows = study.rows
    wrong = np.flatnonzero(rows["logits"].argmax(1) != rows["label"])
    # Another seed than the sample's, so that the two draws have nothing to do with each other.
    wrong = np.sort(np.random.default_rng(1).permutation(wrong)[:ERRORS])
    shown = {
        level: gallery.characteristic_units(
            study.train["levels"][level]["average"], study.train["label"], UNITS
        )
        for level in study.levels
    }
    needed = np.union1d(
        rows["index"][np.union1d(chosen, wrong)], list(gallery.wanted(rows["top"], shown))
    ).astype(int)
    images = gallery.by_index(load(needed))
    sample = _images(images, rows, chosen)
    geometry = vision.level_geometry(study.network, sample[:SEEN], rows["octaves"])
    separates = functools.cache(separator(study))
    on_parts = on_parts_of(study, images, np.union1d(chosen, wrong), separates)
    explained = causes.explain(
        mistakes.witnesses(rows, study.scores, study.votes),
        circumstances.circumstances(study.train, rows, study.size, separates),
        on_parts,
    )
    browser, pictures = cases.browse(study, images, explained, load_training, separates)
    reasons, more = cases.reasons(study, images, chosen, on_parts)
    pictures |= more
    pictures |= _unit_pictures(study, images, shown, geometry)
    pictures |= _part_pictures(study, sample, chosen)
    if (filters := vision.first_filters(params)) is not None:
        tiles = [gallery.resize(f, 40, smooth=False) for f in filters[:64]]
        pictures["filters"] = gallery.sheet(tiles, 16)
    content = {
        "evidence_level": evidence_level(study.network),
        "attribution": evidence.scores(
            study.network,
            study.twin,
            sample,
            rows["logits"][chosen].argmax(1),
            rows["box"][chosen],
        ),
        "occlusion": _occlusion(study, sample, chosen),
        "errors": [cases.named(study, error) for error in explained],
        "causes": mistakes.count_causes(explained),
        "browser": browser,
        "reasons": reasons,
        "shown_units": {level: u.tolist() for level, u in shown.items()},
    }
    return Pictured(content, geometry, pictures)


def _images(
    images: cases.Images, rows: Rows, which: Int[np.ndarray, " m"]
) -> UInt8[np.ndarray, "m s s 3"]:
    return np.stack([images[int(i)] for i in rows["index"][which]])


def separator(study: Study) -> Callable[[int, int], Float[np.ndarray, " p"]]:
    """A function from two classes to how well each part alone tells them apart, as an accuracy.

    Drawn birds come with the truth: the parts in which two species differ have accuracy 1, the
    others 0.5. Elsewhere it is that of read-outs at the last middle level: late enough to know
    parts, early enough to keep them apart.
    """
    rows, concepts = study.rows, np.array(study.concepts)
    if study.info.separating_parts is not None:
        known = study.info.separating_parts
        names = study.info.classes

        def by_construction(a, b):
            return np.where(np.isin(concepts, known.get((names[a], names[b]), ())), 1.0, 0.5)

        return by_construction
    if not len(concepts):
        return lambda a, b: np.zeros(0)
    level = ([name for name in study.levels if name in MIDDLE] or study.levels)[-1]
    scores = units.class_scores(study.train, rows, level, len(study.info.classes))
    visible = rows["parts"][rows["with_parts"], :, 2] > 0
    labels = rows["label"][rows["with_parts"]]
    return lambda a, b: causes.separating_parts(scores, visible, labels, a, b)


def on_parts_of(
    study: Study,
    images: cases.Images,
    which: Int[np.ndarray, " m"],
    separates: Callable[[int, int], Float[np.ndarray, " p"]],
) -> Float[np.ndarray, " n"]:
    """Share of the evidence that lies on parts which tell the label from its closest rival.

    The rival is the class with the highest score but for the label.

    Args:
        study: what was collected.
        images: evaluated images by index.
        which: rows that are measured.
        separates: from two classes to how well each part alone tells them apart.

    Returns:
        For every row the share, nan where it was not measured.
    """
    rows = study.rows
    result = np.full(len(rows["label"]), np.nan)
    if study.concepts and len(which):
        labels, others = rows["label"][which], mistakes.rivals(rows["logits"], rows["label"])[which]
        masks = [
            circumstances.telling(separates(int(a), int(b)))
            for a, b in zip(labels, others, strict=True)
        ]
        result[which] = evidence.on_separating_parts(
            study.network,
            _images(images, rows, which),
            labels,
            others,
            rows["parts"][which],
            np.stack(masks),
            parts.RADIUS * study.size,
        )
    return result


def _occlusion(study: Study, sample: np.ndarray, chosen: np.ndarray) -> dict[str, Any] | None:
    if not study.concepts:
        return None
    few, rows = chosen[:OCCLUDED], study.rows
    # A disc half as wide again as the pointing game's covers a part, and not only its middle.
    return evidence.occlusion(
        study.network,
        sample[:OCCLUDED],
        rows["label"][few],
        rows["box"][few],
        rows["parts"][few],
        study.concepts,
        1.5 * parts.RADIUS * study.size,
    )


def _unit_pictures(
    study: Study,
    images: cases.Images,
    shown: Mapping[str, Int[np.ndarray, " u"]],
    geometry: Mapping[str, Mapping[str, Any]],
) -> cases.Pictures:
    return {
        f"units-{level}": gallery.patches(
            study.rows["top"][level],
            chosen,
            images,
            geometry[level]["size"],
            geometry[level]["effective_field"],
        )
        for level, chosen in shown.items()
    }


def _part_pictures(
    study: Study,
    sample: UInt8[np.ndarray, "n s s 3"],
    chosen: Int[np.ndarray, " n"],
    columns: int = 6,
) -> cases.Pictures:
    """The best middle-layer unit of each part, its response over images that show the part."""
    middle = [name for name in study.levels if name in MIDDLE]
    if not study.concepts or not middle:
        return {}
    level, few = middle[-1], slice(0, columns)
    found = units.alignment(study.train, study.rows, study.concepts, study.size)["levels"][level]
    hierarchy = study.network.apply(jnp.asarray(sample[few], jnp.float32)).hierarchy
    maps = np.asarray(hierarchy[level])
    placed = study.rows["parts"][chosen[few]]
    pictures = {}
    for part, name in enumerate(study.concepts):
        if name not in found:
            continue
        tiles = []
        for i, image in enumerate(sample[few]):
            tile = gallery.response(image, maps[i, :, :, found[name]["unit"]])
            if placed[i, part, 2] > 0:
                tile = gallery.marked(tile, placed[i, part, :2], parts.RADIUS * study.size)
            tiles.append(gallery.resize(tile, 96))
        pictures[f"part-{name}"] = gallery.sheet(tiles, columns)
    return pictures
