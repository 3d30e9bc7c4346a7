"""Tests of a genotype's effect on the weights: likelihood ratio, score, permutation and bootstrap, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import chi2

from bayesgmm import names
from bayesgmm.analysis.effect_advice import Facts
from bayesgmm.analysis.effect_hypotheses import Hypotheses, state_hypotheses, under_flat_effects
from bayesgmm.analysis.effect_tests_result import COLUMNS, EffectTests, few_words, too_few
from bayesgmm.checks import check_whole, check_workers, seed_or_zero
from bayesgmm.errors import InputError, first_few, nearest
from bayesgmm.inference.map_fit import MapFit
from bayesgmm.inference.replicates import refit
from bayesgmm.inference.score_test import NullScores

if TYPE_CHECKING:
    from bayesgmm.core.objective import Parameters
    from bayesgmm.model import Mixture, StudyLike
    from bayesgmm.problem import Problem
    from bayesgmm.study import Study

Array = NDArray[np.float64]

IN_THE_FIT = "in the fit already; bayesgmm.test_effect tests it there"  # why a variant has no score test
TESTS = ("lr", "score", "permutation", "bootstrap")


def test_effect(
    model: Mixture | MapFit,
    study: StudyLike | None = None,
    predictors: str | Sequence[str] | None = None,
    *,
    tests: str | Sequence[str] = TESTS,
    draws: int = 999,
    permutations: int = 9999,
    stop_after: int | None = None,
    seed: int | None = None,
    restarts: int = 10,
    workers: int | None = None,
    progress: bool = False,
) -> EffectTests:
    """Test that predictors have no effect on the weights: all their contrasts are zero.

    Parameters
    ----------
    model : Mixture or MapFit
    study : Study, DataFrame or ndarray
        Of a Mixture; left out for a fit, which has its own.
    predictors : str or sequence of str
        Columns of the weights' formula, variants (all columns that depend on one) or covariates that are text (all
        levels); tested together. A name of the
        study that is not in a Mixture's formula is added to it.
    tests : str or sequence of {"lr", "score", "permutation", "bootstrap"}
        ``lr``: likelihood ratio against chi-square. ``score``: score test at the null fit against chi-square.
        ``permutation``: the score statistic against those of permuted genotypes; the null fit is done once.
        ``bootstrap``: the likelihood ratio against those of studies simulated from the null fit, refitted both ways.
    draws : int, default 999
        Studies of the bootstrap.
    permutations : int, default 9999
        The smallest p-value is 1 / (1 + permutations), and is told as "at most" that; fewer than 19, whose smallest is
        above 0.05, decide no verdict. The same holds for ``draws``.
    stop_after : int, optional
        Stop permuting, and simulating, at so many statistics as large as the observed one; the p-value is then that
        number by the draws it took (Besag and Clifford 1991). 10 saves most of the time where there is no effect.
    seed : int, optional
        None: 0. The number of workers changes nothing.
    restarts : int, default 10
        Starts of the null fit.
    workers : int, optional
        Threads of the bootstrap; None: one a processor.
    progress : bool

    Returns
    -------
    EffectTests
        A table with one row a test: ``predictors``, ``test``, ``statistic``, ``df``, ``p_value``, ``p_error`` (Monte
        Carlo standard error; 0 for chi-square), ``draws``, ``recommended`` and ``advice``, which says why or why not;
        with ``verdicts`` in words, ``facts`` behind the advice, ``plot()``, ``save(path)``, and ``joined`` for the
        tests of several effects in one table.

    Raises
    ------
    InputError
        If there is nothing to test, or an option is out of bounds.

    Notes
    -----
    All tests are under flat priors of the effects, whatever the model's: a ratio of penalised likelihoods would be no
    likelihood ratio. Components and baseline weights keep their priors under both hypotheses, so that no component
    collapses; these priors do not grow with the number of people, so the reference is the same in large samples.

    The likelihood with the effect is climbed from the null fit, in the study and in every replicate alike.

    ``docs/effect-tests.md`` has the type-I errors of all four.
    """
    tests = [tests] if isinstance(tests, str) else list(tests)
    check_options(tests, draws, permutations, stop_after)
    check_whole("restarts", restarts, 1)
    check_workers("workers", workers)
    seed = seed_or_zero(seed)
    hypotheses = state_hypotheses(model, study, predictors).fitted(model, seed, restarts)
    facts = Facts.of(hypotheses)
    bench = _Bench(hypotheses, facts, draws, permutations, stop_after, seed, workers, progress)
    done = {test: bench.run(test) for test in tests}
    rows = [(hypotheses.label, test, *outcome.row) for test, outcome in done.items()]
    return EffectTests.build(
        pd.DataFrame(rows, columns=list(COLUMNS)),
        pd.DataFrame([{"predictors": hypotheses.label, "smallest_component": facts.component, **facts.numbers}]),
        {(hypotheses.label, test): o.statistics for test, o in done.items() if o.statistics is not None},
    )


test_effect.__test__ = False  # type: ignore[attr-defined]  # for pytest, which its name attracts


def score_variants(fit: MapFit, study: Study, variants: Sequence[str] | None = None) -> pd.DataFrame:
    """Score tests of many variants, each by itself, from one fit without them.

    Parameters
    ----------
    fit : MapFit
        The null fit: its formula has what is to be adjusted for. Under another than a flat prior of these effects it
        is climbed on to where it is under a flat one.
    study : Study
        With the genotypes; people are matched by id. Missing genotypes are set to the variant's mean.
    variants : sequence of str, optional
        Default: every variant of the study.

    Returns
    -------
    pandas.DataFrame
        ``variant``, ``n_missing``, ``statistic``, ``df``, ``p_value``, ``note``. A variant that does not vary among the
        people of the fit, is in its formula already, or is explained by the predictors in it, has no test (NaN, and
        ``df`` 0), and the note says which of these it is.

    Raises
    ------
    InputError
        If a variant is unknown, or a person of the fit is not in the study.
    """
    chosen = _chosen_variants(fit, study, variants)
    problem, parameters = _null_of(fit)
    scores = NullScores.of(problem, parameters)
    ids = [str(s) for s in problem.sample_ids[scores.people]]
    known = set(study.sample_ids)
    absent = [s for s in ids if s not in known]
    if absent:
        raise InputError(f"score_variants: the study lacks the people {first_few(absent)} of the fit")
    dosages = study.dataset[names.DOSAGES].sel(sample=ids, variant=chosen).values.astype(float)
    missing = np.isnan(dosages)
    count = (~missing).sum(axis=0)
    centre = np.where(missing, 0.0, dosages).sum(axis=0) / np.maximum(count, 1)
    filled = np.where(missing, centre, dosages)
    statistic, df = scores.each(filled)
    spread = np.ptp(filled, axis=0)
    return pd.DataFrame(
        {
            names.VARIANT: chosen,
            "n_missing": missing.sum(axis=0),
            "statistic": statistic,
            "df": df,
            "p_value": chi2.sf(statistic, np.maximum(df, 1)),
            "note": [
                "" if known else _why_not(problem, variant, varies)
                for known, variant, varies in zip(df > 0, chosen, spread > 0.0, strict=True)
            ],
        }
    )


def _chosen_variants(fit: MapFit, study: Study, variants: Sequence[str] | None) -> list[str]:
    """The variants to be scored."""
    from bayesgmm.study import Study

    if not isinstance(fit, MapFit) or not isinstance(study, Study):
        given = f"a {type(fit).__name__} and a {type(study).__name__}"
        raise InputError(f"score_variants: given {given}; give a MapFit, then a Study with the genotypes")
    if fit.problem.n_components < 2:
        raise InputError("score_variants: one component has no weights to act on")
    if isinstance(variants, str):
        variants = [variants]
    chosen = list(study.variant_names if variants is None else variants)
    if not chosen:
        raise InputError("score_variants: the study has no variant at all")
    unknown = [v for v in chosen if v not in study.variant_names]
    if unknown:
        hint = nearest(str(unknown[0]), study.variant_names)
        raise InputError(f"score_variants: the study has no variant {first_few(unknown)}; {hint}")
    return chosen


def _null_of(fit: MapFit) -> tuple[Problem, Parameters]:
    """The problem of a fit under a flat prior of its effects, and its mode."""
    problem = fit.problem
    if not problem.predictor_names or np.isinf(problem.priors.effect_sd).all():
        return problem, fit.parameters
    flat = under_flat_effects(problem)
    found = refit(flat.arrays, flat.arrays.sample, [fit.parameters])
    if found.parameters is None:
        raise InputError(
            f"score_variants: under a flat prior of the effects there is no fit: {found.failure}; fit fewer predictors"
        )
    return flat, found.parameters


def _why_not(problem: Problem, variant: str, varies: bool) -> str:
    """Why a variant has no score test."""
    if variant in problem.variant_names:
        return IN_THE_FIT
    return "explained by the predictors of the fit" if varies else "does not vary among the people of the fit"


@dataclass(frozen=True)
class _Outcome:
    """One test: the columns of its row from the statistic on, and the statistics that it was held against."""

    statistic: float
    df: int
    p_value: float
    told: tuple[bool, str]
    statistics: Array | None = None

    @property
    def row(self) -> tuple[float, int, float, float, int, bool, str]:
        taken = 0 if self.statistics is None else len(self.statistics)
        error = float(np.sqrt(self.p_value * (1.0 - self.p_value) / taken)) if taken else 0.0
        if too_few(self.p_value, taken):
            return self.statistic, self.df, self.p_value, error, taken, False, few_words(taken)
        return self.statistic, self.df, self.p_value, error, taken, *self.told


@dataclass(frozen=True, eq=False)
class _Bench:
    """The four tests of one pair of hypotheses; what several of them need is found once."""

    hypotheses: Hypotheses
    facts: Facts
    draws: int
    permutations: int
    stop_after: int | None
    seed: int
    workers: int | None
    progress: bool

    def run(self, test: str) -> _Outcome:
        of = {"lr": self._lr, "score": self._score, "permutation": self._permutation, "bootstrap": self._bootstrap}
        return of[test]()

    def _lr(self) -> _Outcome:
        return _Outcome(self._ratio, self._df, float(chi2.sf(self._ratio, self._df)), self.facts.of_ratio())

    def _score(self) -> _Outcome:
        value, rank = self._scores.together(self._columns)
        return _Outcome(value, rank, float(chi2.sf(value, max(rank, 1))), self.facts.of_score())

    def _permutation(self) -> _Outcome:
        value, rank = self._scores.together(self._columns)
        rng = np.random.default_rng(np.random.SeedSequence(self.seed).spawn(1)[0])
        above, statistics = self._scores.permuted(self._columns, self.permutations, rng, self.stop_after)
        p = _chance(above, len(statistics), self.stop_after)
        return _Outcome(value, rank, p, self.facts.of_permutation(), statistics)

    def _bootstrap(self) -> _Outcome:
        above, ratios = self.hypotheses.simulated(
            self._ratio, self.draws, self.stop_after, self.seed, self.workers, self.progress
        )
        told = self.facts.of_bootstrap(int(np.isnan(ratios).sum()))
        return _Outcome(self._ratio, self._df, _chance(above, len(ratios), self.stop_after), told, ratios)

    @property
    def _df(self) -> int:
        return len(self.hypotheses.tested) * (self.hypotheses.null.n_components - 1)

    @cached_property
    def _ratio(self) -> float:
        ratio = self.hypotheses.ratio(self.hypotheses.sample)
        if np.isnan(ratio):
            raise InputError(
                "a component collapsed on too few people on the way to the likelihood with the effect; use a proper "
                "prior of the components, or tests=['score', 'permutation']"
            )
        return ratio

    @cached_property
    def _scores(self) -> NullScores:
        return NullScores.of(self.hypotheses.null, self.hypotheses.parameters)

    @property
    def _columns(self) -> Array:
        """What is tested (n_people, q), of the people of the scores."""
        columns: Array = self.hypotheses.full.predictors[np.ix_(self._scores.people, self.hypotheses.tested)]
        return columns


def _chance(above: int, taken: int, stop_after: int | None) -> float:
    """P-value of a Monte Carlo test, stopped at so many as large or not (Besag and Clifford 1991)."""
    return above / taken if above == stop_after else (1 + above) / (1 + taken)


def check_options(tests: Sequence[str], draws: int, permutations: int, stop_after: int | None) -> None:
    """Refuse options of :func:`test_effect` that are out of bounds."""
    if not tests or any(test not in TESTS for test in tests):
        raise InputError(f"tests = {tests!r}; give some of {', '.join(TESTS)}")
    check_whole("draws", draws, 1)
    check_whole("permutations", permutations, 1)
    if stop_after is not None:
        check_whole("stop_after", stop_after, 1)
