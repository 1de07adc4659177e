"""The whole analysis of a network on a data set: one pass over each split, then every measure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fgjax.analysis import (
    diagnosis,
    explain,
    features,
    knowledge,
    mistakes,
    page,
    probes,
    similarity,
    units,
)
from fgjax.analysis.study import Study, batches, observe
from fgjax.errors import UserError

FORMAT_VERSION = 2  # of report.json


def report(
    recogniser: Any,
    data: Any,
    folder: str | Path,
    *,
    twins: Mapping[str, Any] | None = None,
    name: str | None = None,
    parts_of: Mapping[str, Any] | None = None,
    trained: Mapping[str, float] | None = None,
    check: Callable[[Mapping[str, Any]], float] | None = None,
    beside: Sequence[Mapping[str, Any]] = (),
    sample: int = 96,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Measures the hierarchy of a network and writes ``index.html`` and ``report.json``.

    Read-outs are fitted on ``data.train``, their strength chosen there too, and scored on
    ``data.test`` if there is one, else on ``data.validation``. A head that was never trained is
    replaced by a probe of what it reads.

    Args:
        recogniser: as ``fgjax.load`` gives it: ``normalize, apply, apply_from, contributions,
            preprocessing, variables``.
        data: as ``fgjax.data.load`` gives it.
        folder: of the report.
        twins: networks of the same architecture to set beside it: "random" (the control of every
            read-out) and "pretrained" (before fine-tuning).
        name: of the run, for the title.
        parts_of: ``config.model``, so that the advice names no part that is there already.
        trained: learning rate of each group that the run trained, so that the advice does not
            tell to train it.
        check: trains briefly with changes of the config and returns the accuracy; where given,
            the advice is tested with it.
        beside: what this function returned for other runs, to be set side by side.
        sample: images for what needs the network itself: attribution, occlusion.
        say: told what is being done.

    Returns:
        What ``report.json`` holds.

    Raises:
        UserError: there is no split to fit or to evaluate on, or one of them is too small.
    """
    split, evaluated = _evaluated(data)
    say(f"features of {len(data.train):,} training and {len(evaluated):,} {split} images")
    study = observe(recogniser, twins or {}, data.train, evaluated)
    say("fields of view, attribution and errors")
    pictured = explain.explain(
        study,
        np.sort(np.random.default_rng(0).permutation(len(study.rows["label"]))[:sample]),
        _loader(evaluated, recogniser.preprocessing),
        _loader(data.train, recogniser.preprocessing),
        recogniser.variables["params"],
    )
    say("levels, parts and advice")
    content = {
        "format_version": FORMAT_VERSION,
        "name": name or data.info.name,
        "data": _description(study, split),
        **measure(study, parts_of or {}, trained or {}),
        **pictured.content,
    }
    for level, seen in pictured.geometry.items():
        content["levels"][level] |= seen
    if check is not None:
        options = [diagnosis.Option(**option) for option in content["advice"]["options"]]
        content["advice"]["check"] = diagnosis.check(options, check, content["advice"]["unchanged"])
    page.write(content, pictured.pictures, beside, Path(folder))
    return content


def _evaluated(data: Any) -> tuple[str, Any]:
    """The split that is scored, by name and itself."""
    split = "validation" if data.test is None else "test"
    source = getattr(data, split)
    if data.train is None or source is None:
        raise UserError(
            "The analysis needs a training split and a validation or test split; load the data "
            "with both."
        )
    return split, source


def _loader(source: Any, preprocessing: Any) -> explain.Load:
    """A function from indices to the batch of these examples."""
    return lambda indices: features.gather(batches(source, preprocessing), indices)


def _description(study: Study, split: str) -> dict[str, Any]:
    info = study.info
    return {
        "name": info.name,
        "classes": len(info.classes),
        "coarse_classes": len(info.coarse_classes or ()),
        "single_class_families": int(np.sum(np.bincount(info.coarse_of) == 1))
        if info.coarse_of is not None
        else 0,
        "concepts": list(study.concepts),
        "train": len(study.train["label"]),
        "evaluated": len(study.rows["label"]),
        "split": split,
        "image_size": study.size,
        "probed": bool(study.rows.get("probed", False)),
    }


