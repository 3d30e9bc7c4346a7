"""The climb from a start to a mode: accelerated EM in compiled code, Newton's method at the end where it is cheap.

EM (Dempster, Laird and Rubin 1977) climbs from any start but slowly near the top where components overlap; Anderson's
method shortens it (:mod:`bayesgmm.core.ascent`), and Newton's, on the same log posterior with the exact gradient of the
E step, finishes and measures how far the limit still is. Every accepted move of any kind raises the log posterior.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bayesgmm.core.ascent import CONVERGED, DESCENDED, ROUNDING, SINGULAR, ascend
from bayesgmm.core.objective import MixtureArrays, Parameters

Array = NDArray[np.float64]

_PATIENCE = 40  # passes over the people before Newton is tried; then twice as many each time it is sent back
_LARGEST_NEWTON = 150  # free parameters above which a Hessian by differences costs more than EM
_LARGE_NEWTON = 40  # the same where passes over the people are what costs: a Hessian is two for each parameter
_NEWTON_WORK = 2e7  # people times components times free parameters above which they are
_NEWTON_STEPS = 8
_LONGEST_NEWTON = 2.0  # coordinates are logarithms and standardised: a longer step is not near the mode


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
    gradient_norm : float
        Largest absolute derivative of the log posterior at the last point.
    """

    parameters: Parameters
    history: list[float] = field(default_factory=list)
    converged: bool = False
    reason: str = "not run"
    gap: float = float("inf")
    gradient_norm: float = float("inf")


def climb(
    arrays: MixtureArrays,
    start: Parameters,
    *,
    max_iterations: int = 5000,
    tolerance: float = 1e-8,
    newton: bool = True,
) -> Climb:
    """Climb from a start to the nearest mode of the log posterior.

    Parameters
    ----------
    arrays : MixtureArrays
    start : Parameters
    max_iterations : int
        Most passes over the people and Newton steps together.
    tolerance : float
        Stop when the log posterior is estimated to be within this many units of its limit.
    newton : bool
        Finish with Newton's method where that is cheap.

    Returns
    -------
    Climb

    Raises
    ------
    SingularComponentError
        If a component collapses, which only a flat prior allows.
    """
    run = Climb(start)
    use_newton = newton and _newton_is_cheap(arrays)
    counts = np.empty((len(arrays.sample.predictors), arrays.n_components))
    left, patience = max_iterations, _PATIENCE
    while left > 0 and not run.converged:
        taken = _em_steps(arrays, run, counts, min(patience, left) if use_newton else left, tolerance)
        left -= taken
        patience *= 2
        if use_newton and left > 0 and (run.converged or run.gap < 1.0):
            run.converged = False
            left -= _newton_steps(arrays, run, tolerance)
            if not run.converged and taken < _PATIENCE:
                # EM says it is there and Newton cannot tell: the top is flat or at the edge of the parameters
                run.converged, run.reason = True, "EM: the log posterior is within the tolerance of its limit"
    if not run.converged:
        run.reason = f"out of steps, about {run.gap:.2g} below the limit of the log posterior"
    return run


def polish(arrays: MixtureArrays, run: Climb, tolerance: float) -> None:
    """Finish a converged run by Newton's method, in place, where that is cheap; it stays converged either way."""
    if _newton_is_cheap(arrays):
        _newton_steps(arrays, run, tolerance)


def _newton_is_cheap(arrays: MixtureArrays) -> bool:
    n_free = arrays.n_free
    small = arrays.n_rows * arrays.n_components * n_free <= _NEWTON_WORK
    return n_free <= (_LARGEST_NEWTON if small else _LARGE_NEWTON)


def _em_steps(arrays: MixtureArrays, run: Climb, counts: Array, max_steps: int, tolerance: float) -> int:
    """Take accelerated EM steps until the log posterior is close to its limit or the steps are used up."""
    full, history = run.parameters.full(), np.empty(max_steps)
    accepted, status, run.gap, run.gradient_norm = ascend(
        full,
        arrays.sample,
        arrays.engine(),
        arrays.hyper,
        arrays.floor,
        counts,
        max_steps,
        tolerance,
        history,
    )
    if status == SINGULAR:
        raise SingularComponentError("a component collapsed on too few people and its covariance is singular")
    if status == DESCENDED:
        raise ArithmeticError("an EM step lowered the log posterior; please report this data and model")
    run.parameters = run.parameters.of_full(full)
    # the first point of a further round is the last of the one before
    run.history.extend(history[1 if run.history else 0 : accepted].tolist())
    if status == CONVERGED:
        run.converged = True
        run.reason = "EM: the log posterior is within the tolerance of its limit"
        return int(accepted)
    return max_steps


def _newton_steps(arrays: MixtureArrays, run: Climb, tolerance: float) -> int:
    """Take Newton steps while each raises the log posterior by about what its quadratic model promises."""
    value, gradient = arrays.log_posterior_and_gradient(run.parameters)
    for taken in range(_NEWTON_STEPS):
        information = arrays.negative_hessian(run.parameters)
        try:
            factor = np.linalg.cholesky(information)
        except np.linalg.LinAlgError:
            return taken
        half = np.linalg.solve(factor, gradient)
        promised = 0.5 * float(half @ half)
        run.gap, run.gradient_norm = promised, float(np.abs(gradient).max())
        if promised < max(tolerance * 1e-2, ROUNDING * abs(value)):
            run.converged = True
            run.reason = "Newton: the log posterior is within the tolerance of its limit"
            return taken
        step = np.linalg.solve(factor.T, half)
        if float(np.abs(step).max()) > _LONGEST_NEWTON:
            return taken
        trial = arrays.of_free(arrays.free(run.parameters) + step, run.parameters)
        trial_value, trial_gradient = arrays.log_posterior_and_gradient(trial)
        if not trial_value - value > 0.25 * promised:
            return taken
        run.parameters, value, gradient = trial, trial_value, trial_gradient
        run.history.append(value)
    return _NEWTON_STEPS
