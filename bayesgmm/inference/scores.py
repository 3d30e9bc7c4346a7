"""Scores of people: the gradient of each one's log likelihood at the estimate, and the sandwich they give."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bayesgmm.core.objective import Parameters
from bayesgmm.inference.people import is_whole
from bayesgmm.problem import Problem

Array = NDArray[np.float64]

# Central differences of a log density: the cube root of its rounding error balances both errors.
_STEP = float(np.finfo(float).eps ** (1.0 / 3.0))


def scores_by_row(problem: Problem, parameters: Parameters) -> Array:
    """Gradient of the log density of every row of the sample in free coordinates (n_rows, n_free).

    Central differences of the density itself, whatever its components are: two passes a parameter.
    """
    arrays = problem.arrays
    centre = arrays.free(parameters)
    scores = np.empty((arrays.n_rows, len(centre)))
    for j, x in enumerate(centre):
        step = _STEP * max(1.0, abs(x))
        ahead, behind = centre.copy(), centre.copy()
        ahead[j] += step
        behind[j] -= step
        densities = [arrays.membership(arrays.of_free(at, parameters))[1] for at in (ahead, behind)]
        scores[:, j] = (densities[0] - densities[1]) / (ahead[j] - behind[j])
    return scores


def row_weights(problem: Problem) -> tuple[Array, Array]:
    """How many people each row stands for, and the sum of their squared weights (n_rows,).

    Whole weights are counts of people, who have a score each: their squares are the weights themselves.
    """
    repeats = problem.arrays.sample.repeats
    counts = repeats if len(repeats) else np.ones(problem.arrays.n_rows)
    if is_whole(problem):
        return counts, counts
    assert problem.sample_weight is not None
    own = problem.sample_weight[problem.people]
    rows = np.arange(len(counts))[problem.row_of]
    return counts, np.bincount(rows, own**2, len(counts))


def variance_of_score(problem: Problem, parameters: Parameters) -> Array:
    """Variance of the sum of the people's scores (n_free, n_free), from their outer products about their mean.

    At a mode under a prior the mean is not zero: the scores balance the slope of the prior.
    """
    scores = scores_by_row(problem, parameters)
    counts, squared = row_weights(problem)
    centred = scores - counts @ scores / counts.sum()
    result: Array = (centred * squared[:, None]).T @ centred
    return result
