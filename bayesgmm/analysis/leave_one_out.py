"""How well a mixture foretells people it has not seen: leave-one-out by Pareto-smoothed importance sampling.

Two things can go wrong. Where the Laplace engine's own weights are not to be believed (k-hat above 0.5, as of nearly
every mixture of more components than the data show), a few draws carry all the weight, a person's ratio hardly changes
which, and people are foretold by draws that know them: -2 elpd is too low (beside the sampler's by 2 in the middle for
k-hats of 0.5 to 0.7 and by 8 above). Such a value is not compared (:attr:`LeaveOneOut.trusted`). And a superfluous
component hardly harms prediction, so the lowest -2 elpd is often a larger model's by chance: what is not clearly worse
than the best is as good, and the smallest of these is chosen (:func:`alike`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from bayesgmm.core.objective import Stacked
from bayesgmm.core.passes import pass_over
from bayesgmm.errors import MissingExtraError
from bayesgmm.inference.laplace import LaplacePosterior

if TYPE_CHECKING:
    from bayesgmm.inference.posterior import Posterior

Array = NDArray[np.float64]

HIGH_K = 0.7  # k-hat of a person above which what is said of them is not to be believed
USABLE_DRAWS = 0.5  # k-hat of the Laplace engine's draws above which ratios on top of their weights are biased
_MANY = 0.1  # share of people with such a k-hat above which the sum is not to be believed either
SMALL_DIFFERENCE = (
    4.0  # elpd: less is no difference, and its standard error is not to be relied on (Sivula et al. 2020)
)
CLEAR = 2.0  # standard errors of a difference up to which it may be chance
_ROWS = 2_000_000  # log densities held at a time
_DRAWS = 2000  # draws looked at, at most


@dataclass(frozen=True)
class LeaveOneOut:
    """Expected log density of people left out, from :func:`leave_one_out`.

    Attributes
    ----------
    elpd, se : float
        Sum over people with traits, and its standard error.
    by_person : ndarray (n,)
        Of every person with traits, in the order of the study and in the traits' units: rows of a sample are in an
        order of its model's own, and units are its family's.
    weight : ndarray (n,)
        What each counts.
    n_high : int
        People whose k-hat is above 0.7: the posterior without them is too unlike the one with them.
    posterior_k : float
        k-hat of the draws themselves, where they are the Laplace engine's; NaN for the sampler's.
    """

    elpd: float
    se: float
    by_person: Array
    weight: Array
    n_high: int
    posterior_k: float = float("nan")

    @property
    def trusted(self) -> bool:
        """Whether it may be compared: draws to be believed, and at most a tenth of the people with high k-hats."""
        few = self.n_high <= _MANY * float(self.weight.sum())
        return bool(np.isfinite(self.elpd)) and few and not self.posterior_k > USABLE_DRAWS


def leave_one_out(posterior: Posterior) -> LeaveOneOut:
    """PSIS-LOO (Vehtari, Gelman and Gabry 2017, Statistics and Computing 27:1413) of a posterior's draws.

    Draws of the Laplace engine carry their importance weights into the ratios (Magnusson et al. 2019), so that their
    approximation is corrected at the same time.
    """
    try:
        from arviz_stats.base import array_stats
    except ImportError as error:
        raise MissingExtraError(f"loo needs the extra: pip install 'bayesgmm[sample]' ({error})") from error
    problem = posterior.problem
    stacked, log_weights, r_eff = _draws(posterior, array_stats)
    sample = problem.arrays.sample
    n_rows, n_draws = len(sample.pattern), len(log_weights)
    # all rows of a few draws at a time are computed, a few rows of all draws are smoothed
    pointwise = np.empty((n_rows, n_draws))
    step = max(1, _ROWS // n_rows)
    for begin in range(0, n_draws, step):
        some = Stacked(*(x[begin : begin + step] for x in stacked))
        pointwise[:, begin : begin + step] = pass_over(sample, some, pointwise=True).pointwise.T
    smoothed, k_hat = array_stats.psislw(pointwise - log_weights, r_eff=r_eff)
    by_row = logsumexp(smoothed + pointwise, axis=1) - logsumexp(smoothed, axis=1)
    by_person = problem.pointwise(by_row)
    shares = problem.sample_weight
    weight = np.ones(len(by_person)) if shares is None else shares[problem.people]
    return LeaveOneOut(
        elpd=float(by_person @ weight),
        se=_error_of_sum(by_person, weight),
        by_person=by_person,
        weight=weight,
        # a k-hat that could not be found is no low one
        n_high=round(float(weight[~(k_hat[problem.row_of] <= HIGH_K)].sum())),
        posterior_k=float(posterior.pareto_k) if isinstance(posterior, LaplacePosterior) else float("nan"),
    )


def difference(one: LeaveOneOut, other: LeaveOneOut) -> tuple[float, float]:
    """How much higher the first elpd is, and the standard error of that, person by person."""
    return one.elpd - other.elpd, _error_of_sum(one.by_person - other.by_person, one.weight)


def alike(lower: float, error: float) -> bool:
    """Whether an elpd that is lower by so much, with this standard error, is as good.

    Differences below 4 are small whatever their error (Sivula, Magnusson, Matamoros and Vehtari 2020); larger ones
    may be chance up to two standard errors.
    """
    return lower <= max(SMALL_DIFFERENCE, CLEAR * error)


def _error_of_sum(values: Array, weight: Array) -> float:
    """Standard error of a weighted sum over people, from the spread among them."""
    total = float(weight.sum())
    variance = float(weight @ (values - values @ weight / total) ** 2) / max(total - 1.0, 1.0)
    return float(np.sqrt(total * variance))


def _draws(posterior: Posterior, array_stats: object) -> tuple[Stacked, Array, float]:
    """Draws (n, ...), their log importance weights, and how independent they are."""
    if isinstance(posterior, LaplacePosterior) and posterior.run is not None:
        weighted = posterior.run.weighted
        kept = slice(0, _DRAWS)
        stacked = posterior.run.density.stacked(weighted.points[kept])
        return stacked, np.log(np.maximum(weighted.weights[kept], 1e-300)), 1.0
    stacked = posterior.problem.stacked(posterior.posterior)
    n_chains, n_draws = stacked.pi.shape[:2]
    every = max(1, -(-n_chains * n_draws // _DRAWS))
    some = Stacked(*(x[:, ::every] for x in stacked))
    flat = some.flat()
    log_likelihood = pass_over(posterior.problem.arrays.sample, flat).log_likelihood
    chains = log_likelihood.reshape(some.pi.shape[:2])
    size = float(array_stats.ess(chains, method="mean"))  # type: ignore[attr-defined]
    return flat, np.zeros(len(flat.pi)), float(np.clip(size / chains.size, 0.05, 1.0))
