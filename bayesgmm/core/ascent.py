r"""EM with Anderson acceleration, compiled: every accepted step raises the log posterior.

The EM map ``F`` has the mode as its fixed point. Anderson's method (1965; as an accelerator of EM, Henderson and
Varadhan 2019) combines the last few steps so that the residuals ``F(x) - x`` cancel as far as they can; near the mode
it needs the square root, or less, of EM's steps. Its proposal is taken only where the log posterior is not below the
last accepted one; else the plain EM step is, which never descends.

By Fisher's identity the E step also gives the gradient ``g``, so the remaining distance of the log posterior to its
limit is estimated at no cost by ``g . s / 2`` with ``s`` the step Anderson's method would take: the Newton decrement,
with the curvature that the last steps have shown.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from bayesgmm.core.covariance_steps import call_step
from bayesgmm.core.effect_density import LAPLACE
from bayesgmm.core.linalg import copy_into, covariance_of_root, dot, precision_root, solve_positive
from bayesgmm.core.moments import log_weights_into, moments_at
from bayesgmm.core.pointers import Pointer, a1, a2, a3, call_at, f8
from bayesgmm.core.posterior import ENGINE, HYPER, Engine, Hyper, components_gradient, pack, unpack
from bayesgmm.core.sample import SAMPLE, Sample
from bayesgmm.core.vectormath import digamma
from bayesgmm.core.weights import add_weights_prior, call_newton

Array = NDArray[np.float64]

OUT_OF_STEPS, CONVERGED, SINGULAR, DESCENDED = 0, 1, 2, 3
MEMORY = 8  # steps that Anderson's method combines
_PLAIN = 2  # plain EM steps before it begins
_RESOLVED = 1e-7  # share of the log posterior that rounding can take
_SINGULAR_SHARE = 1e-13  # share of a trait's variance that the others leave, below which nothing but rounding is left
_SETTLED = 3e-3  # gain per person below which EM has chosen its hill; a longer step before might land on another
_LONGEST = 3.0  # furthest that a proposal may move a coordinate from where the EM step puts it
_FURTHER = 1000.0  # EM steps ahead along a ridge, where trust allows so many
_TINY = 1e-300
_LEAST_DF, _MOST_DF = 0.05, 1e6  # of a Student-t that is estimated; the last is a Gaussian but for rounding
_BISECTIONS = 60
# A gain below this share of the log posterior is rounding, not ascent or descent.
ROUNDING = 64 * 2.220446049250313e-16


def _maximise_components(
    engine: Engine,
    hyper: Hyper,
    floor: Array,
    mass: Array,
    first: Array,
    second: Array,
    means: Array,
    shifts: Array,
    roots: Array,
) -> float:
    """M step of means, shared slopes and covariances, in place of the parameters the moments are about.

    Means and slopes are found together given the covariances, then the covariances given both (ECM, Meng and Rubin
    1993); without slopes the means do not depend on the covariances and this is the joint mode.

    Returns
    -------
    float
        The smallest share of a trait's variance that the others leave; 0 where a covariance would be singular: that
        share not above rounding, or the conditional variance of a trait below ``floor`` (D,).
    """
    n_components, size = means.shape
    n_covariates = shifts.shape[0]
    strength = hyper.strength
    # people as they weigh on a mean: of Student-t components by the precision each is expected to have
    weighing = _weighing(hyper, mass)
    if n_covariates > 0:
        _maximise_shifts(hyper, weighing, first, second, means, shifts, roots)
    for k in range(n_components):
        total = weighing[k] + strength
        if total > 0.0:
            for d in range(size):
                step = (first[k, d] + strength * (hyper.mean[d] - means[k, d])) / total
                _recentre(k, d, step, weighing, first, second)
                means[k, d] += step
    n, scatter = np.empty(n_components), np.empty((n_components, size, size))
    for k in range(n_components):
        n[k] = mass[k] + hyper.mean_power + hyper.copies[k] * hyper.covariance_power
        for d in range(size):
            for e in range(size):
                scatter[k, d, e] = (
                    second[k, d, e]
                    + hyper.copies[k] * hyper.scale[d, e]
                    + strength * (means[k, d] - hyper.mean[d]) * (means[k, e] - hyper.mean[e])
                )
    covariances = np.empty((n_components, size, size))
    if not call_step(engine.covariances, engine.equal_volume, engine.on_axes, n, scatter, roots, covariances):
        return 0.0
    least = 1.0
    for k in range(n_components):
        share = precision_root(covariances[k], roots[k])
        if not share > _SINGULAR_SHARE:
            return 0.0
        least = min(least, share)
        for d in range(size):
            if not 1.0 / (roots[k, d, d] * roots[k, d, d]) > floor[d]:
                return 0.0
    return least


@njit(cache=True, error_model="numpy", nogil=True)
def _weighing(hyper: Hyper, mass: Array) -> Array:
    """Sum of ``r`` over people, of Student-t components of ``r E[u]``, of each component that has a mean."""
    n_located = len(hyper.copies)
    at = len(hyper.concentration) if len(hyper.df) > 0 else 0
    return mass[at : at + n_located]


@njit(cache=True, error_model="numpy", nogil=True)
def maximise_df(hyper: Hyper, mass: Array, df: Array) -> None:
    """M step of estimated degrees of freedom, in place: the root of a decreasing function, by bisection."""
    n_df, n_located, at = hyper.n_df, len(df), len(hyper.concentration)
    for j in range(n_df):
        people, excess = 0.0, 0.0
        for k in range(j, n_located, n_df):
            people += mass[k]
            excess += mass[at + n_located + k] - mass[at + k]
        low, high = math.log(_LEAST_DF), math.log(_MOST_DF)
        for _ in range(_BISECTIONS):
            middle = 0.5 * (low + high)
            nu = math.exp(middle)
            half = 0.5 * nu
            slope = half * (people * (math.log(half) + 1.0 - digamma(half)) + excess)
            slope += hyper.df_shape - 1.0 - hyper.df_rate * nu
            if slope > 0.0:
                low = middle
            else:
                high = middle
        for k in range(j, n_located, n_df):
            df[k] = math.exp(0.5 * (low + high))


@njit(cache=True, error_model="numpy", nogil=True)
def _recentre(k: int, d: int, step: float, mass: Array, first: Array, second: Array) -> None:
    """Bring the second moments of component ``k`` to a centre moved by ``step`` in trait ``d``."""
    n_both = second.shape[1]
    for e in range(n_both):
        if e != d:
            second[k, d, e] -= step * first[k, e]
            second[k, e, d] = second[k, d, e]
    second[k, d, d] += step * (step * mass[k] - 2.0 * first[k, d])
    first[k, d] -= step * mass[k]


@njit(cache=True, error_model="numpy", nogil=True)
def _maximise_shifts(
    hyper: Hyper, mass: Array, first: Array, second: Array, means: Array, shifts: Array, roots: Array
) -> None:
    """Shared slopes, given the covariances and with every mean at its best for them: generalised least squares.

    On return the moments are about the new slopes and the old means.
    """
    n_components, size = means.shape
    n_covariates = shifts.shape[0]
    n_slopes = n_covariates * size
    matrix, right = np.zeros((n_slopes, n_slopes)), np.zeros(n_slopes)
    precision = np.empty((size, size))
    pulled = np.empty(size)
    for q in range(n_covariates):
        for d in range(size):
            matrix[q * size + d, q * size + d] = hyper.shift_precision[q, d]
            right[q * size + d] = -hyper.shift_precision[q, d] * shifts[q, d]
    for k in range(n_components):
        total = mass[k] + hyper.strength
        if not total > 0.0:
            continue
        for d in range(size):
            for e in range(d + 1):
                precision[d, e] = 0.0
                for c in range(e + 1):
                    precision[d, e] += roots[k, d, c] * roots[k, e, c]
                precision[e, d] = precision[d, e]
        for d in range(size):
            pulled[d] = (first[k, d] + hyper.strength * (hyper.mean[d] - means[k, d])) / total
        for q in range(n_covariates):
            for d in range(size):
                value = 0.0
                for e in range(size):
                    value += precision[d, e] * (second[k, size + q, e] - first[k, size + q] * pulled[e])
                right[q * size + d] += value
            for p in range(n_covariates):
                spread = second[k, size + q, size + p] - first[k, size + q] * first[k, size + p] / total
                for d in range(size):
                    for e in range(size):
                        matrix[q * size + d, p * size + e] += spread * precision[d, e]
    if not solve_positive(matrix, right):
        return
    for q in range(n_covariates):
        for d in range(size):
            move = right[q * size + d]
            shifts[q, d] += move
            # y - c (Delta + move): covariate q leaves trait d by a multiple
            for k in range(n_components):
                first[k, d] -= move * first[k, size + q]
                cross = second[k, size + q, d]
                spread = second[k, size + q, size + q]
                for e in range(size + n_covariates):
                    if e != d:
                        second[k, d, e] -= move * second[k, size + q, e]
                        second[k, e, d] = second[k, d, e]
                second[k, d, d] += move * (move * spread - 2.0 * cross)


@njit(cache=True, error_model="numpy", nogil=True)
def maximise_weights(
    engine: Engine,
    hyper: Hyper,
    predictors: Array,
    counts: Array,
    mass: Array,
    alpha: Array,
    beta: Array,
    gradient: Array,
) -> None:
    """M step of the weights, in place; the gradient at the start is written."""
    n_components = len(hyper.concentration)
    if n_components == 1:
        return
    if len(beta) > 0:
        call_newton(
            engine.newton,
            engine.expected,
            alpha,
            beta,
            predictors,
            counts,
            hyper.concentration,
            hyper.effect_mean,
            hyper.effect_precision,
            hyper.effect_kind,
            hyper.effect_shape,
            1,
            1e-14,
            gradient,
        )
        return
    # pi_k = (a_k - 1 + N_k) / (sum a - K + n); at a boundary (a < 1, no people) the weight is held just above zero
    people = np.empty(n_components)
    peak, total = 0.0, 0.0
    for k in range(n_components):
        people[k] = hyper.concentration[k] - 1.0 + mass[k]
        total += people[k]
    for k in range(n_components - 1):
        peak = max(peak, alpha[k])
    norm = math.exp(-peak)
    for k in range(n_components - 1):
        norm += math.exp(alpha[k] - peak)
    reference = math.log(max(people[0], _TINY))
    for k in range(n_components - 1):
        pi = math.exp(alpha[k] - peak) / norm
        gradient[k] = people[k + 1] - total * pi
        alpha[k] = math.log(max(people[k + 1], _TINY)) - reference


# engine, hyper, floor, mass, first, second, means, shifts, roots
_COMPONENTS = f8(ENGINE, HYPER, a1, a1, a2, a3, a2, a2, a3)
maximise_components = Pointer(_maximise_components, _COMPONENTS, nogil=True)
call_components = call_at(_COMPONENTS)


def _em_step(
    full: Array,
    sample: Sample,
    engine: Engine,
    hyper: Hyper,
    floor: Array,
    counts: Array,
    image: Array,
    gradient: Array,
) -> tuple[float, float]:
    """One EM step: log posterior and gradient at ``full``, and the parameters EM moves to in ``image``.

    ``counts`` (U, K) is working space. Returns the log posterior, and the share that :func:`_maximise_components` does:
    0 where the step could not be taken.
    """
    n_components, size = len(hyper.concentration), len(hyper.mean)
    n_predictors, n_covariates = len(hyper.effect_mean), len(hyper.shift_precision)
    alpha, beta, means, shifts, roots, df = unpack(
        full, n_components, len(hyper.copies), size, n_predictors, n_covariates, hyper.df, hyper.n_df
    )
    log_weights_into(alpha, beta, sample.predictors, counts)
    value, mass, first, second = moments_at(engine.expectation, engine.passes, sample, counts, means, roots, shifts, df)
    value += hyper.constant
    head = (n_components - 1) * (1 + n_predictors)
    no = head < 0  # and not False: a literal would have functions compiled twice
    value += components_gradient(means, shifts, roots, df, mass, first, second, hyper, no, gradient[head:])
    value += add_weights_prior(
        alpha,
        beta,
        hyper.concentration,
        1.0,
        hyper.effect_mean,
        hyper.effect_precision,
        hyper.effect_kind,
        hyper.effect_shape,
        no,
        gradient[:head],
        np.empty((0, 0)),
    )
    if not np.isfinite(value):
        return value, 0.0
    maximise_weights(engine, hyper, sample.predictors, counts, mass, alpha, beta, gradient[:head])
    share = call_components(engine.components, engine, hyper, floor, mass, first, second, means, shifts, roots)
    maximise_df(hyper, mass, df)
    pack(alpha, beta, means, shifts, roots, df, hyper.n_df, image)
    return value, share


# full, sample, engine, hyper, floor, counts, image, gradient
_STEP = types.UniTuple(f8, 2)(a1, SAMPLE, ENGINE, HYPER, a1, a2, a1, a1)
em_step = Pointer(_em_step, _STEP, nogil=True)
_call_em = call_at(_STEP)


@njit(cache=True, error_model="numpy", nogil=True)
def project(full: Array, engine: Engine, hyper: Hyper) -> bool:
    """Bring full coordinates back to the covariance family, in place: the member closest in relative entropy."""
    n_components, size = len(hyper.concentration), len(hyper.mean)
    n_predictors, n_covariates = len(hyper.effect_mean), len(hyper.shift_precision)
    n_located = len(hyper.copies)
    alpha, beta, means, shifts, roots, df = unpack(
        full, n_components, n_located, size, n_predictors, n_covariates, hyper.df, hyper.n_df
    )
    n_components = n_located
    near, people = np.empty((n_components, size, size)), np.empty(n_components)
    for k in range(n_components):
        people[k] = 1.0
        covariance_of_root(roots[k], near[k])
    out = np.empty((n_components, size, size))
    if not call_step(engine.covariances, engine.equal_volume, engine.on_axes, people, near, roots, out):
        return False
    for k in range(n_components):
        if precision_root(out[k], roots[k]) <= 0.0:
            return False
    pack(alpha, beta, means, shifts, roots, df, hyper.n_df, full)
    return True


@njit(cache=True, error_model="numpy", nogil=True)
def _keep_at_kinks(image: Array, hyper: Hyper, proposal: Array) -> None:
    """Leave effects where the EM step put them exactly at the kink of their prior: a combination would be just off."""
    free = len(hyper.concentration) - 1
    for p in range(len(hyper.effect_kind)):
        if hyper.effect_kind[p] != LAPLACE:
            continue
        at = free * (1 + p)
        kept = True
        for k in range(free):
            kept = kept and image[at + k] == hyper.effect_mean[p, k]
        if kept:
            for k in range(free):
                proposal[at + k] = image[at + k]


@njit(cache=True, error_model="numpy", nogil=True)
def _combine(image: Array, residual: Array, images: Array, residuals: Array, used: int, out: Array) -> bool:
    """Anderson's proposal from the differences of the last ``used`` images and residuals."""
    matrix, right = np.empty((used, used)), np.empty(used)
    largest = 0.0
    for i in range(used):
        right[i] = dot(residuals[i], residual)
        for j in range(i + 1):
            matrix[i, j] = dot(residuals[i], residuals[j])
            matrix[j, i] = matrix[i, j]
        largest = max(largest, matrix[i, i])
    for i in range(used):
        matrix[i, i] += 1e-12 * largest
    if not largest > 0.0 or not solve_positive(matrix, right):
        return False
    finite = True
    for c in range(len(out)):
        out[c] = image[c]
        for i in range(used):
            out[c] -= right[i] * images[i, c]
        finite = finite and math.isfinite(out[c])
    return finite


