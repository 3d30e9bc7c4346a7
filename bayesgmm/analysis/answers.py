"""One setting of the prior answered by draws: from the Laplace engine, or from the sampler, reweighted where sound."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.special import logsumexp

from bayesgmm.core.objective import Stacked
from bayesgmm.inference.draws import log_prior_of, mean_membership, summed
from bayesgmm.inference.laplace import GOOD_K, USABLE_K, LaplaceRun

if TYPE_CHECKING:
    from bayesgmm.inference.map_fit import MapFit
    from bayesgmm.inference.posterior import Posterior
    from bayesgmm.problem import Problem

Array = NDArray[np.float64]

_LEAST_ESS = 0.25  # of the draws that must be effective after reweighting: fewer, and the ends of an interval are rough
_MEMBERSHIPS = 50  # draws over which memberships of one setting are averaged
_DF = 5.0  # of the Laplace engine's proposal


@dataclass(frozen=True)
class Answer:
    """What one setting was answered by."""

    draws: xr.Dataset
    weights: Array | None
    membership: Array
    how: str
    pareto_k: float = np.nan
    ess: float = np.nan
    log_evidence: float = np.nan
    log_evidence_error: float = np.nan


def laplace_answer(fit: MapFit, draws: int, seed: int) -> Answer:
    """Answer the setting of a fit by the Laplace engine."""
    run = LaplaceRun.at(fit, draws, seed, _DF)
    w = run.weighted
    chosen = run.resampled(seed)
    stacked = Stacked(*(x[None] for x in run.density.stacked(w.points[chosen[: 4 * _MEMBERSHIPS]])))
    membership = mean_membership(fit.problem, stacked, _MEMBERSHIPS)
    how = "Laplace" if w.pareto_k <= USABLE_K else f"Laplace, not to be trusted (k-hat {w.pareto_k:.2f}): use NUTS"
    return Answer(run.dataset, w.weights, membership, how, w.pareto_k, w.ess, w.log_evidence, w.log_evidence_error)


@dataclass(frozen=True)
class _Source:
    """A sampled posterior whose draws may serve other settings."""

    name: str
    posterior: Posterior
    stacked: Stacked
    log_prior: Array

    @classmethod
    def of(cls, name: str, posterior: Posterior) -> _Source:
        problem, draws = posterior.problem, posterior.posterior
        stacked = problem.stacked(draws)
        return cls(name, posterior, stacked, summed(log_prior_of(problem, stacked)))

    def reweighted(self, problem: Problem) -> tuple[Array, float, float]:
        """Weights of the draws under another setting's prior, k-hat and effective draws left."""
        from arviz_stats.base import array_stats

        ratio = (summed(log_prior_of(problem, self.stacked)) - self.log_prior).ravel()
        ratio = np.maximum(ratio, ratio[np.isfinite(ratio)].max(initial=0.0) - 700.0)
        if float(np.ptp(ratio)) < 1e-12:
            return np.full(len(ratio), 1.0 / len(ratio)), -np.inf, float(len(ratio))
        smoothed, k = array_stats.psislw(-ratio)
        weights = np.exp(smoothed - logsumexp(smoothed))
        return weights, float(k), float(1.0 / (weights**2).sum())


def sampled_posterior(problem: Problem, fit: MapFit, options: Mapping[str, Any]) -> Posterior:
    """Draws of one setting by the sampler, started at ``fit``."""
    from bayesgmm.inference.nuts import sample_posterior

    return sample_posterior(problem, init=fit, log_likelihood=False, **options)


class SampledStudy:
    """Answers by the sampler: draws that are there already, reweighted where that is sound, else new ones.

    Parameters
    ----------
    posterior : Posterior
        Under the model's own priors.
    options : mapping
        Arguments of :meth:`bayesgmm.Mixture.sample`.
    reweight : bool
        Draws whose effects' scales were learned are never reweighted: they belong to their own prior.
    """

    def __init__(self, posterior: Posterior, options: Mapping[str, Any], *, reweight: bool = True) -> None:
        self._sources: list[_Source] = []
        self._offer("the model's own priors", posterior)
        self._options, self._reweight = options, reweight
        self.n_sampled = 0

    def answer(self, problem: Problem, fit: MapFit, name: str) -> Answer:
        """Answer one setting; new draws, started at ``fit``, are kept under ``name`` for the settings to come."""
        sources = self._sources if self._reweight and problem.priors.scales is None else []
        tried = [(*source.reweighted(problem), source) for source in sources]
        good = [t for t in tried if t[1] <= GOOD_K and t[2] >= _LEAST_ESS * len(t[0])]
        if good:
            weights, k, ess, source = min(good, key=lambda t: -t[2])
            membership = _reweighted_membership(problem, source.stacked, weights)
            how = f"reweighted from {source.name}"
            return Answer(source.posterior.posterior, weights, membership, how, max(k, 0.0), ess)
        again = sampled_posterior(problem, fit, self._options)
        self.n_sampled += 1
        self._offer(name, again)
        ess = float(again.summary()["ess_bulk"].min())
        return Answer(again.posterior, None, again.responsibilities.values, "sampled", 0.0, ess)

    def _offer(self, name: str, posterior: Posterior) -> None:
        if posterior.problem.priors.scales is None:
            self._sources.append(_Source.of(name, posterior))


def _reweighted_membership(problem: Problem, stacked: Stacked, weights: Array) -> Array:
    flat = stacked.flat()
    ladder = (0.5 + np.arange(_MEMBERSHIPS)) / _MEMBERSHIPS
    chosen = np.minimum(np.searchsorted(np.cumsum(weights), ladder), len(weights) - 1)
    return mean_membership(problem, Stacked(*(x[chosen][None] for x in flat)), _MEMBERSHIPS)
