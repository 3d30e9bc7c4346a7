"""Tests of a genotype's effect on the weights: likelihood ratio, score, permutation and bootstrap, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import chi2

from bayesgmm import names
from bayesgmm.core.effect_density import NORMAL
from bayesgmm.core.objective import MixtureArrays, Parameters
from bayesgmm.core.sample import Sample
from bayesgmm.errors import InputError, first_few
from bayesgmm.inference.map_fit import MapFit
from bayesgmm.inference.replicates import Simulated, is_whole, one_by_one, refit
from bayesgmm.inference.score_test import NullScores
from bayesgmm.inference.search import fit_map, with_a_mode
from bayesgmm.problem import Problem

if TYPE_CHECKING:
    from bayesgmm.model import Mixture, StudyLike
    from bayesgmm.study import Study

Array = NDArray[np.float64]

TESTS = ("lr", "score", "permutation", "bootstrap")
COLUMNS = ("test", "statistic", "df", "p_value", "p_error", "draws", "recommended", "advice")

_FEW_PEOPLE = 30.0  # expected people in the smallest component below which its parameters are not nearly normal
_FEW_CARRIERS = 10.0  # expected people there with and without the rarer genotypes
_LITTLE_KNOWN = 0.3  # share of the memberships' information that the traits have
_HIGHER = 0.01  # log units by which another mode is higher
_SAME = 1e-6  # log units within which two modes are one


def test_effect(
    model: Mixture | MapFit,
    study: StudyLike | None = None,
    predictors: str | Sequence[str] | None = None,
    *,
    tests: Sequence[str] = TESTS,
    draws: int = 999,
    permutations: int = 9999,
    stop_after: int | None = None,
    seed: int | None = None,
    restarts: int = 10,
    workers: int | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """Test that predictors have no effect on the weights: all their contrasts are zero.

    Parameters
    ----------
    model : Mixture or MapFit
    study : Study, DataFrame or ndarray
        Of a Mixture; left out for a fit, which has its own.
    predictors : str or sequence of str
        Columns of the weights' formula, or variants (all columns that depend on one); tested together. A name of the
        study that is not in a Mixture's formula is added to it.
    tests : sequence of {"lr", "score", "permutation", "bootstrap"}
        ``lr``: likelihood ratio against chi-square. ``score``: score test at the null fit against chi-square.
        ``permutation``: the score statistic against those of permuted genotypes; the null fit is done once.
        ``bootstrap``: the likelihood ratio against those of studies simulated from the null fit, refitted both ways.
    draws : int, default 999
        Studies of the bootstrap.
    permutations : int, default 9999
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
    pandas.DataFrame
        One row a test: ``test``, ``statistic``, ``df``, ``p_value``, ``p_error`` (Monte Carlo standard error; 0 for
        chi-square), ``draws``, ``recommended`` and ``advice``, which says why or why not. ``attrs`` has the numbers
        behind it: the smallest component, how many ``people`` are expected there, how many ``carriers`` of the rarer
        genotypes (or of the others, if fewer), and the share of its membership's information that is ``known``.

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
    _check(tests, draws, permutations, stop_after)
    hypotheses = _hypotheses(model, study, predictors)
    hypotheses = hypotheses.fitted(model, seed, restarts)
    facts = _Facts.of(hypotheses)
    rows = []
    ratio = hypotheses.ratio(hypotheses.sample) if {"lr", "bootstrap"} & set(tests) else None
    if ratio is not None and np.isnan(ratio):
        raise InputError(
            "a component collapsed on too few people on the way to the likelihood with the effect; use a proper prior "
            "of the components, or tests=['score', 'permutation']"
        )
    df = len(hypotheses.tested) * (hypotheses.null.n_components - 1)
    scores = NullScores.of(hypotheses.null, hypotheses.parameters)
    columns = hypotheses.full.predictors[np.ix_(scores.people, hypotheses.tested)]
    for test in tests:
        if test == "lr":
            assert ratio is not None
            rows.append((test, ratio, df, float(chi2.sf(ratio, df)), 0.0, 0, *facts.of_ratio()))
        elif test == "score":
            value, rank = scores.together(columns)
            rows.append((test, value, rank, float(chi2.sf(value, max(rank, 1))), 0.0, 0, *facts.of_score()))
        elif test == "permutation":
            value, rank = scores.together(columns)
            rng = np.random.default_rng(np.random.SeedSequence(0 if seed is None else seed).spawn(1)[0])
            above, taken = scores.permuted(columns, permutations, rng, stop_after)
            p = _chance(above, taken, stop_after)
            rows.append((test, value, rank, p, _error(p, taken), taken, *facts.of_permutation()))
        else:
            assert ratio is not None
            above, taken, failed = hypotheses.exceeding(ratio, draws, stop_after, seed, workers, progress)
            p = _chance(above, taken, stop_after)
            rows.append((test, ratio, df, p, _error(p, taken), taken, *facts.of_bootstrap(failed)))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table.attrs |= {"smallest_component": facts.component, **facts.numbers}
    return table


