"""When a bootstrap's intervals are not to be believed: too few replicates, or effects that few people inform."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from bayesgmm.analysis.effect_advice import FEW_CARRIERS, carriers_of, people_in_rows
from bayesgmm.problem import Problem

ENOUGH_FOR_SE = 50  # replicates whose standard deviation is known to 10%
_FAR_BELOW = 0.5  # ratio to the observed information's standard error below which replicates leave out much


def least_draws(level: float, method: str) -> int:
    """Replicates that an interval needs at least.

    For percentile and basic intervals one beyond each end, ``2 / (1 - level)``: 40 at 95%. Ten times as many for BCa,
    whose correction is estimated from them too and reaches further out. Normal intervals need a standard deviation: 50
    give it to 10%. A thousand are usual (Efron and Tibshirani 1993, sections 6.4 and 14.3).
    """
    if method == "normal":
        return ENOUGH_FOR_SE
    return math.ceil(round((20.0 if method == "bca" else 2.0) / (1.0 - level), 6))


def doubtful_effects(problem: Problem, kind: str, ratio: NDArray[np.float64] | None) -> dict[str, str]:
    """By predictor, why the intervals of its effects are too narrow.

    People drawn anew leave out, or repeat, the few who have the rarer genotype. The estimate is then the prior's, and
    the replicates scatter less than the effect is uncertain.

    Parameters
    ----------
    problem : Problem
    kind : str
        Of the bootstrap; a parametric one keeps the people.
    ratio : ndarray (n_predictors, n_contrasts) or None
        Of the replicates' standard deviations of the effects to standard errors from the observed information, NaN
        where a prior holds an effect. None: too few replicates to tell.
    """
    count, told = people_in_rows(problem), {}
    for p, name in enumerate(problem.predictor_names):
        why = []
        carriers = carriers_of(problem, p, count)
        if carriers < FEW_CARRIERS and kind != "parametric":
            why.append(f"{carriers:.3g} {'person has' if carriers == 1.0 else 'people have'} its rarer value")
        known = np.empty(0) if ratio is None else ratio[p][np.isfinite(ratio[p])]
        if known.size and known.min() < _FAR_BELOW:
            why.append(f"replicates scatter {known.min():.2g} times as much as the observed information says")
        if why:
            told[name] = f"{name}: {', and '.join(why)}: its intervals are too narrow, sample the posterior"
    return told
