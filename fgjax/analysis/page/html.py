"""HTML of the report: escaping, tables, pictures within the file, and the frame of the page."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterable, Sequence
from html import escape
from importlib import resources

import matplotlib
from jaxtyping import UInt8
from matplotlib.figure import Figure
from numpy import ndarray
from PIL import Image

Picture = UInt8[ndarray, "h w 3"]


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], caption: str) -> str:
    """A table that scrolls sideways where it does not fit; cells are HTML already.

    The first cell of a row is its header.
    """
    head = "".join(f'<th scope="col">{escape(header)}</th>' for header in headers)
    body = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'
        for first, *cells in rows
    )
    return (
        f'<figure class="tabular"><figcaption>{caption}</figcaption>'
        '<div class="scroll" tabindex="0" role="region" aria-label="Table"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div></figure>"
    )


def in_figures(table: str) -> str:
    """A table of what a plot shows, folded away: for readers who cannot see it, or want more."""
    return f'<details class="figures"><summary>In figures</summary>{table}</details>'


def svg(figure: Figure) -> str:
    """A figure as SVG, its text as text, which can be searched and read aloud."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    return buffer.getvalue()


def plot(name: str, drawing: str, caption: str) -> str:
    """A plot in the page, with its caption.

    Args:
        name: of the plot, unique on the page.
        drawing: its SVG.
        caption: what it shows; readers who cannot see the plot have this alone.
    """
    body = drawing[drawing.index("<svg") :]
    # Every drawing numbers its elements from one: the plot's name keeps those of a page apart.
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r"(href=\"#|url\(#)", rf"\g<1>{name}-", body)
    # Black becomes the color of the page's text, which is light on a dark page.
    body = body.replace("#000000", "currentColor")
    width = float(body.partition('width="')[2].partition("pt")[0])
    # Text stays legible on a phone, where a wide plot scrolls, and no larger than the page's own.
    limits = f"min-width:{0.92 * width:.0f}px;max-width:{1.5 * width:.0f}px"
    # Hidden from screen readers, which would read the marks out as loose numbers.
    attributes = f'aria-hidden="true" focusable="false" style="{limits}" '
    body = body.replace("<svg ", f"<svg {attributes}", 1)
    return (
        f'<figure class="plot"><div class="scroll">{body}</div>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def picture(pixels: Picture, alt: str, caption: str = "") -> str:
    """A picture in the page.

    Args:
        pixels: of the picture.
        alt: what it shows, for readers who cannot see it.
        caption: HTML below it; none if empty.
    """
    data = base64.b64encode(encoded(pixels, "JPEG", quality=88)).decode()
    height, width = pixels.shape[:2]
    below = f"<figcaption>{caption}</figcaption>" if caption else ""
    return (
        f'<figure><img src="data:image/jpeg;base64,{data}" width="{width}" height="{height}" '
        f'alt="{escape(alt)}" loading="lazy">{below}</figure>'
    )


def encoded(pixels: Picture, file_format: str, **options) -> bytes:
    """The picture as an image file's bytes; ``options`` are those of Pillow for the format."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, file_format, **options)
    return buffer.getvalue()


def section(name: str, title: str, lead: str, *blocks: str) -> str:
    """A section of the page.

    Args:
        name: for links, unique on the page.
        title: HTML of its heading.
        lead: HTML of the paragraph below it.
        *blocks: HTML of what follows; empty ones are left out.
    """
    body = "\n".join(filter(None, blocks))
    return (
        f'<section id="{name}" aria-labeledby="{name}-title"><h2 id="{name}-title">{title}</h2>'
        f'<p class="lead">{lead}</p>\n{body}</section>'
    )


def page(title: str, subtitle: str, summary: str, sections: Sequence[tuple[str, str, str]]) -> str:
    """The whole page.

    Args:
        title: heading.
        subtitle: what was analyzed, in one line.
        summary: HTML above the sections.
        sections: (name, title for the list of contents, HTML).
    """
    contents = "".join(f'<li><a href="#{name}">{title}</a></li>' for name, title, _ in sections)
    body = "\n".join(html for *_, html in sections)
    style = resources.files(__package__).joinpath("style.css").read_text()
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{escape(title)}</title>
<link rel="icon" href="data:,">
<style>
{style}</style>
</head>
<body>
<a class="skip" href="#summary">Skip to the summary</a>
<header><p class="eyebrow">fgjax · feature hierarchy</p><h1>{escape(title)}</h1>
<p class="subtitle">{escape(subtitle)}</p></header>
<nav aria-label="Contents"><ul>{contents}</ul></nav>
<main>
<section id="summary" aria-label="Summary">{summary}</section>
{body}
</main>
</body>
</html>
"""
