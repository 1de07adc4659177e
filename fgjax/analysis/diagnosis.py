"""From cheap scores to advice, and from advice to a test of it.

Each option is a change of the config with a predicted gain, in accuracy, read off figures that
need no training. Short trainings, where they are affordable, tell what the prediction is worth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats

from fgjax.vocabulary import LEVELS

# Poolings that do not scale their vectors to one length.
AVERAGES = ("average", "gem")
# Learning rates: of a head (on vectors of length one, see ``fgjax.finetune.lengths``), of levels
# that were frozen, of attention.
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
    """The short schedule that every option is tested with.

    What is behind the levels learns first, on a frozen trunk, whose stored features make epochs
    cheap; then the levels of ``rates``, where there are any, train with it.
    """
    behind = {group: rate for group, rate in rates.items() if group not in LEVELS}
    views = ("center", "flip")
    first = {"name": "head", "share": 4, "train": behind, "views": views, "decay": 1e-5}
    if len(behind) == len(rates):
        return (first,)
    lower = {group: 0.3 * rate for group, rate in behind.items()}
    return first, {"name": "tune", "share": 1, "train": {**rates, **lower}, "warmup": 0.1}


def starting_rates(trained: Mapping[str, float]) -> dict[str, float]:
    """The rates of the groups a run trains; where it trains no head, a usual one for the head."""
    return {"head": HEAD_RATE} | dict(trained)


def unfreezing(
    together: Mapping[str, float], alone: float, rates: Mapping[str, float]
) -> list[Option]:
    """Options to train from each level on, by what its inputs hold and the embedding lacks.

    Training from an earlier level can do all that training from a later one can: the gain is the
    greatest over the inputs of all levels that are trained. What ``rates`` trains already is no
    option, and what its inputs hold no promise.

    Args:
        together: level -> accuracy of its read-out and the embedding's taken together.
        alone: accuracy of the embedding's.
        rates: of the groups that train.
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
    """Options on how the last maps are made and read, from accuracies of read-outs.

    Args:
        accuracy: on the evaluated examples, of ``embedding`` (what the head reads now), and of the
            last level ``average``, ``second_order``, ``object`` (average over the box; nan without
            boxes), ``pyramid`` (averages of the last two levels together), ``shrunk`` (averages of
            images at two thirds of their size).
        model: ``config.model``; what is there already is not advised.
        levels: of the hierarchy, fine to coarse.
        size: side of the network's input, pixels.
        rates: of the groups that train.
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
    return Option(name, changes, new - old, f"{reason}: {_percent(new)} against {_percent(old)}")


def _co_occurrences(accuracy, last, rates) -> Option:
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


def _pyramid(accuracy, both, rates) -> Option:
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


def _attention(accuracy, last, rates) -> Option:
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


def _resolution(accuracy, size, rates) -> Option:
    lost = accuracy["average"] - accuracy["shrunk"]
    # Each step up in resolution brings less than the one before: about half.
    return Option(
        "raise the resolution by half",
        {"data.image_size": round(1.5 * size / 16) * 16, "schedule": recipe(rates)},
        lost / 2,
        f"taking a third of the resolution away costs {_percent(lost)}; as much more brings "
        "about half of that",
    )


def _name(model: Mapping[str, Any], part: str) -> str:
    default = {"pooling": "average"}.get(part, "none")
    return model[part]["name"] if part in model else default


def rank(options: Sequence[Option]) -> list[Option]:
    """The options, the greatest predicted gain first; of equal ones, the one that trains least."""

    def trained(option):
        return len({g for phase in option.changes.get("schedule", ()) for g in phase["train"]})

    return sorted(options, key=lambda option: (-option.gain, trained(option)))


def check(
    options: Sequence[Option],
    train_briefly: Callable[[Mapping[str, object]], float],
    unchanged: Mapping[str, object],
) -> dict:
    """Runs the short training of each option and of none, and compares the order.

    Args:
        options: to be tested.
        train_briefly: config changes -> accuracy on held-out examples.
        unchanged: the changes of no option: the schedule of the short training alone.

    Returns:
        ``baseline`` accuracy, ``options`` (name, predicted and measured gain) and ``tau``, their
        Kendall rank correlation with a bootstrap interval.
    """
    baseline = train_briefly(unchanged)
    gains = [train_briefly(option.changes) - baseline for option in options]
    scores = [option.gain for option in options]
    return {
        "baseline": float(baseline),
        "options": [
            {"name": option.name, "predicted": float(option.gain), "measured": float(gain)}
            for option, gain in zip(options, gains, strict=True)
        ],
        "tau": agreement(np.array([scores]), np.array([gains])),
    }


def agreement(
    scores: Float[np.ndarray, "settings options"],
    gains: Float[np.ndarray, "settings options"],
    *,
    draws: int = 2000,
    seed: int = 0,
) -> dict[str, float]:
    """Mean Kendall tau-b over settings, with its percentile bootstrap 95 % interval.

    Settings are resampled, and options within each where there is one setting only. A setting
    whose scores or gains are all equal says nothing and counts as 0.
    """
    rng = np.random.default_rng(seed)
    settings, options = scores.shape
    values = np.array([kendall(s, g) for s, g in zip(scores, gains, strict=True)])
    if settings > 1:
        means = values[rng.integers(0, settings, (draws, settings))].mean(1)
    else:
        picks = rng.integers(0, options, (draws, options))
        means = np.array([kendall(scores[0, pick], gains[0, pick]) for pick in picks])
    low, high = np.percentile(means, [2.5, 97.5])
    return {"value": float(values.mean()), "low": float(low), "high": float(high), "n": settings}


def kendall(first: Float[np.ndarray, " n"], second: Float[np.ndarray, " n"]) -> float:
    """Kendall tau-b; 0 where one of the two is constant."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(stats.kendalltau(first, second).statistic)


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f}\u00a0%"
