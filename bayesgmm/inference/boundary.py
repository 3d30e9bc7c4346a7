r"""The MAP where the prior of the weights has no highest point: components die, and the rest are fitted.

Under a Dirichlet with a concentration below 1 the density is infinite wherever such a component is empty. EM then goes
to the boundary (Figueiredo and Jain 2002, IEEE PAMI 24:381, their equation 17 with this concentration):

.. math:: \pi_k \propto \max(0, N_k + a_k - 1)

A component with :math:`N_k + a_k - 1 \le 0` gets the weight zero exactly and is removed, the emptiest first, and EM
goes on with the rest until they stand at an interior mode of the density restricted to them. With predictors in the
weights the criterion is the same: the derivative of the log posterior in :math:`\log \pi_k` tends to it as the weight
vanishes (and the score below is that of the average person's weights, exact where effects are none).

The density is infinite at each such point, so it cannot say which is better. They are compared by the posterior
probability of what surrounds them. With :math:`S` the survivors, :math:`A = \sum a`, :math:`A_S` the sum over them,

.. math:: P(\text{all people in } S) = \frac{\Gamma(A_S + n)\,\Gamma(A)}{\Gamma(A_S)\,\Gamma(A + n)},

and given that, the weights are Dirichlet(:math:`a_S`) and the model is the reduced one. So

.. math:: \text{score} = \log \binom{K}{|S|} + \log P(\text{all people in } S) + \log p(y \mid \text{reduced model})

is the log of the prior predictive density of the traits together with the event that so many components hold everybody,
the last term by Laplace's approximation at the mode (Tierney and Kadane 1986). Figueiredo and Jain's message length is
that with the BIC in place of the evidence and another prior; the BIC stands in here only where there is no evidence.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from bayesgmm.core.labels import canonical_order
from bayesgmm.core.objective import Parameters
from bayesgmm.errors import InputError
from bayesgmm.inference.density import FusedDensity
from bayesgmm.inference.em import Climb, SingularComponentError, climb
from bayesgmm.inference.laplace import log_evidence_by_curvature
from bayesgmm.problem import Problem

Array = NDArray[np.float64]

_WATCH = 25  # EM steps between looks at who is dead; twice as many each time nobody is
_SAME_MODE = 1e-4  # log posterior units within which two runs with as many survivors stand at the same mode


@dataclass(frozen=True)
class Survivors:
    """An interior mode of the density restricted to the components that are left.

    Attributes
    ----------
    problem : Problem
        Of the survivors.
    run : Climb
        How they were fitted; components in the order of their means.
    n_by_em : int
        Components that EM emptied; others were taken out to see whether the rest are better without.
    score : float
        Log posterior probability of the surroundings, up to a constant; see the module.
    """

    problem: Problem
    run: Climb
    n_by_em: int
    score: float


def refuse_labelled_effects(problem: Problem) -> None:
    """Raise where the prior of the effects points at one component, which may die, or its scales are learned.

    Raises
    ------
    InputError
    """
    if problem.priors.scales is not None:
        raise InputError(
            "weights prior: a concentration below 1 empties components, and learned scales of the effects would be of "
            "other components each time; give the scales, or use a concentration of at least 1"
        )
    if np.any(problem.priors.effect_mean != 0.0):
        raise InputError(
            "weights prior: a concentration below 1 empties components, and the effects' prior mean is stated against "
            f"component {problem.reference}, which may be one of them; use mean = 0, or a concentration of at least 1"
        )


def survivors_from(
    problem: Problem, start: Parameters, max_iterations: int, tolerance: float, others: list[Survivors]
) -> list[Survivors]:
    """Every number of survivors that one start leads to, from the most to the fewest.

    EM empties what it does. From the mode of the rest the emptiest is taken out and EM goes on, down to one (or to
    those whose concentration is at least 1, which cannot die), since a start can leave more alive than is worth it. A
    start that comes to a mode among ``others`` ends there, since the way down is the same.

    Raises
    ------
    SingularComponentError
        If a component collapses before there is a first mode, which only a flat or Jeffreys prior allows.
    """
    found: list[Survivors] = []
    asked, n_by_em = problem, 0
    while True:
        try:
            problem, run, died = _settle(problem, start, max_iterations, tolerance)
        except SingularComponentError:
            if not found:
                raise
            return found
        n_by_em += died
        order = np.concatenate(
            (canonical_order(run.parameters.means), np.arange(problem.n_located, problem.n_components))
        )
        problem, run.parameters = problem.with_components(order), run.parameters.permuted(order)
        found.append(Survivors(problem, run, n_by_em, score_of(asked, problem, run)))
        if any(_same_mode(found[-1], other) for other in others):
            return found
        left = _left(problem, run.parameters)
        removable = problem.priors.concentration[: problem.n_located] < 1.0
        if problem.n_located == 1 or not removable.any():
            return found
        problem, start = _without(
            problem, run.parameters, int(np.where(removable, left[: problem.n_located], np.inf).argmin())
        )


def _settle(
    problem: Problem, parameters: Parameters, max_iterations: int, tolerance: float
) -> tuple[Problem, Climb, int]:
    """Run EM, removing who dies, until the survivors stand still; how many died."""
    died, watch, steps = 0, _WATCH, max_iterations
    history: list[float] = []
    while True:
        before = died
        while problem.n_located > 1:
            left = _left(problem, parameters)
            if left.min() > 0.0:
                break
            # one at a time: what the emptiest leaves may keep the next alive
            problem, parameters = _without(problem, parameters, int(left.argmin()))
            died += 1
        if died > before:
            # the density of fewer components is another
            watch, history = _WATCH, []
        # Newton's method goes towards infinity where somebody is dying, so it waits until nobody has for a while
        settled = watch > 4 * _WATCH or problem.n_located == 1
        run = climb(
            problem.arrays,
            parameters,
            max_iterations=max(1, steps if settled else min(watch, steps)),
            tolerance=tolerance,
            newton=settled,
            polished=settled,
        )
        steps -= len(run.history)
        history += run.history if not history else run.history[1:]
        watch *= 2
        parameters = run.parameters
        alive = problem.n_located == 1 or _left(problem, parameters).min() > 0.0
        if alive and ((run.converged and settled) or steps <= 0):
            run.history = history
            return problem, run, died
        if run.converged:
            watch = max(watch, 8 * _WATCH)


def _left(problem: Problem, parameters: Parameters) -> Array:
    """What the M step makes of every component, ``N_k + a_k - 1`` (K,); noise and a spike do not die."""
    mass = problem.arrays.expectation(parameters).mass[: problem.n_components]
    left: Array = mass + problem.priors.concentration - 1.0
    left[problem.n_located :] = np.inf
    return left


def _without(problem: Problem, parameters: Parameters, k: int) -> tuple[Problem, Parameters]:
    others = np.delete(np.arange(problem.n_components), k)
    return problem.with_components(others), parameters.permuted(others)


def score_of(asked: Problem, problem: Problem, run: Climb) -> float:
    """Log posterior probability of what surrounds a mode of the survivors, up to a constant; see the module.

    Parameters
    ----------
    asked : Problem
        With every component.
    problem : Problem
        Of the survivors.
    run : Climb
        Their mode.
    """
    every, left, n = asked.priors.concentration, problem.priors.concentration, problem.n_effective
    inside = gammaln(left.sum() + n) - gammaln(left.sum()) + gammaln(every.sum()) - gammaln(every.sum() + n)
    ways = 0.0
    if np.ptp(every) == 0.0:
        # so many sets of survivors, and labellings of each, are the same but for the labels
        ways = math.lgamma(len(every) + 1.0) - math.lgamma(len(every) - len(left) + 1.0)
    return float(inside) + ways + _log_evidence(problem, run)


def _log_evidence(problem: Problem, run: Climb) -> float:
    """Log evidence of one labelling; by half the BIC where the prior has no constant or no finite integral."""
    arrays = problem.arrays
    if not problem.family.sampled or problem.priors.why_improper():
        log_likelihood = arrays.expectation(run.parameters).log_likelihood + problem.log_likelihood_shift
        return log_likelihood - 0.5 * arrays.n_free * math.log(problem.n_effective)
    # in log ratios of the weights, where the density of a small concentration has a mode
    return log_evidence_by_curvature(problem, FusedDensity(arrays, run.parameters))


def _same_mode(one: Survivors, other: Survivors) -> bool:
    as_many = one.problem.n_components == other.problem.n_components
    return as_many and abs(one.run.history[-1] - other.run.history[-1]) <= _SAME_MODE
