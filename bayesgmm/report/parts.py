"""What a report is put together from: sections of text, pictures and tables."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass
class Picture:
    """A picture as base64 of a PNG."""

    data: str
    caption: str
    wide: bool = False


@dataclass
class Section:
    """A heading and what is under it."""

    title: str
    text: str = ""
    figures: list[Picture] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)
    points: list[str] = field(default_factory=list)


def picture(figure: Figure, caption: str, *, wide: bool = False) -> Picture:
    """A figure for a section, ``wide`` where it needs the whole width; it is closed."""
    from bayesgmm.plots.style import pyplot

    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=130, bbox_inches="tight")
    pyplot().close(figure)
    return Picture(base64.b64encode(buffer.getvalue()).decode("ascii"), caption, wide)


def html_table(table: pd.DataFrame, *, text: bool = False) -> str:
    """A table; ``text``: of sentences, which are wrapped and read from the left."""
    classes = "text" if text else None
    return str(table.to_html(index=False, border=0, classes=classes, float_format=lambda value: f"{value:.4g}"))
