"""EM to the posterior mode: one loop, written once, that knows expectation, maximisation and objective.

EM (Dempster, Laird and Rubin 1977) climbs from any start but slowly near the top where components overlap. Newton's
method, on the same log posterior with the exact gradient of the E step, finishes in a few steps. Every accepted move
of either kind raises the log posterior.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bayesgmm.core.gaussian import precision_roots
from bayesgmm.core.kernel import Moments
from bayesgmm.core.objective import MixtureArrays, Parameters, moments_of_partition
from bayesgmm.core.weights import newton_weights

Array = NDArray[np.float64]

_FIRST_EM = 20  # EM steps before Newton is first tried; then twice as many each time it is sent back
_LARGEST_NEWTON = 200  # free parameters above which a difference Hessian costs more than EM
_SINGULAR = 1e-14  # smallest variance, in units of the traits' variances, of a component that is not collapsed
# A gain below this share of the log posterior is rounding, not ascent or descent.
_ROUNDING = 64 * np.finfo(float).eps


class SingularComponentError(ArithmeticError):
    """A component collapsed on too few people: its covariance is singular and the log posterior has no bound."""


@dataclass
class Climb:
    """Where one run stands, and how it got there.

    Attributes
    ----------
    parameters : Parameters
    history : list of float
        Log posterior at the start and after every accepted step; never decreasing.
    converged : bool
        Whether the estimated distance to the top is below the tolerance.
    reason : str
        Why the run stopped, in words.
    gap : float
        Estimated distance of the log posterior to its limit.
    """

    parameters: Parameters
    history: list[float] = field(default_factory=list)
    converged: bool = False
    reason: str = "not run"
    gap: float = float("inf")


def maximisation(arrays: MixtureArrays, moments: Moments, centres: Array, previous: Parameters) -> Parameters:
    """M step: the mode of the expected log posterior given the moments of the responsibilities.

    Raises
    ------
    SingularComponentError
        If a covariance matrix is singular, which only a flat prior allows.
    """
    counts = moments.pattern_counts.sum(0)
    means, covariances = arrays.niw_prior.mode(counts, moments.first, moments.second, centres)
    if not np.isfinite(covariances).all() or np.linalg.eigvalsh(covariances)[:, 0].min() < _SINGULAR:
        raise SingularComponentError("a component collapsed on too few people and its covariance is singular")
    prior = arrays.weights_prior
    if len(previous.beta) == 0:
        # pi_k = (a_k - 1 + N_k) / (sum a - K + n); at a boundary (a < 1, no people) the weight is held just above zero
        mass = np.maximum(prior.concentration - 1.0 + counts, 1e-300)
        alpha, beta = np.log(mass[1:] / mass[0]), previous.beta
    else:
        alpha, beta = newton_weights(previous.alpha, previous.beta, arrays.predictors, moments.pattern_counts, prior)
    return Parameters(alpha, beta, means, precision_roots(covariances))


def start_from(arrays: MixtureArrays, responsibilities: Array) -> Parameters:
    """Parameters after an M step from given responsibilities (n, K), people in the order of ``arrays.traits``."""
    n_components = responsibilities.shape[1]
    n_predictors = arrays.predictors.shape[1]
    moments, centres = moments_of_partition(arrays, responsibilities)
    blank = Parameters(
        np.zeros(n_components - 1),
        np.zeros((n_predictors, n_components - 1)),
        centres,
        np.broadcast_to(np.eye(len(arrays.traits)), (n_components, len(arrays.traits), len(arrays.traits))),
    )
    return maximisation(arrays, moments, centres, blank)


def climb(
    arrays: MixtureArrays,
    start: Parameters,
    *,
    max_iterations: int = 5000,
    tolerance: float = 1e-8,
    on_iteration: Callable[[int, float], None] | None = None,
) -> Climb:
    """Climb from a start to the nearest mode of the log posterior.

    Parameters
    ----------
    arrays : MixtureArrays
    start : Parameters
    max_iterations : int
        Most EM and Newton steps together.
    tolerance : float
        Stop when the log posterior is estimated to be within this many units of its limit.
    on_iteration : callable, optional
        Called with the number of steps and the log posterior.

    Returns
    -------
    Climb

    Raises
    ------
    SingularComponentError
        If a component collapses, which only a flat prior allows.
    """
    run = Climb(start)
    use_newton = len(start.pack()) <= _LARGEST_NEWTON
    patience = _FIRST_EM
    while len(run.history) < max_iterations and not run.converged:
        budget = max_iterations - len(run.history)
        _em_steps(arrays, run, min(patience, budget) if use_newton else budget, tolerance, on_iteration)
        if use_newton and not run.converged and len(run.history) < max_iterations:
            _newton_steps(arrays, run, tolerance)
            patience *= 2
    if not run.converged:
        run.reason = f"stopped after {max_iterations} steps, about {run.gap:.2g} below the limit of the log posterior"
    return run


def _em_steps(
    arrays: MixtureArrays,
    run: Climb,
    n_steps: int,
    tolerance: float,
    on_iteration: Callable[[int, float], None] | None,
) -> None:
    """Take EM steps until the log posterior is close to its limit or the steps are used up.

    The limit is Aitken's: gains shrink by a factor ``rate``, so what is still to come is ``gain rate / (1 - rate)``.
    """
    previous_gain = float("nan")
    for step in range(n_steps):
        moments = arrays.expectation(run.parameters)
        value = moments.log_likelihood + arrays.log_prior(run.parameters)
        if step > 0 or not run.history:
            run.history.append(value)
            if on_iteration is not None:
                on_iteration(len(run.history), value)
        if step > 0:
            gain = run.history[-1] - run.history[-2]
            rate = min(gain / previous_gain, 0.9999) if previous_gain > 0.0 else float("nan")
            run.gap = gain * rate / (1.0 - rate) if rate > 0.0 else max(gain, 0.0)
            rounding = _ROUNDING * abs(value)
            if step > 2 and (gain <= rounding or (rate > 0.0 and max(run.gap, gain) < max(tolerance, rounding))):
                run.converged = True
                run.gap = max(run.gap, 0.0)
                run.reason = "EM: the log posterior is within the tolerance of its limit"
                return
            previous_gain = gain
        run.parameters = maximisation(arrays, moments, run.parameters.means, run.parameters)


def _newton_steps(arrays: MixtureArrays, run: Climb, tolerance: float, max_steps: int = 12) -> None:
    """Take Newton steps while each raises the log posterior by about what its quadratic model promises."""
    value, gradient = arrays.log_posterior_and_gradient(run.parameters)
    if value > run.history[-1]:
        run.history.append(value)
    for _ in range(max_steps):
        information = arrays.negative_hessian(run.parameters)
        try:
            factor = np.linalg.cholesky(information)
        except np.linalg.LinAlgError:
            return
        half = np.linalg.solve(factor, gradient)
        promised = 0.5 * float(half @ half)
        if promised < max(tolerance * 1e-2, _ROUNDING * abs(value)):
            run.converged, run.gap = True, promised
            run.reason = "Newton: the log posterior is within the tolerance of its limit"
            return
        step = np.linalg.solve(factor.T, half)
        if float(np.abs(step).max()) > 2.0:
            return
        trial = run.parameters.unpack(run.parameters.pack() + step)
        trial_value, trial_gradient = arrays.log_posterior_and_gradient(trial)
        if not trial_value - value > 0.25 * promised:
            return
        run.parameters, value, gradient = trial, trial_value, trial_gradient
        run.history.append(value)
        run.gap = promised
