"""The pictures of the report: units, parts, evidence and the browser of confused pairs."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from fgjax.analysis.page import html
from fgjax.analysis.page.cells import Plots, plot
from fgjax.analysis.page.summary import Content, levels_of
from fgjax.analysis.words import percent

Pictures = Mapping[str, html.Picture]


def units(content: Content, plots: Plots, pictures: Pictures) -> str:
    """What units look at: first filters, patches of every level, frequencies, selectivity."""
    filters = (
        html.picture(pictures["filters"], "First-layer filters", "Filters of the first layer.")
        if "filters" in pictures
        else ""
    )
    patches = "".join(
        html.picture(
            pictures[f"units-{level}"],
            f"Image patches that four units of {level} respond to most",
            f"<b>{level}</b>: four units, a row each; what they respond to most, cropped to "
            f"{content['levels'][level]['effective_field']:.0f} pixels.",
        )
        for level in levels_of(content)
        if f"units-{level}" in pictures
    )
    rows = [
        [
            level,
            *(
                f"{content['levels'][level][key]['value']:.2f}"
                f"<small>{content['levels'][level][key]['low']:.2f}–"
                f"{content['levels'][level][key]['high']:.2f}</small>"
                for key in ("orientation_selectivity", "colour_selectivity")
            ),
        ]
        for level in levels_of(content)
    ]
    return html.section(
        "views",
        "What edges, parts and objects look like here",
        "The units shown are those whose responses differ most between classes.",
        filters,
        f'<div class="gallery sheets">{patches}</div>',
        plot(plots, "octaves", "How fine the pattern of each level is over the image."),
        html.table(
            ["level", "orientation selectivity", "color selectivity"],
            rows,
            "Median over units, quartiles below: 0 none, 1 a single orientation; 0 none, 1 silent "
            "without color.",
        ),
    )


def responses(content: Content, pictures: Pictures) -> str:
    """Responses of the best unit of each part."""
    shown = [name for name in content["data"]["concepts"] if f"part-{name}" in pictures]
    if not shown:
        return ""
    figures = "".join(
        html.picture(
            pictures[f"part-{name}"],
            f"Responses of the unit that finds the {name} most often",
            escape(name),
        )
        for name in shown
    )
    return (
        "<details><summary>Responses of the best middle-level unit of each part "
        f'<small>{len(shown)} parts; the ring is the annotation</small></summary><div class="'
        f'gallery sheets">{figures}</div></details>'
    )


def reasons(content: Content, pictures: Pictures) -> str:
    """Evidence for the right class against its closest rival, on images that are told rightly."""
    tiles = []
    for i, case in enumerate(content["reasons"]):
        words = (
            f"Why <b>{escape(case['label'])}</b>, not {escape(case['rival'])} "
            f"({percent(case['confidence'])} against {percent(case['rival_confidence'])})"
        )
        share = case.get("on_separating_parts")
        if share is not None:
            words += f"; {percent(share)} of the evidence on parts that separate them"
        tiles.append(
            '<div class="pair">'
            + html.picture(pictures[f"reason-{i}-image"], case["label"])
            + html.picture(pictures[f"reason-{i}-evidence"], f"Evidence for {case['label']}")
            + f"<p>{words}.</p></div>"
        )
    note = '<p class="note">Red speaks for the class, blue for its rival.</p>'
    return note + f'<div class="pairs">{"".join(tiles)}</div>' if tiles else ""


def errors(content: Content, plots: Plots, pictures: Pictures) -> str:
    """Causes of the errors, and the browser of confused pairs."""
    causes = content["causes"]
    pairs = "".join(_pair(pair, pictures) for pair in content["browser"])
    return html.section(
        "errors",
        "Errors, and what each has to do with",
        "A cause is named on evidence that does not come from the decision itself: read-outs of "
        "other levels, neighbors, annotations, the spread of the training data. The first that "
        "applies is the main one.",
        plot(plots, "causes", f"Causes of {len(content['errors'])} errors."),
        html.in_figures(
            html.table(
                ["cause", "main", "applies"],
                [[cause, str(n["main"]), str(n["applies"])] for cause, n in causes.items()],
                "Number of errors.",
            )
        )
        if content["errors"]
        else "",
        f"<h3>Confused pairs</h3>{pairs}" if pairs else "<p>No two classes were confused.</p>",
        plot(plots, "reliability", "Accuracy against confidence; size: number of images."),
    )


def _pair(pair: Mapping[str, Any], pictures: Pictures) -> str:
    first, second = pair["first_as_second"], pair["second_as_first"]
    family = {True: ", same family", False: ", two families", None: ""}[pair.get("same_family")]
    ways = (
        f"The first is taken for the second {_times(first)}, the second for the first "
        f"{_times(second)}."
    )
    telling = sorted(pair["parts"].items(), key=lambda item: -(item[1] or 0))[:3]
    told = ", ".join(f"{escape(name)} {percent(v)}" for name, v in telling if v and v > 0.5)
    parts = f" Parts that tell them apart, each alone: {told}." if told else ""
    cases = "".join(_case(case, pictures) for case in pair["cases"])
    return (
        f"<details><summary>{escape(pair['first'])} / {escape(pair['second'])} "
        f"<small>{first + second} of {pair['examples']} images{family}</small></summary>"
        f"<p>{ways}{parts}</p>{cases}</details>"
    )


def _times(n: int) -> str:
    return {0: "never", 1: "once"}.get(n, f"{n} times")


def _case(case: Mapping[str, Any], pictures: Pictures) -> str:
    index, label, named = case["index"], case["label"], case["prediction"]
    tags = "".join(f'<span class="tag">{escape(cause)}</span>' for cause in case["causes"])
    shown = {
        "image": f"is {label}, taken for {named} ({percent(case['confidence'])})",
        "evidence": f"evidence for {named} (red) against {label} (blue)",
        "true": f"most alike {label} in training",
        "taken": f"most alike {named} in training",
    }
    figures = "".join(
        html.picture(pictures[f"case-{index}-{role}"], words, escape(words))
        for role, words in shown.items()
        if f"case-{index}-{role}" in pictures
    )
    proof = "; ".join(_evidence(case["evidence"]))
    return (
        f'<div class="case"><p>{tags}<br>{escape(proof)}.</p><div class="gallery">{figures}</div>'
        "</div>"
    )


def _evidence(found: Mapping[str, Any]) -> list[str]:
    """The measured evidence of an error, in words."""
    words = [f"{percent(found['label_share_of_neighbours'])} of the neighbors share its label"]
    if found["unusual"]:
        words.append(f"unusual: {', '.join(found['unusual'])}")
    if found["right_at"]:
        words.append(f"read rightly at {found['right_at']}")
    if found["on_separating_parts"] is not None:
        words.append(f"{percent(found['on_separating_parts'])} of the evidence on telling parts")
    words.append(
        f"the best read-out of the two classes is right in {percent(found['best_on_pair'])}"
    )
    return words
