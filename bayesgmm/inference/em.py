"""The climb from a start to a mode: accelerated EM in compiled code, Newton's method at the end where it is cheap.

EM (Dempster, Laird and Rubin 1977) climbs from any start but slowly near the top where components overlap; Anderson's
method shortens it (:mod:`bayesgmm.core.ascent`), and Newton's, on the same log posterior with the exact gradient of the
E step, finishes and measures how far the limit still is. Every accepted move of any kind raises the log posterior.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from bayesgmm.core.ascent import CONVERGED, DESCENDED, MEMORY, ROUNDING, SINGULAR, ascend
from bayesgmm.core.effect_density import LAPLACE
from bayesgmm.core.objective import MixtureArrays, Parameters

Array = NDArray[np.float64]

_PATIENCE = 40  # passes over the people before Newton is tried; then twice as many each time it is sent back
_HESSIAN = 2  # passes that a Hessian takes for each free parameter, before which Newton is not tried either
_COINCIDENT = 0.05  # standard deviations within which two components are at one place
_LARGEST_NEWTON = 150  # free parameters above which a Hessian by differences costs more than EM
_LARGE_NEWTON = 40  # the same where passes over the people are what costs: a Hessian is two for each parameter
_NEWTON_WORK = 2e7  # people times components times free parameters above which they are
_NEWTON_STEPS = 50
_CURVED_STEPS = 8  # the same for curved families, whose Hessian costs more
_REFUSALS = 4  # Newton steps in a row that fell short of their promise before EM goes on
_LONGEST_NEWTON = 2.0  # coordinates are logarithms and standardised: a longer step is not near the mode
_NEAR_KINK = 1e-4  # distance from a prior's kink within which differences of the gradient are not of one side
_RESOLVED_CURVATURE = 1e-8  # of each coordinate's own: smaller ones are lost in the differences of the gradient
_BISECTIONS = 30
_BESIDE = (0.03, 0.1, 0.3, 1.0)  # how far from a stationary point without strict curvature to look for a higher one


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
    stalled : bool
        EM could not go on: in nearly singular covariances rounding is more than a step gains.
    strict : bool
        False where Newton's method found a direction without curvature at the top, as where two components coincide.
    curvature : tuple of (Parameters, ndarray), optional
        Observed information where Newton's method stopped, and where that is.
    """

    parameters: Parameters
    history: list[float] = field(default_factory=list)
    converged: bool = False
    reason: str = "not run"
    gap: float = float("inf")
    strict: bool = True
    stalled: bool = False
    curvature: tuple[Parameters, Array] | None = None


