"""The whole analysis of a network on a data set: one pass over each split, then every measure.

:func:`report` is the way in. :mod:`study` collects rows and fits read-outs to them, :func:`measure`
reads figures off the rows, :mod:`explain` goes back to the images, :mod:`page` writes it all.
"""

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
    trials,
    units,
)
from fgjax.analysis.features import Rows
from fgjax.analysis.study import Study, batches, observe
from fgjax.errors import UserError
from fgjax.evaluation import intervals

FORMAT_VERSION = 2  # of report.json; raised whenever an older report could not be compared


def report(
    recognizer: Any,
    data: Any,
    folder: str | Path,
    *,
    twins: Mapping[str, Any] | None = None,
    name: str | None = None,
    model_config: Mapping[str, Any] | None = None,
    trained: Mapping[str, float] | None = None,
    check: Callable[[Mapping[str, Any]], float] | None = None,
    other_reports: Sequence[Mapping[str, Any]] = (),
    sample: int = 96,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Measures the hierarchy of a network and writes ``index.html`` and ``report.json``.

    Read-outs are fitted to ``data.train``, and so is the strength of their penalty; they are scored
    on ``data.test`` if there is one, else on ``data.validation``. A head that was never trained is
    replaced by a linear probe of the embedding.

    Args:
        recognizer: as ``fgjax.load`` gives it: ``normalize, apply, apply_from, contributions,
            preprocessing, variables``.
        data: as ``fgjax.data.load`` gives it.
        folder: of the report.
        twins: networks of the same architecture to compare with: "random" (the control of every
            read-out) and "pretrained" (before fine-tuning).
        name: of the run, for the title; that of the data where there is none.
        model_config: ``config.model``, so that the advice names nothing that is there already.
        trained: learning rate of each group that the run trained, so that the advice does not
            propose to train it.
        check: from changes of the config to the accuracy after a short training; where given, the
            advice is tested with it.
        other_reports: what this function returned for other runs, for a comparison.
        sample: how many images are drawn for what needs the network itself, such as attribution.
        say: is called with a line of text before each stage.

    Returns:
        What ``report.json`` holds.

    Raises:
        UserError: there is no split to fit or to evaluate on, or one of them is too small.
    """
    split, evaluated = _evaluated(data)
    say(f"features of {len(data.train):,} training and {len(evaluated):,} {split} images")
    study = observe(recognizer, twins or {}, data.train, evaluated)
    say("fields of view, attribution and errors")
    pictured = explain.explain(
        study,
        np.sort(np.random.default_rng(0).permutation(len(study.rows["label"]))[:sample]),
        _loader(evaluated, recognizer.preprocessing),
        _loader(data.train, recognizer.preprocessing),
        recognizer.variables["params"],
    )
    say("levels, parts and advice")
    content = {
        "format_version": FORMAT_VERSION,
        "name": name or data.info.name,
        "data": _description(study, split),
        **measure(study, model_config or {}, trained or {}),
        **pictured.content,
    }
    for level, seen in pictured.geometry.items():
        content["levels"][level] |= seen
    if check is not None:
        options = [diagnosis.Option(**option) for option in content["advice"]["options"]]
        content["advice"]["check"] = trials.check(options, check, content["advice"]["unchanged"])
    page.write(content, pictured.pictures, other_reports, Path(folder))
    return content


def _evaluated(data: Any) -> tuple[str, Any]:
    """Name and examples of the split that is scored."""
    split = "validation" if data.test is None else "test"
    source = getattr(data, split)
    if data.train is None or source is None:
        raise UserError(
            "the analysis needs a training split and a validation or test split; load the data "
            "with both"
        )
    return split, source


def _loader(source: Any, preprocessing: Any) -> explain.Load:
    """A function from indices of a source's examples to the batch of these."""
    return lambda indices: features.gather(batches(source, preprocessing), indices)


def _description(study: Study, split: str) -> dict[str, Any]:
    """The data and how the network saw them."""
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
    """Everything that is measured on the collected rows alone, as sections of the report.

    Args:
        study: what was collected.
        model: ``config.model``.
        trained: learning rate of each group that the run trained.
    """
    rows, train, info = study.rows, study.train, study.info
    labels = rows["label"]
    levels = {}
    for level in (*study.levels, "embedding"):
        x = train["embedding"] if level == "embedding" else train["levels"][level]["average"]
        levels[level] = {
            "read_outs": {
                kind: knowledge.accuracies(scores, labels, info.coarse_of)
                for (of, kind), scores in study.scores.items()
                if of == level
            },
            "neighbours": intervals.share(study.votes[level].argmax(1) == labels)._asdict(),
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
    """Which units and levels find parts; None where one of the splits shows no part."""
    splits = (study.train, study.rows)
    if not all((r["parts"][r["with_parts"], :, 2] > 0).any() for r in splits):
        return None
    found = units.alignment(study.train, study.rows, study.concepts, study.size)
    return found | {"identity": units.identity(study.train, study.rows)}


def advice(study: Study, model: Mapping[str, Any], trained: Mapping[str, float]) -> dict[str, Any]:
    """The options for the config, and the accuracies of read-outs that they are predicted from.

    Args:
        study: what was collected.
        model: ``config.model``.
        trained: learning rate of each group that the run trained.

    Returns:
        ``figures``, ``options`` (the greatest predicted gain first) and ``unchanged``, the changes
        that all short trainings have in common: the schedule of the run as it is.
    """
    figures = _figures(study)
    together = {level: _together(study, level) for level in study.levels}
    rates = diagnosis.starting_rates(trained)
    options = diagnosis.unfreezing(together, figures["embedding"], rates)
    options += diagnosis.architecture(figures, model, tuple(study.levels), study.size, rates)
    return {
        "figures": figures,
        "options": [option._asdict() for option in diagnosis.rank(options)],
        "unchanged": {"schedule": diagnosis.recipe(rates)},
    }


def _figures(study: Study) -> dict[str, float]:
    """Accuracies of read-outs, see :func:`diagnosis.architecture`."""
    train, rows = study.train, study.rows
    *_, last = study.levels
    pair = study.levels[-2:]

    def accuracy(describe: Callable[[Rows], Any]) -> float:
        probe = probes.fit(describe(train), {"fine": train["label"]})["fine"]
        return float(np.mean(probes.read(probe, describe(rows)).argmax(1) == rows["label"]))

    def pyramid(r: Rows) -> Any:
        return np.concatenate([r["levels"][level]["average"] for level in pair], axis=1)

    boxed = np.isfinite(rows["box"]).all()
    return {
        "embedding": float(np.mean(study.right("embedding", "average"))),
        "average": float(np.mean(study.right(last, "average"))),
        "second_order": float(np.mean(study.right(last, "second_order"))),
        "pyramid": accuracy(pyramid),
        "shrunk": accuracy(lambda r: r["shrunk"][last]),
        "object": accuracy(lambda r: r["levels"][last]["object"]) if boxed else float("nan"),
    }


def _together(study: Study, level: str) -> float:
    """Accuracy of the sum of two read-outs: second-order features of a level, and the embedding."""
    scores = (
        study.scores[level, "second_order"]["fine"] + study.scores["embedding", "average"]["fine"]
    )
    return float(np.mean(scores.argmax(1) == study.rows["label"]))
