"""The climb of a small mixture to its mode: EM from the start, Newton's method with exact curvature to the top.

One pass with curvature costs about as much as two EM steps, so Newton's method begins after a few of them. Steps are
damped (Levenberg 1944, Marquardt 1963) so that each raises the log posterior by what its quadratic model promises;
where that fails EM takes a step, which never descends. The estimated distance to the limit is Newton's decrement.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bayesgmm.core.ascent import ROUNDING
from bayesgmm.core.linalg import eigen
from bayesgmm.core.small_mixture import (
    WIDTH,
    Form,
    People,
    Point,
    SmallPrior,
    copy_point,
    em_step,
    evaluate,
    moved,
)
from bayesgmm.core.small_passes import Scratch

Array = NDArray[np.float64]
Long = NDArray[np.int64]

OUT_OF_STEPS, CONVERGED, COLLAPSED, FLAT, NEAR, LOWER, SAME = 0, 1, 2, 3, 4, 5, 6
_LONGEST = 1.0  # coordinates are logarithms and standard deviations: a longer step is not near the mode
_LEAST_LIFT, _SMALL_LIFT, _MOST_LIFT = 1e-2, 0.1, 1e10
_REFUSALS = 2  # Newton steps in a row that fell short of their promise before EM takes one
_MODEL = 0.5  # distance from the limit within which twice the quadratic model's is not exceeded
_CLOSE = (
    0.1  # sum over a component's coordinates within which a mode that Newton's method points to is one that is known
)
_POLISH = 3  # last full Newton steps, as long as they shorten the distance
_RESOLVED = 1e-8  # of the largest curvature: what is below cannot be told from none
_BESIDE = (0.03, 0.1, 0.3, 1.0)  # how far from a stationary point without strict curvature to look for a higher one


@njit(cache=True, error_model="numpy", nogil=True)
def _factor(curvature: Array, n_free: int, lift: float, out: Array) -> bool:
    """Cholesky factor of the curvature with its diagonal lifted by a share; False where that is not positive.

    Column after column and four rows at a time: of one row, each sum would wait for the last.
    """
    largest = 0.0
    for a in range(n_free):
        largest = max(largest, abs(curvature[a, a]))
    if not (largest > 0.0 and largest < np.inf):
        return False
    least = _RESOLVED * largest
    for b in range(n_free):
        own = curvature[b, b] + lift * max(abs(curvature[b, b]), least)
        total = own
        for c in range(b):
            total -= out[b, c] * out[b, c]
        if not total > 1e-13 * max(own, least):
            return False
        out[b, b] = math.sqrt(total)
        inverse = 1.0 / out[b, b]
        whole = n_free - (n_free - b - 1) % 4
        for a in range(b + 1, whole, 4):
            t0, t1, t2, t3 = curvature[a, b], curvature[a + 1, b], curvature[a + 2, b], curvature[a + 3, b]
            for c in range(b):
                share = out[b, c]
                t0 -= share * out[a, c]
                t1 -= share * out[a + 1, c]
                t2 -= share * out[a + 2, c]
                t3 -= share * out[a + 3, c]
            out[a, b], out[a + 1, b], out[a + 2, b], out[a + 3, b] = (
                t0 * inverse, t1 * inverse, t2 * inverse, t3 * inverse,
            )  # fmt: skip
        for a in range(whole, n_free):
            total = curvature[a, b]
            for c in range(b):
                total -= out[b, c] * out[a, c]
            out[a, b] = total * inverse
    return True


@njit(cache=True, error_model="numpy", nogil=True)
def _solve(factor: Array, gradient: Array, n_free: int, out: Array) -> float:
    """Write the step ``A^-1 g``; return half of ``g' A^-1 g``."""
    for a in range(n_free):
        out[a] = gradient[a]
    decrement = 0.0
    for c in range(n_free):
        value = out[c] / factor[c, c]
        out[c] = value
        decrement += value * value
        for a in range(c + 1, n_free):
            out[a] -= factor[a, c] * value
    for a in range(n_free - 1, -1, -1):
        value = out[a] / factor[a, a]
        out[a] = value
        for c in range(a):
            out[c] -= factor[a, c] * value
    return 0.5 * decrement


