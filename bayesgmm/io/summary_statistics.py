"""Summary statistics of earlier studies: the formats they come in, read to one set of columns, the rows wanted only."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtri_exp
from scipy.stats import norm

from bayesgmm.errors import InputError, first_few
from bayesgmm.io.alleles import contig_name
from bayesgmm.io.summary_formats import FIELDS, FORMATS, PLAIN
from bayesgmm.io.tables import MISSING

Array = NDArray[np.float64]

CHUNK = 500_000  # rows in memory at a time: a genome-wide table has ten million
ADDITIVE = ("ADD", "ADDITIVE", "")  # tests of a genotype's additive effect; PLINK also writes those of covariates
_MISSING = {*MISSING, "#NA", "NULL", "-"}

_NUMBERS = (
    "position",
    "effect_allele_frequency",
    "beta",
    "odds_ratio",
    "standard_error",
    "p_value",
    "minus_log10_p",
    "ci_lower",
    "ci_upper",
)


@dataclass(frozen=True, eq=False)
class SummaryStatistics:
    """Rows of a table of summary statistics that may be wanted.

    Attributes
    ----------
    rows : pandas.DataFrame
        Columns named by ``summary_formats.FIELDS``, those that the table has: text, or numbers with NaN where
        missing.
    where : str
        The file, or what else it was.
    format : str
    columns : mapping
        Field to the table's own column.
    header : tuple of str
    n_rows, n_other_tests : int
        Rows read, and rows of these variants that are not of an additive effect.
    """

    rows: pd.DataFrame
    where: str
    format: str
    columns: Mapping[str, str]
    header: tuple[str, ...]
    n_rows: int
    n_other_tests: int


def read_summary_statistics(
    source: pd.DataFrame | str | PathLike[str],
    *,
    ids: set[str] | None = None,
    places: set[tuple[str, int]] | None = None,
    columns: Mapping[str, str | None] | None = None,
) -> SummaryStatistics:
    """Read a table of summary statistics, keeping the rows of some variants.

    Parameters
    ----------
    source : DataFrame or path
        Text with a header: tabs, commas, semicolons or spaces between columns; ``.gz`` may follow.
    ids : set of str, optional
        Variants to keep by id.
    places : set of (contig, position), optional
        Variants to keep by place, contigs named by :func:`bayesgmm.io.alleles.contig_name`.
    columns : mapping, optional
        Field (``summary_formats.FIELDS``) to the table's column, where the header is of no known format or another
        column is meant; None: the table has no such column.

    Raises
    ------
    InputError
        If the file cannot be read, or the header lacks what is needed; the message names columns looked for and found.
    """
    where = "the table of earlier effects" if isinstance(source, pd.DataFrame) else str(Path(source))
    if isinstance(source, pd.DataFrame):
        frame = source if isinstance(source.index, pd.RangeIndex) else source.reset_index()
        frame = frame.set_axis([str(c) for c in frame.columns], axis=1)
        found, chosen = _columns_of(list(frame.columns), columns, where)
        chunks: Iterator[pd.DataFrame] = iter([frame[list(dict.fromkeys(chosen.values()))]])
        header = list(frame.columns)
    else:
        header, separator, skipped = _header(Path(source), where)
        found, chosen = _columns_of(header, columns, where)
        chunks = _chunks(Path(source), separator, skipped, sorted(set(chosen.values())), where)
    needed = ["id"] if ids is not None else ["contig", "position"]
    for field in (*needed, "beta|odds_ratio", "standard_error|p_value|minus_log10_p|ci_lower"):
        if not any(name in chosen for name in field.split("|")):
            raise _lacking(field, found, header, where)
    kept, n_rows = [], 0
    for chunk in chunks:
        n_rows += len(chunk)
        fields = pd.DataFrame({field: chunk[column] for field, column in chosen.items()}, index=chunk.index)
        kept.append(fields[_wanted(fields, ids, places)])
    if n_rows == 0:
        raise InputError(f"{where} has a header but no rows")
    rows = _typed(pd.concat(kept, ignore_index=True), chosen, where)
    additive = pd.Series(True, index=rows.index)
    if "test" in rows:
        additive = rows["test"].str.upper().isin(ADDITIVE)
    rows = _with_other_allele(rows[additive].reset_index(drop=True))
    return SummaryStatistics(rows, where, found, chosen, tuple(header), n_rows, int((~additive).sum()))


def effects_of(table: SummaryStatistics, scale: str) -> pd.DataFrame:
    """Effects of the rows with their standard errors, on the log odds or on the trait.

    Where the table has a column of standard errors it is taken as it is: of the log odds ratio also where the effect
    is an odds ratio, as PLINK writes it. Else they are recovered from the 95% interval, ``(upper - lower) / 3.92`` on
    the log scale for odds ratios, else from the two-sided p-value, ``|effect| / z``.

    Parameters
    ----------
    table : SummaryStatistics
    scale : {"log_odds", "odds_ratio", "trait"}
        What the effect column holds. A column that by its name holds odds ratios is understood under "log_odds" too.

    Returns
    -------
    pandas.DataFrame
        ``effect``, ``effect_se``, ``problem`` (why a row cannot be used, else empty).

    Raises
    ------
    InputError
        If the table holds effects of another kind.
    """
    rows, lower = table.rows, {c.lower() for c in table.header}
    if scale != "trait" and "t_stat" in lower:
        raise InputError(
            f"{table.where} has a column T_STAT: it is of linear regression, so its effects are not log odds ratios; "
            "give scale='trait'"
        )
    if scale == "trait" and "beta" not in rows:
        raise InputError(f"{table.where} holds odds ratios, not effects on the trait; leave scale at 'log_odds'")
    is_odds = scale == "odds_ratio" or (scale == "log_odds" and "beta" not in rows)
    source = "odds_ratio" if is_odds and "odds_ratio" in rows else "beta"
    effect = rows[source].to_numpy(dtype=float)
    problem = np.where(np.isfinite(effect), "", f"{table.columns[source]} is missing or infinite").astype(object)
    if is_odds:
        problem[effect <= 0.0] = "the odds ratio is not above 0"
        effect = np.log(np.where(effect > 0.0, effect, np.nan))
    error, why = _standard_errors(table, effect, is_odds)
    if is_odds and "standard_error" in rows:
        _refuse_errors_of_odds(table, effect, error)
    problem = np.where((problem == "") & ~(np.isfinite(error) & (error > 0.0)), why, problem)
    if "error_code" in rows:
        code = rows["error_code"].to_numpy(dtype=object)
        failed = ~np.isin(code.astype(str), ("", "."))
        problem = np.where(failed, [f"the earlier study's own error code is {c}" for c in code], problem)
    return pd.DataFrame({"effect": effect, "effect_se": error, "problem": problem}, index=rows.index)


def _standard_errors(table: SummaryStatistics, effect: Array, is_odds: bool) -> tuple[Array, str]:
    """Standard errors, NaN where there is none, and what to say then."""
    rows = table.rows
    if "standard_error" in rows:
        return rows["standard_error"].to_numpy(dtype=float), "the standard error is missing or not above 0"
    if "ci_lower" in rows and "ci_upper" in rows:
        low, high = (rows[c].to_numpy(dtype=float) for c in ("ci_lower", "ci_upper"))
        if is_odds:
            low, high = (np.log(np.where(end > 0.0, end, np.nan)) for end in (low, high))
        width: Array = (high - low) / (2.0 * norm.ppf(0.975))
        return width, "no standard error can be recovered from the interval"
    z = _z_of_p(rows)
    with np.errstate(divide="ignore", invalid="ignore"):
        recovered: Array = np.where((z > 0.0) & np.isfinite(z) & (effect != 0.0), np.abs(effect) / z, np.nan)
    return recovered, "no standard error can be recovered from a p-value of 0 or 1, or from an effect of 0"


def _z_of_p(rows: pd.DataFrame) -> Array:
    """Normal deviate of a two-sided p-value, also of one too small for a number; NaN where there is none."""
    if "minus_log10_p" in rows:
        log_p = -np.log(10.0) * rows["minus_log10_p"].to_numpy(dtype=float)
    elif "p_value" in rows:
        p = rows["p_value"].to_numpy(dtype=float)
        log_p = np.log(np.where((p > 0.0) & (p < 1.0), p, np.nan))
    else:
        return np.full(len(rows), np.nan)
    z: Array = -ndtri_exp(np.where(log_p < 0.0, log_p, np.nan) - np.log(2.0))
    return z


def _refuse_errors_of_odds(table: SummaryStatistics, effect: Array, error: Array) -> None:
    """Refuse standard errors that by the p-values are those of the odds ratio and not of its logarithm."""
    z = _z_of_p(table.rows)
    with np.errstate(divide="ignore", invalid="ignore"):
        told = np.log(np.abs(effect) / error / z)
    told_by_odds = told + effect  # the standard error of an odds ratio is OR times that of its logarithm
    telling = np.isfinite(told) & (np.abs(effect) > 0.1)
    if not telling.any():
        return
    if np.median(np.abs(told[telling])) > 0.06 and np.median(np.abs(told_by_odds[telling])) < 0.02:
        raise InputError(
            f"{table.where}: by the p-values, {table.columns['standard_error']!r} is the standard error of the odds "
            "ratio, not of its logarithm; divide it by the odds ratio, or leave it out "
            "(columns={'standard_error': None}), and it is recovered from the p-value"
        )


def _header(source: Path, where: str) -> tuple[list[str], str, int]:
    """Names of the columns, the separator, and how many lines to skip before them."""
    skipped = 0
    try:
        opener: Any = gzip.open if source.suffix == ".gz" else open
        with opener(source, "rt", encoding="utf-8-sig", newline="") as handle:
            line = handle.readline()
            while line.startswith("##"):
                skipped, line = skipped + 1, handle.readline()
    except FileNotFoundError:
        raise InputError(f"cannot read {where}: there is no such file") from None
    except (UnicodeDecodeError, EOFError, zlib.error, OSError) as error:
        raise InputError(f"cannot read {where} as a table: {error}") from error
    if not line.strip():
        raise InputError(f"{where} is empty; expected a header and one row per variant")
    separator = next((c for c in ("\t", ",", ";") if c in line), r"\s+")
    text = line.rstrip("\r\n")
    names = text.split() if separator == r"\s+" else [c.strip() for c in next(csv.reader([text], delimiter=separator))]
    return names, separator, skipped


def _chunks(source: Path, separator: str, skipped: int, chosen: list[str], where: str) -> Iterator[pd.DataFrame]:
    options: dict[str, Any] = {"sep": separator, "skiprows": skipped, "dtype": str, "keep_default_na": False}
    try:
        reader = pd.read_csv(
            source,
            **options,
            usecols=lambda name: str(name).strip() in chosen,
            chunksize=CHUNK,
            encoding="utf-8-sig",
            index_col=False,
        )
        for chunk in reader:
            yield chunk.rename(columns=str.strip)
    except pd.errors.EmptyDataError:
        return
    except (UnicodeDecodeError, pd.errors.ParserError, EOFError, zlib.error, OSError) as error:
        raise InputError(f"cannot read {where} as a table: {str(error).splitlines()[0]}") from error


def _columns_of(header: list[str], given: Mapping[str, str | None] | None, where: str) -> tuple[str, dict[str, str]]:
    """Format of a header, and which column holds each field."""
    by_lower = {name.lower(): name for name in header}
    found = next((f for f in FORMATS if f.knows(by_lower)), None)
    if found is None and not given:
        if {"hazard_ratio", "z-score", "z_score"} & set(by_lower):
            raise InputError(
                f"{where} has hazard ratios or z-scores and neither beta nor odds_ratio; they are not on the scale of "
                "an odds ratio or of the trait, so no prior can be made of them"
            )
        known = "; ".join(f"{f.name} by {', '.join(f.signature)}" for f in FORMATS)
        raise InputError(
            f"{where}: the header is of no known format ({known.replace('|', ' or ')}); its columns are "
            f"{first_few(header, 12)}. Say what they hold, e.g. columns={{'id': ..., 'effect_allele': ..., "
            "'other_allele': ..., 'beta': ..., 'standard_error': ...}"
        )
    chosen: dict[str, str] = {}
    for field, names in (found.columns if found else {}).items():
        name = next((by_lower[n] for n in names if n in by_lower), None)
        if name is not None:
            chosen[field] = name
    for field, column in (given or {}).items():
        if field not in FIELDS:
            raise InputError(f"columns: {field!r} is nothing that is read; known are {', '.join(FIELDS)}")
        if column is None:
            chosen.pop(field, None)
        elif column not in header:
            raise InputError(
                f"columns: {where} has no column {column!r} for {field}; its columns are {first_few(header, 12)}"
            )
        else:
            chosen[field] = column
    twice = [c for c in chosen.values() if header.count(c) > 1]
    if twice:
        raise InputError(f"{where}: the column {twice[0]!r} is there {header.count(twice[0])} times")
    return (found.name if found else "columns as given"), chosen


def _lacking(field: str, found: str, header: list[str], where: str) -> InputError:
    known = next((f.columns for f in FORMATS if f.name == found), PLAIN)
    sought = [name for part in field.split("|") for name in known.get(part, (part,))]
    return InputError(
        f"{where} (read as {found}) has no column of {field.replace('|', ' or ')}: looked for {', '.join(sought)}; its "
        f"columns are {first_few(header, 12)}. Name it, e.g. columns={{{field.split('|')[0]!r}: ...}}"
    )


def _wanted(fields: pd.DataFrame, ids: set[str] | None, places: set[tuple[str, int]] | None) -> NDArray[np.bool_]:
    if ids is not None:
        wanted = fields["id"].astype(str).str.strip().isin(ids)
        if "second_id" in fields:
            wanted |= fields["second_id"].astype(str).str.strip().isin(ids)
        return wanted.to_numpy(dtype=bool)
    names = {c: contig_name(c) for c in fields["contig"].unique()}
    positions = pd.to_numeric(fields["position"], errors="coerce").fillna(-1).astype(np.int64)
    near = positions.isin({position for _, position in places or ()}).to_numpy(dtype=bool, copy=True)
    for i in np.flatnonzero(near):
        near[i] = (names[fields["contig"].iloc[i]], int(positions.iloc[i])) in (places or ())
    return near


def _typed(rows: pd.DataFrame, chosen: Mapping[str, str], where: str) -> pd.DataFrame:
    """Numbers as numbers, the rest as text, empty where missing."""
    made = {}
    for field in rows.columns:
        column = rows[field]
        text = column.astype(object).where(column.notna(), "").map(lambda value: str(value).strip())
        text = text.where(~text.isin(_MISSING), "")
        if field in _NUMBERS:
            numbers = pd.to_numeric(text.where(text != ""), errors="coerce")
            wrong = numbers.isna() & (text != "")
            if wrong.any():
                raise InputError(
                    f"{where}: column {chosen[field]!r} is not numeric: {first_few(text[wrong])}"
                    + (f" (variants {first_few(rows.loc[wrong, 'id'])})" if "id" in rows else "")
                )
            made[field] = numbers.astype(float)
        else:
            made[field] = text.astype(object)
    return pd.DataFrame(made, index=rows.index)


def _with_other_allele(rows: pd.DataFrame) -> pd.DataFrame:
    """The other allele where PLINK writes REF and ALT instead: the one of them that is not counted."""
    if "other_allele" in rows or "reference_allele" not in rows or "alternate_allele" not in rows:
        return rows
    reference, alternate = rows["reference_allele"], rows["alternate_allele"]
    # with several alternate alleles the one left out is not known when the reference is counted
    single = alternate.where(~alternate.str.contains(","), "")
    return rows.assign(other_allele=reference.where(rows["effect_allele"] != reference, single))
