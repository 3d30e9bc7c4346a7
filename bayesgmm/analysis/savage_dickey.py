"""Savage-Dickey Bayes factors of an effect against none (Dickey 1971): prior over posterior density at zero."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import gaussian_kde, norm

from bayesgmm.inference.map_fit import MapFit
from bayesgmm.inference.marginal import EffectsAtNone
from bayesgmm.problem import Problem

Array = NDArray[np.float64]

_FAR = 2.0  # posterior sds from the mean beyond which a kernel density of draws is rough
_FEWEST = 2.0  # effective draws without which there is no kernel density
_LEAST = 1e-300
# prior sd of the log odds ratio per sd of a predictor above which a Bayes factor says little: a third of such a prior
# are odds ratios beyond 20, or below 1/20, between people who differ as people usually do
_WIDE = 3.0


class BayesFactors:
    """Bayes factors of the pairwise effects of one problem.

    The posterior density at zero is a kernel estimate where there are draws around. Beyond 2 sds from the mean, and
    without draws, it is Laplace's (:mod:`bayesgmm.inference.marginal`), which follows the density out to zero; where
    that does not apply, the normal's.

    Parameters
    ----------
    problem : Problem
    fit : MapFit
        Near the mode.
    """

    def __init__(self, problem: Problem, fit: MapFit) -> None:
        self._problem, self._fit = problem, fit
        self._at_none: EffectsAtNone | None = None

    def log10(
        self,
        p: int,
        high: int,
        low: int,
        mean: float,
        sd: float,
        values: Array | None = None,
        weights: Array | None = None,
    ) -> float:
        """The first value of :meth:`log10_by`."""
        return self.log10_by(p, high, low, mean, sd, values, weights)[0]

    def log10_by(
        self,
        p: int,
        high: int,
        low: int,
        mean: float,
        sd: float,
        values: Array | None = None,
        weights: Array | None = None,
    ) -> tuple[float, str]:
        """Bayes factor, log10, of predictor ``p``'s log odds ratio of component ``high`` against ``low``; its source.

        That is of the posterior density at zero: "draws", "Laplace" or "normal"; empty where there is no factor.

        NaN under a flat prior, and where the prior density at zero is infinite (a learned scale).

        Parameters
        ----------
        p, high, low : int
        mean, sd : float
            Of the posterior of that log odds ratio; NaN where it has none, and so no Bayes factor.
        values : ndarray (n,), optional
            Draws of it.
        weights : ndarray (n,), optional
            Importance weights that sum to one.
        """
        log_prior = log_prior_of_none(self._problem, p, high, low)
        if not (np.isfinite(log_prior) and np.isfinite(mean) and sd > 0.0):
            return float("nan"), ""
        by = "draws"
        kernel = None if values is None or abs(mean) > _FAR * sd else kernel_of(values, weights)
        if kernel is not None:
            log_posterior = float(np.log(max(float(kernel(0.0)[0]), _LEAST)))
        else:
            if self._at_none is None:
                self._at_none = EffectsAtNone(self._problem, self._fit.parameters)
            log_posterior, by = self._at_none.log_density(p, high, low), "Laplace"
            if not np.isfinite(log_posterior):
                log_posterior, by = float(norm.logpdf(0.0, mean, sd)), "normal"
        return float((log_prior - log_posterior) / np.log(10.0)), by


def too_wide_for_bayes_factors(problem: Problem) -> str:
    """A caution in words where a prior of the effects is so wide that its Bayes factors say little; else empty.

    The wider the prior, the more its Bayes factor speaks for no effect, whatever the data (Lindley 1957, Biometrika
    44:187).
    """
    if problem.priors.scales is not None or not problem.predictor_names:
        return ""
    spread = problem.predictors[problem.observed].std(axis=0)
    sd = problem.priors.effect_sd
    wide = [j for j in range(len(sd)) if np.isfinite(sd[j]) and sd[j] * spread[j] > _WIDE]
    if not wide:
        return ""
    listed = ", ".join(f"{problem.predictor_names[j]} (prior sd {sd[j]:g})" for j in wide)
    return (
        f"Do not read the Bayes factors of {listed}: the prior is so wide that nearly all of it are odds ratios nobody "
        "expects, and the wider it is, the more a Bayes factor speaks for no effect, whatever the data (Lindley's "
        "paradox). Read the interval and the probability of direction, or give a prior that you believe, such as sd 1 "
        "per allele"
    )


def log_prior_of_none(problem: Problem, p: int, high: int, low: int) -> float:
    """Log prior density of a pairwise log odds ratio at zero; NaN under a flat prior."""
    if not np.isfinite(problem.priors.effect_sd[p]):
        return float("nan")
    means = np.insert(problem.priors.effect_mean[p], problem.reference, 0.0)
    return float(problem.priors.pairwise_effect(p).log_density(float(means[high] - means[low])))


def kernel_of(values: Array, weights: Array | None) -> gaussian_kde | None:
    """Kernel density of (weighted) draws; None where they are next to one value, which has none.

    Parameters
    ----------
    values : ndarray (n,)
    weights : ndarray (n,), optional
        They sum to one.
    """
    effective = len(values) if weights is None else 1.0 / float(weights @ weights)
    kept = values if weights is None else values[weights > 0.0]
    if effective < _FEWEST or np.ptp(kept) == 0.0:
        return None
    return gaussian_kde(values, weights=weights)
