r"""Mixing weights as a function of predictors: log weights, and the M step's penalised multinomial logistic problem.

.. math:: w_{uk} = \mathrm{softmax}_k(\alpha_k + x_u \beta_k), \qquad \alpha_0 = 0,\ \beta_0 = 0

``alpha`` are log ratios of the baseline weights to component 0, ``beta`` log odds ratios against component 0, so
``pi = softmax(0, alpha)``. The priors do not depend on which component is 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numba import njit, types
from numpy.typing import NDArray
from scipy.special import gammaln

from bayesgmm.core.linalg import copy_into, dot, multiple_into, solve_positive
from bayesgmm.core.pointers import Pointer, a1, a2, a3, b1, call_at, f8, i8
from bayesgmm.core.vectormath import exp_nonpositive, log_normal

Array = NDArray[np.float64]

_BLOCK = 256
_HALVINGS = 30
_TINY = 1e-300
_MOST_LIFT = 1e150  # curvature is not a number long before
_REDUCE = {"reassoc", "contract", "nsz"}


@dataclass(frozen=True)
class WeightsPrior:
    """Prior of the baseline weights and of the effects, as arrays.

    Attributes
    ----------
    concentration : ndarray (n_components,)
        Dirichlet parameters of the baseline weights.
    effect_mean : ndarray (n_predictors, n_components - 1)
        Prior mean of each log odds ratio against component 0.
    effect_sd : ndarray (n_predictors,)
        Prior standard deviation of every pairwise log odds ratio; infinite for a flat prior.
    """

    concentration: Array
    effect_mean: Array
    effect_sd: Array

    @property
    def n_components(self) -> int:
        """Number of components."""
        return len(self.concentration)

    def rescaled(self, unit: Array) -> WeightsPrior:
        """The same prior for predictors divided by ``unit`` (n_predictors,)."""
        return replace(self, effect_mean=self.effect_mean * unit[:, None], effect_sd=self.effect_sd * unit)

    def effect_precision(self) -> Array:
        """Prior precision of the contrasts of each predictor, (P, K-1, K-1).

        The covariance is ``(s^2 / 2)(I + 11')``; its inverse is ``(2 / s^2)(I - 11' / K)``.
        """
        size = self.n_components - 1
        shape = np.eye(size) - np.ones((size, size)) / self.n_components
        return (2.0 / self.effect_sd**2)[:, None, None] * shape

    def draw_effects(self, n: int, rng: np.random.Generator) -> Array:
        """Draw contrasts (n, P, K-1) of every predictor."""
        size = self.n_components - 1
        factor = np.linalg.cholesky(0.5 * (np.eye(size) + np.ones((size, size))))
        noise = rng.standard_normal((n, len(self.effect_sd), size)) @ factor.T
        drawn: Array = self.effect_mean + self.effect_sd[:, None] * noise
        return drawn

    def log_density_weights(self, log_pi: Array) -> Array:
        """Dirichlet log density of baseline weights; zero when flat. ``log_pi`` (..., K)."""
        a = self.concentration
        value: Array = gammaln(a.sum()) - gammaln(a).sum() + np.sum((a - 1.0) * log_pi, axis=-1)
        return value

    def log_density_effects(self, beta: Array) -> Array:
        """Normal log density of the contrasts of each predictor; a flat prior adds nothing.

        Parameters
        ----------
        beta : ndarray (..., P, K-1)

        Returns
        -------
        ndarray (..., P)
        """
        size = self.n_components - 1
        offset = beta - self.effect_mean
        quadratic = np.einsum("...pk,pkl,...pl->...p", offset, self.effect_precision(), offset)
        with np.errstate(divide="ignore"):
            log_det = size * np.log(self.effect_sd**2 / 2.0) + np.log(self.n_components)
        value = -0.5 * (quadratic + log_det + size * np.log(2.0 * np.pi))
        result: Array = np.where(np.isinf(self.effect_sd), 0.0, value)
        return result


@njit(cache=True, error_model="numpy", nogil=True)
def log_softmax(logits: Array) -> Array:
    """Log weights of each row of logits (U, K), in blocks of rows so that exponentials vectorise."""
    n_rows, n_components = logits.shape
    out = np.empty((n_rows, n_components))
    eta = np.empty((n_components, _BLOCK))
    largest, total = np.empty(_BLOCK), np.empty(_BLOCK)
    for start in range(0, n_rows, _BLOCK):
        size = min(_BLOCK, n_rows - start)
        for i in range(size):
            for k in range(n_components):
                eta[k, i] = logits[start + i, k]
        for i in range(size):
            largest[i] = eta[0, i]
            total[i] = 0.0
        for k in range(1, n_components):
            for i in range(size):
                largest[i] = max(largest[i], eta[k, i])
        for k in range(n_components):
            for i in range(size):
                total[i] += exp_nonpositive(eta[k, i] - largest[i])
        for i in range(size):
            total[i] = largest[i] + log_normal(total[i])
        for k in range(n_components):
            for i in range(size):
                out[start + i, k] = eta[k, i] - total[i]
    return out


def _expected_log_weights(
    alpha: Array, beta: Array, predictors: Array, counts: Array, curvature: bool, gradient: Array, hessian: Array
) -> float:
    """Expected log likelihood of memberships in (alpha, beta), and its gradient; its negative Hessian when asked.

    The free parameters are ordered row by row of ``[alpha; beta]``, (1 + P, K - 1).
    """
    n_patterns, n_components = counts.shape
    n_predictors = predictors.shape[1]
    free = n_components - 1
    x = np.ones((1 + n_predictors, _BLOCK))
    eta = np.empty((n_components, _BLOCK))
    largest = np.empty(_BLOCK)
    total = np.empty(_BLOCK)
    people = np.empty(_BLOCK)
    term = np.empty(_BLOCK)
    value = 0.0
    for p in range(len(gradient)):
        gradient[p] = 0.0
        for q in range(len(hessian)):
            hessian[p, q] = 0.0
    for start in range(0, n_patterns, _BLOCK):
        size = min(_BLOCK, n_patterns - start)
        for p in range(n_predictors):
            for i in range(size):
                x[1 + p, i] = predictors[start + i, p]
        for i in range(size):
            eta[0, i] = 0.0
            largest[i] = 0.0
            people[i] = counts[start + i, 0]
            total[i] = 0.0
        for k in range(free):
            for i in range(size):
                eta[k + 1, i] = alpha[k]
            for p in range(n_predictors):
                slope = beta[p, k]
                for i in range(size):
                    eta[k + 1, i] += slope * x[1 + p, i]
            for i in range(size):
                largest[i] = max(largest[i], eta[k + 1, i])
                people[i] += counts[start + i, k + 1]
        for k in range(n_components):
            for i in range(size):
                value += counts[start + i, k] * (eta[k, i] - largest[i])
                eta[k, i] = exp_nonpositive(eta[k, i] - largest[i])
                total[i] += eta[k, i]
        for i in range(size):
            value -= people[i] * log_normal(total[i])
        for k in range(n_components):
            for i in range(size):
                eta[k, i] /= total[i]
        for k in range(free):
            for i in range(size):
                term[i] = counts[start + i, k + 1] - people[i] * eta[k + 1, i]
            for p in range(1 + n_predictors):
                s = 0.0
                for i in range(size):
                    s += term[i] * x[p, i]
                gradient[p * free + k] += s
        if not curvature:
            continue
        for k in range(free):
            for m in range(k + 1):
                for p in range(1 + n_predictors):
                    for i in range(size):
                        bend = (1.0 if m == k else 0.0) - eta[m + 1, i]
                        term[i] = people[i] * eta[k + 1, i] * bend * x[p, i]
                    for q in range(p + 1):
                        s = 0.0
                        for i in range(size):
                            s += term[i] * x[q, i]
                        hessian[p * free + k, q * free + m] += s
    if not curvature:
        return value
    for k in range(free):
        for m in range(k + 1):
            for p in range(1 + n_predictors):
                for q in range(p + 1):
                    bend = hessian[p * free + k, q * free + m]
                    hessian[q * free + k, p * free + m] = bend
                    hessian[p * free + m, q * free + k] = bend
                    hessian[q * free + m, p * free + k] = bend
    return value


# alpha, beta, predictors, counts, curvature, gradient, hessian
_EXPECTED = types.float64(a1, a2, a2, a2, b1, a1, a2)
expected_log_weights = Pointer(_expected_log_weights, _EXPECTED, nogil=True, fastmath=_REDUCE)
call_expected = call_at(_EXPECTED)


@njit(cache=True, error_model="numpy", nogil=True)
def add_weights_prior(
    alpha: Array,
    beta: Array,
    concentration: Array,
    less: float,
    effect_mean: Array,
    effect_precision: Array,
    curvature: bool,
    gradient: Array,
    hessian: Array,
) -> float:
    """Add the gradient and negative Hessian of the log prior of (alpha, beta); return its value, constants left out.

    ``less`` is what the Dirichlet's exponents are below its concentration: 1 for a density in the baseline weights
    themselves, 0 for one in their log ratios.
    """
    free = len(alpha)
    peak, norm, mass = 0.0, 0.0, concentration[0] - less
    for k in range(free):
        peak = max(peak, alpha[k])
        mass += concentration[k + 1] - less
    norm = math.exp(-peak)
    for k in range(free):
        norm += math.exp(alpha[k] - peak)
    log_norm = peak + math.log(norm)
    value = -mass * log_norm
    for k in range(free):
        value += (concentration[k + 1] - less) * alpha[k]
        pi = math.exp(alpha[k] - log_norm)
        gradient[k] += concentration[k + 1] - less - mass * pi
        if curvature:
            hessian[k, k] += mass * pi
            for m in range(free):
                hessian[k, m] -= mass * pi * math.exp(alpha[m] - log_norm)
    for p in range(len(beta)):
        at = free * (1 + p)
        for k in range(free):
            pull = 0.0
            for m in range(free):
                pull += effect_precision[p, k, m] * (beta[p, m] - effect_mean[p, m])
                if curvature:
                    hessian[at + k, at + m] += effect_precision[p, k, m]
            value -= 0.5 * pull * (beta[p, k] - effect_mean[p, k])
            gradient[at + k] -= pull
    return value


def _newton_weights(
    expected: int,
    alpha: Array,
    beta: Array,
    predictors: Array,
    counts: Array,
    concentration: Array,
    effect_mean: Array,
    effect_precision: Array,
    max_steps: int,
    tolerance: float,
    gradient: Array,
) -> bool:
    """M step of the weights, in place: Newton with step halving on the penalised expected log likelihood.

    The value at the end is never below the value at the start, so a single step is enough for EM to ascend
    (generalised EM, Dempster, Laird and Rubin 1977).

    Parameters
    ----------
    expected : int
        Address of :data:`expected_log_weights`.
    alpha : ndarray (K-1,)
    beta : ndarray (P, K-1)
        Where to start; overwritten.
    predictors : ndarray (U, P)
        Centred predictors of each pattern.
    counts : ndarray (U, K)
        Responsibilities summed over the people of each pattern.
    concentration, effect_mean, effect_precision
        The prior, a density in the baseline weights; see :func:`add_weights_prior`.
    max_steps : int
        At most so many Newton steps.
    tolerance : float
        Stop when a step would gain less than this many units of log density.
    gradient : ndarray (n_free,)
        Written: the gradient at the start.

    Returns
    -------
    bool
        Whether every step was taken.
    """
    free, n_predictors = len(alpha), len(beta)
    n_free = free * (1 + n_predictors)
    slope, trial_slope = np.empty(n_free), np.empty(n_free)
    step = np.empty(n_free)
    hessian, factor, none = np.empty((n_free, n_free)), np.empty((n_free, n_free)), np.empty((0, 0))
    trial_alpha, trial_beta = np.empty(free), np.empty((n_predictors, free))
    no, yes = n_free < 0, n_free >= 0  # and not literals, with which functions would be compiled twice
    value = call_expected(expected, alpha, beta, predictors, counts, yes, slope, hessian)
    value += add_weights_prior(alpha, beta, concentration, 1.0, effect_mean, effect_precision, yes, slope, hessian)
    copy_into(slope, gradient)
    for taken in range(max_steps):
        if taken > 0:
            value = call_expected(expected, alpha, beta, predictors, counts, yes, slope, hessian)
            value += add_weights_prior(
                alpha, beta, concentration, 1.0, effect_mean, effect_precision, yes, slope, hessian
            )
        copy_into(slope, step)
        multiple_into(hessian, 1.0, factor)
        lift = 0.0
        while not solve_positive(factor, step):
            if not lift < _MOST_LIFT:
                return False
            # separated data without a prior: the curvature is lifted until it is positive
            for j in range(n_free):
                lift = max(lift, 1e-10 * hessian[j, j])
            lift = 10.0 * max(lift, _TINY)
            copy_into(slope, step)
            for j in range(n_free):
                hessian[j, j] += lift
            multiple_into(hessian, 1.0, factor)
        if dot(slope, step) < tolerance:
            return False
        length = 1.0
        for _ in range(_HALVINGS):
            for k in range(free):
                trial_alpha[k] = alpha[k] + length * step[k]
                for p in range(n_predictors):
                    trial_beta[p, k] = beta[p, k] + length * step[free * (1 + p) + k]
            trial = call_expected(expected, trial_alpha, trial_beta, predictors, counts, no, trial_slope, none)
            trial += add_weights_prior(
                trial_alpha, trial_beta, concentration, 1.0, effect_mean, effect_precision, no, trial_slope, none
            )
            if trial >= value:
                copy_into(trial_alpha, alpha)
                multiple_into(trial_beta, 1.0, beta)
                break
            length *= 0.5
        else:
            return False
    return True


# expected, alpha, beta, predictors, counts, concentration, effect_mean, effect_precision, max_steps, tolerance,
# gradient
_NEWTON = types.boolean(i8, a1, a2, a2, a2, a1, a2, a3, i8, f8, a1)
newton_weights = Pointer(_newton_weights, _NEWTON, nogil=True)
call_newton = call_at(_NEWTON)
