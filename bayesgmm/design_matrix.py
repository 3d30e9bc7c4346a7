"""Predictors of the mixing weights, and covariates of the means: a formula turned into columns (formulaic)."""

from __future__ import annotations

import itertools
import re
import warnings
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.linalg import qr

from bayesgmm import names
from bayesgmm.core.gather import Uncertain
from bayesgmm.errors import InputError, first_few, nearest

if TYPE_CHECKING:
    from bayesgmm.study import Study

Array = NDArray[np.float64]

_MOST_UNCERTAIN = 2  # genotypes of one person that are averaged over: nine combinations
_CERTAIN = 1.0 - 1e-9  # a genotype probability above this is a call
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
        Not centred. Where a genotype is not certain, what is expected over what it may be; where it is missing beside
        two others, the column's mean over the people who have it.
    uncertain : Uncertain
        People with one or two genotypes missing or given as probabilities, and the columns each possibility makes.
    variants : tuple of str
        Variants that the formula uses.
    profiles : ndarray (n_variants, 3, P)
        Predictors of the average person with a variant set to genotype 0, 1 and 2: the mean over people of each
        column with the variant set.
    genotype_account : pandas.DataFrame
        One row a variant: ``n_missing`` people without its genotype, ``n_uncertain`` with probabilities in its place,
        ``n_averaged`` of both averaged over what it may be, ``n_mean`` set to what is expected instead.
    role : str
        What the formula is for: "weights" or "means".
    average : bool
        Whether people who lack at most two genotypes are averaged over what they may be.
    """

    formula: str | None
    columns: tuple[str, ...]
    matrix: Array
    variants: tuple[str, ...]
    profiles: Array
    genotype_account: pd.DataFrame
    uncertain: Uncertain
    role: str = "weights"
    average: bool = True
    _dependence: dict[str, list[int]] = field(default_factory=dict)
    _spec: Any = None
    _covariates: tuple[str, ...] = ()
    _levels: dict[str, set[str]] = field(default_factory=dict)
    _frequencies: dict[str, float] = field(default_factory=dict)

    @classmethod
    def build(cls, study: Study, formula: str | None, *, role: str = "weights", average: bool = True) -> Design:
        """Evaluate a formula on a study.

        Variant ids are written as they are (``rs1:2``, ``1_2345_A_G``) or in backticks; where ``a:b`` is both an id
        and an interaction, the id wins. ``additive()``, ``dominance()`` and ``recessive()`` recode a variant.

        Parameters
        ----------
        study : Study
        formula : str or None
        role : {"weights", "means"}
            What the formula is for.
        average : bool
            Average over what a genotype may be where a person lacks at most two (else: set to what is expected).

        Raises
        ------
        InputError
            If a name is unknown, a covariate is missing for someone, or the columns are constant, collinear or more
            than the people.
        """
        if formula is None or not formula.strip() or formula.strip() in ("1", "~ 1", "~1"):
            empty = _nothing_told()
            none = np.zeros((study.n_samples, 0))
            profiles = np.zeros((0, len(names.GENOTYPES), 0))
            return cls(None, (), none, (), profiles, empty, Uncertain.nobody(0), role)
        data = study.columns()
        quoted = quote_names(formula, list(data.columns))
        spec, used = _parse(quoted, data, formula, role)
        variants = tuple(v for v in study.variant_names if v in used)
        covariates = [c for c in study.covariate_names if c in used]
        _refuse_missing_covariates(data, covariates)
        absent = [v for v in variants if data[v].isna().all()]
        if absent:
            raise InputError(f"variant {absent[0]!r} is missing for everyone")
        raw, spec = _evaluate(spec, _filled(data, variants), role)
        columns = tuple(_readable(c) for c in spec.column_names if c != "Intercept")
        design = cls(
            formula=formula,
            columns=columns,
            matrix=raw,
            variants=variants,
            profiles=_profiles(spec, _filled(data, variants), variants, role),
            genotype_account=pd.DataFrame(),
            uncertain=Uncertain.nobody(len(columns)),
            role=role,
            average=average,
            _dependence={v: _columns_depending(spec, v) for v in variants},
            _spec=spec,
            _covariates=tuple(covariates),
            _levels={c: set(data[c].dropna()) for c in covariates if not pd.api.types.is_numeric_dtype(data[c])},
            _frequencies={v: _allele_frequency(data[v], study.sample_weight) for v in variants},
        )
        matrix, uncertain, genotype_account = design._settle(study, data, raw, average=average)
        design = replace(design, matrix=matrix, uncertain=uncertain, genotype_account=genotype_account)
        design._check_columns()
        return design

    def columns_of(self, variant: str) -> list[str]:
        """Names of the columns that depend on a variant."""
        return [self.columns[j] for j in self._dependence[variant]]

    def evaluate(self, study: Study) -> tuple[Array, Uncertain]:
        """The same columns for other people, (m, P), with the coding, factor levels and frequencies of this study.

        Genotypes that are missing or given as probabilities are treated as in this study.
        """
        if self.formula is None:
            return np.zeros((study.n_samples, 0)), Uncertain.nobody(0)
        data = study.columns()
        used = [*self.variants, *self._covariates]
        absent = [c for c in used if c not in data]
        if absent:
            raise InputError(f"the study lacks {absent[0]!r}, which the formula {self.formula!r} uses")
        _refuse_missing_covariates(data, [c for c in study.covariate_names if c in used])
        for covariate, levels in self._levels.items():
            new = sorted(set(data[covariate].dropna()) - levels)
            if new:
                raise InputError(f"covariate {covariate!r} has levels {first_few(new)} that the fit has not seen")
        raw, _ = _evaluate(self._spec, _filled(data, self.variants), self.role)
        matrix, uncertain, _ = self._settle(study, data, raw, average=self.average)
        return matrix, uncertain

    def _settle(
        self, study: Study, data: pd.DataFrame, raw: Array, *, average: bool
    ) -> tuple[Array, Uncertain, pd.DataFrame]:
        """Decide what stands for genotypes that are not certain: columns, what they may be, and the account of it."""
        missing = {v: data[v].isna().to_numpy() for v in self.variants}
        given = {v: p for v, p in study.genotype_probabilities().items() if v in self.variants}
        loose = {v: missing[v] | (given[v].max(axis=1) < _CERTAIN if v in given else False) for v in self.variants}
        number = np.sum([loose[v] for v in self.variants], axis=0, dtype=int) if self.variants else np.zeros(0, int)
        averaged = (number > 0) & (number <= _MOST_UNCERTAIN) & average
        matrix = _impute(raw, self._dependence, missing, self.matrix)
        people, probabilities, rows = [], [], []
        for person_set, held in _alike(loose, averaged, self.variants):
            some = data.iloc[person_set]
            for genotypes in itertools.product(names.GENOTYPES, repeat=len(held)):
                chance = np.ones(len(person_set))
                for variant, g in zip(held, genotypes, strict=True):
                    chance *= self._chance(variant, g, person_set, missing[variant], given.get(variant))
                fixed = _filled(some, self.variants, data)
                fixed = fixed.assign(**{v: float(g) for v, g in zip(held, genotypes, strict=True)})
                people.append(person_set)
                probabilities.append(chance)
                rows.append(_evaluate(self._spec, fixed, self.role)[0])
        if not people:
            uncertain = Uncertain.nobody(len(self.columns))
        else:
            person = np.concatenate(people)
            order = np.argsort(person, kind="stable")
            uncertain = Uncertain(person[order], np.concatenate(probabilities)[order], np.vstack(rows)[order])
            expected = np.zeros_like(matrix)
            np.add.at(expected, uncertain.person, uncertain.probability[:, None] * uncertain.rows)
            matrix[averaged] = expected[averaged]
        return matrix, uncertain, _told(self.variants, missing, loose, averaged)

    def _chance(
        self, variant: str, genotype: int, people: NDArray[np.int64], missing: NDArray[np.bool_], given: Array | None
    ) -> Array:
        """Probability of a genotype for each of some people: as given, else Hardy and Weinberg's."""
        f = self._frequencies[variant]
        chance = np.full(len(people), [(1 - f) ** 2, 2 * f * (1 - f), f**2][genotype])
        if given is not None:
            chance = np.where(missing[people], chance, given[people, genotype])
        return chance

    def _check_columns(self) -> None:
        n_samples, n_columns = self.matrix.shape
        if n_columns >= n_samples:
            raise InputError(
                f"{self.role} = {self.formula!r} makes {n_columns} predictors for {n_samples} people; use fewer"
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


def _parse(quoted: str, data: pd.DataFrame, formula: str, role: str) -> tuple[Any, set[str]]:
    from formulaic import Formula
    from formulaic.errors import FormulaicError

    try:
        parsed = Formula(quoted)
        used = {str(v) for v in parsed.required_variables}
        used = _with_dots(used, list(data.columns), quoted)
    except (FormulaicError, SyntaxError, AttributeError) as error:
        raise InputError(f"{role} = {formula!r} is not a formula: {str(error).splitlines()[0]}") from error
    if hasattr(parsed, "lhs") or not hasattr(parsed, "get_model_matrix"):
        raise InputError(f"{role} = {formula!r}: give the right-hand side only, e.g. 'rs1 + age'")
    for name in sorted(used - set(data.columns) - set(_CODINGS)):
        hint = ", and there are none; give a Study with genotypes or covariates"
        if len(data.columns):
            hint = f"; {nearest(name, data.columns)}"
        raise InputError(f"{role} = {formula!r}: {name!r} is neither a variant nor a covariate{hint}")
    return parsed, used


def _with_dots(used: set[str], known: list[str], quoted: str) -> set[str]:
    """Names that a formula uses; formulaic takes one with a dot for an attribute of what is before the dot."""
    for name in known:
        if "." in name and f"`{name}`" in quoted:
            before = name.split(".")[0]
            used = used | {name} if before in known else used - {before} | {name}
    return used


def _evaluate(spec: Any, data: pd.DataFrame, role: str) -> tuple[Array, Any]:
    """Columns without the intercept, and the model's memory of its factor levels."""
    from formulaic.errors import FormulaicError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = spec.get_model_matrix(data, context=_CODINGS, na_action="ignore")
    except FormulaicError as error:
        raise InputError(f"the formula of the {role} cannot be evaluated: {str(error).splitlines()[0]}") from error
    keep = [j for j, c in enumerate(made.model_spec.column_names) if c != "Intercept"]
    return np.ascontiguousarray(np.asarray(made, dtype=float)[:, keep]), made.model_spec


def _columns_depending(spec: Any, variant: str) -> list[int]:
    shift = int("Intercept" in spec.column_names)
    found = {int(j) - shift for term in spec.variable_terms.get(variant, ()) for j in spec.term_indices[term]}
    return sorted(found)


def _filled(data: pd.DataFrame, variants: tuple[str, ...], whole: pd.DataFrame | None = None) -> pd.DataFrame:
    """Data with missing genotypes at the commonest one, a placeholder for what :meth:`Design._settle` decides."""
    common = data if whole is None else whole
    return data.assign(**{v: data[v].fillna(common[v].mode().iloc[0]) for v in variants if common[v].notna().any()})


def _allele_frequency(dosage: pd.Series[Any], weight: Array | None) -> float:
    known = dosage.notna().to_numpy()
    average = np.average(dosage.to_numpy(dtype=float)[known], weights=None if weight is None else weight[known])
    return float(average) / 2.0


def _alike(
    loose: dict[str, NDArray[np.bool_]], averaged: NDArray[np.bool_], variants: tuple[str, ...]
) -> list[tuple[NDArray[np.int64], tuple[str, ...]]]:
    """People to be averaged over, together with those who lack the same genotypes."""
    if not averaged.any():
        return []
    table = np.column_stack([loose[v] for v in variants])
    kinds, kind = np.unique(table[averaged], axis=0, return_inverse=True)
    who = np.flatnonzero(averaged)
    return [
        (who[kind.reshape(-1) == j], tuple(v for v, held in zip(variants, kinds[j], strict=True) if held))
        for j in range(len(kinds))
    ]


def _told(
    variants: tuple[str, ...],
    missing: dict[str, NDArray[np.bool_]],
    loose: dict[str, NDArray[np.bool_]],
    averaged: NDArray[np.bool_],
) -> pd.DataFrame:
    """The account of genotypes that are not certain."""
    return pd.DataFrame(
        {
            "variant": pd.Series(list(variants), dtype=str),
            "n_missing": pd.Series([int(missing[v].sum()) for v in variants], dtype=int),
            "n_uncertain": pd.Series([int((loose[v] & ~missing[v]).sum()) for v in variants], dtype=int),
            "n_averaged": pd.Series([int((loose[v] & averaged).sum()) for v in variants], dtype=int),
            "n_mean": pd.Series([int((loose[v] & ~averaged).sum()) for v in variants], dtype=int),
        }
    )


@lru_cache(maxsize=1)
def _nothing_told() -> pd.DataFrame:
    """The account of no variants; making a frame takes longer than a small fit."""
    return _told((), {}, {}, np.zeros(0, dtype=bool))


def _impute(raw: Array, dependence: dict[str, list[int]], missing: dict[str, NDArray[np.bool_]], known: Array) -> Array:
    """Columns with the mean of ``known`` where a genotype is missing; the mean of the others when that is ``raw``."""
    matrix = raw.copy()
    gone = np.zeros(raw.shape, dtype=bool)
    for variant, columns in dependence.items():
        for j in columns:
            gone[:, j] |= missing[variant]
    for j in np.flatnonzero(gone.any(axis=0)).tolist():
        values = known[~gone[:, j], j] if known is raw else known[:, j]
        matrix[gone[:, j], j] = values.mean()
    return matrix


def _profiles(spec: Any, data: pd.DataFrame, variants: tuple[str, ...], role: str) -> Array:
    n_columns = len([c for c in spec.column_names if c != "Intercept"])
    profiles = np.empty((len(variants), len(names.GENOTYPES), n_columns))
    for v, variant in enumerate(variants):
        for g in names.GENOTYPES:
            profiles[v, g] = _evaluate(spec, data.assign(**{variant: float(g)}), role)[0].mean(axis=0)
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
