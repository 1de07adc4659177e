"""From measured figures to advice: changes of the config, each with a predicted gain.

A gain is a difference of accuracies of read-outs that need no training of the network.
:mod:`fgjax.analysis.trials` tests the predictions by short trainings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fgjax.analysis.words import percent
from fgjax.vocabulary import LEVELS

# First-order poolings: a run that has one of them can gain by second-order pooling.
AVERAGES = ("average", "gem")
# Learning rates of plain gradient descent that suit short trainings: of a linear head (on vectors
# of length one, see ``fgjax.finetune.lengths``), of levels that were frozen so far, of a new
# attention module.
HEAD_RATE, LEVEL_RATE, ATTENTION_RATE = 1.0, 0.002, 0.1


class Option(NamedTuple):
    """A change that might help.

    Attributes:
        name: what to do, in words.
        changes: dotted config keys and their values.
        gain: predicted gain in accuracy, as a fraction.
        reason: the measured figures it is predicted from, in words.
    """

    name: str
    changes: Mapping[str, object]
    gain: float
    reason: str


def recipe(rates: Mapping[str, float]) -> tuple[dict[str, Any], ...]:
    """The short schedule that every option is tested with: one phase, or two.

    First the groups that are no levels of the backbone (head, attention, merge) learn, while the
    backbone is frozen: its features are then computed once, so that an epoch takes little time.
    Where ``rates`` names levels too, a second phase trains these together with the others.

    Args:
        rates: learning rate of each group that trains.
    """
    behind = {group: rate for group, rate in rates.items() if group not in LEVELS}
    # Stored features allow no augmentation but this: each image and its mirror image.
    views = ("center", "flip")
    first = {"name": "head", "share": 4, "train": behind, "views": views, "decay": 1e-5}
    if len(behind) == len(rates):
        return (first,)
    # What has converged already goes on more gently while the levels beneath it move.
    lower = {group: 0.3 * rate for group, rate in behind.items()}
    return first, {"name": "tune", "share": 1, "train": {**rates, **lower}, "warmup": 0.1}


def starting_rates(trained: Mapping[str, float]) -> dict[str, float]:
    """The rates of the groups that a run trains, and a usual one for the head where it trains none.

    Args:
        trained: learning rate of each group that the run trains.
    """
    return {"head": HEAD_RATE} | dict(trained)


def unfreezing(
    together: Mapping[str, float], alone: float, rates: Mapping[str, float]
) -> list[Option]:
    """One option for each level that is frozen now: train it and all levels that follow.

    The gain is what a linear read-out of the level's input adds to that of the embedding: detail
    that is there and does not reach the head. Training from an earlier level can do all that
    training from a later one can, so that its gain is the greatest over the inputs of all levels
    it would newly train. Levels that ``rates`` trains already are no options, and what their
    inputs hold promises nothing new.

    Args:
        together: level -> accuracy of the sum of two read-outs, the level's and the embedding's.
        alone: accuracy of the embedding's read-out.
        rates: learning rate of each group that the run trains.
    """
    levels = [level for level in LEVELS if level in together]
    trained = [place for place, level in enumerate(levels) if level in rates]
    end = trained[0] - 1 if trained else len(levels)
    options = []
    for place, first in enumerate(levels[1 : end + 1]):
        source = max(levels[place:end], key=together.__getitem__)
        opened = dict.fromkeys(levels[place + 1 :], LEVEL_RATE)
        options.append(
            _compared(
                f"train {first} and what follows",
                {"schedule": recipe(opened | dict(rates))},
                f"linear read-outs of {source} and of the embedding together, against that of "
                "the embedding",
                together[source],
                alone,
            )
        )
    return options


def architecture(
    accuracy: Mapping[str, float],
    model: Mapping[str, Any],
    levels: tuple[str, ...],
    size: int,
    rates: Mapping[str, float],
) -> list[Option]:
    """Options to pool, merge, attend or resize otherwise, from accuracies of read-outs.

    Args:
        accuracy: of read-outs on the evaluated examples. ``embedding``: what the head reads now.
            Of the last level: ``average``, ``second_order``, ``object`` (average over the box; nan
            without boxes), ``pyramid`` (averages of the last two levels, concatenated), ``shrunk``
            (average where the image has two thirds of its sides).
        model: ``config.model``; what it has already is not advised.
        levels: of the hierarchy, fine to coarse.
        size: side of the network's input, pixels.
        rates: learning rate of each group that the run trains.
    """
    options = []
    if _name(model, "pooling") in AVERAGES:
        options.append(_co_occurrences(accuracy, levels[-1:], rates))
    if _name(model, "merge") == "none" and len(levels) > 1:
        options.append(_pyramid(accuracy, levels[-2:], rates))
    if _name(model, "attention") == "none" and np.isfinite(accuracy["object"]):
        options.append(_attention(accuracy, levels[-1:], rates))
    return [*options, _resolution(accuracy, size, rates)]


def _compared(name: str, changes: dict[str, Any], reason: str, new: float, old: float) -> Option:
    """An option by the accuracies of two read-outs, with the change and without it."""
    return Option(name, changes, new - old, f"{reason}: {percent(new)} against {percent(old)}")


def _co_occurrences(
    accuracy: Mapping[str, float], last: tuple[str, ...], rates: Mapping[str, float]
) -> Option:
    return _compared(
        "pool co-occurrences, not averages",
        {
            "model.pooling": {"name": "compact_bilinear", "levels": last},
            "schedule": recipe({**rates, "head": HEAD_RATE}),
        },
        "a linear read-out of second-order features of the last level, against the embedding",
        accuracy["second_order"],
        accuracy["embedding"],
    )


def _pyramid(
    accuracy: Mapping[str, float], both: tuple[str, ...], rates: Mapping[str, float]
) -> Option:
    return _compared(
        "read the last two levels together",
        {
            "model.merge": {"name": "hypercolumn", "levels": both},
            "model.pooling.levels": both[:1],
            "schedule": recipe(rates),
        },
        "a linear read-out of the averages of both levels, against the last alone",
        accuracy["pyramid"],
        accuracy["average"],
    )


def _attention(
    accuracy: Mapping[str, float], last: tuple[str, ...], rates: Mapping[str, float]
) -> Option:
    return _compared(
        "attend to the object",
        {
            "model.attention": {"name": "cbam", "levels": last},
            "schedule": recipe({**rates, "attention": ATTENTION_RATE}),
        },
        "averages over the annotated box, against the whole image",
        accuracy["object"],
        accuracy["average"],
    )


def _resolution(accuracy: Mapping[str, float], size: int, rates: Mapping[str, float]) -> Option:
    lost = accuracy["average"] - accuracy["shrunk"]
    # From 2/3 to 1 is the same factor as from 1 to 1.5. Each such step brings about half of what
    # the one before did. Rounded to a multiple of 16, as customary sizes are.
    return Option(
        "raise the resolution by half",
        {"data.image_size": round(1.5 * size / 16) * 16, "schedule": recipe(rates)},
        lost / 2,
        f"taking a third of the resolution away costs {percent(lost)}; as much more brings "
        "about half of that",
    )


def _name(model: Mapping[str, Any], component: str) -> str:
    """The name of a component of ``config.model``, or of what stands in its place by default."""
    default = {"pooling": "average"}.get(component, "none")
    return model[component]["name"] if component in model else default


def rank(options: Sequence[Option]) -> list[Option]:
    """The options, the greatest gain first; of equal gains, the fewest trained groups first."""

    def trained(option):
        return len({g for phase in option.changes.get("schedule", ()) for g in phase["train"]})

    return sorted(options, key=lambda option: (-option.gain, trained(option)))
