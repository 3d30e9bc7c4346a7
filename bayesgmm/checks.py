"""Checks of what people hand in: every refusal names the table, the column, the first offenders and what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesgmm import names
from bayesgmm.errors import DataWarning, InputError, first_few, warn
from bayesgmm.io.tables import numbered

Array = NDArray[np.float64]

VARIANT_FACTS = ("contig", "position", "effect_allele", "other_allele", "effect_allele_frequency")
_SUM_OFF = 0.021  # probabilities written with two decimals sum to this much more or less than one
_SEEDS = 2**63
_LARGEST = 1e140  # sums of squares above it overflow
TOLERANCE = 1e-6  # dosages are often written with a few digits: 2.0000001 is 2


def checked_names(what: str, table: pd.DataFrame) -> pd.DataFrame:
    """The table with text ids and column names, none twice."""
    frame = table.copy()
    frame.index = frame.index.astype(str)
    frame.columns = frame.columns.astype(str)
    if frame.shape[1] == 0 or len(frame) == 0:
        raise InputError(
            f"{what}: the table has {len(frame)} rows and {frame.shape[1]} columns; it needs at least one each"
        )
    if frame.index.has_duplicates:
        twice = frame.index[frame.index.duplicated()].unique()
        raise InputError(f"{what}: duplicated sample ids {first_few(twice)}; keep one row per person")
    if frame.columns.has_duplicates:
        twice = frame.columns[frame.columns.duplicated()].unique()
        kind = "variants" if what == "genotypes" else "columns"
        raise InputError(f"{what}: duplicated {kind} {first_few(twice)}; keep one of each")
    return frame


def check_table(what: str, table: Any) -> None:
    """Refuse a table of people that is no frame."""
    if isinstance(table, pd.DataFrame):
        return
    hint = {
        "traits": "; Study.from_array takes arrays of traits, and bayesgmm.read_study files",
        "genotypes": " with one column a variant",
        "covariates": " with one column a covariate",
    }[what]
    raise InputError(f"{what} is a {type(table).__name__}; give a DataFrame indexed by sample id{hint}")


def check_fitted(what: str, value: Any) -> None:
    """Refuse what is neither a fit nor a posterior, before it is asked for what only these have."""
    if not hasattr(value, "problem"):
        raise InputError(f"{what}: given a {type(value).__name__}; give a fit (Mixture.fit) or a posterior")


def check_whole(name: str, value: Any, least: int, why: str = "") -> None:
    """Refuse an option that is not a whole number of at least so many."""
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < least:
        raise InputError(f"{name} = {value!r}; it must be a whole number of at least {least}{why}")


def check_workers(name: str, value: Any) -> None:
    """Refuse a number of threads that is neither None (one a processor) nor a whole number of at least 1."""
    if value is not None:
        check_whole(name, value, 1, ", or None for one a processor")


def check_seed(seed: Any) -> None:
    """Refuse a seed that is neither None nor a whole number that files and every engine can hold."""
    if seed is None:
        return
    if isinstance(seed, bool) or not isinstance(seed, Integral) or not 0 <= int(seed) < _SEEDS:
        raise InputError(f"seed = {seed!r}; it must be a whole number, from 0 to 2**63 - 1, or None")


def seed_or_zero(seed: Any) -> int:
    """A seed that was checked; 0 for None, so that answers are reproducible."""
    check_seed(seed)
    return 0 if seed is None else int(seed)


def check_share(name: str, value: Any) -> None:
    """Refuse an option that is not a number between 0 and 1."""
    if not (_is_number(value) and 0.0 < value < 1.0):
        raise InputError(f"{name} = {value!r}; it must be between 0 and 1")


def check_above_zero(name: str, value: Any) -> None:
    """Refuse an option that is not a number above 0."""
    if not (_is_number(value) and value > 0.0):
        raise InputError(f"{name} = {value!r}; it must be above 0")


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool | np.bool_)


def warn_of_numbered(given: Mapping[str, pd.DataFrame]) -> None:
    """Warn where several tables have no sample ids but row numbers, so that they are matched by those."""
    bare = [what for what, table in given.items() if numbered(table)]
    if len(bare) > 1:
        warn(
            f"{' and '.join(bare)} have row numbers 0, 1, 2, ... in place of sample ids, and are matched by them; set "
            "the index to the ids",
            DataWarning,
        )


def shared_samples(given: Mapping[str, pd.DataFrame]) -> list[str]:
    """Ids that every table has, in the order of the traits; the others are dropped and told of."""
    shared = set.intersection(*(set(table.index) for table in given.values()))
    if not shared:
        starts = "; ".join(f"{what}: {first_few(table.index, 3)}" for what, table in given.items())
        raise InputError(f"no sample id is in every table ({starts}); check the id columns")
    for what, table in given.items():
        dropped = [s for s in table.index if s not in shared]
        if dropped:
            warn(
                f"{what}: {len(dropped)} of {len(table)} people are missing from another table and are dropped: "
                f"{first_few(dropped)}",
                DataWarning,
            )
    return [s for s in given["traits"].index if s in shared]


def numeric_traits(frame: pd.DataFrame) -> Array:
    """Traits as numbers (n_samples, n_traits), NaN where missing.

    Raises
    ------
    InputError
        If a trait is not numeric or infinite.
    """
    for name in frame.columns:
        column = frame[name]
        numbers = pd.to_numeric(column, errors="coerce")
        wrong = numbers.isna() & column.notna()
        if wrong.any() or column.dtype == bool:
            offenders = column[wrong] if wrong.any() else column
            raise InputError(
                f"trait {name!r} is not numeric: {first_few(offenders)} (people {first_few(offenders.index)})"
            )
    values: Array = frame.apply(pd.to_numeric, errors="coerce").to_numpy(dtype=float)
    check_trait_values(values, list(frame.columns), frame.index)
    return values


def check_trait_values(values: Array, trait_names: Sequence[str], samples: Any) -> None:
    """Refuse traits that are infinite."""
    for d, name in enumerate(trait_names):
        infinite = np.isinf(values[:, d])
        if infinite.any():
            raise InputError(f"trait {name!r} is infinite for people {first_few(np.asarray(samples)[infinite])}")


def check_traits_can_be_fitted(values: Array, trait_names: Sequence[str], *, constant: bool = False) -> None:
    """Refuse traits that are missing for everyone, constant (unless that is allowed), or too large to square."""
    for d, name in enumerate(trait_names):
        column = values[:, d]
        n_present = len(column) - int(np.isnan(column).sum())
        if n_present == 0:
            raise InputError(f"trait {name!r} is missing for everyone")
        least, most = float(np.nanmin(column)), float(np.nanmax(column))
        if max(most, -least) > _LARGEST:
            raise InputError(
                f"trait {name!r} has values up to {max(most, -least):.3g}, too large to square; change its unit"
            )
        if n_present > 1 and least == most and not constant:
            raise InputError(f"trait {name!r} is constant ({least:g} for all {n_present} people); leave it out")


def checked_weights(weights: pd.Series[Any], samples: Sequence[str]) -> Array:
    """Sample weights in the order of the samples."""
    if not isinstance(weights, pd.Series):
        raise InputError(f"sample_weight is a {type(weights).__name__}; give a Series by sample id, or an array")
    table = weights.copy()
    table.index = table.index.astype(str)
    if table.index.has_duplicates:
        raise InputError(f"sample_weight: duplicated sample ids {first_few(table.index[table.index.duplicated()])}")
    gone = sorted(set(samples) - set(table.index))
    if gone:
        raise InputError(f"sample_weight lacks the samples {first_few(gone)}")
    values = pd.to_numeric(table.loc[list(samples)], errors="coerce").to_numpy(dtype=float)
    wrong = ~(np.isfinite(values) & (values >= 0.0))
    if wrong.any():
        raise InputError(
            f"sample_weight must be finite and at least 0; it is not for {first_few(np.asarray(samples)[wrong])}"
        )
    if not values.sum() > 0.0:
        raise InputError("sample_weight is 0 for everyone; nobody is left")
    return values


def checked_probabilities(given: Mapping[str, pd.DataFrame] | None) -> dict[str, pd.DataFrame]:
    """Genotype probabilities, three columns a variant, each person's summing to one."""
    checked = {}
    if given is not None and (isinstance(given, pd.DataFrame) or not isinstance(given, Mapping)):
        raise InputError(
            "genotype_probabilities must be a mapping of variants to frames with one row a person and three columns, "
            "e.g. {'rs1': frame}"
        )
    for variant, table in (given or {}).items():
        if not isinstance(table, pd.DataFrame):
            raise InputError(
                f"genotype_probabilities of {variant!r} are a {type(table).__name__}; give a DataFrame indexed by "
                "sample id"
            )
        frame = table.copy()
        frame.index = frame.index.astype(str)
        if frame.shape[1] != len(names.GENOTYPES):
            raise InputError(
                f"genotype_probabilities of {variant!r} have {frame.shape[1]} columns; they need three: the "
                "probabilities of 0, 1 and 2 copies of the effect allele"
            )
        if frame.index.has_duplicates:
            twice = frame.index[frame.index.duplicated()]
            raise InputError(f"genotype_probabilities of {variant!r}: duplicated sample ids {first_few(twice)}")
        values = frame.apply(pd.to_numeric, errors="coerce").to_numpy(dtype=float)
        known = ~np.isnan(values).all(axis=1)
        wrong = known & ~((values >= -TOLERANCE).all(axis=1) & (np.abs(values.sum(axis=1) - 1.0) < _SUM_OFF))
        if wrong.any():
            sums = [f"{total:g}" for total in values[wrong].sum(axis=1).round(4)]
            raise InputError(
                f"genotype_probabilities of {variant!r} must be at least 0 and sum to 1 within {_SUM_OFF:g}; they do "
                f"not for {first_few(frame.index[wrong])}, where they sum to {first_few(sums)}"
            )
        values = np.clip(values, 0.0, 1.0)
        checked[str(variant)] = pd.DataFrame(values / values.sum(axis=1, keepdims=True), index=frame.index)
    return checked