@njit(cache=True, error_model="numpy", nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _bend(curvature: Array, step: Array, n_free: int) -> float:
    """``s' A s``."""
    bend = 0.0
    for a in range(n_free):
        # half of it is below the diagonal
        below = 0.5 * curvature[a, a] * step[a]
        for b in range(a):
            below += curvature[a, b] * step[b]
        bend += 2.0 * step[a] * below
    return bend


@njit(cache=True, error_model="numpy", nogil=True)
def _coincide(state: Array, known: Array, at: int, n_components: int) -> bool:
    """Whether a climb from a state ends at a known one, since they are close; components may be in another order."""
    for k in range(n_components):
        a0, a1 = math.exp(state[k, 3]), math.exp(state[k, 4])
        found = False
        for j in range(n_components):
            apart = abs(state[k, 0] - known[at, j, 0])
            apart += abs(state[k, 3] - known[at, j, 3]) + abs(state[k, 4] - known[at, j, 4])
            apart += a0 * abs(state[k, 1] - known[at, j, 1]) + a1 * abs(state[k, 2] - known[at, j, 2])
            found = found or apart + a0 / a1 * abs(state[k, 5] - known[at, j, 5]) < _CLOSE
        if not found:
            return False
    return True


@njit(cache=True, error_model="numpy", nogil=True)
def climb_by_em(
    point: Point,
    n_components: int,
    people: People,
    form: Form,
    prior: SmallPrior,
    floor_first: float,
    floor_second: float,
    slots: Long,
    n_steps: int,
    scratch: Scratch,
) -> float:
    """Take EM steps in place; return the log posterior before the last one, NaN where a component collapses."""
    state = np.empty((n_components, WIDTH))
    value = np.nan
    for _ in range(n_steps):
        value = evaluate(point, n_components, people, form, prior, False, slots, 0, scratch)
        if not math.isfinite(value):
            return np.nan
        if not em_step(point.state, point.sums, n_components, form, prior, floor_first, floor_second, state):
            return np.nan
        for k in range(n_components):
            for c in range(WIDTH):
                point.state[k, c] = state[k, c]
    return value


@njit(cache=True, error_model="numpy", nogil=True)
def climb_to_top(
    point: Point,
    trial: Point,
    n_components: int,
    people: People,
    form: Form,
    prior: SmallPrior,
    floor_first: float,
    floor_second: float,
    slots: Long,
    n_free: int,
    most: int,
    tolerance: float,
    near: float,
    rival: float,
    known: Array,
    scratch: Scratch,
) -> tuple[float, float, int, int]:
    """Climb in place to the mode.

    Parameters
    ----------
    point : Point
        Where to start; on return the mode, with its moments, gradient and curvature.
    trial : Point
        Working space.
    most : int
        Most passes.
    tolerance : float
        Stop when the log posterior is estimated to be within this many units of its limit.
    near : float
        Stop already when it is within this many, if that is more than the tolerance.
    rival : float
        Height of another mode: stop when this one will be lower.
    known : ndarray (n_known, n_components, 6)
        Modes that need not be found again: stop when the climb will end at one.

    Returns
    -------
    value : float
        Log posterior.
    gap : float
        Estimated distance to its limit.
    status : int
        FLAT where the log posterior has no strict curvature at the top; NEAR, LOWER or SAME where ``near``, ``rival``
        or ``known`` stopped the climb.
    passes : int
    """
    two = form.n_traits > 1
    factor, step = np.empty((n_free, n_free)), np.empty(n_free)
    state, gradient, curvature = point.state, point.gradient, point.curvature
    trial_state, trial_gradient, trial_curvature = trial.state, trial.gradient, trial.curvature
    value = evaluate(point, n_components, people, form, prior, True, slots, n_free, scratch)
    gap, lift, refused, passes = np.inf, 0.0, 0, 1
    if not math.isfinite(value):
        return value, gap, COLLAPSED, passes
    while passes < most:
        rounding = ROUNDING * abs(value)
        strict = _factor(curvature, n_free, lift, factor)
        while not strict and lift < _MOST_LIFT:
            lift = max(4.0 * lift, _LEAST_LIFT)
            strict = _factor(curvature, n_free, lift, factor)
        if not strict:
            return value, gap, OUT_OF_STEPS, passes
        decrement = _solve(factor, gradient, n_free, step)
        gap = decrement
        if lift == 0.0:
            if gap < near:
                return value, gap, NEAR, passes
            if gap < _MODEL and value + 2.0 * gap < rival:
                return value, gap, LOWER, passes
            ahead = gap < _MODEL and len(known) > 0
            if ahead and moved(state, step, slots, n_components, two, floor_first, floor_second, trial_state):
                for j in range(len(known)):
                    if _coincide(trial_state, known, j, n_components):
                        return value, gap, SAME, passes
        enough = max(0.01 * tolerance, rounding)
        if gap < enough:
            if lift > 0.0 and _factor(curvature, n_free, 0.0, factor):
                lift = 0.0
                continue
            if lift == 0.0:
                # the last steps are for the parameters: an error of theirs is the root of that of the log posterior
                for _ in range(_POLISH):
                    if not moved(state, step, slots, n_components, two, floor_first, floor_second, trial_state):
                        break
                    new = evaluate(trial, n_components, people, form, prior, True, slots, n_free, scratch)
                    passes += 1
                    if not (new >= value - rounding and _factor(trial_curvature, n_free, 0.0, factor)):
                        break
                    after = _solve(factor, trial_gradient, n_free, step)
                    if not after < gap:
                        break
                    copy_point(trial, n_components, n_free, point)
                    value, gap = new, after
                return value, gap, CONVERGED, passes
            higher = _beside(
                point, trial, n_components, people, form, prior, floor_first, floor_second, slots, n_free,
                value + max(tolerance, rounding), scratch,
            )  # fmt: skip
            passes += 2 * len(_BESIDE)
            if not higher > value:
                return value, gap, FLAT, passes
            value = evaluate(point, n_components, people, form, prior, True, slots, n_free, scratch)
            passes += 1
            lift = 0.0
            continue
        slope, length = 0.0, 0.0
        for a in range(n_free):
            slope += gradient[a] * step[a]
            length = max(length, abs(step[a]))
        share = min(1.0, _LONGEST / length)
        for a in range(n_free):
            step[a] *= share
        promised = share * slope - 0.5 * _bend(curvature, step, n_free)
        new = -np.inf
        if moved(state, step, slots, n_components, two, floor_first, floor_second, trial_state):
            new = evaluate(trial, n_components, people, form, prior, True, slots, n_free, scratch)
            passes += 1
        kept = (new - value) / promised if math.isfinite(new) else -1.0
        if kept > 0.01 and new >= value:
            copy_point(trial, n_components, n_free, point)
            value, refused = new, 0
            if kept > 0.75:
                lift = 0.0 if lift <= _SMALL_LIFT else 0.1 * lift
            elif kept < 0.25:
                lift = max(4.0 * lift, _LEAST_LIFT)
            continue
        if promised <= 100.0 * rounding:
            # what is left is below what the log posterior resolves
            return value, gap, CONVERGED if gap <= max(tolerance, 100.0 * rounding) else OUT_OF_STEPS, passes
        lift = max(8.0 * lift, _SMALL_LIFT)
        refused += 1
        if refused < _REFUSALS:
            continue
        refused = 0
        if not em_step(state, point.sums, n_components, form, prior, floor_first, floor_second, trial_state):
            return value, gap, COLLAPSED, passes
        new = evaluate(trial, n_components, people, form, prior, True, slots, n_free, scratch)
        passes += 1
        if not new >= value - rounding:
            return value, gap, CONVERGED if gap <= tolerance else OUT_OF_STEPS, passes
        copy_point(trial, n_components, n_free, point)
        value = max(new, value)
    return value, gap, OUT_OF_STEPS, passes


@njit(cache=True, error_model="numpy", nogil=True)
def _beside(
    point: Point,
    trial: Point,
    n_components: int,
    people: People,
    form: Form,
    prior: SmallPrior,
    floor_first: float,
    floor_second: float,
    slots: Long,
    n_free: int,
    value: float,
    scratch: Scratch,
) -> float:
    """Move to the highest point beside a stationary one that is above ``value``; return its height, or minus infinity.

    Two components at one place are a stationary point of every mixture, which may be a saddle. The direction looked
    along is that of the least curvature.
    """
    scaled, scale = np.empty((n_free, n_free)), np.empty(n_free)
    largest = 0.0
    for a in range(n_free):
        largest = max(largest, point.curvature[a, a])
    for a in range(n_free):
        scale[a] = 1.0 / math.sqrt(max(point.curvature[a, a], _RESOLVED * largest, 1e-300))
    for a in range(n_free):
        for b in range(n_free):
            scaled[a, b] = point.curvature[a, b] * scale[a] * scale[b]
            if not math.isfinite(scaled[a, b]):
                return -np.inf
    values, vectors = np.empty(n_free), np.empty((n_free, n_free))
    eigen(scaled, values, vectors)
    step, best = np.empty(n_free), np.empty((n_components, WIDTH))
    highest = -np.inf
    for length in _BESIDE:
        for sign in (-1.0, 1.0):
            for a in range(n_free):
                step[a] = sign * length * scale[a] * vectors[a, n_free - 1]
            if not moved(
                point.state, step, slots, n_components, form.n_traits > 1, floor_first, floor_second, trial.state
            ):
                continue
            new = evaluate(trial, n_components, people, form, prior, False, slots, 0, scratch)
            if new > max(value, highest):
                highest = new
                for k in range(n_components):
                    for c in range(WIDTH):
                        best[k, c] = trial.state[k, c]
    if highest > value:
        for k in range(n_components):
            for c in range(WIDTH):
                point.state[k, c] = best[k, c]
    return highest