def climb(
    arrays: MixtureArrays,
    start: Parameters,
    *,
    max_iterations: int = 5000,
    tolerance: float = 1e-8,
    newton: bool = True,
    polished: bool = True,
    memory: int = MEMORY,
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
        Go on by Newton's method where that is cheap and EM is slow.
    polished : bool
        Finish by Newton's method, which measures how far the limit is, even where EM has arrived.
    memory : int
        Steps that Anderson's method combines; 0 for plain EM.

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
    left, patience = max_iterations, max(_PATIENCE, 2 * _HESSIAN * arrays.n_free)
    while left > 0 and not (run.converged or run.stalled):
        left -= _em_steps(arrays, run, counts, min(patience, left) if use_newton else left, tolerance, memory)
        patience *= 2
        if run.converged:
            if polished and use_newton and _is_worth_polishing(arrays, run):
                left -= _polish(arrays, run, left, tolerance)
        elif use_newton and left > 0 and run.gap < 1.0:
            left -= _newton_steps(arrays, run, left, tolerance)
    if run.stalled and not run.converged:
        run.reason = (
            "stalled: traits nearly repeat each other within a component, and rounding is more than a step gains; drop "
            "such a trait or use stronger priors"
        )
    elif not run.converged:
        run.reason = f"out of steps, about {run.gap:.2g} below the limit of the log posterior"
    if polished and not run.strict and memory > 0:
        # long steps may have brought two components together that EM would have kept apart
        with suppress(SingularComponentError):
            plain = climb(arrays, start, max_iterations=max_iterations, tolerance=tolerance, newton=newton, memory=0)
            run = plain if plain.history[-1] > run.history[-1] + tolerance else run
    return run


def polish(arrays: MixtureArrays, run: Climb, *, max_iterations: int, tolerance: float) -> Climb:
    """A converged run finished by Newton's method where that is cheap, and climbed on where it was not at the top."""
    if not (_newton_is_cheap(arrays) and _is_worth_polishing(arrays, run)):
        return run
    at_rest = replace(run, history=list(run.history))
    left = max_iterations - _polish(arrays, run, max_iterations, tolerance)
    if run.converged or left < 1:
        return run
    try:
        further = climb(arrays, run.parameters, max_iterations=left, tolerance=tolerance)
    except SingularComponentError:
        # beside a stationary point a flat prior has heights without bound; the point is the answer
        return at_rest
    further.history = [*run.history, *further.history[1:]]
    return further


def _is_worth_polishing(arrays: MixtureArrays, run: Climb) -> bool:
    """Whether a Hessian costs no more passes over the people than EM has taken, or EM may stand on a saddle."""
    return _HESSIAN * arrays.n_free <= max(2 * _PATIENCE, len(run.history)) or some_coincide(run.parameters)


def some_coincide(parameters: Parameters) -> bool:
    """Whether two components are at one place, where EM stands still but the log posterior may rise by parting them."""
    means, roots = parameters.means, parameters.roots
    for k in range(1, len(means)):
        apart = np.einsum("jde,jd->je", roots[:k], means[:k] - means[k])
        widths = np.log(np.diagonal(roots[:k], axis1=1, axis2=2) / np.diag(roots[k]))
        if bool(((apart**2).sum(axis=1) + (widths**2).sum(axis=1) < _COINCIDENT**2).any()):
            return True
    return False


def _polish(arrays: MixtureArrays, run: Climb, most: int, tolerance: float) -> int:
    """Finish by Newton's method; the run no longer counts as converged where that climbs but does not arrive."""
    before, reason = run.history[-1], run.reason
    run.converged = False
    tried = _newton_steps(arrays, run, most, tolerance)
    if not run.converged and run.history[-1] - before <= tolerance:
        # EM says it is there and Newton cannot tell: the top is flat or at the edge of the parameters
        run.converged, run.reason = True, reason
    return tried


def _newton_is_cheap(arrays: MixtureArrays) -> bool:
    n_free = arrays.n_free
    small = arrays.n_rows * arrays.n_components * n_free <= _NEWTON_WORK
    return n_free <= (_LARGEST_NEWTON if small else _LARGE_NEWTON)


def _em_steps(arrays: MixtureArrays, run: Climb, counts: Array, max_steps: int, tolerance: float, memory: int) -> int:
    """Take accelerated EM steps until the log posterior is close to its limit or the steps are used up."""
    full, history = run.parameters.full(), np.empty(max_steps)
    accepted, status, run.gap = ascend(
        full,
        arrays.sample,
        arrays.engine(),
        arrays.hyper,
        arrays.floor,
        counts,
        max_steps,
        tolerance,
        memory,
        history,
        np.empty(len(full)),
    )
    if status == SINGULAR:
        raise SingularComponentError("a component collapsed on too few people and its covariance is singular")
    run.parameters = run.parameters.of_full(full)
    # the first point of a further round is the last of the one before
    run.history.extend(history[1 if run.history else 0 : accepted].tolist())
    run.stalled = status == DESCENDED
    if status == CONVERGED:
        run.converged = True
        what = "the tolerance of its limit" if run.gap <= tolerance else "what rounding leaves of its limit"
        run.reason = f"EM: the log posterior is within {what}"
        return int(accepted)
    return max_steps


def _newton_steps(arrays: MixtureArrays, run: Climb, most: int, tolerance: float) -> int:
    """Newton steps, as far as the numbers allow; see :func:`_trusted_steps`."""
    before = len(run.history)
    try:
        return _trusted_steps(arrays, run, most, tolerance)
    except np.linalg.LinAlgError:
        # a covariance, or its axes, beyond what can be factored: EM goes on
        return len(run.history) - before + 1


def _trusted_steps(arrays: MixtureArrays, run: Climb, most: int, tolerance: float) -> int:
    """Take Newton steps within a trust region while each raises the log posterior by what its model promises.

    On a ridge, where some curvature is nearly zero or of the wrong sign, the region keeps a step short and the others
    go on; EM would crawl there. Effects at the kink of a Laplace prior stay there; where one is about to leave or
    arrive, EM decides.

    Returns
    -------
    int
        Steps tried.
    """
    value, gradient = arrays.log_posterior_and_gradient(run.parameters)
    radius, refused = _LONGEST_NEWTON, 0
    held = arrays.held(run.parameters)
    if gradient[held].any() or _near_a_kink(arrays, run.parameters):
        return 0
    information = _information(arrays, run.parameters, held)
    most = min(most, _NEWTON_STEPS if arrays.family.linear else _CURVED_STEPS)
    for tried in range(most):
        if not np.isfinite(information).all():
            return tried
        curvature, directions = _principal(information)
        # not by a rounding do effects leave the kink
        directions[held] = 0.0
        slope = directions.T @ gradient
        # what differences of the gradient cannot tell from zero is taken as the least that they can
        run.gap = 0.5 * float((slope**2 / np.maximum(np.abs(curvature), _RESOLVED_CURVATURE)).sum())
        run.strict = bool(curvature[0] > _RESOLVED_CURVATURE)
        if run.gap < max(tolerance * 1e-2, ROUNDING * abs(value)):
            higher = None
            if not run.strict:
                highest = max(value, run.history[-1])
                higher = _beside(arrays, run.parameters, highest, tolerance, directions[:, 0])
            if higher is None:
                run.converged = True
                run.reason = "Newton: the log posterior is within the tolerance of its limit"
                run.curvature = None if held.any() else (run.parameters, information)
                return tried
            run.parameters = higher
            value, gradient = arrays.log_posterior_and_gradient(higher)
            run.history.append(value)
            information = _information(arrays, higher, held)
            continue
        along = _within(np.maximum(curvature, _RESOLVED_CURVATURE), slope, directions, radius)
        step = directions @ along
        promised = float(slope @ along - 0.5 * (curvature * along) @ along)
        trial = arrays.of_free(arrays.free(run.parameters) + step, run.parameters)
        trial_value, trial_gradient = arrays.log_posterior_and_gradient(trial)
        length = float(np.linalg.norm(step))
        share = (trial_value - value) / promised if np.isfinite(trial_value) else -1.0
        if not share > 0.25:
            radius = 0.25 * length
        elif share > 0.75:
            radius = min(max(radius, 2.0 * length), _LONGEST_NEWTON)
        # the value here may be a rounding below the one that EM recorded, and the record never falls
        if not (share > 0.01 and trial_value >= run.history[-1]):
            refused += 1
            if refused == _REFUSALS or promised < max(tolerance, ROUNDING * abs(value)):
                return tried + 1
            continue
        refused = 0
        run.parameters, value, gradient = trial, trial_value, trial_gradient
        run.history.append(value)
        if gradient[held].any() or _near_a_kink(arrays, run.parameters):
            return tried + 1
        information = _information(arrays, run.parameters, held)
    return most


def _information(arrays: MixtureArrays, at: Parameters, held: NDArray[np.bool_]) -> Array:
    """Negative Hessian, in which coordinates that are held at a kink have no part."""
    information = arrays.negative_hessian(at)
    if held.any():
        information[held] = information[:, held] = 0.0
        information[held, held] = 1.0
    return information


def _near_a_kink(arrays: MixtureArrays, at: Parameters) -> bool:
    """Whether an effect is so close to its prior's kink, but not there, that differences would reach over it."""
    prior = arrays.weights_prior
    if not prior.has_kinks:
        return False
    distance = np.abs(at.beta - prior.effect_mean).max(axis=1, initial=0.0)
    return bool(((prior.effect_kind == LAPLACE) & (distance < _NEAR_KINK) & ~prior.at_kink(at.beta)).any())


def _beside(
    arrays: MixtureArrays, at: Parameters, value: float, tolerance: float, direction: Array
) -> Parameters | None:
    """A higher point beside a stationary one without strict curvature, such as two components at one place; else None.

    There the gradient is zero and EM stands still, but the point may be a saddle.
    """
    best, found = value + max(tolerance, ROUNDING * abs(value)), None
    for length in _BESIDE:
        for step in (length * direction, -length * direction):
            trial = arrays.of_free(arrays.free(at) + step, at)
            # the value alone, which is no number where the step is too long for a component that nobody is in
            height = arrays.log_posterior(trial)
            if best < height < np.inf:
                best, found = height, trial
    return found


def _principal(information: Array) -> tuple[Array, Array]:
    """Curvatures, ascending, and directions (columns) in which they act apart.

    Coordinates are scaled by their own curvature (Marquardt 1963): whether a curvature is nothing must not depend on
    their units.
    """
    own = np.diag(information)
    scale = 1.0 / np.sqrt(np.maximum(own, max(_RESOLVED_CURVATURE * own.max(), 1e-300)))
    curvature, directions = np.linalg.eigh(information * np.outer(scale, scale))
    return curvature, scale[:, None] * directions


def _within(curvature: Array, slope: Array, directions: Array, radius: float) -> Array:
    """Step ``slope / (curvature + lift)`` along the directions with the least lift that keeps it within the radius."""

    def length(lift: float) -> float:
        return float(np.linalg.norm(directions @ (slope / (curvature + lift))))

    low, high = 0.0, 1.0
    if length(0.0) <= radius:
        return slope / curvature
    while length(high) > radius:
        low, high = high, 4.0 * high
    for _ in range(_BISECTIONS):
        lift = 0.5 * (low + high)
        low, high = (lift, high) if length(lift) > radius else (low, lift)
    return slope / (curvature + high)
