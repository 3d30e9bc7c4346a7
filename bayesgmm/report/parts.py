"""What a report is put together from: sections of text, pictures and tables."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from bayesgmm.errors import MissingExtraError
from bayesgmm.io.atomic import write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass
class Picture:
    """A picture as base64 of a PNG, and what it shows in words for who cannot see it."""

    data: str
    caption: str
    wide: bool = False
    alt: str = ""


@dataclass
class Section:
    """A heading and what is under it."""

    title: str
    text: str = ""
    figures: list[Picture] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)
    points: list[str] = field(default_factory=list)


def picture(figure: Figure, caption: str, *, wide: bool = False, alt: str = "") -> Picture:
    """A figure for a section, ``wide`` where it needs the whole width; it is closed.

    ``alt`` is what it shows, in words, without it the caption.
    """
    from bayesgmm.plots.style import pyplot

    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=130, bbox_inches="tight")
    pyplot().close(figure)
    return Picture(base64.b64encode(buffer.getvalue()).decode("ascii"), caption, wide, alt or caption)


def html_table(table: pd.DataFrame, caption: str = "", *, text: bool = False) -> str:
    """A table with a caption; ``text``: of sentences, which are wrapped and read from the left.

    What is not defined (NaN) is a dash, and a column of nothing else is left out. Heads are the columns' names with
    spaces, where they can be wrapped.
    """
    shown = table.dropna(axis="columns", how="all") if len(table) else table
    # the columns' own name would be a head above the first
    shown = shown.rename(columns=lambda name: str(name).replace("_", " ")).rename_axis(columns=None)
    classes = "text" if text else None
    html = str(
        shown.to_html(index=False, border=0, classes=classes, na_rep="\N{EN DASH}", float_format=lambda v: f"{v:.4g}")
    )
    if not caption:
        return html
    start = html.index(">") + 1  # of the table's own tag
    return f"{html[:start]}<caption>{escape(caption)}</caption>{html[start:]}"


def needs_templates() -> None:
    """Refuse early, before pictures are drawn, where reports cannot be written.

    Raises
    ------
    MissingExtraError
        If jinja2 is not installed.
    """
    if find_spec("jinja2") is None:
        raise MissingExtraError("reports need the extra: pip install 'bayesgmm[report]'")


def write_page(
    path: Path,
    *,
    title: str,
    subtitle: str,
    verdict: str,
    sections: list[Section],
    found: str = "",
    flags: Sequence[str] = (),
) -> Path:
    """Write the page; it appears whole."""
    needs_templates()
    from jinja2 import Environment

    template = (files("bayesgmm") / "templates" / "report.html.j2").read_text(encoding="utf-8")
    page = Environment(autoescape=True).from_string(template)
    told = {"title": title, "subtitle": subtitle, "found": found, "verdict": verdict}
    write_text(path, page.render(**told, flags=list(flags), sections=sections))
    return path
