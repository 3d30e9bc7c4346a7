r"""The log posterior and its gradient in flat coordinates, compiled: one function for Newton, curvature and sampler.

Flat coordinates are ``alpha`` (K-1), ``beta`` (P, K-1), ``means`` (K, D), the logarithms of the diagonals of the
lower Cholesky factors ``L`` of the precisions (K, D), and their entries below the diagonal, row by row.

By Fisher's identity the gradient of the marginal log likelihood is the expected gradient of the complete-data log
likelihood under the responsibilities, whose moments the fused pass returns.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bayesgmm.core.kernel import fused_pass
from bayesgmm.core.weights import log_softmax

Array = NDArray[np.float64]
Index = NDArray[np.int32]


class Hyper(NamedTuple):
    """Hyperparameters as arrays: Dirichlet, effects (mean and precision of the contrasts), Normal-Inverse-Wishart.

    ``constant`` is the part of the log prior that no parameter changes.
    """

    concentration: Array
    effect_mean: Array
    effect_precision: Array
    mean: Array
    strength: float
    dof: float
    scale: Array
    constant: float


@njit(cache=True, error_model="numpy", nogil=True)
def unpack(flat: Array, n_components: int, n_traits: int, n_predictors: int) -> tuple[Array, Array, Array, Array]:
    """Split flat coordinates into alpha, beta, means and precision factors."""
    free = n_components - 1
    alpha = flat[:free].copy()
    beta = flat[free : free * (1 + n_predictors)].copy().reshape((n_predictors, free))
    at = free * (1 + n_predictors)
    means = flat[at : at + n_components * n_traits].copy().reshape((n_components, n_traits))
    at += n_components * n_traits
    roots = np.zeros((n_components, n_traits, n_traits))
    for k in range(n_components):
        for d in range(n_traits):
            roots[k, d, d] = np.exp(flat[at])
            at += 1
    for k in range(n_components):
        for d in range(1, n_traits):
            for e in range(d):
                roots[k, d, e] = flat[at]
                at += 1
    return alpha, beta, means, roots


@njit(cache=True, error_model="numpy", nogil=True)
def logits_of(alpha: Array, beta: Array, predictors: Array) -> Array:
    """Logits (U, K) of every pattern, component 0 at zero."""
    n_patterns, n_predictors = predictors.shape
    logits = np.zeros((n_patterns, len(alpha) + 1))
    for u in range(n_patterns):
        for k in range(len(alpha)):
            total = alpha[k]
            for p in range(n_predictors):
                total += predictors[u, p] * beta[p, k]
            logits[u, k + 1] = total
    return logits


@njit(cache=True, error_model="numpy", nogil=True)
def value_and_gradient(
    flat: Array,
    traits: Array,
    pattern: Index,
    predictors: Array,
    totals: Array,
    hyper: Hyper,
    jacobian: bool,
    gradient: Array,
) -> float:
    """Log posterior at flat coordinates; its gradient is written into ``gradient``.

    Parameters
    ----------
    flat : ndarray (n_free,)
    traits : ndarray (D, n)
        Standardised, people sorted by pattern.
    pattern : ndarray of int32 (n,)
    predictors : ndarray (U, P)
    totals : ndarray (U,)
        People of each pattern.
    hyper : Hyper
    jacobian : bool
        False: the density in the natural parameters (pi, B, mu, Sigma), whose mode is the MAP. True: the density of
        the flat coordinates themselves, which is what a sampler moving in them needs; the logarithm of the Jacobian,
        ``sum log pi_k - sum_kd (D + d + 1) log L_kdd`` (d from 0), is added up to a constant.
    gradient : ndarray (n_free,)

    Returns
    -------
    float
    """
    n_traits = traits.shape[0]
    n_components = len(hyper.concentration)
    n_predictors = predictors.shape[1]
    free = n_components - 1
    alpha, beta, means, roots = unpack(flat, n_components, n_traits, n_predictors)
    log_weights = log_softmax(logits_of(alpha, beta, predictors))
    value, counts, first, second = fused_pass(traits, pattern, log_weights, means, roots, np.empty((0, 0)), np.empty(0))
    value += hyper.constant
    gradient[:] = 0.0
    # weights: Dirichlet at the average person, multinomial over patterns
    baseline = np.zeros((1, n_components))
    baseline[0, 1:] = alpha
    log_pi = log_softmax(baseline)[0]
    excess = hyper.concentration - 1.0
    if jacobian:
        excess = excess + 1.0
    value += (excess * log_pi).sum()
    for k in range(free):
        gradient[k] = excess[k + 1] - excess.sum() * np.exp(log_pi[k + 1])
    for u in range(len(totals)):
        for k in range(free):
            residual = counts[u, k + 1] - totals[u] * np.exp(log_weights[u, k + 1])
            gradient[k] += residual
            for p in range(n_predictors):
                gradient[free * (1 + p) + k] += residual * predictors[u, p]
    for p in range(n_predictors):
        for k in range(free):
            pull = 0.0
            for m in range(free):
                pull += hyper.effect_precision[p, k, m] * (beta[p, m] - hyper.effect_mean[p, m])
            value -= 0.5 * pull * (beta[p, k] - hyper.effect_mean[p, k])
            gradient[free * (1 + p) + k] -= pull
    # components: kappa0, nu0 and Psi0 act like moments of people seen before
    at_means = free * (1 + n_predictors)
    at_diagonal = at_means + n_components * n_traits
    at_lower = at_diagonal + n_components * n_traits
    for k in range(n_components):
        root = roots[k]
        offset = means[k] - hyper.mean
        scatter = second[k].copy()
        prior_scatter = hyper.scale + hyper.strength * offset.reshape((-1, 1)) * offset.reshape((1, -1))
        scatter += prior_scatter
        pull_vector = first[k] - hyper.strength * offset
        count = counts[:, k].sum()
        for d in range(n_traits):
            through = 0.0
            for e in range(d, n_traits):
                through += root[e, d] * pull_vector[e]
            for e in range(d, n_traits):
                gradient[at_means + k * n_traits + e] += root[e, d] * through
        for d in range(n_traits):
            log_diagonal = flat[at_diagonal + k * n_traits + d]
            power = hyper.dof + n_traits + 2.0
            if jacobian:
                power -= n_traits + d + 1.0
            value += power * log_diagonal
            for e in range(d + 1):
                product = 0.0
                prior_product = 0.0
                for c in range(e, n_traits):
                    product += scatter[d, c] * root[c, e]
                    prior_product += prior_scatter[d, c] * root[c, e]
                value -= 0.5 * prior_product * root[d, e]
                if e == d:
                    gradient[at_diagonal + k * n_traits + d] = power + count - product * root[d, d]
                else:
                    gradient[at_lower] = -product
                    at_lower += 1
    return value


@njit(cache=True, error_model="numpy", nogil=True)
def whitened_value_and_gradient(
    x: Array,
    centre: Array,
    scale: Array,
    traits: Array,
    pattern: Index,
    predictors: Array,
    totals: Array,
    hyper: Hyper,
) -> tuple[float, Array]:
    """Log density and gradient at the sampler's ``x``, flat coordinates being ``centre + scale @ x``."""
    size = len(x)
    flat = centre.copy()
    for i in range(size):
        for j in range(size):
            flat[i] += scale[i, j] * x[j]
    inner = np.empty(size)
    value = value_and_gradient(flat, traits, pattern, predictors, totals, hyper, True, inner)
    gradient = np.zeros(size)
    for i in range(size):
        for j in range(size):
            gradient[j] += scale[i, j] * inner[i]
    return value, gradient
