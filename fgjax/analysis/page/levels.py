"""The sections about the levels: what each of them knows, what is kept and lost between them."""

from __future__ import annotations

from fgjax.analysis.page import html
from fgjax.analysis.page.cells import Plots, interval, needs, number, plot, signed
from fgjax.analysis.page.summary import Content, accuracy, band, levels_of


def hierarchy(content: Content, plots: Plots) -> str:
    """The table of levels: what each of them is, and what can be read off it."""
    coarse = content["data"]["coarse_classes"] > 0
    singles = content["data"]["single_class_families"]
    lead = (
        "A read-out is a ridge probe of frozen features, its strength chosen by leaving out one "
        "training image at a time; second-order features keep which channels occur together, "
        "averages do not."
    )
    note = "" if coarse else needs("Families", "coarse labels")
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
    headers += ["random twin", "nearest neighbors"]
    rows = []
    for name, level in content["levels"].items():
        outs = level["read_outs"]
        row = [f"{name}<small>{_kind(name)}</small>"]
        if name == "embedding":
            row += ["–", "–", f"{level['channels']:,}", "–"]
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
        "neighbors: ten by cosine, of averages.",
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
    """What is lost and gained from stage to stage, and which levels are alike."""
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
                    for net in [signed(step["net"]["value"])]
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
