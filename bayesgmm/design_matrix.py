"""Predictors of the mixing weights: a formula turned into columns (formulaic)."""

from __future__ import annotations

import difflib
import re
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.linalg import qr

from bayesgmm import names
from bayesgmm.errors import InputError, first_few

if TYPE_CHECKING:
    from bayesgmm.study import Study

Array = NDArray[np.float64]

_RANK_TOLERANCE = 1e-9  # of a column's part that no earlier column explains, relative to the column


def additive(dosage: pd.Series[Any]) -> pd.Series[Any]:
    """Copies of the effect allele, 0 to 2."""
    return dosage


def dominance(dosage: pd.Series[Any]) -> pd.Series[Any]:
    """Heterozygosity, 1 for a dosage of 1 and 0 for 0 and 2; beside the dosage, the deviation from additivity."""
    return 1.0 - (dosage - 1.0).abs()


def recessive(dosage: pd.Series[Any]) -> pd.Series[Any]:
    """Copies beyond the first, 1 for a dosage of 2 and 0 up to 1."""
    return (dosage - 1.0).clip(lower=0.0)


_CODINGS = {"additive": additive, "dominance": dominance, "recessive": recessive}


@dataclass(frozen=True, eq=False)
class Design:
    """Predictors of the weights.

    Attributes
    ----------
    formula : str or None
    columns : tuple of str
        Names of the predictors (P).
    matrix : ndarray (n_samples, P)
        Not centred; where a genotype is missing, the column's mean over the people who have it.
    variants : tuple of str
        Variants that the formula uses.
    profiles : ndarray (n_variants, 3, P)
        Predictors of the average person with a variant set to genotype 0, 1 and 2: the mean over people of each
        column with the variant set.
    imputed : pandas.DataFrame
        ``variant`` and ``n_missing``: people whose genotype was missing.
    """

    formula: str | None
    columns: tuple[str, ...]
    matrix: Array
    variants: tuple[str, ...]
    profiles: Array
    imputed: pd.DataFrame
    _dependence: dict[str, list[int]] = field(default_factory=dict)
    _spec: Any = None
    _levels: dict[str, set[str]] = field(default_factory=dict)

    @classmethod
    def build(cls, study: Study, formula: str | None) -> Design:
        """Evaluate a formula on a study.

        Variant ids are written as they are (``rs1:2``, ``1_2345_A_G``) or in backticks; where ``a:b`` is both an id
        and an interaction, the id wins. ``additive()``, ``dominance()`` and ``recessive()`` recode a variant.

        Raises
        ------
        InputError
            If a name is unknown, a covariate is missing for someone, or the columns are constant, collinear or more
            than the people.
        """
        if formula is None or not formula.strip() or formula.strip() in ("1", "~ 1", "~1"):
            empty = pd.DataFrame({"variant": pd.Series(dtype=str), "n_missing": pd.Series(dtype=int)})
            return cls(None, (), np.zeros((study.n_samples, 0)), (), np.zeros((0, len(names.GENOTYPES), 0)), empty)
        data = study.columns()
        quoted = quote_names(formula, list(data.columns))
        spec, used = _parse(quoted, data, formula)
        variants = tuple(v for v in study.variant_names if v in used)
        covariates = [c for c in study.covariate_names if c in used]
        _refuse_missing_covariates(data, covariates)
        missing = {v: data[v].isna().to_numpy() for v in variants}
        absent = [v for v in variants if missing[v].all()]
        if absent:
            raise InputError(f"variant {absent[0]!r} is missing for everyone")
        raw, spec = _evaluate(spec, _filled(data, variants))
        columns = tuple(_readable(c) for c in spec.column_names if c != "Intercept")
        dependence = {v: _columns_depending(spec, v) for v in variants}
        matrix = _impute(raw, dependence, missing)
        design = cls(
            formula=formula,
            columns=columns,
            matrix=matrix,
            variants=variants,
            profiles=_profiles(spec, _filled(data, variants), variants),
            imputed=pd.DataFrame({"variant": list(variants), "n_missing": [int(missing[v].sum()) for v in variants]}),
            _dependence=dependence,
            _spec=spec,
            _levels={c: set(data[c].dropna()) for c in covariates if not pd.api.types.is_numeric_dtype(data[c])},
        )
        design._check_columns()
        return design

    def columns_of(self, variant: str) -> list[str]:
        """Names of the columns that depend on a variant."""
        return [self.columns[j] for j in self._dependence[variant]]

    def evaluate(self, study: Study) -> Array:
        """The same columns for other people, (m, P), with the coding and factor levels of this study.

        A missing genotype gets this study's column mean.
        """
        if self.formula is None:
            return np.zeros((study.n_samples, 0))
        data = study.columns()
        used = [*self.variants, *self._spec.required_variables]
        absent = [c for c in used if c not in data and c not in _CODINGS]
        if absent:
            raise InputError(f"the study lacks {absent[0]!r}, which the formula {self.formula!r} uses")
        _refuse_missing_covariates(data, [c for c in study.covariate_names if c in used])
        for covariate, levels in self._levels.items():
            new = sorted(set(data[covariate].dropna()) - levels)
            if new:
                raise InputError(f"covariate {covariate!r} has levels {first_few(new)} that the fit has not seen")
        missing = {v: data[v].isna().to_numpy() for v in self.variants}
        matrix, _ = _evaluate(self._spec, _filled(data, self.variants))
        for variant, gone in missing.items():
            for j in self._dependence[variant]:
                matrix[gone, j] = self.matrix[:, j].mean()
        return matrix

    def _check_columns(self) -> None:
        n_samples, n_columns = self.matrix.shape
        if n_columns >= n_samples:
            raise InputError(
                f"weights = {self.formula!r} makes {n_columns} predictors for {n_samples} people; use fewer"
            )
        for j, column in enumerate(self.columns):
            if not np.isfinite(self.matrix[:, j]).all():
                raise InputError(f"predictor {column!r} is not finite for every person; check the formula's functions")
            if np.ptp(self.matrix[:, j]) == 0.0:
                monomorphic = [v for v in self.variants if self._dependence[v] == [j]]
                what = (
                    f"variant {monomorphic[0]!r} is monomorphic" if monomorphic else f"predictor {column!r} is constant"
                )
                raise InputError(f"{what} ({self.matrix[0, j]:g} for every person), so it has no effect; leave it out")
        centred = self.matrix - self.matrix.mean(axis=0)
        scaled = centred / np.linalg.norm(centred, axis=0)
        _, triangle, order = qr(scaled, mode="economic", pivoting=True)
        weak = np.flatnonzero(np.abs(np.diag(triangle)) < _RANK_TOLERANCE)
        if len(weak):
            dependent, others = order[weak[0]], order[: weak[0]]
            weight, *_ = np.linalg.lstsq(scaled[:, others], scaled[:, dependent], rcond=None)
            involved = [self.columns[j] for j, w in zip(others, weight, strict=True) if abs(w) > 1e-6]
            raise InputError(
                f"collinear predictors: {self.columns[dependent]!r} is a combination of {first_few(involved)}; "
                "leave one out"
            )


