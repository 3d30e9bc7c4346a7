r"""Which predictors act on the weights, by the evidence of every subset: a point spike and slab, summed over models.

A predictor is in the model with its prior probability, and its effect then has the model's own prior (the slab); else
it is exactly zero. Each of the :math:`2^P` subsets has an evidence :math:`p(y \mid S)`, first by Laplace's
approximation at its mode, then, where it matters, by the importance draws of :mod:`bayesgmm.inference.laplace`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import logsumexp

from bayesgmm import names
from bayesgmm.checks import check_whole, seed_or_zero
from bayesgmm.core.effect_density import NORMAL, STUDENT_T
from bayesgmm.errors import InputError, first_few
from bayesgmm.inference.density import FusedDensity
from bayesgmm.inference.laplace import USABLE_K, LaplaceRun, log_evidence_by_curvature
from bayesgmm.inference.search import fit_map
from bayesgmm.model import check_model
from bayesgmm.progress import track

if TYPE_CHECKING:
    from bayesgmm.inference.map_fit import MapFit
    from bayesgmm.model import Mixture
    from bayesgmm.problem import Problem

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]

_MOST = 12  # predictors up to which every subset is looked at
_DF = 5.0  # of the importance draws
_MASS = 0.999  # posterior probability of the models that are refined by draws, by their first evidence
_MOST_REFINED = 200
_HIGHER = 1e-3  # log posterior units by which a mode must be higher to be another
_SHOWN = 10


@dataclass(frozen=True, eq=False)
class PredictorSelection:
    """Posterior over the subsets of predictors, from :func:`select_predictors`.

    Attributes
    ----------
    problem : Problem
        Of all the predictors.
    predictors : tuple of str
        Those that may be in or out.
    models : pandas.DataFrame
        One row per subset, the likeliest first: ``model``, ``n_predictors``, ``log_evidence`` and its
        ``log_evidence_error``, ``pareto_k`` of the draws (above 0.7: the evidence is not to be trusted; NaN: Laplace's
        approximation, corrected by the mean correction of the others), ``prior`` and posterior ``probability``.
    included : ndarray (n_models, n_predictors) of bool
        Which predictors each row has.
    inclusion : pandas.DataFrame
        One row per predictor: ``predictor``, ``prior`` and posterior ``probability`` that it is in, the ``error`` that
        the evidences' errors leave in that (NaN without draws), and the ``log10_bayes_factor`` of in against out.
    effects : pandas.DataFrame
        One row per predictor and contrast: ``mean`` and ``sd`` of the log odds ratio averaged over all models, zero
        where the predictor is out, and ``mean_if_included``, ``sd_if_included``.
    fit : MapFit
        Of all the predictors.
    seconds : float
    """

    problem: Problem
    predictors: tuple[str, ...]
    models: pd.DataFrame
    included: Bools
    inclusion: pd.DataFrame
    effects: pd.DataFrame
    fit: MapFit
    seconds: float

    @property
    def advice(self) -> str:
        """Whether the evidences can be trusted, in words."""
        mass = float(self.models.loc[self.models["pareto_k"] > USABLE_K, "probability"].sum())
        if mass > 0.01:
            return (
                f"models with {100 * mass:.0f}% of the posterior probability have a k-hat above {USABLE_K}: their "
                "evidence is rough. Sample the posterior under LogOddsSpikeSlab and compare bayesgmm.inclusion"
            )
        error = float(self.inclusion["error"].max())
        if np.isnan(error):
            return "evidences are Laplace's approximation; draws = 500 says how far off they are"
        return f"inclusion probabilities are within about {2 * error:.2g} of exact sums over models"

    def __repr__(self) -> str:
        return (
            f"PredictorSelection: {len(self.models)} models of {len(self.predictors)} predictors in "
            f"{self.seconds:.1f} s\n{self.inclusion.round(4).to_string(index=False)}\n"
            f"{self.models.head(_SHOWN).round(4).to_string(index=False)}\n{self.advice}"
        )


def select_predictors(
    model: Mixture,
    study: Any,
    inclusion: float | Mapping[str, float] = 0.1,
    *,
    always: Sequence[str] = (),
    draws: int = 500,
    seed: int | None = None,
    max_predictors: int = _MOST,
    sample_weight: Any = None,
    progress: bool = False,
) -> PredictorSelection:
    """Posterior probabilities of every subset of the predictors of the weights, and of each predictor being in.

    Parameters
    ----------
    model : Mixture
        With the predictors in its formula, and a normal or Student-t prior of the effects: that of an effect that is
        in. Its scale matters: a vague prior of the effects favours small models (Bartlett's paradox).
    study : Study, DataFrame or ndarray
    inclusion : float or mapping, default 0.1
        Prior probability that a predictor is in, independently; one number or ``{predictor: probability}`` with 0.1 for
        those not named.
    always : sequence of str
        Predictors that are in every model, e.g. covariates.
    draws : int, default 500
        Importance draws behind the evidence of each model that matters: those with 99.9% of the posterior probability
        by Laplace's approximation, at most 200. 0: that approximation alone, the quickest.
    seed : int, optional
        None: 0.
    max_predictors : int, default 12
        More than so many that may be out are refused: there are ``2^P`` models.
    sample_weight
        As in :meth:`bayesgmm.Mixture.fit`.
    progress : bool, default False

    Returns
    -------
    PredictorSelection

    Raises
    ------
    InputError
        If there are too many predictors, or the model or an option does not allow it.

    Notes
    -----
    Model averaging after Raftery, Madigan and Hoeting (1997, JASA 92:179). With more predictors sample the posterior
    under :class:`bayesgmm.LogOddsSpikeSlab`, a continuous relaxation of the same prior, and read
    :func:`bayesgmm.inclusion`.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> from bayesgmm.demo import demo_study
    >>> found = bg.select_predictors(bg.Mixture(2, weights="rs101 + rs202 + rs303"), demo_study())
    >>> found.inclusion.set_index("predictor")["probability"].round(1).to_dict()
    {'rs101': 1.0, 'rs202': 1.0, 'rs303': 0.0}
    """
    began = time.perf_counter()
    check_model(model)
    seed = seed_or_zero(seed)
    if not (isinstance(draws, int) and draws == 0):
        check_whole("draws", draws, 100, ", or 0 for Laplace's approximation alone")
    problem = model.problem(study, sample_weight)
    free = _free(problem, always, max_predictors)
    prior = _prior(inclusion, [problem.predictor_names[p] for p in free])
    fixed = [p for p in range(len(problem.predictor_names)) if p not in free]
    search = _Search(problem, free, fixed, seed)
    search.climb(progress)
    included = search.included
    log_prior = included @ np.log(prior) + ~included @ np.log1p(-prior)
    first = np.array([search.quick[mask].log_evidence for mask in search.masks])
    log_evidence, errors, k_hat = first.copy(), np.full(len(first), np.nan), np.full(len(first), np.nan)
    summaries = [search.quick[mask] for mask in search.masks]
    if draws:
        weights = _normalised(first + log_prior)
        order = np.argsort(-weights)
        n_refined = min(int(np.searchsorted(np.cumsum(weights[order]), _MASS)) + 1, _MOST_REFINED, len(order))
        refined = order[:n_refined]
        for j in track(refined.tolist(), "draws", enabled=progress):
            summaries[j] = search.refined(search.masks[j], draws)
            log_evidence[j], errors[j], k_hat[j] = summaries[j].log_evidence, summaries[j].error, summaries[j].pareto_k
        gained = log_evidence[refined] - first[refined]
        others = np.setdiff1d(order, refined)
        log_evidence[others] += gained.mean()
        errors[others] = gained.std()
    weights = _normalised(log_evidence + log_prior)
    order = np.argsort(-weights, kind="stable")
    labels = tuple(problem.predictor_names[p] for p in free)
    always_names = [problem.predictor_names[p] for p in fixed]
    told = [" + ".join([*always_names, *np.array(labels, dtype=object)[row]]) or "(none)" for row in included]
    models = pd.DataFrame(
        {
            "model": told,
            "n_predictors": included.sum(axis=1) + len(fixed),
            "log_evidence": log_evidence,
            "log_evidence_error": errors,
            "pareto_k": k_hat,
            "prior": np.exp(log_prior),
            "probability": weights,
        }
    )
    return PredictorSelection(
        problem=problem,
        predictors=labels,
        models=models.iloc[order].reset_index(drop=True),
        included=included[order],
        inclusion=_inclusion(labels, prior, included, weights, errors),
        effects=_averaged(problem, summaries, weights),
        fit=search.full,
        seconds=time.perf_counter() - began,
    )


def _free(problem: Problem, always: Sequence[str], most: int) -> list[int]:
    """Positions of the predictors that may be in or out."""
    labels = problem.predictor_names
    if not labels or problem.n_components < 2:
        raise InputError("select_predictors: the model has no predictors of the weights, or only one component")
    if isinstance(always, str):
        raise InputError(f"always = {always!r}; it must be a list of predictors' names")
    unknown = [name for name in always if name not in labels]
    if unknown:
        raise InputError(
            f"always names {unknown[0]!r}, which is not a predictor; the predictors are {', '.join(labels)}"
        )
    if problem.priors.scales is not None or not np.isin(problem.priors.effect_kind, (NORMAL, STUDENT_T)).all():
        raise InputError(
            "select_predictors: the effects' prior must be that of an effect that is in, LogOddsNormal, "
            "LogOddsStudentT or LogOddsCauchy; the others select by themselves"
        )
    problem.priors.refuse_improper()
    problem.refuse_unsampled()
    free = [p for p, name in enumerate(labels) if name not in always]
    if not free:
        raise InputError("select_predictors: every predictor is in always; there is nothing to select")
    if len(free) > most:
        raise InputError(
            f"select_predictors: {len(free)} predictors have {2.0 ** len(free):.3g} subsets; up to max_predictors = "
            f"{most} all are looked at. Sample the posterior under Priors(effects=bayesgmm.LogOddsSpikeSlab(...)) "
            "instead and read bayesgmm.inclusion, or put some in always"
        )
    return free


def _prior(inclusion: float | Mapping[str, float], labels: list[str]) -> Array:
    if isinstance(inclusion, Mapping):
        unknown = [name for name in inclusion if name not in labels]
        if unknown:
            raise InputError(f"inclusion names {unknown[0]!r}, which is not among {first_few(labels)}")
        values = np.array([float(inclusion.get(name, 0.1)) for name in labels])
    else:
        values = np.full(len(labels), float(inclusion))
    if not ((values > 0.0) & (values < 1.0)).all():
        raise InputError(f"inclusion = {inclusion!r}; every probability must be between 0 and 1")
    return values


@dataclass(frozen=True)
class _Answer:
    """Evidence of one model, and means and variances of the effects that it has."""

    log_evidence: float
    error: float
    pareto_k: float
    columns: list[int]
    mean: Array
    variance: Array


class _Search:
    """Modes and first evidences of every subset, which is a number whose bits are the free predictors that it has."""

    def __init__(self, problem: Problem, free: list[int], fixed: list[int], seed: int) -> None:
        self._problem, self._free, self._fixed, self._seed = problem, free, fixed, seed
        # small ones first, so that each has a parent
        self.masks = sorted(range(2 ** len(free)), key=lambda mask: (mask.bit_count(), mask))
        self.included: Bools = np.array([[bool(mask >> j & 1) for j in range(len(free))] for mask in self.masks])
        self.quick: dict[int, _Answer] = {}
        self._modes: dict[int, Any] = {}
        self.full: MapFit

    def climb(self, progress: bool) -> None:
        """Fit every subset from a smaller one's mode, and from larger ones where the whole has a higher mode."""
        everything = self.masks[-1]
        self.full = fit_map(self._problem, seed=self._seed)
        for mask in track(self.masks, "models", enabled=progress):
            smaller = mask & (mask - 1)
            self._keep(mask, self._from(mask, smaller) if mask else fit_map(self._of(0), seed=self._seed))
        whole = fit_map(self._problem, init=self.full)
        if whole.log_posterior > self._modes[everything][1] + _HIGHER:
            self._keep(everything, whole)
            for mask in reversed(self.masks[:-1]):
                missing = everything & ~mask
                fit = self._from(mask, mask | (missing & -missing))
                if fit.log_posterior > self._modes[mask][1] + _HIGHER:
                    self._keep(mask, fit)

    def refined(self, mask: int, draws: int) -> _Answer:
        """Evidence and effects of one subset by importance draws."""
        run = LaplaceRun.at(self._from(mask, mask), draws, self._seed, _DF)
        effects = run.dataset[names.EFFECTS].values[0]
        weights = run.weighted.weights
        mean = np.einsum("n,npc->pc", weights, effects)
        variance = np.einsum("n,npc->pc", weights, (effects - mean) ** 2)
        w = run.weighted
        return _Answer(w.log_evidence, w.log_evidence_error, w.pareto_k, self._columns(mask), mean, variance)

    def _columns(self, mask: int) -> list[int]:
        return sorted([*self._fixed, *(p for j, p in enumerate(self._free) if mask >> j & 1)])

    def _of(self, mask: int) -> Problem:
        return self._problem.keeping(self._columns(mask))

    def _from(self, mask: int, other: int) -> MapFit:
        """Fit of one subset from the mode of another: effects that it lacks begin at nothing."""
        parameters, _ = self._modes[other]
        theirs = dict(zip(self._columns(other), parameters.beta, strict=True))
        nothing = np.zeros(self._problem.n_components - 1)
        problem = self._of(mask)
        beta = np.array([theirs.get(p, nothing) for p in self._columns(mask)]).reshape(-1, len(nothing))
        start = replace(self.full, problem=problem, parameters=replace(parameters, beta=beta), information=None)
        return fit_map(problem, init=start)

    def _keep(self, mask: int, fit: MapFit) -> None:
        self._modes[mask] = (fit.parameters, fit.log_posterior)
        problem = fit.problem
        density = FusedDensity(problem.arrays, fit.parameters)
        value = log_evidence_by_curvature(problem, density) + math.lgamma(problem.n_components + 1.0)
        self.quick[mask] = _Answer(value, 0.0, np.nan, self._columns(mask), *_normal_effects(problem, density))


def _normal_effects(problem: Problem, density: FusedDensity) -> tuple[Array, Array]:
    """Means and variances (P, contrasts) of the effects by the normal approximation of the density."""
    free, size = problem.n_components - 1, len(problem.predictor_names)
    block = slice(free, free * (1 + size))
    others = [k for k in range(problem.n_components) if k != problem.reference]
    # rows: contrasts against the reference; columns: components other than 0
    against = np.eye(problem.n_components)[others] - np.eye(problem.n_components)[problem.reference]
    against = against[:, 1:]
    roots = density.scale[block].reshape(size, free, density.size) / problem.predictor_unit[:, None, None]
    beta = density.centre[block].reshape(size, free) / problem.predictor_unit[:, None]
    return beta @ against.T, (np.einsum("ck,pkj->pcj", against, roots) ** 2).sum(axis=-1)


def _normalised(log_weights: Array) -> Array:
    result: Array = np.exp(log_weights - logsumexp(log_weights))
    return result


def _inclusion(labels: tuple[str, ...], prior: Array, included: Bools, weights: Array, errors: Array) -> pd.DataFrame:
    inside, outside = weights @ included, weights @ ~included
    # d inclusion_p / d log evidence_S = w_S (1[p in S] - inclusion_p); errors of different models are independent
    slopes = weights[:, None] * (included - inside)
    with np.errstate(divide="ignore"):
        gained = np.log(inside) - np.log(outside) - np.log(prior) + np.log1p(-prior)
    return pd.DataFrame(
        {
            names.PREDICTOR: labels,
            "prior": prior,
            "probability": inside,
            "error": np.sqrt(((slopes * errors[:, None]) ** 2).sum(axis=0)),
            "log10_bayes_factor": gained / np.log(10.0),
        }
    )


def _averaged(problem: Problem, answers: list[_Answer], weights: Array) -> pd.DataFrame:
    """Effects averaged over models: moments of a mixture of the models' own, and of zero where they lack it."""
    shape = (len(problem.predictor_names), problem.n_components - 1)
    first, second, inside = np.zeros(shape), np.zeros(shape), np.zeros((shape[0], 1))
    for answer, weight in zip(answers, weights, strict=True):
        if answer.columns:
            first[answer.columns] += weight * answer.mean
            second[answer.columns] += weight * (answer.mean**2 + answer.variance)
            inside[answer.columns] += weight
    mean_inside = first / np.maximum(inside, 1e-300)
    sd_inside = np.sqrt(np.maximum(second / np.maximum(inside, 1e-300) - mean_inside**2, 0.0))
    sd = np.sqrt(np.maximum(second - first**2, 0.0))
    rows = [
        (name, contrast, first[p, c], sd[p, c], mean_inside[p, c], sd_inside[p, c])
        for p, name in enumerate(problem.predictor_names)
        for c, contrast in enumerate(problem.contrasts)
    ]
    columns = [names.PREDICTOR, names.CONTRAST, "mean", "sd", "mean_if_included", "sd_if_included"]
    return pd.DataFrame(rows, columns=columns)
