"""Tables of people: TSV, CSV or Parquet, one row a person, indexed by sample id."""

from __future__ import annotations

import csv
import gzip
from os import PathLike
from pathlib import Path
from typing import Any

import pandas as pd

from bayesgmm.errors import InputError, first_few

ID_COLUMNS = ("IID", "#IID", "sample", "sample_id", "id", "iid", "ID")
FAMILY_COLUMNS = ("FID", "#FID")  # PLINK's family id: a second name of the person, never data
MISSING = ("NA", "NaN", "nan", "", ".", "N/A", "null")


def read_table(path: str | PathLike[str], *, id_column: str | None = None) -> pd.DataFrame:
    """Read a table of people.

    Parameters
    ----------
    path : path
        ``.tsv``, ``.csv``, ``.txt`` (the separator is found from the first line; ``.gz`` may follow) or ``.parquet``.
    id_column : str, optional
        Column of sample ids. Default: the first of IID, #IID, sample, sample_id, id, iid, ID that is there, else the
        first column.

    Returns
    -------
    pandas.DataFrame
        Indexed by sample id (text); a PLINK family id column is left out.

    Raises
    ------
    InputError
        If the file is absent or empty, or lacks the id column.
    """
    source = Path(path)
    if not source.exists():
        raise InputError(f"cannot read {source}: there is no such file")
    if source.is_dir():
        raise InputError(f"cannot read {source}: it is a folder; give the path of a table")
    if source.suffix == ".parquet":
        frame = pd.read_parquet(source)
        if frame.index.name is not None:
            frame = frame.reset_index()
    else:
        frame = _read_text(source)
    if frame.shape[1] == 0 or len(frame) == 0:
        raise InputError(f"{source} holds no rows; expected a header and one row per person")
    column = id_column if id_column is not None else next((c for c in ID_COLUMNS if c in frame), frame.columns[0])
    return _indexed(frame, column, str(source))


def indexed_frame(frame: pd.DataFrame, what: str, *, id_column: str | None = None) -> pd.DataFrame:
    """A frame handed in, indexed by sample id: by the column that holds it, else by the index that it has.

    The column is ``id_column``, or one that :func:`read_table` would know by its name where the index is only the
    numbers 0, 1, 2, ... that pandas gives.

    Raises
    ------
    InputError
        If the frame lacks the id column.
    """
    column = id_column
    if column is None and numbered(frame):
        column = next((c for c in ID_COLUMNS if c in frame), None)
    if column is None or (column not in frame and frame.index.name == column):
        return frame
    return _indexed(frame, column, what)


def numbered(frame: pd.DataFrame | pd.Series[Any]) -> bool:
    """Whether rows have no ids but the numbers 0, 1, 2, ... that pandas gives."""
    return isinstance(frame.index, pd.RangeIndex) and frame.index.name is None


def _indexed(frame: pd.DataFrame, column: str, where: str) -> pd.DataFrame:
    if column not in frame:
        raise InputError(f"{where} has no column {column!r}; its columns are {first_few(frame.columns, 8)}")
    if frame[column].isna().any():
        raise InputError(f"{where}: {int(frame[column].isna().sum())} rows have no sample id in column {column!r}")
    frame = frame.set_index(frame[column].astype(str).rename("sample")).drop(columns=column)
    return frame.drop(columns=[c for c in FAMILY_COLUMNS if c in frame])


def _read_text(source: Path) -> pd.DataFrame:
    try:
        opener: Any = gzip.open if source.suffix == ".gz" else open
        with opener(source, "rt", encoding="utf-8") as handle:
            separator = _separator(handle.readline())
        # ids are text: 001 is not 1
        first = pd.read_csv(source, sep=separator, nrows=0)
        text: Any = {c: str for c in first.columns if c in ID_COLUMNS or c in FAMILY_COLUMNS or c == first.columns[0]}
        return pd.read_csv(
            source, sep=separator, dtype=text, low_memory=False, na_values=list(MISSING), keep_default_na=False
        )
    except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError, csv.Error) as error:
        raise InputError(f"cannot read {source} as a table: {str(error).splitlines()[0]}") from error


def _separator(header: str) -> str:
    for candidate in ("\t", ",", ";"):
        if candidate in header:
            return candidate
    return r"\s+"
