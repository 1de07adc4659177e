"""The sections of the report, from the content of ``report.json``: figures in tables and plots."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from fgjax.analysis.page import html
from fgjax.analysis.page.summary import accuracy, band, levels_of, percent, sentences

Content = Mapping[str, Any]
Plots = Mapping[str, str]


def interval(found: Mapping[str, float] | None) -> str:
    """A fraction with its bounds below it."""
    if found is None:
        return "–"
    if "low" not in found:
        return percent(found["value"])
    bounds = f"{100 * found['low']:.0f}–{100 * found['high']:.0f}"
    return f"{percent(found['value'])}<small>{bounds}</small>"


def number(value: float | None, digits: int = 2) -> str:
    """A number; a dash where it was not measured."""
    if value is None or value != value:
        return "–"
    # Beyond a thousand, decimals are noise.
    return f"{value:,.{digits if abs(value) < 1000 else 0}f}".replace("-", "−")


def plot(plots: Plots, name: str, caption: str) -> str:
    """The plot of that name, or nothing where there is none."""
    return html.plot(name, plots[name], caption) if name in plots else ""


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


def hierarchy(content: Content, plots: Plots) -> str:
    """What each level is and what can be read off it."""
    coarse = content["data"]["coarse_classes"] > 0
    singles = content["data"]["single_class_families"]
    lead = (
        "A read-out is a ridge probe of frozen features, its strength chosen by leaving out one "
        "training image at a time; second-order features keep which channels occur together, "
        "averages do not."
    )
    note = "" if coarse else _needs("Families", "coarse labels")
    if singles:
        note = (
            f'<p class="note">{singles} of {content["data"]["coarse_classes"]} families hold a '
            "single class; “shared” leaves their images out.</p>"
        )
    return html.section(
        "levels",
        "What each level knows",
        lead,
        _read_outs(content, coarse, bool(singles)),
        note,
        plot(plots, "depth", "Accuracy of linear read-outs over depth, with 95 % intervals."),
        _scores(content),
    )


def _read_outs(content: Content, coarse: bool, shared: bool) -> str:
    kinds = [("average", "average"), ("second_order", "2nd order")]
    targets = ["fine", *(["coarse"] if coarse else []), *(["coarse_shared"] if shared else [])]
    names = {"fine": "classes", "coarse": "families", "coarse_shared": "shared"}
    columns = [(target, kind) for target in targets for kind, _ in kinds]
    titles = [f"{names[target]}, {title}" for target in targets for _, title in kinds]
    levels = levels_of(content)
    best = {
        column: max(accuracy(content, level, column[1], column[0]) for level in levels)
        for column in columns
    }
    headers = ["level", "stride", "size", "channels", "receptive field", *titles]
    headers += ["random twin", "nearest neighbours"]
    rows = []
    for name, level in content["levels"].items():
        outs = level["read_outs"]
        row = [
            f"{name}<small>{band(name) if name != 'embedding' else 'what the head reads'}</small>"
        ]
        if name == "embedding":
            row += ["–", "–", f"{level['compression']['channels']:,}", "–"]
        else:
            field = f"{level['receptive_field']} px<small>effective "
            field += f"{level['effective_field']:.0f}</small>"
            row += [str(level["stride"]), str(level["size"]), f"{level['channels']:,}", field]
        for target, kind in columns:
            found = outs.get(kind, {}).get(target)
            cell = interval(found)
            if found and name != "embedding" and found["value"] == best[target, kind]:
                cell = f'<span class="best">{cell}</span>'
            row.append(cell)
        control = outs.get("random second_order", outs.get("random average", {})).get("fine")
        rows.append([*row, interval(control), interval(level["neighbours"])])
    data = content["data"]
    return html.table(
        headers,
        rows,
        f"Accuracy on {data['evaluated']:,} {data['split']} images, 95 % bounds in percent below; "
        "random twin: second-order read-out of the same network with random weights; nearest "
        "neighbours: ten by cosine, of averages.",
    )


def _kind(name: str) -> str:
    return "what the head reads" if name == "embedding" else band(name)


def _scores(content: Content) -> str:
    rows = [
        [
            name,
            *(number(level["transferability"].get(key), 3) for key in _SCORES),
            number(level["compression"]["effective_rank"], 1),
            str(level["compression"]["dimension_95"]),
            number(level["compression"]["within_between"]),
            number(level["compression"]["nc1"]),
        ]
        for name, level in content["levels"].items()
    ]
    headers = ["level", *_SCORES.values(), "effective rank", "dimensions for 95 %"]
    headers += ["variance within / between", "NC1"]
    return html.table(
        headers,
        rows,
        "Scores of the averages that need no training of a head (higher is better), how many "
        "directions they use, and how tightly classes are drawn together (0: collapsed).",
    )


_SCORES = {"log_me": "LogME", "h_score": "H-score", "trans_rate": "TransRate"}


def compression(content: Content, plots: Plots) -> str:
    """What is lost on the way, and which levels are alike."""
    return html.section(
        "loss",
        "What is kept and what is lost",
        "An image that one stage's read-out (second order at each level) names rightly and the "
        "next one's does not held detail that can no longer be read. Two read-outs differ by "
        "chance too, so that a loss counts where it outweighs what is gained.",
        plot(
            plots,
            "passage",
            "Images lost (left) and gained (right) from each stage to the next, 95 % intervals. "
            "“Average pooling” reads averages of the last level instead of second-order features.",
        ),
        html.in_figures(
            html.table(
                ["from", "to", "lost", "gained", "net"],
                [
                    [step["from"], step["to"], *map(interval, (step["lost"], step["gained"])), net]
                    for step in content["passage"]
                    for net in [_signed(step["net"]["value"])]
                ],
                "Share of the images, 95 % bounds below.",
            )
        ),
        plot(plots, "spectrum", "Effective rank, and variance within to between classes."),
        plot(
            plots,
            "similarity",
            "Linear CKA of the network's levels (rows) with its own, those of the same network "
            "with random weights, and those before fine-tuning: 1 is the same representation.",
        ),
    )


def parts(content: Content, plots: Plots, pictures: str) -> str:
    """Which levels and units find annotated parts."""
    title = "Parts"
    if not content["parts"]:
        return html.section("parts", title, _needs("This section", "annotated parts"))
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
                    [escape(name), number(c["value"]), _between(c), str(c["n"])]
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


def _between(found: Mapping[str, float]) -> str:
    return f"{number(found['low'])} to {number(found['high'])}"


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
    """What to change, with the measured reason, and what short trainings said."""
    found = content["advice"]
    checked = found.get("check")
    measured = {o["name"]: o["measured"] for o in checked["options"]} if checked else {}
    rows = [
        [
            escape(option["name"]),
            _signed(option["gain"]),
            *([_signed(measured[option["name"]])] if checked else []),
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
        "--check tests it by short trainings.",
        table.replace("<table>", '<table class="prose">'),
        tau,
    )


def comparison(content: Content, beside: list[Content]) -> str:
    """Several runs side by side."""
    runs = [content, *beside]
    levels = list(dict.fromkeys(level for run in runs for level in levels_of(run)))

    def read(run, level, kind):
        return percent(accuracy(run, level, kind) if level in run["levels"] else None)

    rows = [["accuracy", *(interval(run["decision"]["top1"]) for run in runs)]]
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
        "The same figures of each run; causes count errors by their main one.",
        html.table(["", *(run["name"] for run in runs)], rows, "Side by side."),
    )


def _ece(run: Content) -> float:
    return run["decision"]["expected_calibration_error"]


def _signed(gain: float) -> str:
    return f"{100 * gain:+.1f} points".replace("-", "−")


def _needs(what: str, needed: str) -> str:
    return f"{what} would need {needed}, which these data do not have."