test_effect.__test__ = False  # type: ignore[attr-defined]  # for pytest, which its name attracts


def score_variants(fit: MapFit, study: Study, variants: Sequence[str] | None = None) -> pd.DataFrame:
    """Score tests of many variants, each by itself, from one fit without them.

    Parameters
    ----------
    fit : MapFit
        The null fit: its formula has what is to be adjusted for, under flat priors of the effects if anything.
    study : Study
        With the genotypes; people are matched by id. Missing genotypes are set to the variant's mean.
    variants : sequence of str, optional
        Default: every variant of the study.

    Returns
    -------
    pandas.DataFrame
        ``variant``, ``n_missing``, ``statistic``, ``df``, ``p_value``. A variant that does not vary among the people
        of the fit, or is explained by the other predictors, has none (NaN, and ``df`` 0).

    Raises
    ------
    InputError
        If a variant is unknown, or a person of the fit is not in the study.
    """
    problem = fit.problem
    if problem.n_components < 2:
        raise InputError("score_variants: one component has no weights to act on")
    chosen = list(study.variant_names if variants is None else variants)
    unknown = [v for v in chosen if v not in study.variant_names]
    if unknown or not chosen:
        raise InputError(f"score_variants: the study has no variant {first_few(unknown) if unknown else 'at all'}")
    scores = NullScores.of(problem, fit.parameters)
    ids = [str(s) for s in problem.sample_ids[scores.people]]
    known = set(study.sample_ids)
    absent = [s for s in ids if s not in known]
    if absent:
        raise InputError(f"score_variants: the study lacks the people {first_few(absent)} of the fit")
    dosages = study.dataset[names.DOSAGES].sel(sample=ids, variant=chosen).values.astype(float)
    missing = np.isnan(dosages)
    count = (~missing).sum(axis=0)
    centre = np.where(missing, 0.0, dosages).sum(axis=0) / np.maximum(count, 1)
    statistic, df = scores.each(np.where(missing, centre, dosages))
    return pd.DataFrame(
        {
            names.VARIANT: chosen,
            "n_missing": missing.sum(axis=0),
            "statistic": statistic,
            "df": df,
            "p_value": chi2.sf(statistic, np.maximum(df, 1)),
        }
    )


@dataclass(frozen=True, eq=False)
class _Hypotheses:
    """The problem with and without the predictors that are tested, and the null fit.

    ``kept`` and ``tested`` are positions of predictors of the full problem; ``sample`` is that of the full problem;
    ``parameters`` are those of the null fit, which knows nothing of what is tested, so that permuting that is exact;
    ``highest`` those of the highest null fit that is found, also from modes that have the effect. ``higher`` is by how
    much the likelihood with the effect is higher at another mode than the one climbed to from there.
    """

    full: Problem
    null: Problem
    kept: list[int]
    tested: list[int]
    parameters: Parameters
    highest: Parameters
    higher: float = 0.0

    @property
    def sample(self) -> Sample:
        return self.full.arrays.sample

    def fitted(self, model: Mixture | MapFit, seed: int | None, restarts: int) -> _Hypotheses:
        """With the null fits."""
        null = fit_map(self.null, seed=seed, restarts=restarts).parameters
        effect = fit_map(self.full, seed=seed, restarts=restarts).parameters
        starts = [self.without(effect)]
        if isinstance(model, MapFit) and model.problem.n_components == self.full.n_components:
            starts.append(self.without(model.parameters))
        other = refit(self.null.arrays, self.null.arrays.sample, starts)
        better = other.log_posterior > self.null.arrays.log_posterior(null) + _SAME
        highest = other.parameters if better and other.parameters is not None else null
        warm = refit(self.full.arrays, self.sample, [self.with_zeros(highest)])
        higher = self.full.arrays.log_posterior(effect) - warm.log_posterior
        return replace(self, parameters=null, highest=highest, higher=higher)

    def without(self, parameters: Parameters) -> Parameters:
        """Parameters of the null problem: those of the full one without the effects that are tested."""
        return replace(parameters, beta=np.ascontiguousarray(parameters.beta[self.kept]))

    def with_zeros(self, parameters: Parameters) -> Parameters:
        """Parameters of the full problem: those of the null one, and no effects of what is tested."""
        beta = np.zeros((len(self.full.predictor_names), parameters.beta.shape[1]))
        beta[self.kept] = parameters.beta
        return replace(parameters, beta=beta)

    @property
    def _arrays(self) -> tuple[MixtureArrays, MixtureArrays]:
        return self.null.arrays, self.full.arrays

    def ratio(self, sample: Sample) -> float:
        """Twice the gain of the log likelihood by the effects, both climbed on a sample of the full problem.

        NaN where a component collapsed.
        """
        null, full = self._arrays
        # rows that differ only in what is tested stay apart: only their number would be less
        fewer = sample._replace(predictors=np.ascontiguousarray(sample.predictors[:, self.kept]))
        without = refit(null, fewer, [self.highest], likelihood=False)
        if without.parameters is None:
            return float("nan")
        effect = refit(full, sample, [self.with_zeros(without.parameters)], likelihood=False)
        return max(2.0 * (effect.log_posterior - without.log_posterior), 0.0)

    def exceeding(
        self,
        observed: float,
        draws: int,
        stop_after: int | None,
        seed: int | None,
        workers: int | None,
        progress: bool,
    ) -> tuple[int, int, int]:
        """How many of how many studies simulated under the null fit have a ratio as large, and how many have no fit.

        Those without a fit are counted as larger.
        """
        simulated = Simulated(self.full, self.with_zeros(self.highest))

        def one(rng: np.random.Generator) -> float:
            return self.ratio(simulated.sample(rng))

        above, taken, failed = 0, 0, 0
        for ratio in one_by_one(one, draws, seed=seed, workers=workers, progress=progress, label="bootstrap"):
            taken += 1
            failed += bool(np.isnan(ratio))
            above += not ratio < observed
            if above == stop_after:
                break
        return above, taken, failed