def with_expected(genotypes: pd.DataFrame | None, probabilities: dict[str, pd.DataFrame]) -> pd.DataFrame | None:
    """Genotypes with a column of expected dosages for each variant given by probabilities."""
    if not probabilities:
        return genotypes
    copies = np.array(names.GENOTYPES, dtype=float)
    columns = {v: pd.Series(table.to_numpy() @ copies, index=table.index) for v, table in probabilities.items()}
    expected = pd.concat(columns, axis=1)
    if genotypes is None:
        return expected
    twice = [v for v in expected.columns if v in set(genotypes.columns.astype(str))]
    if twice:
        raise InputError(
            f"variants {first_few(twice)} are in genotypes and in genotype_probabilities; keep one of each"
        )
    calls = genotypes.copy()
    calls.index = calls.index.astype(str)
    return calls.join(expected, how="inner")


def checked_dosages(frame: pd.DataFrame) -> Array:
    """Dosages (n_samples, n_variants), 0 to 2, NaN where missing."""
    numbers = frame.apply(pd.to_numeric, errors="coerce")
    wrong = (numbers.isna() & frame.notna()).to_numpy()
    values = numbers.to_numpy(dtype=float)
    outside = wrong | (values < -TOLERANCE) | (values > 2.0 + TOLERANCE)
    if outside.any():
        column = int(np.flatnonzero(outside.any(axis=0))[0])
        people = np.flatnonzero(outside[:, column])
        shown = ", ".join(f"{frame.index[i]}: {frame.iloc[i, column]}" for i in people[:5])
        raise InputError(
            f"variant {frame.columns[column]!r}: dosages must be numbers from 0 to 2; {len(people)} are not ({shown}). "
            "If the file has codes, give genotype_coding"
        )
    clipped: Array = np.clip(values, 0.0, 2.0)
    return clipped


