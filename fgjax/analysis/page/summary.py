"""The findings in words, written from the figures: for the page and for the console."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fgjax.analysis.words import percent
from fgjax.vocabulary import EARLY, MIDDLE

Content = Mapping[str, Any]


def band(level: str) -> str:
    """Where a level lies in the network: "early", "middle" or "late"."""
    return "early" if level in EARLY else "middle" if level in MIDDLE else "late"


def levels_of(content: Content) -> list[str]:
    """The levels, fine to coarse, without the embedding."""
    return [level for level in content["levels"] if level != "embedding"]


def accuracy(content: Content, level: str, kind: str, target: str = "fine") -> float:
    """Accuracy of a read-out, nan where there is none."""
    found = content["levels"][level]["read_outs"].get(kind, {}).get(target)
    return math.nan if found is None else found["value"]


def sentences(content: Content) -> list[str]:
    """What the report found, most important first."""
    return [
        sentence
        for write in (_decision, _depth, _detail, _passage, _parts, _errors, _advice)
        if (sentence := write(content))
    ]


def _decision(content: Content) -> str:
    top1, data = content["decision"]["top1"], content["data"]
    who = "A linear probe of the untrained network" if data["probed"] else "The network"
    text = (
        f"{who} names {percent(top1['value'])} of {top1['n']:,} {data['split']} images of "
        f"{data['classes']} classes rightly (95 % interval {percent(top1['low'])} to "
        f"{percent(top1['high'])})"
    )
    within = content["decision"].get("errors_within_family")
    if within:
        text += f"; {percent(within['value'])} of its errors stay within the family"
    return text + "."


def _depth(content: Content) -> str:
    levels = levels_of(content)
    curve = [accuracy(content, level, "average") for level in levels]
    steps = [after - before for before, after in itertools.pairwise(curve)]
    if not steps:
        return ""
    place = max(range(len(steps)), key=steps.__getitem__)
    text = (
        f"Read linearly from averages, {percent(curve[0])} of the images are named at {levels[0]} "
        f"and {percent(curve[-1])} at {levels[-1]}; the largest step is from {levels[place]} to "
        f"{levels[place + 1]}"
    )
    if not math.isnan(coarse := accuracy(content, levels[place], "average", "coarse")):
        text += (
            f", before which {percent(coarse)} of the images are put into the right family and "
            f"{percent(curve[place])} into the right class"
        )
    return text + "."


def _detail(content: Content) -> str:
    gains = {
        level: accuracy(content, level, "second_order") - accuracy(content, level, "average")
        for level in levels_of(content)
    }
    best = max(gains, key=gains.__getitem__)
    if gains[best] < 0.05:
        return "Second-order features tell hardly more than averages at any level."
    return (
        f"Averaging hides most at {best}, where second-order features name "
        f"{percent(accuracy(content, best, 'second_order'))} of the images and averages "
        f"{percent(accuracy(content, best, 'average'))}."
    )


def _passage(content: Content) -> str:
    """The stage that loses most, where it loses more than it gains.

    Two read-outs differ on some images by chance alone: only a net loss whose 95 % interval
    excludes zero counts.
    """
    worst = min(content["passage"], key=lambda step: step["net"]["value"])
    if worst["net"]["high"] >= 0:
        return "No step on the way to the decision loses clearly more than it gains."
    start, end = (_STAGES.get(worst[key], worst[key]) for key in ("from", "to"))
    return (
        f"From {start} to {end} more is lost than gained: "
        f"{percent(worst['lost']['value'])} of the images are named rightly before and not after, "
        f"{percent(worst['gained']['value'])} the other way round."
    )


_STAGES = {"average pooling": "the averages of the last level", "network": "the decision"}


def _parts(content: Content) -> str:
    if not content["parts"]:
        return ""
    identity = content["parts"]["identity"]
    best = max(identity, key=lambda level: identity[level]["value"])
    return (
        f"Parts are told apart best at {best}, where the feature at a part says which part it is "
        f"in {percent(identity[best]['value'])} of the cases."
    )


def _errors(content: Content) -> str:
    counts = {cause: n["main"] for cause, n in content["causes"].items() if n["main"]}
    total = sum(counts.values())
    if not total:
        return "There is no error to explain."
    counts.pop("unexplained", None)
    of = f"Of {total:,} errors" if total > 1 else "Of the one error"
    if not counts:
        return f"{of}, none is explained by the causes looked for."
    most = max(counts.values())
    first = [f"{cause} ({most})" for cause, n in counts.items() if n == most]
    explained = f"{sum(counts.values()):,} can be explained, most often by {' and '.join(first)}"
    return f"{of}, {explained}."


def _advice(content: Content) -> str:
    best = content["advice"]["options"][:1]
    if not best or best[0]["gain"] <= 0:
        return "None of the changes considered is expected to help."
    return f"Most promising: {best[0]['name']} ({best[0]['reason']})."


def console_summary(content: Content) -> Group:
    """The levels as a table, and the findings, for a terminal."""
    table = Table(title="Read-outs by level", title_justify="left", title_style="bold", box=None)
    coarse = content["data"]["coarse_classes"] > 0
    headers = ["fine, average", "fine, second order", "random twin"]
    headers += ["coarse, average", "coarse, second order"] if coarse else []
    table.add_column("level")
    for header in headers:
        table.add_column(header, justify="right")
    for level in levels_of(content):
        cells = [
            accuracy(content, level, kind)
            for kind in ("average", "second_order", "random second_order")
        ]
        if coarse:
            cells += [
                accuracy(content, level, kind, "coarse") for kind in ("average", "second_order")
            ]
        table.add_row(level, *map(percent, cells))
    lines = [Padding(Text(f"• {line}"), (0, 0, 0, 1)) for line in sentences(content)]
    return Group("", table, "", *lines)
