"""The plots of the report, each from the content of ``report.json``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch

from fgjax.analysis.page.summary import Content, levels_of
from fgjax.show.plots import BLUE, GREEN, ORANGE, RED

GRAY = "#767676"


def draw(content: Content) -> dict[str, Figure]:
    """Every plot for which the content has figures, by name."""
    plots: dict[str, Callable[[Content], Figure | None]] = {
        "depth": depth,
        "passage": passage,
        "spectrum": spectrum,
        "similarity": similarity,
        "octaves": octaves,
        "reliability": reliability,
        "parts": parts,
        "occlusion": occlusion,
        "causes": causes,
    }
    drawn = {name: plot(content) for name, plot in plots.items()}
    return {name: figure for name, figure in drawn.items() if figure is not None}


def depth(content: Content) -> Figure:
    """Accuracy of read-outs over depth, fine and coarse, with the random twin."""
    targets = ["fine", *(["coarse"] if content["data"]["coarse_classes"] else [])]
    figure, panels = _figure(3.3 * len(targets) + 0.6, 3.2, columns=len(targets), sharey=True)
    levels = levels_of(content)
    looks = {
        "second_order": ("second order", BLUE, "-"),
        "average": ("average", ORANGE, "-"),
        "pretrained average": ("average, before fine-tuning", ORANGE, ":"),
        "random second_order": ("second order, random weights", GRAY, "--"),
    }
    for axes, target in zip(panels, targets, strict=True):
        for kind, (name, color, line) in looks.items():
            found = [content["levels"][level]["read_outs"].get(kind) for level in levels]
            if None not in found:
                _interval_line(axes, [f[target] for f in found], name, color, line)
        axes.set_xticks(range(len(levels)), levels)
        axes.set_title({"fine": "classes", "coarse": "families"}[target], fontsize=11)
        axes.set_ylim(0, 1.02)
    panels[0].set_ylabel("accuracy of the read-out")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, frameon=False, fontsize=9.5, loc="outside lower center", ncols=2)
    return figure


def passage(content: Content) -> Figure:
    """What is lost and gained from each stage to the next."""
    steps = content["passage"]
    figure, (axes,) = _figure(5.0, 0.9 + 0.42 * len(steps))
    rows = np.arange(len(steps))
    for key, sign, color in (("lost", -1, RED), ("gained", 1, GREEN)):
        values = np.array([step[key]["value"] for step in steps])
        low, high = (np.array([step[key][end] for step in steps]) for end in ("low", "high"))
        # The error bar of a negative bar points the other way.
        error = np.stack([values - low, high - values][::sign])
        axes.barh(rows, sign * values, xerr=error, color=color, height=0.62, label=key, **_BARS)
    axes.axvline(0, color="black", lw=0.8)
    axes.set_yticks(rows, [f"{step['from']} → {step['to']}" for step in steps])
    axes.invert_yaxis()
    axes.set_xlabel("share of the images")
    axes.xaxis.set_major_formatter(lambda x, _: f"{abs(x):.0%}")
    axes.legend(frameon=False, fontsize=9.5)
    return figure


def spectrum(content: Content) -> Figure:
    """Effective rank and within- to between-class variance by level."""
    names = list(content["levels"])
    figure, (left, right) = _figure(6.6, 3.0, columns=2)
    for axes, key, label in (
        (left, "effective_rank", "effective rank of the averages"),
        (right, "within_between", "variance within / between classes"),
    ):
        values = [content["levels"][name]["compression"][key] for name in names]
        axes.bar(range(len(names)), values, color=[BLUE] * (len(names) - 1) + [GRAY], width=0.65)
        axes.set_xticks(range(len(names)), names, rotation=35, ha="right")
        axes.set_title(label, fontsize=11)
        axes.set_yscale("log" if max(values) > 20 * min(values) > 0 else "linear")
    return figure


def similarity(content: Content) -> Figure | None:
    """Linear CKA between the network's levels, and with those of the twins."""
    names, values = content["similarity"]["names"], np.array(content["similarity"]["cka"])
    if not values.size:
        return None
    own = [i for i, name in enumerate(names) if name.startswith("network ")]
    twins = dict.fromkeys(name.split()[0] for name in names)
    figure, panels = _figure(2.9 * len(twins) + 0.4, 3.1, columns=len(twins), sharey=True)
    titles = {"network": "itself", "random": "random weights", "pretrained": "before fine-tuning"}
    for axes, twin in zip(panels, twins, strict=True):
        other = [i for i, name in enumerate(names) if name.startswith(f"{twin} ")]
        block = values[np.ix_(own, other)]
        axes.imshow(block, vmin=0, vmax=1, cmap="Blues")
        for (row, column), value in np.ndenumerate(block):
            color = _ink(value > 0.6)
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=color, size=9)
        axes.set_xticks(range(len(other)), [names[i].split()[1] for i in other], rotation=35)
        axes.set_yticks(range(len(own)), [names[i].split()[1] for i in own])
        axes.set_title(titles.get(twin, twin), fontsize=11)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    return figure


