"""Files that appear whole or not at all: written beside, then renamed."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from bayesgmm.errors import InputError


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


def write_frame(path: Path, table: pd.DataFrame) -> None:
    """Write a table and its index whole, in the format that the name ends in.

    Raises
    ------
    InputError
        If the name ends otherwise or the folder does not exist.
    """
    endings = {".tsv": "\t", ".tsv.gz": "\t", ".csv": ",", ".csv.gz": ","}
    ending = next((e for e in (*endings, ".parquet") if path.name.endswith(e)), None)
    if ending is None:
        raise InputError(f"{path}: a table is written as {', '.join(endings)} or .parquet; end the name so")
    if not path.parent.is_dir():
        raise InputError(f"cannot write {path}: the folder {path.parent} does not exist; make it first")
    beside = path.with_name(f".{path.name}.partial{ending}")
    try:
        if ending == ".parquet":
            table.to_parquet(beside)
        else:
            table.to_csv(beside, sep=endings[ending], float_format="%.10g")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
