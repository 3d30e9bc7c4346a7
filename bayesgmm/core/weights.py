r"""Mixing weights as a function of predictors: log weights, and the M step's penalised multinomial logistic problem.

.. math:: w_{uk} = \mathrm{softmax}_k(\alpha_k + x_u \beta_k), \qquad \alpha_0 = 0,\ \beta_0 = 0

``alpha`` are log ratios of the baseline weights to component 0, ``beta`` log odds ratios against component 0, so
``pi = softmax(0, alpha)``. The priors do not depend on which component is 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.special import gammaln

Array = NDArray[np.float64]


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

    def effect_precision(self) -> Array:
        """Prior precision of the contrasts of each predictor, (P, K-1, K-1).

        The covariance is ``(s^2 / 2)(I + 11')``; its inverse is ``(2 / s^2)(I - 11' / K)``.
        """
        size = self.n_components - 1
        shape = np.eye(size) - np.ones((size, size)) / self.n_components
        return (2.0 / self.effect_sd**2)[:, None, None] * shape

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


@njit(cache=True, error_model="numpy")
def log_softmax(logits: Array) -> Array:
    """Log weights of each row of logits (U, K)."""
    n_rows, n_components = logits.shape
    out = np.empty((n_rows, n_components))
    for u in range(n_rows):
        largest = logits[u, 0]
        for k in range(1, n_components):
            largest = max(largest, logits[u, k])
        total = 0.0
        for k in range(n_components):
            total += np.exp(logits[u, k] - largest)
        shift = largest + np.log(total)
        for k in range(n_components):
            out[u, k] = logits[u, k] - shift
    return out


@njit(cache=True, error_model="numpy")
def _expected_value_and_curvature(
    alpha: Array, beta: Array, predictors: Array, counts: Array, gradient: Array, hessian: Array
) -> float:
    """Expected log likelihood of memberships, its gradient and negative Hessian in (alpha, beta).

    The free parameters are ordered row by row of ``[alpha; beta]``, (1 + P, K - 1).
    """
    n_patterns, n_components = counts.shape
    n_predictors = predictors.shape[1]
    free = n_components - 1
    x = np.ones(1 + n_predictors)
    weights = np.empty(n_components)
    value = 0.0
    gradient[:] = 0.0
    hessian[:] = 0.0
    for u in range(n_patterns):
        x[1:] = predictors[u]
        largest = 0.0
        weights[0] = 0.0
        total_count = counts[u, 0]
        for k in range(free):
            eta = alpha[k]
            for p in range(n_predictors):
                eta += predictors[u, p] * beta[p, k]
            weights[k + 1] = eta
            largest = max(largest, eta)
            total_count += counts[u, k + 1]
        total = 0.0
        for k in range(n_components):
            value += counts[u, k] * (weights[k] - largest)
            weights[k] = np.exp(weights[k] - largest)
            total += weights[k]
        value -= total_count * np.log(total)
        for k in range(n_components):
            weights[k] /= total
        for k in range(free):
            residual = counts[u, k + 1] - total_count * weights[k + 1]
            for p in range(1 + n_predictors):
                gradient[p * free + k] += x[p] * residual
            for m in range(k + 1):
                curvature = -total_count * weights[k + 1] * weights[m + 1]
                if m == k:
                    curvature += total_count * weights[k + 1]
                for p in range(1 + n_predictors):
                    for q in range(1 + n_predictors):
                        hessian[p * free + k, q * free + m] += curvature * x[p] * x[q]
    for k in range(free):
        for m in range(k):
            for p in range(1 + n_predictors):
                for q in range(1 + n_predictors):
                    hessian[q * free + m, p * free + k] = hessian[p * free + k, q * free + m]
    return value


def _penalty(alpha: Array, beta: Array, prior: WeightsPrior, precision: Array) -> tuple[float, Array, Array]:
    """Log prior of (alpha, beta) as a density in (pi, B), its gradient and negative Hessian, constants left out."""
    size = len(alpha)
    n_free = size * (1 + len(beta))
    log_pi = log_softmax(np.concatenate(([0.0], alpha))[None])[0]
    pi = np.exp(log_pi)
    excess = prior.concentration - 1.0
    gradient, hessian = np.zeros(n_free), np.zeros((n_free, n_free))
    value = float(excess @ log_pi)
    gradient[:size] = excess[1:] - excess.sum() * pi[1:]
    hessian[:size, :size] = excess.sum() * (np.diag(pi[1:]) - np.outer(pi[1:], pi[1:]))
    for p in range(len(beta)):
        block = slice(size * (1 + p), size * (2 + p))
        offset = beta[p] - prior.effect_mean[p]
        value -= 0.5 * float(offset @ precision[p] @ offset)
        gradient[block] = -precision[p] @ offset
        hessian[block, block] = precision[p]
    return value, gradient, hessian


def newton_weights(
    alpha: Array,
    beta: Array,
    predictors: Array,
    counts: Array,
    prior: WeightsPrior,
    *,
    max_steps: int = 2,
    tolerance: float = 1e-12,
) -> tuple[Array, Array]:
    """M step of the weights: Newton with step halving on the penalised expected log likelihood.

    The value returned is never below the value at the start, so a single step is enough for EM to ascend
    (generalised EM, Dempster, Laird and Rubin 1977).

    Parameters
    ----------
    alpha : ndarray (K-1,)
    beta : ndarray (P, K-1)
        Where to start.
    predictors : ndarray (U, P)
        Centred predictors of each pattern.
    counts : ndarray (U, K)
        Responsibilities summed over the people of each pattern.
    prior : WeightsPrior
    max_steps : int
        At most so many Newton steps.
    tolerance : float
        Stop when a step would gain less than this many units of log density.

    Returns
    -------
    alpha, beta : ndarray
    """
    size, n_predictors = len(alpha), len(beta)
    n_free = size * (1 + n_predictors)
    precision = prior.effect_precision()
    gradient, hessian = np.empty(n_free), np.empty((n_free, n_free))

    def evaluate(a: Array, b: Array) -> tuple[float, Array, Array]:
        value = _expected_value_and_curvature(a, b, predictors, counts, gradient, hessian)
        p_value, p_gradient, p_hessian = _penalty(a, b, prior, precision)
        return value + p_value, gradient + p_gradient, hessian + p_hessian

    value, g, h = evaluate(alpha, beta)
    for _ in range(max_steps):
        step = _ascent_step(g, h)
        if float(g @ step) < tolerance:
            break
        for halving in range(30):
            scaled = (step * 0.5**halving).reshape(1 + n_predictors, size)
            trial_alpha, trial_beta = alpha + scaled[0], beta + scaled[1:]
            trial_value, trial_g, trial_h = evaluate(trial_alpha, trial_beta)
            if trial_value >= value:
                alpha, beta, value, g, h = trial_alpha, trial_beta, trial_value, trial_g, trial_h
                break
        else:
            break
    return alpha, beta


def _ascent_step(gradient: Array, negative_hessian: Array) -> Array:
    """Newton step, with the curvature lifted where it is not positive (separated data without a prior)."""
    try:
        factor = np.linalg.cholesky(negative_hessian)
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(negative_hessian)
        lifted = np.maximum(np.abs(values), 1e-10 * max(1.0, float(np.abs(values).max())))
        step: Array = vectors @ ((vectors.T @ gradient) / lifted)
        return step
    solved: Array = np.linalg.solve(factor.T, np.linalg.solve(factor, gradient))
    return solved