@njit(cache=True, error_model="numpy", nogil=True)
def ascend(
    full: Array,
    sample: Sample,
    engine: Engine,
    hyper: Hyper,
    floor: Array,
    counts: Array,
    max_steps: int,
    tolerance: float,
    memory: int,
    history: Array,
    following: Array,
) -> tuple[int, int, float]:
    """Climb by accelerated EM.

    Parameters
    ----------
    full : ndarray
        Where to start; on return the last accepted point.
    sample, engine, hyper
        The problem.
    floor : ndarray (n_traits,)
        Conditional variance below which a component has collapsed.
    counts : ndarray (n_patterns, n_components)
        Working space.
    max_steps : int
        Most passes over the people.
    tolerance : float
        Stop when the log posterior is estimated to be within this many units of its limit.
    memory : int
        Steps that Anderson's method combines; 0 for plain EM.
    history : ndarray (max_steps,)
        Written: the log posterior at every accepted point.
    following : ndarray like full
        Written where the passes were used up: where plain EM goes from the last accepted point, which is not lower.

    Returns
    -------
    n_accepted : int
        Points in ``history``.
    status : int
    gap : float
        Estimated distance of the log posterior to its limit.
    """
    size = len(full)
    images, residuals = np.zeros((max(memory, 1), size)), np.zeros((max(memory, 1), size))
    trial, image, gradient = np.empty(size), np.empty(size), np.empty(size)
    last_image, residual, last_residual = np.empty(size), np.empty(size), np.empty(size)
    proposal = np.empty(size)
    copy_into(full, trial)
    value, accepted, used, slot = -np.inf, 0, 0, 0
    gap = np.inf
    proposed = False
    quiet = 0
    share = 1.0
    trust, length = _LONGEST, 0.0
    for _ in range(max_steps):
        for i in range(size):
            gradient[i] = 0.0
        before = share
        new, share = _call_em(engine.step, trial, sample, engine, hyper, floor, counts, image, gradient)
        possible = share > 0.0
        rounding = ROUNDING * abs(new)
        if proposed and not (possible and new >= value):
            # the proposal overshot: trust a shorter one from here on, and take the plain EM step
            trust = 0.25 * length
            copy_into(last_image, trial)
            proposed = False
            continue
        if proposed and length == trust:
            trust = min(4.0 * trust, _LONGEST)
        if not possible:
            if accepted == 0 and np.isfinite(new):
                history[0] = new
                accepted = 1
            return accepted, SINGULAR, gap
        if accepted > 0 and new < value:
            # plain EM does not descend but for rounding, which near-singular covariances magnify: the top is reached
            magnified = ROUNDING * sample.total * len(floor) / max(min(share, before), _SINGULAR_SHARE)
            resolved = max(_RESOLVED * abs(value), magnified)
            if value - new <= resolved and gap <= max(tolerance, resolved):
                return accepted, CONVERGED, gap
            return accepted, DESCENDED, gap
        gain = new - value
        history[accepted] = new
        promised = 0.0
        for i in range(size):
            residual[i] = image[i] - trial[i]
            images[slot, i] = image[i] - last_image[i]
            residuals[slot, i] = residual[i] - last_residual[i]
            promised += 0.5 * gradient[i] * residual[i]
        if accepted > 0 and memory > 0:
            slot = (slot + 1) % memory
            used = min(used + 1, memory)
        copy_into(trial, full)
        value = new
        accepted += 1
        copy_into(image, last_image)
        copy_into(residual, last_residual)
        proposed = False
        if accepted > _PLAIN and used > 0 and gain < _SETTLED * sample.total:
            proposed = _combine(image, residual, images, residuals, used, proposal)
            if not proposed:
                used, slot = 0, 0
        if proposed:
            ahead = 0.0
            for i in range(size):
                ahead += 0.5 * gradient[i] * (proposal[i] - trial[i])
            if not ahead > 0.0:
                # downhill: on a ridge the last steps are too alike to show a curvature; go on along the EM step
                for i in range(size):
                    proposal[i] = image[i] + _FURTHER * residual[i]
            length = 0.0
            for i in range(size):
                length = max(length, abs(proposal[i] - image[i]))
            if length > trust:
                for i in range(size):
                    proposal[i] = image[i] + (trust / length) * (proposal[i] - image[i])
                length = trust
            _keep_at_kinks(image, hyper, proposal)
            if engine.projected:
                proposed = project(proposal, engine, hyper)
            promised = max(promised, ahead)
        gap = max(promised, 0.0)
        enough = max(tolerance, rounding)
        quiet = quiet + 1 if accepted > 1 and gain <= enough and gap <= enough else 0
        if quiet >= 2 or (accepted > 1 and gain <= rounding and gap <= rounding):
            return accepted, CONVERGED, gap
        copy_into(proposal if proposed else image, trial)
    copy_into(last_image, following)
    return accepted, OUT_OF_STEPS, gap


@njit(cache=True, error_model="numpy", nogil=True)
def ascend_each(
    fulls: Array,
    sample: Sample,
    engine: Engine,
    hyper: Hyper,
    floor: Array,
    counts: Array,
    tolerance: float,
    memory: int,
    histories: Array,
    accepted: NDArray[np.int64],
    status: NDArray[np.int64],
) -> None:
    """Climb some passes from each of many points, one after the other; see :func:`ascend`.

    Parameters
    ----------
    fulls : ndarray (n_points, n_coordinates)
        Where to start; on return where to go on: what EM makes of the last accepted point.
    histories : ndarray (n_points, n_passes)
        Written: the log posterior at every accepted point.
    accepted, status : ndarray of int (n_points,)
        Written.
    """
    following = np.empty(fulls.shape[1])
    n_passes = histories.shape[1]
    for j in range(len(fulls)):
        accepted[j], status[j], _ = ascend(
            fulls[j],
            sample,
            engine,
            hyper,
            floor,
            counts,
            n_passes,
            tolerance,
            memory,
            histories[j],
            following,
        )
        if status[j] == OUT_OF_STEPS:
            copy_into(following, fulls[j])
