"""Files that appear whole or not at all: written beside, then renamed."""

from __future__ import annotations

from pathlib import Path

import pandas as pd


def write_text(path: Path, text: str) -> None:
    """Write text whole."""
    beside = path.with_name(f".{path.name}.partial")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def write_table(path: Path, table: pd.DataFrame, *, index: bool = False) -> None:
    """Write a TSV whole, with enough digits to read numbers back exactly."""
    write_text(path, table.to_csv(sep="\t", index=index, float_format="%.10g"))
