"""Traits, genotypes and covariates of the same people, aligned by sample id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

from bayesgmm import names
from bayesgmm.checks import (
    check_table,
    check_trait_values,
    checked_dosages,
    checked_names,
    checked_probabilities,
    checked_weights,
    covariate_values,
    numeric_traits,
    shared_samples,
    variant_facts,
    warn_of_numbered,
    with_expected,
)
from bayesgmm.errors import InputError, first_few

if TYPE_CHECKING:
    from bayesgmm.design_matrix import Design

Array = NDArray[np.float64]
Table = pd.DataFrame | str | PathLike[str]

COVARIATE_PREFIX = "covariate_"
PROBABILITY_PREFIX = "genotype_probability_"


class Study:
    """Traits, genotypes and covariates of the same people.

    Rows are matched by sample id (the index), never by position.

    Parameters
    ----------
    traits : DataFrame or Series
        One row a person, one numeric column a trait; NaN where missing.
    genotypes : DataFrame, optional
        One column a variant: dosage of the effect allele, 0 to 2, NaN where missing.
    covariates : DataFrame, optional
        One column a covariate: numbers, or text for categories.
    variants : DataFrame, optional
        Indexed by variant: any of contig, position, effect_allele, other_allele, effect_allele_frequency.
    units : mapping, optional
        Units of traits, e.g. ``{"survival": "log2 hours"}``; they label the pictures.
    sample_weight : Series, optional
        How many people each row stands for, by sample id; 0 is absence.
    genotype_probabilities : mapping of DataFrame, optional
        Instead of calls: per variant, one row a person and three columns, the probabilities of 0, 1 and 2 copies of
        the effect allele. The dosage is then what they expect.

    Attributes
    ----------
    dataset : xarray.Dataset
        ``traits`` (sample, trait), ``dosages`` (sample, variant) and one ``covariate_<name>`` (sample) per covariate.

    Raises
    ------
    InputError
        If ids or names are duplicated, a trait is not numeric, infinite or constant, or a dosage is outside 0 to 2.

    Warns
    -----
    DataWarning
        When people are dropped because a table lacks them.
    """

    _bare: Array  # traits of a study of an array, whose dataset is made when asked for
    _names: list[str]  # their names

    @cached_property
    def dataset(self) -> xr.Dataset:
        """Everything as one labelled dataset."""
        return xr.Dataset(
            {names.TRAITS: ((names.SAMPLE, names.TRAIT), self._bare)},
            coords={names.SAMPLE: self.samples, names.TRAIT: self.trait_names},
            attrs={"units": {}},
        )

    @property
    def is_bare(self) -> bool:
        """Whether the study is an array of traits and no more."""
        return "dataset" not in self.__dict__

    @property
    def samples(self) -> NDArray[Any]:
        """Ids of the people as they are kept: text, or numbers when the traits came as an array."""
        return np.arange(len(self._bare)) if self.is_bare else self.dataset[names.SAMPLE].values

    @property
    def trait_values(self) -> Array:
        """Traits (n_samples, n_traits), NaN where missing."""
        values = self._bare if self.is_bare else self.dataset[names.TRAITS].values
        return np.require(values, np.float64, ("C", "W"))

    @property
    def units(self) -> dict[str, str]:
        """Units of traits, where known."""
        return {} if self.is_bare else dict(self.dataset.attrs.get("units", {}))

    def __init__(
        self,
        traits: pd.DataFrame | pd.Series[Any],
        genotypes: pd.DataFrame | None = None,
        covariates: pd.DataFrame | None = None,
        *,
        variants: pd.DataFrame | None = None,
        units: Mapping[str, str] | None = None,
        sample_weight: pd.Series[Any] | None = None,
        genotype_probabilities: Mapping[str, pd.DataFrame] | None = None,
    ) -> None:
        frame = traits.to_frame(traits.name or "trait") if isinstance(traits, pd.Series) else traits
        for what, table in (("traits", frame), ("genotypes", genotypes), ("covariates", covariates)):
            if what == "traits" or table is not None:
                check_table(what, table)
        probabilities = checked_probabilities(genotype_probabilities)
        genotypes = with_expected(genotypes, probabilities)
        tables = {"traits": frame, "genotypes": genotypes, "covariates": covariates}
        warn_of_numbered({what: table for what, table in tables.items() if table is not None})
        given = {what: checked_names(what, table) for what, table in tables.items() if table is not None}
        samples = shared_samples(given)
        data: dict[str, Any] = {}
        values = numeric_traits(given["traits"].loc[samples])
        data[names.TRAITS] = ((names.SAMPLE, names.TRAIT), values)
        coords: dict[str, Any] = {names.SAMPLE: samples, names.TRAIT: list(given["traits"].columns)}
        if "genotypes" in given:
            dosages = checked_dosages(given["genotypes"].loc[samples])
            data[names.DOSAGES] = ((names.SAMPLE, names.VARIANT), dosages)
            coords[names.VARIANT] = list(given["genotypes"].columns)
            coords |= variant_facts(coords[names.VARIANT], dosages, variants)
        if "covariates" in given:
            for name in given["covariates"].columns:
                data[COVARIATE_PREFIX + name] = (
                    (names.SAMPLE,),
                    covariate_values(given["covariates"].loc[samples, name]),
                )
        for variant, table in probabilities.items():
            gone = [s for s in samples if s not in table.index]
            if gone:
                raise InputError(f"genotype_probabilities of {variant!r} lack the samples {first_few(gone)}")
            data[PROBABILITY_PREFIX + variant] = ((names.SAMPLE, names.GENOTYPE), table.loc[samples].to_numpy())
            coords[names.GENOTYPE] = list(names.GENOTYPES)
        if sample_weight is not None:
            data[names.SAMPLE_WEIGHT] = ((names.SAMPLE,), checked_weights(sample_weight, samples))
        unknown = set(units or {}) - set(coords[names.TRAIT])
        if unknown:
            raise InputError(f"units name {first_few(sorted(unknown))}, which is not a trait")
        self.dataset = xr.Dataset(data, coords=coords, attrs={"units": dict(units or {})})

    @classmethod
    def from_array(cls, traits: Any, trait_names: Sequence[str] | None = None) -> Study:
        """Study of traits alone from an array (n_samples,) or (n_samples, n_traits), a Series or a DataFrame.

        ``trait_names`` are those of an array's columns; left out, ``trait0``, ``trait1``, ...
        """
        if isinstance(traits, pd.DataFrame | pd.Series):
            return cls(traits)
        if traits is None:
            raise InputError("traits are None; give a Study, a DataFrame, or an array (n_samples, n_traits)")
        if isinstance(traits, str | PathLike):
            raise InputError(f"traits = {fspath(traits)!r} is a path; read it by bayesgmm.read_study")
        if isinstance(traits, np.ma.MaskedArray):
            traits = np.ma.filled(traits.astype(float), np.nan)
        if np.asarray(traits).dtype.kind == "b":
            raise InputError("traits are true or false, not numbers; a mixture of Gaussians needs measurements")
        try:
            values = np.require(traits, np.float64, ("C", "W"))
        except (TypeError, ValueError) as error:
            raise InputError(f"traits are not numeric: {error}") from error
        if values.ndim not in (1, 2) or values.size == 0:
            raise InputError(f"traits have shape {values.shape}; expected (n_samples,) or (n_samples, n_traits)")
        values = values[:, None] if values.ndim == 1 else values
        labels = [f"trait{d}" for d in range(values.shape[1])] if trait_names is None else list(trait_names)
        if len(labels) != values.shape[1] or len(set(labels)) != len(labels):
            raise InputError(
                f"trait_names = {first_few(labels)}; they must be {values.shape[1]} different names, one a column"
            )
        check_trait_values(values, labels, np.arange(len(values)))
        # no frame and no text ids: ten million people are read as they are, and a small fit does not wait for labels
        made = object.__new__(cls)
        made._bare, made._names = values, labels
        return made

    @property
    def sample_ids(self) -> list[str]:
        """Ids of the people."""
        return [str(s) for s in self.dataset[names.SAMPLE].values]

    @property
    def trait_names(self) -> list[str]:
        """Names of the traits."""
        if self.is_bare:
            return list(self._names)
        return [str(t) for t in self.dataset[names.TRAIT].values]

    @property
    def variant_names(self) -> list[str]:
        """Ids of the variants."""
        return [str(v) for v in self.dataset[names.VARIANT].values] if names.VARIANT in self.dataset.coords else []

    @property
    def covariate_names(self) -> list[str]:
        """Names of the covariates."""
        return [
            str(v).removeprefix(COVARIATE_PREFIX) for v in self.dataset.data_vars if str(v).startswith(COVARIATE_PREFIX)
        ]

    @property
    def n_samples(self) -> int:
        """Number of people."""
        if self.is_bare:
            return len(self._bare)
        return int(self.dataset.sizes[names.SAMPLE])

    @property
    def sample_weight(self) -> Array | None:
        """How many people each row stands for (n_samples,); None when every row is one person."""
        if self.is_bare or names.SAMPLE_WEIGHT not in self.dataset:
            return None
        return np.asarray(self.dataset[names.SAMPLE_WEIGHT].values, dtype=float)

    def genotype_probabilities(self) -> dict[str, Array]:
        """Probabilities of 0, 1 and 2 copies (n_samples, 3) of the variants given so."""
        return {
            str(name).removeprefix(PROBABILITY_PREFIX): np.asarray(self.dataset[name].values, dtype=float)
            for name in self.dataset.data_vars
            if str(name).startswith(PROBABILITY_PREFIX)
        }

    def with_weights(self, sample_weight: Any) -> Study:
        """The same study with sample weights: a Series by sample id, or an array in the order of the people."""
        if isinstance(sample_weight, pd.Series):
            weights = checked_weights(sample_weight, self.sample_ids)
        else:
            try:
                given = np.asarray(sample_weight, dtype=float)
            except (TypeError, ValueError) as error:
                raise InputError(f"sample_weight is not numeric: {error}") from error
            if given.shape != (self.n_samples,):
                raise InputError(f"sample_weight has shape {given.shape}; it must be ({self.n_samples},)")
            weights = checked_weights(pd.Series(given, index=self.sample_ids), self.sample_ids)
        return self.of_dataset(self.dataset.assign({names.SAMPLE_WEIGHT: ((names.SAMPLE,), weights)}))

    def columns(self) -> pd.DataFrame:
        """Variants and covariates as one frame, the data of formulas."""
        parts = {name: self.dataset[COVARIATE_PREFIX + name].values for name in self.covariate_names}
        frame = pd.DataFrame(parts, index=pd.Index(self.sample_ids, name=names.SAMPLE))
        if self.variant_names:
            dosages = pd.DataFrame(self.dataset[names.DOSAGES].values, index=frame.index, columns=self.variant_names)
            shared = [c for c in frame.columns if c in dosages.columns]
            if shared:
                raise InputError(f"{first_few(shared)} names both a variant and a covariate; rename one")
            frame = pd.concat([dosages, frame], axis=1)
        return frame

    def design(self, formula: str | None, *, role: str = "weights", average: bool = True) -> Design:
        """Columns of a formula; see :meth:`bayesgmm.design_matrix.Design.build`."""
        from bayesgmm.design_matrix import Design

        return Design.build(self, formula, role=role, average=average)

    def select(self, samples: Sequence[str]) -> Study:
        """Study of some of the people, in the order given."""
        samples = [samples] if isinstance(samples, str) else samples
        place = {s: i for i, s in enumerate(self.sample_ids)}
        absent = [s for s in samples if str(s) not in place]
        if absent:
            raise InputError(f"the study has no samples {first_few(absent)}")
        return self.of_dataset(self.dataset.isel({names.SAMPLE: [place[str(s)] for s in samples]}))

    @classmethod
    def of_dataset(cls, dataset: xr.Dataset) -> Study:
        """Study of a dataset that another study has checked."""
        made = object.__new__(cls)
        made.dataset = dataset
        return made

    def summary(self) -> pd.DataFrame:
        """One row per trait, variant and covariate: kind, people with a value, mean, sd, allele frequency."""
        rows = []
        for name in self.trait_names:
            rows.append(_summary_row("trait", name, self.dataset[names.TRAITS].sel(trait=name).values))
        for name in self.variant_names:
            row = _summary_row("variant", name, self.dataset[names.DOSAGES].sel(variant=name).values)
            row["allele_frequency"] = row["mean"] / 2.0
            rows.append(row)
        rows += [_summary_row("covariate", n, self.dataset[COVARIATE_PREFIX + n].values) for n in self.covariate_names]
        return pd.DataFrame(rows)

    def __repr__(self) -> str:
        return (
            f"Study of {self.n_samples} people: {len(self.trait_names)} traits, {len(self.variant_names)} variants, "
            f"{len(self.covariate_names)} covariates\n{self.summary().round(4).to_string(index=False)}"
        )

    def _repr_html_(self) -> str:
        return f"<p>Study of {self.n_samples} people</p>{self.summary().round(4).to_html(index=False)}"


def read_study(
    traits: Table,
    genotypes: Table | None = None,
    covariates: Table | None = None,
    *,
    variants: str | Sequence[str] | None = None,
    trait_columns: str | Sequence[str] | None = None,
    covariate_columns: str | Sequence[str] | None = None,
    id_column: str | None = None,
    genotype_coding: Mapping[str, float] | None = None,
    trait_transform: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
    sample_weight: str | None = None,
) -> Study:
    """Read a study from files.

    Parameters
    ----------
    traits, covariates : path or DataFrame
        TSV, CSV or Parquet, one row a person.
    genotypes : path or DataFrame, optional
        A table of dosages, or a PLINK ``.bed`` with its ``.bim`` and ``.fam`` beside it.
    variants : str or sequence of str, optional
        Variants to read; the others are not touched.
    trait_columns, covariate_columns : str or sequence of str, optional
        Columns to take. Default for traits: every numeric column.
    id_column : str, optional
        Column of sample ids, of files and of frames; see :func:`bayesgmm.io.tables.read_table`.
    genotype_coding : mapping, optional
        Codes of a genotype table to dosages, e.g. ``{"1": 0, "2": 1, "3": 2}``; codes not named become missing.
    trait_transform : mapping, optional
        Trait to one of log, log2, log10, sqrt, standardize, quantile-normal.
    units : mapping, optional
        Units of the traits, after the transform.
    sample_weight : str, optional
        Column of the traits or covariates that says how many people each row stands for; 0 is absence.

    Returns
    -------
    Study

    Raises
    ------
    InputError
        If a file cannot be used; the message names file and place.
    """
    # one name is a list of one, not of its letters
    variants, trait_columns, covariate_columns = map(_listed, (variants, trait_columns, covariate_columns))
    whole = _as_frame(traits, id_column, "traits")
    extra = _as_frame(covariates, id_column, "covariates") if covariates is not None else None
    weight = None
    if sample_weight is not None:
        holder = next((t for t in (whole, extra) if t is not None and sample_weight in t), None)
        if holder is None:
            raise InputError(f"sample_weight = {sample_weight!r} is a column of neither the traits nor the covariates")
        weight = holder[sample_weight]
        whole = whole.drop(columns=sample_weight, errors="ignore")
        extra = None if extra is None else extra.drop(columns=sample_weight, errors="ignore")
        extra = None if extra is None or extra.shape[1] == 0 else extra
    trait_table = _take(whole, trait_columns, "traits")
    if trait_columns is None:
        numeric = trait_table.select_dtypes("number").columns
        if len(numeric) == 0:
            raise InputError("the table of traits has no numeric column")
        trait_table = trait_table[list(numeric)]
    for trait, transform in (trait_transform or {}).items():
        trait_table = trait_table.assign(**{trait: transform_trait(trait_table, trait, transform)})
    dosages: pd.DataFrame | None = None
    about: pd.DataFrame | None = None
    if genotypes is not None:
        dosages, about = _read_genotypes(genotypes, variants, id_column, genotype_coding)
    covariate_table = None
    if extra is not None:
        covariate_table = _take(extra, covariate_columns, "covariates")
    return Study(trait_table, dosages, covariate_table, variants=about, units=units, sample_weight=weight)


def transform_trait(table: pd.DataFrame, trait: str, transform: str) -> pd.Series[Any]:
    """Apply a named transform to a trait; missing values stay missing."""
    if trait not in table:
        raise InputError(f"trait_transform names {trait!r}; the traits are {first_few(table.columns)}")
    values = pd.to_numeric(table[trait], errors="coerce")
    if transform in ("log", "log2", "log10", "sqrt"):
        bound = values < 0 if transform == "sqrt" else values <= 0
        if bound.any():
            raise InputError(
                f"trait {trait!r}: {transform} needs values above 0; {int(bound.sum())} are not: "
                f"{first_few(values.index[bound])}"
            )
        return pd.Series(getattr(np, transform)(values.to_numpy()), index=values.index)
    if transform == "standardize":
        return (values - values.mean()) / values.std()
    if transform == "quantile-normal":
        ranks = pd.Series(np.nan, index=values.index)
        present = values.notna()
        ranks[present] = norm.ppf((rankdata(values[present]) - 0.5) / present.sum())
        return ranks
    raise InputError(
        f"trait_transform of {trait!r} is {transform!r}; it must be log, log2, log10, sqrt, standardize or "
        "quantile-normal"
    )


def _listed(given: str | Sequence[str] | None) -> list[str] | None:
    return None if given is None else [given] if isinstance(given, str) else list(given)


def _as_frame(table: Table, id_column: str | None, what: str) -> pd.DataFrame:
    from bayesgmm.io.tables import indexed_frame, read_table

    if isinstance(table, pd.DataFrame):
        return indexed_frame(table, what, id_column=id_column)
    if not isinstance(table, str | PathLike):
        raise InputError(f"{what} is a {type(table).__name__}; give the path of a table, or a DataFrame")
    return read_table(table, id_column=id_column)


def _take(frame: pd.DataFrame, columns: Sequence[str] | None, what: str) -> pd.DataFrame:
    if columns is None:
        return frame
    absent = [c for c in columns if c not in frame]
    if absent:
        raise InputError(f"the table of {what} has no column {absent[0]!r}; it has {first_few(frame.columns, 8)}")
    return frame[list(columns)]


def _read_genotypes(
    genotypes: Table, variants: Sequence[str] | None, id_column: str | None, coding: Mapping[str, float] | None
) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    if not isinstance(genotypes, pd.DataFrame) and fspath(genotypes).endswith(".bed"):
        from bayesgmm.io.plink import read_plink

        return read_plink(genotypes, variants)
    frame = _take(_as_frame(genotypes, id_column, "genotypes"), variants, "genotypes")
    if coding is not None:
        table = {str(code): float(dosage) for code, dosage in coding.items()}
        frame = frame.apply(lambda column: column.map(lambda code: table.get(_code(code), np.nan)))
    return frame, None


def _code(value: Any) -> str:
    """Text of a genotype code; a column with missing values has its whole numbers read as 1.0, 2.0."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _summary_row(kind: str, name: str, values: NDArray[Any]) -> dict[str, Any]:
    present = pd.Series(values).dropna()
    row: dict[str, Any] = {"kind": kind, "name": name, "n": len(present), "missing": len(values) - len(present)}
    if values.dtype != object:
        row |= {"mean": present.mean(), "sd": present.std(), "min": present.min(), "max": present.max()}
    return row
