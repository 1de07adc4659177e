"""The report as one self-contained page, and everything it shows as files in the same folder."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fgjax.analysis.page import figures, html, levels, pictures, sections
from fgjax.files import replacing


def write(
    content: Mapping[str, Any],
    shown: Mapping[str, html.Picture],
    other_reports: Sequence[Mapping[str, Any]],
    folder: Path,
) -> None:
    """Writes ``index.html``, ``report.json``, ``figures/*.svg`` and ``pictures/*.png``.

    Args:
        content: what ``analysis.report`` returns.
        shown: pictures by name.
        other_reports: content of other runs, for a comparison.
        folder: made if it does not exist.

    Raises:
        UserError: the folder cannot be written to.
    """
    content = plain(content)
    plots = {name: html.svg(figure) for name, figure in figures.draw(content).items()}
    files = {f"figures/{name}.svg": drawing.encode() for name, drawing in plots.items()}
    files |= {f"pictures/{name}.png": html.encoded(p, "PNG") for name, p in shown.items()}
    files["report.json"] = json.dumps(content, indent=1, allow_nan=False).encode()
    files["index.html"] = render(content, plots, shown, other_reports).encode()
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with replacing(folder / name) as file:
            file.write(data)


def render(
    content: Mapping[str, Any],
    plots: Mapping[str, str],
    shown: Mapping[str, html.Picture],
    other_reports: Sequence[Mapping[str, Any]] = (),
) -> str:
    """The page as HTML.

    Args:
        content: what ``analysis.report`` returns, in JSON's own types.
        plots: SVG by name.
        shown: pictures by name.
        other_reports: content of other runs, for a comparison.
    """
    data = content["data"]
    subtitle = (
        f"{data['name']}: {data['classes']} classes, {data['train']:,} training and "
        f"{data['evaluated']:,} {data['split']} images at {data['image_size']} pixels"
    )
    chapters = [
        ("levels", "Levels", levels.hierarchy(content, plots)),
        ("loss", "Loss", levels.compression(content, plots)),
        ("views", "Units", pictures.units(content, plots, shown)),
        ("parts", "Parts", sections.parts(content, plots, pictures.responses(content, shown))),
        (
            "attribution",
            "Evidence",
            sections.attribution(content, pictures.reasons(content, shown)),
        ),
        ("errors", "Errors", pictures.errors(content, plots, shown)),
        ("advice", "Advice", sections.advice(content)),
    ]
    if other_reports:
        compared = sections.comparison(content, list(other_reports))
        chapters.append(("comparison", "Comparison", compared))
    return html.page(content["name"], subtitle, sections.summary(content), chapters)


def plain(value: Any) -> Any:
    """The value in JSON's own types; nan and the infinities become null, which JSON can express."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, str) or value is None or isinstance(value, bool):
        return value
    if isinstance(value, Sequence | np.ndarray):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value