def _hypotheses(
    model: Mixture | MapFit, study: StudyLike | None, predictors: str | Sequence[str] | None
) -> _Hypotheses:
    asked = [predictors] if isinstance(predictors, str) else list(predictors or ())
    if not asked:
        raise InputError("predictors: name at least one predictor or variant to test")
    if isinstance(model, MapFit):
        if study is not None:
            raise InputError("study: a fit has its own; give the Mixture to test on another study")
        problem = model.problem
    else:
        if study is None:
            raise InputError("study: give the study on which the model is to be tested")
        problem = _with_these(model, study, asked)
    if problem.n_components < 2:
        raise InputError("n_components = 1; one component has no weights to act on")
    tested: list[int] = []
    for name in asked:
        columns = problem.variant_columns.get(name, [name])
        unknown = [c for c in columns if c not in problem.predictor_names]
        if unknown:
            raise InputError(
                f"predictors: {unknown[0]!r} is neither a predictor nor a variant of the model; it has "
                f"{first_few(problem.predictor_names, 8) or 'none'}"
            )
        tested += [problem.predictor_names.index(c) for c in columns]
    tested = sorted(set(tested))
    kept = [p for p in range(len(problem.predictor_names)) if p not in tested]
    full = _under_flat_effects(problem)
    null = full.keeping(kept)
    nothing = Parameters(np.zeros(0), np.zeros((0, 0)), np.zeros((0, 0)), np.zeros((0, 0, 0)), np.zeros((0, 0)))
    return _Hypotheses(full, null, kept, tested, nothing, nothing)


def _with_these(model: Mixture, study: StudyLike, asked: Sequence[str]) -> Problem:
    """The problem of a model, with predictors added that its formula does not have."""
    from bayesgmm.model import as_study

    made = as_study(study)
    known = {*made.variant_names, *made.covariate_names}
    problem = model.problem(made)
    absent = [n for n in asked if n in known and n not in problem.variant_names and n not in problem.predictor_names]
    if not absent:
        return problem
    added = [*([] if model.weights is None else [model.weights]), *(f"`{name}`" for name in absent)]
    return replace(model, weights=" + ".join(added)).problem(made)


def _under_flat_effects(problem: Problem) -> Problem:
    """The problem with flat priors of the effects and priors of the weights that have a mode."""
    prior = problem.priors
    size = len(prior.effect_sd)
    flat = replace(
        prior,
        effect_mean=np.zeros_like(prior.effect_mean),
        effect_sd=np.full(size, np.inf),
        effect_kind=np.full(size, NORMAL, dtype=np.int64),
        effect_shape=np.zeros_like(prior.effect_shape),
        scales=None,
        scales_at=None,
    )
    return with_a_mode(problem.with_resolved(flat))