def variant_facts(variants: list[str], dosages: Array, about: pd.DataFrame | None) -> dict[str, Any]:
    """What is known of each variant, as coordinates."""
    called = ~np.isnan(dosages)
    counted = np.maximum(called.sum(axis=0), 1)
    frequency = np.where(called.any(axis=0), np.nansum(dosages, axis=0) / (2.0 * counted), np.nan)
    facts: dict[str, Any] = {"effect_allele_frequency": (names.VARIANT, frequency)}
    if about is None:
        return facts
    known = about.copy()
    known.index = known.index.astype(str)
    absent = [v for v in variants if v not in known.index]
    if absent:
        raise InputError(f"variants: the table lacks {first_few(absent)}")
    strange = [c for c in known.columns if c not in VARIANT_FACTS]
    if strange:
        raise InputError(f"variants: unknown columns {first_few(strange)}; known are {', '.join(VARIANT_FACTS)}")
    for fact in known.columns:
        column = known.loc[variants, fact]
        facts[fact] = (names.VARIANT, column.to_numpy(dtype=float if fact in ("position", VARIANT_FACTS[-1]) else str))
    return facts


def covariate_values(column: pd.Series[Any]) -> NDArray[Any]:
    """A covariate as numbers, or as text with None where missing."""
    if pd.api.types.is_bool_dtype(column):
        return column.to_numpy(dtype=float)
    if pd.api.types.is_numeric_dtype(column):
        values = column.to_numpy(dtype=float)
        if np.isinf(values).any():
            raise InputError(
                f"covariate {column.name!r} is infinite for people {first_few(column.index[np.isinf(values)])}"
            )
        return values
    return np.array([None if pd.isna(v) else str(v) for v in column], dtype=object)
