r"""M step of the weights where effects have a Laplace prior: proximal Newton, whose zeros are exact.

The expected log likelihood and the smooth priors are replaced by their quadratic model about the current point, and
the model less the cones :math:`\sqrt{c}\,\|d_p\|_P` is maximised block by block, a predictor at a time (Friedman,
Hastie and Tibshirani 2010, J. Statistical Software 33:1; Lee, Sun and Saunders 2014, SIAM J. Optimization 24:1420). An
effect is put exactly at its prior mean where the slope of the rest there is below that of the cone, and leaves it
where it is not: the condition of Karush, Kuhn and Tucker, and not a threshold on its size.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bayesgmm.core.effect_density import LAPLACE, NONE, dual_length, kink_slope, squared_length
from bayesgmm.core.linalg import copy_into, multiple_into, solve_positive
from bayesgmm.core.pointers import Pointer
from bayesgmm.core.weights import NEWTON, add_weights_prior, call_expected

Array = NDArray[np.float64]
Long = NDArray[np.int64]

_SWEEPS = 100
_HALVINGS = 30
_SETTLED = 1e-8  # of the whole gain of the model, below which a sweep's is not worth another
_ROOT_STEPS = 30
_LEAST_CURVATURE = 1e-10  # as a share of the largest, where separated data have none


@njit(cache=True, error_model="numpy", nogil=True)
def shrunk(pull: Array, curvature: Array, precision: Array, out: Array) -> bool:
    r"""Maximise ``pull' v - v' curvature v / 2 - sqrt(c) |v|_P`` over ``v`` (K-1,), into ``out``.

    Off zero ``v = t (t H + \sqrt{c} P)^{-1} pull`` with ``t = |v|_P``, the root of a concave function (Moré and
    Sorensen 1983, SIAM J. Scientific and Statistical Computing 4:553), which Newton's method climbs from below.

    Returns
    -------
    bool
        Whether ``out`` is not zero.
    """
    size = len(pull)
    slope = kink_slope(size)
    for k in range(size):
        out[k] = 0.0
    if not dual_length(pull, precision) > slope:
        return False
    t = 0.0
    matrix, direction, turned = np.empty((size, size)), np.empty(size), np.empty(size)
    for _ in range(_ROOT_STEPS):
        for k in range(size):
            direction[k] = pull[k]
            for j in range(size):
                matrix[k, j] = t * curvature[k, j] + slope * precision[k, j]
        if not solve_positive(matrix, direction):
            return False
        length, bend = 0.0, 0.0
        for k in range(size):
            turned[k] = 0.0
            for j in range(size):
                turned[k] += curvature[k, j] * direction[j]
                length += direction[k] * precision[k, j] * direction[j]
                matrix[k, j] = t * curvature[k, j] + slope * precision[k, j]
        length = math.sqrt(length)
        if not solve_positive(matrix, turned):
            return False
        for k in range(size):
            for j in range(size):
                bend += direction[k] * precision[k, j] * turned[j]
        # 1 / |direction|_P rises to one
        step = (1.0 - 1.0 / length) * length * length * length / bend
        t += step
        if not step > 1e-14 * t:
            break
    for k in range(size):
        out[k] = t * direction[k]
    return t > 0.0


@njit(cache=True, error_model="numpy", nogil=True)
def model_step(
    slope: Array,
    hessian: Array,
    beta: Array,
    effect_mean: Array,
    effect_precision: Array,
    kinked: Long,
    step: Array,
    at_mean: Long,
) -> float:
    """Step (n_free,) to the top of the quadratic model with its cones; ``at_mean`` (P,) says who ends at its mean.

    ``slope`` and ``hessian`` are of everything but the cones.

    Returns
    -------
    float
        What the model gains.
    """
    n_free, (n_predictors, free) = len(slope), beta.shape
    left, gain = np.empty(n_free), 0.0
    copy_into(slope, left)
    smooth = np.empty(n_free, dtype=np.int64)
    n_smooth = 0
    for j in range(n_free):
        step[j] = 0.0
        if j < free or kinked[j // free - 1] == 0:
            smooth[n_smooth] = j
            n_smooth += 1
    matrix, right = np.empty((n_smooth, n_smooth)), np.empty(n_smooth)
    before, after, move, pull = np.empty(free), np.empty(free), np.empty(free), np.empty(free)
    own, zero = np.empty((free, free)), np.zeros(free)
    cone = kink_slope(free)
    for _ in range(_SWEEPS):
        swept = 0.0
        for a in range(n_smooth):
            right[a] = left[smooth[a]]
            for b in range(n_smooth):
                matrix[a, b] = hessian[smooth[a], smooth[b]]
        if not solve_positive(matrix, right):
            return gain
        for a in range(n_smooth):
            # the top of a quadratic is half its slope times the step above
            swept += 0.5 * right[a] * left[smooth[a]]
        for a in range(n_smooth):
            step[smooth[a]] += right[a]
            for j in range(n_free):
                left[j] -= hessian[j, smooth[a]] * right[a]
        for p in range(n_predictors):
            if kinked[p] == 0:
                continue
            at = free * (1 + p)
            for k in range(free):
                before[k] = beta[p, k] - effect_mean[p, k] + step[at + k]
            if at_mean[p] == 1:
                for k in range(free):
                    before[k] = 0.0
            for k in range(free):
                pull[k] = left[at + k]
                for j in range(free):
                    own[k, j] = hessian[at + k, at + j]
                    pull[k] += own[k, j] * before[j]
            off = shrunk(pull, own, effect_precision[p], after)
            at_mean[p] = 0 if off else 1
            change = cone * (
                math.sqrt(squared_length(before, zero, effect_precision[p]))
                - math.sqrt(squared_length(after, zero, effect_precision[p]))
            )
            for k in range(free):
                move[k] = after[k] - before[k]
                change += left[at + k] * move[k]
                for j in range(free):
                    change -= 0.5 * move[k] * own[k, j] * (after[j] - before[j])
            swept += change
            for k in range(free):
                if move[k] != 0.0:
                    step[at + k] += move[k]
                    for j in range(n_free):
                        left[j] -= hessian[j, at + k] * move[k]
        gain += swept
        if not swept > _SETTLED * gain:
            break
    return gain


def _kinked_weights(
    expected: int,
    alpha: Array,
    beta: Array,
    predictors: Array,
    counts: Array,
    concentration: Array,
    effect_mean: Array,
    effect_precision: Array,
    effect_kind: Long,
    effect_shape: Array,
    max_steps: int,
    tolerance: float,
    gradient: Array,
) -> bool:
    """M step of the weights, in place; arguments and promise of :func:`bayesgmm.core.weights.newton_weights`."""
    free, n_predictors = len(alpha), len(beta)
    n_free = free * (1 + n_predictors)
    slope, step, hessian = np.empty(n_free), np.empty(n_free), np.empty((n_free, n_free))
    trial_slope, none = np.empty(n_free), np.empty((0, 0))
    trial_alpha, trial_beta = np.empty(free), np.empty((n_predictors, free))
    kinked, others, at_mean = effect_kind.copy(), effect_kind.copy(), effect_kind.copy()
    no, yes = n_free < 0, n_free >= 0  # and not literals, with which functions would be compiled twice
    for p in range(n_predictors):
        kinked[p] = 1 if effect_kind[p] == LAPLACE else 0
        others[p] = NONE if effect_kind[p] == LAPLACE else effect_kind[p]
    for taken in range(max_steps):
        value = call_expected(expected, alpha, beta, predictors, counts, yes, slope, hessian)
        copy_into(slope, trial_slope)
        value += add_weights_prior(
            alpha,
            beta,
            concentration,
            1.0,
            effect_mean,
            effect_precision,
            effect_kind,
            effect_shape,
            no,
            trial_slope,
            none,
        )
        if taken == 0:
            copy_into(trial_slope, gradient)
        add_weights_prior(
            alpha,
            beta,
            concentration,
            1.0,
            effect_mean,
            effect_precision,
            others,
            effect_shape,
            yes,
            slope,
            hessian,
        )
        largest = 0.0
        for j in range(n_free):
            largest = max(largest, hessian[j, j])
        for j in range(n_free):
            hessian[j, j] += _LEAST_CURVATURE * largest
        for p in range(n_predictors):
            at_mean[p] = 0
            if kinked[p] == 1 and squared_length(beta[p], effect_mean[p], effect_precision[p]) == 0.0:
                at_mean[p] = 1
        gain = model_step(slope, hessian, beta, effect_mean, effect_precision, kinked, step, at_mean)
        if not 2.0 * gain > tolerance:
            return False
        length = 1.0
        for _ in range(_HALVINGS):
            for k in range(free):
                trial_alpha[k] = alpha[k] + length * step[k]
            for p in range(n_predictors):
                exact = kinked[p] == 1 and at_mean[p] == 1 and length == 1.0
                for k in range(free):
                    moved = beta[p, k] + length * step[free * (1 + p) + k]
                    trial_beta[p, k] = effect_mean[p, k] if exact else moved
            trial = call_expected(expected, trial_alpha, trial_beta, predictors, counts, no, trial_slope, none)
            trial += add_weights_prior(
                trial_alpha,
                trial_beta,
                concentration,
                1.0,
                effect_mean,
                effect_precision,
                effect_kind,
                effect_shape,
                no,
                trial_slope,
                none,
            )
            if trial >= value:
                copy_into(trial_alpha, alpha)
                multiple_into(trial_beta, 1.0, beta)
                break
            length *= 0.5
        else:
            return False
    return True


kinked_weights = Pointer(_kinked_weights, NEWTON, nogil=True)