@dataclass(frozen=True)
class _Facts:
    """What decides which test to believe.

    ``people``: expected in the smallest component, ``component``. ``carriers``: the fewest people expected there of
    either kind where a tested predictor has two values or is a dosage. ``known``: share of the information of known
    memberships that the traits have, of that component.
    """

    component: str
    people: float
    carriers: float
    known: float
    others: bool
    whole: bool
    higher: float

    @classmethod
    def of(cls, hypotheses: _Hypotheses) -> _Facts:
        null = hypotheses.null
        responsibilities = null.responsibilities(hypotheses.parameters)
        weights = np.exp(null.log_weights(hypotheses.parameters))
        count = np.where(null.observed, 1.0 if null.sample_weight is None else null.sample_weight, 0.0)
        sizes = count @ responsibilities
        k = int(sizes.argmin())
        spread = count @ (weights[:, k] * (1.0 - weights[:, k]))
        known = count @ (responsibilities[:, k] - weights[:, k]) ** 2 / max(float(spread), 1e-300)
        carriers = np.inf
        for p in hypotheses.tested:
            column = hypotheses.full.predictors[:, p]
            rare = np.abs(column - np.median(column)) > 0.5 * (column.max() - column.min()) / 2.0
            if len(np.unique(np.round(column, 6))) <= 3 or hypotheses.full.variant_names:
                inside = float((count * responsibilities[:, k]) @ rare)
                carriers = min(carriers, inside, float(sizes[k]) - inside)
        return cls(
            null.component_labels[k],
            float(sizes[k]),
            carriers,
            float(known),
            bool(hypotheses.kept),
            is_whole(null),
            hypotheses.higher,
        )

    @property
    def numbers(self) -> dict[str, float]:
        """What the recommendations rest on."""
        return {"people": self.people, "carriers": self.carriers, "known": self.known}

    @property
    def weak(self) -> str:
        """Why the mixture's likelihood ratio is not near to chi-square; empty where nothing speaks against it."""
        told = []
        if self.people < _FEW_PEOPLE:
            told.append(f"about {self.people:.0f} people in component {self.component}")
        if self.carriers < _FEW_CARRIERS:
            told.append(f"about {self.carriers:.1f} of the rarer genotype expected there")
        if self.known < _LITTLE_KNOWN:
            told.append(f"the traits tell {100 * self.known:.0f}% of what known memberships would")
        return ", ".join(told)

    def of_ratio(self) -> tuple[bool, str]:
        if self.higher > _HIGHER:
            more = f"; with the effect another mode is higher by {self.higher:.2g} log units: see the fit with it"
        else:
            more = ""
        if self.weak:
            return False, f"chi-square is not its reference here ({self.weak}): trust permutation or bootstrap{more}"
        return True, f"enough people in every component for chi-square{more}"

    def of_score(self) -> tuple[bool, str]:
        if self.carriers < _FEW_CARRIERS:
            return False, f"too discrete for chi-square ({self.carriers:.1f} carriers expected): trust permutation"
        if self.others:
            return True, "holds if the variant's regression on the other predictors is linear, whatever the mixture"
        return True, "holds whatever the mixture"

    def of_permutation(self) -> tuple[bool, str]:
        if not self.whole:
            return False, "people of unequal weight are not exchangeable: trust score or bootstrap"
        if self.others:
            return True, "nearly exact: what the other predictors leave of the variant is permuted"
        return True, "exact, whatever the mixture and the number of people"

    def of_bootstrap(self, failed: int) -> tuple[bool, str]:
        told = "" if not failed else f"; {failed} studies could not be fitted and are counted as larger"
        return True, f"right where the mixture is, also where a component is small{told}"


def _chance(above: int, taken: int, stop_after: int | None) -> float:
    """P-value of a Monte Carlo test, stopped at so many as large or not (Besag and Clifford 1991)."""
    return above / taken if above == stop_after else (1 + above) / (1 + taken)


def _error(p: float, draws: int) -> float:
    return float(np.sqrt(p * (1.0 - p) / draws))


def _check(tests: Sequence[str], draws: int, permutations: int, stop_after: int | None) -> None:
    unknown = [t for t in tests if t not in TESTS]
    if unknown or isinstance(tests, str) or not tests:
        raise InputError(f"tests = {tests!r}; give some of {', '.join(TESTS)}")
    for name, value in (("draws", draws), ("permutations", permutations)):
        if value < 1:
            raise InputError(f"{name} = {value}; it must be at least 1")
    if stop_after is not None and stop_after < 1:
        raise InputError(f"stop_after = {stop_after}; it must be at least 1, or None to take every permutation")
