"""The findings in words, written from the numbers: for the page and for the console."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fgjax.vocabulary import EARLY, MIDDLE

Content = Mapping[str, Any]


def percent(fraction: float | None) -> str:
    """A fraction as a percentage; a dash where it was not measured."""
    return "–" if fraction is None or fraction != fraction else f"{100 * fraction:.1f}\u00a0%"


def band(level: str) -> str:
    """Early, middle or late."""
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
        f"and {percent(curve[-1])} at {levels[-1]}, the largest step from {levels[place]} to "
        f"{levels[place + 1]}"
    )
    if not math.isnan(coarse := accuracy(content, levels[place], "average", "coarse")):
        text += (
            f", where families are told in {percent(coarse)} and classes in "
            f"{percent(curve[place])} of the images before it"
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
        f"The detail is there before averaging: at {best} second-order features read "
        f"{percent(accuracy(content, best, 'second_order'))} where averages read "
        f"{percent(accuracy(content, best, 'average'))}."
    )


def _passage(content: Content) -> str:
    lost = max(content["passage"], key=lambda step: step["lost"]["value"])
    return (
        f"Between {lost['from']} and {lost['to']} most is lost: {percent(lost['lost']['value'])} "
        f"of the images are read rightly before and no more after."
    )


def _parts(content: Content) -> str:
    if not content["parts"]:
        return ""
    identity = content["parts"]["identity"]
    best = max(identity, key=lambda level: identity[level]["value"])
    return (
        f"Parts are told apart best at {best}: which part a location shows is read rightly in "
        f"{percent(identity[best]['value'])} of the cases."
    )


def _errors(content: Content) -> str:
    counts = {cause: n["main"] for cause, n in content["causes"].items() if n["main"]}
    total = sum(counts.values())
    if not total:
        return "There is no error to explain."
    first = max(counts, key=counts.__getitem__)
    return f"Of {total} errors, {counts[first]} are put down to {first}, more than to any other."


def _advice(content: Content) -> str:
    best = content["advice"]["options"][0]
    if best["gain"] <= 0:
        return "None of the changes considered is expected to help."
    return f"Most promising: {best['name']} — {best['reason']}."


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