def measure(study: Study, model: Mapping[str, Any], trained: Mapping[str, float]) -> dict[str, Any]:
    """Everything that is measured on the collected rows alone."""
    rows, train, info = study.rows, study.train, study.info
    labels = rows["label"]
    levels = {}
    for level in (*study.levels, "embedding"):
        x = train["embedding"] if level == "embedding" else train["levels"][level]["average"]
        levels[level] = {
            "read_outs": {
                kind: knowledge.accuracies(scores, labels, info.coarse_of)
                for (where, kind), scores in study.scores.items()
                if where == level
            },
            "neighbours": knowledge.share(study.votes[level].argmax(1) == labels),
            "transferability": knowledge.scores_without_training(x, train["label"]),
            "compression": knowledge.spectrum_figures(x, train["label"]),
        }
    right = {level: study.right(level, "second_order") for level in study.levels}
    right |= {"average pooling": study.right(study.levels[-1], "average")}
    decided = rows["logits"].argmax(1) == labels
    order = [*study.levels, "average pooling"]
    return {
        "levels": levels,
        "decision": mistakes.decision(rows["logits"], labels, info.classes, info.coarse_of),
        "passage": knowledge.passage(right | {"network": decided}, [*order, "network"]),
        "similarity": {
            "names": [" ".join(name) for name in rows["alignment_names"]],
            "cka": similarity.cka(rows["alignment"]).tolist(),
        },
        "parts": _parts(study),
        "advice": advice(study, model, trained),
    }


def _parts(study: Study) -> dict[str, Any] | None:
    if not study.concepts or not (study.rows["parts"][..., 2] > 0).any():
        return None
    found = units.alignment(study.train, study.rows, study.concepts, study.size)
    return found | {"identity": units.identity(study.train, study.rows)}


def advice(study: Study, model: Mapping[str, Any], trained: Mapping[str, float]) -> dict[str, Any]:
    """Options with their predicted gains, the best first, and the schedule they are tested by."""
    last, before = study.levels[-1], study.levels[-2:][0]
    train, rows = study.train, study.rows

    def accuracy(describe):
        probe = probes.fit(describe(train), {"fine": train["label"]})["fine"]
        return float(np.mean(probes.read(probe, describe(rows)).argmax(1) == rows["label"]))

    def both(r):
        pair = (r["levels"][before]["average"], r["levels"][last]["average"])
        return np.concatenate(pair, axis=1)

    boxed = np.isfinite(rows["box"]).all()
    figures = {
        "embedding": float(np.mean(study.right("embedding", "average"))),
        "average": float(np.mean(study.right(last, "average"))),
        "second_order": float(np.mean(study.right(last, "second_order"))),
        "pyramid": accuracy(both),
        "shrunk": accuracy(lambda r: r["shrunk"][last]),
        "object": accuracy(lambda r: r["levels"][last]["object"]) if boxed else float("nan"),
    }
    together = {level: _together(study, level) for level in study.levels}
    rates = diagnosis.starting_rates(trained)
    options = diagnosis.unfreezing(together, figures["embedding"], rates)
    options += diagnosis.architecture(figures, model, tuple(study.levels), study.size, rates)
    return {
        "figures": figures,
        "options": [option._asdict() for option in diagnosis.rank(options)],
        "unchanged": {"schedule": diagnosis.recipe(rates)},
    }


def _together(study: Study, level: str) -> float:
    """Accuracy of the sum of two read-outs: second-order features of a level, and the embedding."""
    scores = (
        study.scores[level, "second_order"]["fine"] + study.scores["embedding", "average"]["fine"]
    )
    return float(np.mean(scores.argmax(1) == study.rows["label"]))
