"""What is looked at in a data set and its fit: the same for the people and for every replicate of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from bayesgmm.core.objective import Parameters, Stacked
from bayesgmm.core.shape import effective, in_order, pair_correlations, shape_of
from bayesgmm.core.ties import Cells, cells_of
from bayesgmm.errors import InputError
from bayesgmm.inference.margins import margins_of
from bayesgmm.inference.people import with_rows
from bayesgmm.inference.prior_draws import simulate_traits
from bayesgmm.inference.simulated_problems import rounded_as

if TYPE_CHECKING:
    from bayesgmm.inference.posterior import Posterior
    from bayesgmm.problem import Problem

Array = NDArray[np.float64]
Long = NDArray[np.int64]

SOME = 500  # people over whom the fitted distribution is averaged

_PLACES = 101  # quantiles at which sorted residuals are compared
_LEAST_EXPECTED = 5.0  # people in a bin of the chi-square
_FEATURES = (0.002, 0.01, 0.05, 0.2, 0.5, 0.8, 0.95, 0.99, 0.998)  # where the fitted distribution is read off
_TAILS = (0.001, 0.01, 0.05)  # shares of people in a tail that are counted for the words


@dataclass(frozen=True)
class Plan:
    """What is asked of a trait, the same for the observed data and every replicate.

    ``seen`` are the people who have it, ``probability`` the places of the sorted residuals, ``values`` where the fitted
    distribution is read off, over the people ``some``.
    """

    seen: Long
    weight: Array | None
    n: float
    probability: Array
    n_bins: int
    values: Array
    some: Long
    cells: Cells

    @classmethod
    def of(cls, problem: Problem, d: int, rng: np.random.Generator) -> Plan:
        """Plan for a trait of the observed data.

        Raises
        ------
        InputError
            If hardly anybody has it.
        """
        seen = np.flatnonzero(~np.isnan(problem.traits[:, d]))
        weight = None if problem.sample_weight is None else problem.sample_weight[seen]
        n = effective(len(seen), weight)
        if n < 2 * _LEAST_EXPECTED:
            raise InputError(
                f"check_fit: {n:.0f} people have {problem.trait_names[d]!r}, too few to say whether a mixture fits"
            )
        reach = -float(ndtri(0.5 / n))
        observed = problem.traits[seen, d]
        return cls(
            seen=seen,
            weight=weight,
            n=n,
            probability=ndtr(np.linspace(-reach, reach, _PLACES)),
            # Mann and Wald (1942), as in D'Agostino and Stephens (1986), with enough people in each
            n_bins=int(min(2.0 * n**0.4, n / _LEAST_EXPECTED)),
            values=np.quantile(observed, _FEATURES),
            some=seen if len(seen) <= SOME else np.sort(rng.choice(seen, SOME, replace=False)),
            cells=cells_of(observed, weight),
        )


@dataclass(frozen=True)
class Look:
    """What is seen of one data set.

    Attributes
    ----------
    sorted_residuals : ndarray (D, m)
        Of each trait, at the places of its plan.
    chi_square : ndarray (D,)
    shape : ndarray (D, n_statistics)
    features : ndarray (D, q)
        The fitted distribution of each trait at fixed values.
    log_density : ndarray (m,)
        Of people, sorted; empty for one trait.
    correlations : ndarray (n_pairs,)
        Of residuals; empty for one trait.
    tails : ndarray (D, 6)
        Share of people in the mixture's own left tails, then in its right ones.
    """

    sorted_residuals: Array
    chi_square: Array
    shape: Array
    features: Array
    log_density: Array
    correlations: Array
    tails: Array


def look(problem: Problem, parameters: Parameters, plans: list[Plan], rng: np.random.Generator) -> Look:
    """Look at one data set under its own parameters."""
    margins = margins_of(problem, parameters)
    found: list[tuple[Array, float, Array, Array, Array]] = []
    scores = np.full(problem.traits.shape, np.nan)
    for d, (margin, plan) in enumerate(zip(margins, plans, strict=True)):
        values = problem.traits[plan.seen, d]
        residuals = margin.residuals(values, plan.seen, plan.cells, rng)
        scores[plan.seen, d] = residuals
        ascending, cumulative = in_order(residuals, plan.weight)
        cuts = ndtri(np.concatenate((_TAILS, 1.0 - np.array(_TAILS))))
        share_below = np.array([_share_below(residuals, plan.weight, cut) for cut in cuts])
        found.append(
            (
                np.interp(plan.probability, cumulative, ascending),
                _chi_square(residuals, plan),
                shape_of(values, plan.weight),
                margin.pooled(plan.values, plan.some),
                np.concatenate((share_below[: len(_TAILS)], 1.0 - share_below[len(_TAILS) :])),
            )
        )
    log_density = correlations = np.empty(0)
    if len(plans) > 1:
        correlations = pair_correlations(scores, problem.sample_weight)
        each = problem.pointwise(problem.arrays.membership(parameters)[1])
        n = effective(len(each), problem.sample_weight)
        reach = -float(ndtri(0.5 / n))
        ascending, cumulative = in_order(each, problem.sample_weight)
        log_density = np.interp(ndtr(np.linspace(-reach, reach, _PLACES)), cumulative, ascending)
    residuals_at, chi_square, shape, features, tails = (np.array(column) for column in zip(*found, strict=True))
    return Look(residuals_at, chi_square, shape, features, log_density, correlations, tails)


def _share_below(residuals: Array, weight: Array | None, cut: float) -> float:
    below = residuals < cut
    return float(below.mean() if weight is None else below @ weight / weight.sum())


def _chi_square(residuals: Array, plan: Plan) -> float:
    """``sum (O - E)^2 / E`` over bins of equal probability under the fit."""
    bins = np.minimum((ndtr(residuals) * plan.n_bins).astype(np.int64), plan.n_bins - 1)
    share = np.bincount(bins, plan.weight, minlength=plan.n_bins).astype(float)
    share /= share.sum()
    return float(plan.n * plan.n_bins * ((share - 1.0 / plan.n_bins) ** 2).sum())


def foretold(posterior: Posterior, rows: Long, plans: list[Plan], draws: int, rng: np.random.Generator) -> Array:
    """Statistics of shape (n_draws, D, n_statistics) of data drawn from the posterior's draws."""
    problem = with_rows(posterior.problem, rows, None)
    stacked = posterior.problem.stacked(posterior.posterior).flat()
    chosen = np.linspace(0, len(stacked.pi) - 1, min(draws, len(stacked.pi))).astype(int)
    made = []
    for j in chosen:
        traits = simulate_traits(problem, Stacked(*(x[j : j + 1] for x in stacked)), rng)[0][0]
        rounded_as(traits, [plan.cells for plan in plans])
        made.append([shape_of(traits[plan.seen, d], plan.weight) for d, plan in enumerate(plans)])
    return np.array(made)