def quote_names(formula: str, known: list[str]) -> str:
    """Put backticks around ids that are not Python names, longest first, at token boundaries only."""
    strange = sorted((c for c in known if not c.isidentifier()), key=len, reverse=True)
    if not strange:
        return formula
    pattern = "|".join(re.escape(c) for c in strange)
    token = re.compile(rf"(`[^`]*`)|(?<![\w.])({pattern})(?![\w.])")
    return token.sub(lambda m: m.group(1) or f"`{m.group(2)}`", formula)


def _parse(quoted: str, data: pd.DataFrame, formula: str) -> tuple[Any, set[str]]:
    from formulaic import Formula
    from formulaic.errors import FormulaicError

    try:
        parsed = Formula(quoted)
        used = {str(v) for v in parsed.required_variables}
    except (FormulaicError, SyntaxError, AttributeError) as error:
        raise InputError(f"weights = {formula!r} is not a formula: {str(error).splitlines()[0]}") from error
    if hasattr(parsed, "lhs") or not hasattr(parsed, "get_model_matrix"):
        raise InputError(f"weights = {formula!r}: give the right-hand side only, e.g. 'rs1 + age'")
    for name in sorted(used - set(data.columns) - set(_CODINGS)):
        near = difflib.get_close_matches(name, list(data.columns), 1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else f"; known are {first_few(data.columns, 8)}"
        raise InputError(f"weights = {formula!r}: {name!r} is neither a variant nor a covariate{hint}")
    return parsed, used


def _evaluate(spec: Any, data: pd.DataFrame) -> tuple[Array, Any]:
    """Columns without the intercept, and the model's memory of its factor levels."""
    from formulaic.errors import FormulaicError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = spec.get_model_matrix(data, context=_CODINGS, na_action="ignore")
    except FormulaicError as error:
        raise InputError(f"the weights' formula cannot be evaluated: {str(error).splitlines()[0]}") from error
    keep = [j for j, c in enumerate(made.model_spec.column_names) if c != "Intercept"]
    return np.ascontiguousarray(np.asarray(made, dtype=float)[:, keep]), made.model_spec


def _columns_depending(spec: Any, variant: str) -> list[int]:
    shift = int("Intercept" in spec.column_names)
    found = {int(j) - shift for term in spec.variable_terms.get(variant, ()) for j in spec.term_indices[term]}
    return sorted(found)


def _filled(data: pd.DataFrame, variants: tuple[str, ...]) -> pd.DataFrame:
    """Data with missing genotypes at the commonest one, a placeholder that is overwritten by column means."""
    return data.assign(**{v: data[v].fillna(data[v].mode().iloc[0]) for v in variants if data[v].notna().any()})


def _impute(raw: Array, dependence: dict[str, list[int]], missing: dict[str, NDArray[np.bool_]]) -> Array:
    matrix = raw.copy()
    gone = np.zeros(raw.shape, dtype=bool)
    for variant, columns in dependence.items():
        for j in columns:
            gone[:, j] |= missing[variant]
    for j in np.flatnonzero(gone.any(axis=0)).tolist():
        matrix[gone[:, j], j] = raw[~gone[:, j], j].mean()
    return matrix


def _profiles(spec: Any, data: pd.DataFrame, variants: tuple[str, ...]) -> Array:
    n_columns = len([c for c in spec.column_names if c != "Intercept"])
    profiles = np.empty((len(variants), len(names.GENOTYPES), n_columns))
    for v, variant in enumerate(variants):
        for g in names.GENOTYPES:
            profiles[v, g] = _evaluate(spec, data.assign(**{variant: float(g)}))[0].mean(axis=0)
    return profiles


def _refuse_missing_covariates(data: pd.DataFrame, covariates: list[str]) -> None:
    for name in covariates:
        gone = data[name].isna()
        if gone.any():
            raise InputError(
                f"covariate {name!r} is missing for {int(gone.sum())} people: {first_few(data.index[gone])}; fill in "
                "or leave out those people, or take it out of the formula"
            )


def _readable(column: str) -> str:
    return column.replace("`", "").replace("[T.", "[")