def octaves(content: Content) -> Figure:
    """Share of each level's energy by spatial frequency."""
    levels = levels_of(content)
    most = max(len(content["levels"][level]["energy_by_octave"]) for level in levels)
    names = ["mean", "1", *(f"{2 ** (i - 1)}–{2**i - 1}" for i in range(2, most))][:most]
    shades = [_shade(i / max(most - 1, 1)) for i in range(most)]
    figure, (axes,) = _figure(5.0, 1.2 + 0.42 * len(levels))
    for row, level in enumerate(levels):
        start = 0.0
        for i, share in enumerate(content["levels"][level]["energy_by_octave"]):
            axes.barh(row, share, left=start, color=shades[i], height=0.62)
            start += share
    axes.set_yticks(range(len(levels)), levels)
    axes.invert_yaxis()
    axes.set(xlim=(0, 1), xlabel="share of energy, by cycles per image width")
    patches = [Patch(color=shade) for shade in shades]
    figure.legend(
        patches, names, ncols=-(-most // 2), loc="outside upper center", frameon=False, fontsize=9
    )
    return figure


def reliability(content: Content) -> Figure:
    """Accuracy against confidence, a dot for each bin; on the diagonal the two are equal."""
    bins = content["decision"]["reliability"]
    figure, (axes,) = _figure(3.6, 3.2)
    axes.plot([0, 1], [0, 1], color=GRAY, lw=1, ls="--")
    area = np.array([b["n"] for b in bins])
    x, y = ([b[key] for b in bins] for key in ("confidence", "accuracy"))
    axes.plot(x, y, color=BLUE, lw=1.2)
    axes.scatter(x, y, s=12 + 180 * area / area.max(), color=BLUE, alpha=0.8)
    axes.set(xlim=(0, 1.06), ylim=(-0.06, 1.06), xlabel="confidence", ylabel="accuracy")
    return figure


def parts(content: Content) -> Figure | None:
    """How often the best unit of each level points at each part."""
    if not content["parts"]:
        return None
    found, chance = content["parts"]["levels"], content["parts"]["chance"]
    names = [n for n in chance if any(n in units for units in found.values())]
    table = np.array([[u[n]["pointing"]["value"] for n in names] for u in found.values()])
    table = np.vstack([[chance[n] for n in names], table])
    figure, (axes,) = _figure(0.4 * len(names) + 1.2, 0.36 * len(table) + 1.2)
    axes.imshow(table, vmin=0, vmax=max(0.5, table.max()), cmap="Blues", aspect="auto")
    for (row, column), value in np.ndenumerate(table):
        color = _ink(value > 0.6 * max(0.5, table.max()))
        axes.text(column, row, f"{100 * value:.0f}", ha="center", va="center", color=color, size=9)
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right")
    axes.set_yticks(range(len(table)), ["chance", *found])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def occlusion(content: Content) -> Figure | None:
    """What hiding each part does to the log probability of the right class."""
    changes = content["occlusion"]
    if not changes:
        return None
    names = sorted(changes, key=lambda name: changes[name]["value"])
    figure, (axes,) = _figure(5.0, 0.9 + 0.3 * len(names))
    values, low, high = ([changes[n][k] for n in names] for k in ("value", "low", "high"))
    error = [np.subtract(values, low), np.subtract(high, values)]
    colors = [GRAY if name == "elsewhere" else BLUE for name in names]
    axes.barh(range(len(names)), values, xerr=error, color=colors, height=0.62, **_BARS)
    axes.axvline(0, color="black", lw=0.8)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel("change of log probability (nats)")
    return figure


def causes(content: Content) -> Figure | None:
    """How often each cause of an error is the main one, and applies at all."""
    counts = content["causes"]
    if not sum(n["main"] for n in counts.values()):
        return None
    figure, (axes,) = _figure(5.0, 0.9 + 0.36 * len(counts))
    rows = np.arange(len(counts))
    axes.barh(rows, [n["applies"] for n in counts.values()], color="#BFD9EA", label="applies")
    main = [n["main"] for n in counts.values()]
    axes.barh(rows, main, color=BLUE, height=0.45, label="main cause")
    axes.set_yticks(rows, list(counts))
    axes.invert_yaxis()
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("errors")
    axes.legend(frameon=False, fontsize=9.5)
    return figure


_BARS = {"error_kw": {"ecolor": GRAY, "elinewidth": 1, "capsize": 2}}


def _figure(width: float, height: float, columns: int = 1, **options) -> tuple[Figure, Sequence]:
    figure = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(wspace=0.08))
    panels = figure.subplots(1, columns, squeeze=False, **options)[0]
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=9.5)
    return figure, panels


def _interval_line(axes: Axes, values: Sequence[Mapping], name: str, color: str, line: str) -> None:
    x = np.arange(len(values))
    low, high = ([v[end] for v in values] for end in ("low", "high"))
    axes.fill_between(x, low, high, color=color, alpha=0.14, lw=0)
    y = [v["value"] for v in values]
    axes.plot(x, y, line, color=color, label=name, marker="o", markersize=4)


def _ink(dark: bool) -> str:
    """Color of the text in a cell. Not pure black, which :func:`html.plot` makes the page's own."""
    return "white" if dark else "#111111"


def _shade(share: float) -> tuple[float, float, float]:
    """Color of an octave: 0 is dark (the lowest frequencies), 1 is light."""
    dark, light = np.array([0.0, 0.27, 0.45]), np.array([0.98, 0.75, 0.35])
    red, green, blue = dark + share * (light - dark)
    return red, green, blue
