"""The sections of the report, from the content of ``report.json``: figures in tables and plots."""

from __future__ import annotations

from html import escape

from fgjax.analysis.page import html
from fgjax.analysis.page.cells import (
    Plots,
    between,
    interval,
    needs,
    number,
    plot,
    signed,
)
from fgjax.analysis.page.summary import Content, accuracy, levels_of, sentences
from fgjax.analysis.words import percent


def summary(content: Content) -> str:
    """The findings in words and the figures that matter most."""
    decision = content["decision"]
    tiles = {
        "top-1 accuracy": (percent(decision["top1"]["value"]), decision["top1"]),
        "top-5 accuracy": (percent(decision["top5"]["value"]), decision["top5"]),
    }
    if "coarse" in decision:
        tiles["right family"] = (percent(decision["coarse"]["value"]), decision["coarse"])
    error = decision["expected_calibration_error"]
    tiles["calibration error"] = (percent(error), None)
    boxes = "".join(
        f'<div class="tile"><dt>{name}</dt><dd>{value}'
        + (f"<small>{percent(b['low'])} – {percent(b['high'])}</small>" if b else "")
        + "</dd></div>"
        for name, (value, b) in tiles.items()
    )
    return f'<p>{escape(" ".join(sentences(content)))}</p><dl class="tiles">{boxes}</dl>'


def parts(content: Content, plots: Plots, pictures: str) -> str:
    """Which levels and units find annotated parts."""
    title = "Parts"
    if not content["parts"]:
        return html.section("parts", title, needs("This section", "annotated parts"))
    identity = content["parts"]["identity"]
    rows = [[level, interval(found)] for level, found in identity.items()]
    return html.section(
        "parts",
        title,
        "For every part, the unit whose peak falls on it most often (chosen on training images, "
        "scored on others), and whether the feature at a part tells which part it is.",
        plot(
            plots,
            "parts",
            "Percent of images in which the best unit's peak is within 15 pixels (at 224) of the "
            "part; chance: a point anywhere in the object's box.",
        ),
        _pointing(content["parts"]),
        html.table(["level", "part told from its feature"], rows, "Accuracy, 95 % bounds below."),
        plot(
            plots,
            "occlusion",
            "Hiding a part: mean change of the log probability of the right class, 95 % intervals; "
            "“elsewhere” hides as much at a random place of the object.",
        ),
        html.in_figures(
            html.table(
                ["part", "change", "95 % interval", "images"],
                [
                    [escape(name), number(c["value"]), between(c), str(c["n"])]
                    for name, c in content["occlusion"].items()
                ],
                "Mean change of the log probability of the right class, nats.",
            )
        ),
        pictures,
    )


def _pointing(found: Content) -> str:
    levels = found["levels"]
    rows = [
        [
            escape(part),
            percent(chance),
            *(
                interval(units[part]["pointing"]) if part in units else "–"
                for units in levels.values()
            ),
        ]
        for part, chance in found["chance"].items()
    ]
    caption = "Share of images in which the best unit's peak is on the part, 95 % bounds below."
    return html.in_figures(html.table(["part", "chance", *levels], rows, caption))


def attribution(content: Content, pictures: str) -> str:
    """Where the evidence lies, and which map can be trusted."""
    rows = [
        [
            name,
            interval(found.get("pointing")),
            number(found["insertion"]),
            number(found["deletion"]),
            number(found.get("sanity")),
        ]
        for name, found in content["attribution"].items()
    ]
    return html.section(
        "attribution",
        "Why this class, not that one",
        "The lead of one class over its closest rival, by location: gradient of the difference of "
        f"the two logits times the maps of {content['evidence_level']}. The images are the closest "
        "calls of a sample, one of each class.",
        pictures,
        html.table(
            ["method", "peak on the object", "insertion", "deletion", "likeness to random weights"],
            rows,
            "Of the class named, not of a difference. “Exact” divides the score of a bilinear or "
            "average pooling among its locations, to the last digit. "
            "Share of peaks inside the object's box (random order: its share of the image); area "
            "under the probability as pixels come in (higher is better) and go (lower is better); "
            "rank correlation with the map of a network with random weights (0 is best).",
        ),
    )


def advice(content: Content) -> str:
    """Changes of the config with their predicted gains, and those that short trainings measured."""
    found = content["advice"]
    checked = found.get("check")
    measured = {o["name"]: o["measured"] for o in checked["options"]} if checked else {}
    rows = [
        [
            escape(option["name"]),
            signed(option["gain"]),
            *([signed(measured[option["name"]])] if checked else []),
            escape(option["reason"]),
        ]
        for option in found["options"]
    ]
    tau = ""
    if checked:
        t = checked["tau"]
        tau = (
            f'<p class="note">Short trainings from a baseline of {percent(checked["baseline"])}: '
            f"the order of predicted and of measured gains agrees with Kendall τ = "
            f"{t['value']:.2f} (95 % interval {t['low']:.2f} to {t['high']:.2f}).</p>"
        )
    headers = ["change", "predicted gain", *(["measured gain"] if checked else []), "reason"]
    table = html.table(headers, rows, "Gains in accuracy, the greatest first.")
    return html.section(
        "advice",
        "What to change",
        "Each prediction is read off the figures above; it ranks options and promises nothing. "
        "<code>--check</code> tests it by short trainings.",
        table.replace("<table>", '<table class="prose">'),
        tau,
    )


def comparison(content: Content, other_reports: list[Content]) -> str:
    """This run and others side by side."""
    runs = [content, *other_reports]
    data = [run["data"] for run in runs]
    levels = list(dict.fromkeys(level for run in runs for level in levels_of(run)))

    def read(run, level, kind):
        return percent(accuracy(run, level, kind) if level in run["levels"] else None)

    rows = [
        [
            "data",
            *(f"{escape(d['name'])}<small>{d['evaluated']:,} {d['split']}</small>" for d in data),
        ]
    ]
    rows += [["accuracy", *(interval(run["decision"]["top1"]) for run in runs)]]
    rows += [["calibration error", *(percent(_ece(run)) for run in runs)]]
    rows += [
        [f"{level}, {name}", *(read(run, level, kind) for run in runs)]
        for level in levels
        for kind, name in (("average", "average"), ("second_order", "2nd order"))
    ]
    causes = list(content["causes"])
    rows += [[cause, *(str(run["causes"][cause]["main"]) for run in runs)] for cause in causes]
    return html.section(
        "comparison",
        "Beside other runs",
        "The same figures of each run.",
        html.table(
            ["", *(run["name"] for run in runs)],
            rows,
            "Read-outs: accuracy on the classes. Causes: errors of which it is the main one.",
        ),
    )


def _ece(run: Content) -> float:
    return run["decision"]["expected_calibration_error"]
