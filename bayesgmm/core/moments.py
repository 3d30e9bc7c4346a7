r"""Expectation over the whole sample: groups with missing traits completed, uncertain genotypes averaged over.

A person without some traits adds the density of those observed, ``N(y_O; mu_O, Sigma_OO)``. What the M step and the
gradient need are the expected moments of the complete traits, and those follow from the moments of the observed ones
(Little and Rubin 2002, section 8.2): with :math:`A = \Sigma_{MO} \Sigma_{OO}^{-1}`

.. math:: E[S_M] = A S_O, \qquad E[S_{MM}] = A S_{OO} A' + N (\Sigma_{MM} - A \Sigma_{OM}).

With Student-t components the same holds of moments weighted by :math:`E[u]` (Liu 1997): given ``u`` the missing traits
have the residual covariance divided by ``u``, so that its part is that of the people, ``N``, again.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bayesgmm.core.kernel import call_pass, group_pass, group_pass_threads
from bayesgmm.core.linalg import covariance_of_root, precision_root
from bayesgmm.core.pointers import Pointer, a1, a2, a3, call_at, f8, i8
from bayesgmm.core.sample import SAMPLE, Sample, use_threads
from bayesgmm.core.vectormath import exp_nonpositive, log_normal

Array = NDArray[np.float64]
Index = NDArray[np.int32]
Long = NDArray[np.int64]


class Moments(NamedTuple):
    """What one pass returns.

    Attributes
    ----------
    log_likelihood : float
        Sum over people of the log density of their traits.
    counts : ndarray (n_patterns, n_components)
        Responsibilities summed over the people of each row of predictors.
    mass : ndarray (n_components,), Student-t: (n_components + 2 n_located,)
        The same over everybody; then, of Student-t components, ``sum_i r_ik E[u_ik]`` and ``sum_i r_ik E[log u_ik]``.
    first : ndarray (n_located, n_traits + n_covariates)
        ``sum_i r_ik (y_i - mu_k - c_i Delta)``, then ``sum_i r_ik c_i``; Student-t: of ``r_ik E[u_ik]``.
    second : ndarray (n_located, n_traits + n_covariates, n_traits + n_covariates)
        Second moments of the same.
    """

    log_likelihood: float
    counts: Array
    mass: Array
    first: Array
    second: Array


@njit(cache=True, error_model="numpy", nogil=True)
def mixed_log_weights(log_weights: Array, mix_starts: Long, mix_rows: Index, mix_probabilities: Array) -> Array:
    """Log weights (C, K) of patterns that average over what a genotype may be."""
    n_mixed, n_components = len(mix_starts) - 1, log_weights.shape[1]
    out = np.empty((n_mixed, n_components))
    for c in range(n_mixed):
        for k in range(n_components):
            largest = -np.inf
            for j in range(mix_starts[c], mix_starts[c + 1]):
                largest = max(largest, log_weights[mix_rows[j], k])
            total = 0.0
            for j in range(mix_starts[c], mix_starts[c + 1]):
                total += mix_probabilities[j] * np.exp(log_weights[mix_rows[j], k] - largest)
            out[c, k] = largest + np.log(total)
    return out


@njit(cache=True, error_model="numpy", nogil=True)
def _unmix(
    mixed_counts: Array,
    mixed: Array,
    log_weights: Array,
    mix_starts: Long,
    mix_rows: Index,
    mix_probabilities: Array,
    counts: Array,
) -> None:
    """Share the counts of averaged patterns among what the genotype may be; written into ``counts`` (U, K)."""
    for u in range(len(counts)):
        for k in range(counts.shape[1]):
            counts[u, k] = 0.0
    for c in range(len(mix_starts) - 1):
        for j in range(mix_starts[c], mix_starts[c + 1]):
            u = mix_rows[j]
            for k in range(counts.shape[1]):
                share = mix_probabilities[j] * np.exp(log_weights[u, k] - mixed[c, k])
                counts[u, k] += share * mixed_counts[c, k]


@njit(cache=True, error_model="numpy", nogil=True)
def _complete(
    order: Index,
    n_observed: int,
    covariance: Array,
    root: Array,
    mass: float,
    part_first: Array,
    part_second: Array,
    first: Array,
    second: Array,
) -> None:
    """Add a group's moments of one component, completed by regression, to those of all traits."""
    size = len(order)
    n_both = len(part_first)
    n_covariates = n_both - n_observed
    n_missing = size - n_observed
    # columns of the regression of every trait (observed: itself) on the observed ones
    regression = np.zeros((size, n_observed))
    for o in range(n_observed):
        regression[o, o] = 1.0
    for m in range(n_missing):
        for d in range(n_observed):
            through = 0.0
            for e in range(d, n_observed):
                through += covariance[order[n_observed + m], order[e]] * root[e, d]
            for e in range(d, n_observed):
                regression[n_observed + m, e] += root[e, d] * through
    full = np.zeros((size, n_observed))
    for a in range(size):
        total = 0.0
        for o in range(n_observed):
            total += regression[a, o] * part_first[o]
            for p in range(n_observed):
                inner = part_second[o, p] if p <= o else part_second[p, o]
                full[a, o] += regression[a, p] * inner
        first[order[a]] += total
        for q in range(n_covariates):
            cross = 0.0
            for o in range(n_observed):
                cross += regression[a, o] * part_second[n_observed + q, o]
            second[size + q, order[a]] += cross
    for a in range(size):
        for b in range(size):
            total = 0.0
            for o in range(n_observed):
                total += full[a, o] * regression[b, o]
            if a >= n_observed and b >= n_observed:
                residual = covariance[order[a], order[b]]
                for o in range(n_observed):
                    residual -= regression[a, o] * covariance[order[b], order[o]]
                total += mass * residual
            if order[b] <= order[a]:
                second[order[a], order[b]] += total
    for q in range(n_covariates):
        first[size + q] += part_first[n_observed + q]
        for p in range(q + 1):
            second[size + q, size + p] += part_second[n_observed + q, n_observed + p]


def _expectation(
    sample: Sample,
    passes: int,
    counts: Array,
    means: Array,
    roots: Array,
    shifts: Array,
    df: Array,
    mass: Array,
    first: Array,
    second: Array,
    responsibilities: Array,
    pointwise: Array,
) -> float:
    """E step over the whole sample.

    Parameters
    ----------
    sample : Sample
    passes : int
        Address of the pass over a group; see :func:`pass_for`.
    counts : ndarray (n_patterns, n_components)
        On entry the log weights of each row of predictors; on return the responsibilities summed over its people.
    means, roots, shifts, df
        Parameters, (n_located, D), (n_located, D, D), (Q, D) and, empty where components are Gaussian, (n_located,).
    mass, first, second
        Written; see :class:`Moments`. Empty where only the log likelihood is wanted; counts are then of no use.
    responsibilities, pointwise
        Written unless empty; of every row of the sample.

    Returns
    -------
    float
        Log likelihood.
    """
    n_located, size = means.shape
    n_components = counts.shape[1]
    n_covariates = shifts.shape[0]
    n_both = size + n_covariates
    n_masses = len(mass)
    n_moments = len(first)
    for k in range(n_masses):
        mass[k] = 0.0
    for k in range(n_moments):
        for d in range(n_both):
            first[k, d] = 0.0
            for e in range(n_both):
                second[k, d, e] = 0.0
    mixes = len(sample.mix_starts) > 0
    own = sample.own
    if own:
        log_weights, into = counts, counts
    elif mixes:
        log_weights = mixed_log_weights(counts, sample.mix_starts, sample.mix_rows, sample.mix_probabilities)
        into = np.zeros(log_weights.shape)
    else:
        log_weights, into = np.empty(counts.shape), counts
        for u in range(len(counts)):
            for k in range(n_components):
                log_weights[u, k] = counts[u, k]
                into[u, k] = 0.0
    value = 0.0
    covariances = np.empty((0, size, size))
    for g in range(len(sample.starts) - 1):
        n_observed = sample.n_observed[g]
        if n_observed == 0:
            value += _at_the_spike(
                sample, g, own, log_weights, into, mass, n_components - 1, responsibilities, pointwise
            )
            continue
        centre, scale = sample.centre, sample.scale
        if n_observed == size:
            part_mass, part_first, part_second = mass, first, second
            part_means, part_roots, part_shifts = means, roots, shifts
        else:
            if len(covariances) == 0:
                covariances = np.empty((n_located, size, size))
                for k in range(n_located):
                    covariance_of_root(roots[k], covariances[k])
            part = n_observed + n_covariates
            part_mass, part_first = np.zeros(n_masses), np.zeros((n_moments, part))
            part_second = np.zeros((n_moments, part, part))
            part_means, part_roots = (
                np.empty((n_located, n_observed)),
                np.empty((n_located, n_observed, n_observed)),
            )
            part_shifts = np.empty((n_covariates, n_observed))
            centre, scale = np.empty(n_observed), np.empty(n_observed)
            for d in range(n_observed):
                centre[d] = sample.centre[sample.observed[g, d]]
                scale[d] = sample.scale[sample.observed[g, d]]
            block = np.empty((n_observed, n_observed))
            for k in range(n_located):
                for d in range(n_observed):
                    part_means[k, d] = means[k, sample.observed[g, d]]
                    for e in range(n_observed):
                        block[d, e] = covariances[k, sample.observed[g, d], sample.observed[g, e]]
                precision_root(block, part_roots[k])
            for q in range(n_covariates):
                for d in range(n_observed):
                    part_shifts[q, d] = shifts[q, sample.observed[g, d]]
        value += call_pass(
            passes,
            sample.values[sample.offsets[g] : sample.offsets[g + 1]],
            centre,
            scale,
            sample.covariates,
            sample.repeats,
            sample.pattern,
            sample.starts[g],
            own,
            log_weights,
            part_means,
            part_roots,
            part_shifts,
            df,
            sample.fixed[g],
            into,
            part_mass,
            part_first,
            part_second,
            responsibilities,
            pointwise,
        )
        if n_observed < size:
            for k in range(n_masses):
                mass[k] += part_mass[k]
            for k in range(n_moments):
                _complete(
                    sample.observed[g],
                    n_observed,
                    covariances[k],
                    part_roots[k],
                    part_mass[k],
                    part_first[k],
                    part_second[k],
                    first[k],
                    second[k],
                )
    for k in range(n_moments):
        for d in range(n_both):
            for e in range(d):
                second[k, e, d] = second[k, d, e]
    if mixes and n_masses > 0:
        base = counts.copy()
        _unmix(into, log_weights, base, sample.mix_starts, sample.mix_rows, sample.mix_probabilities, counts)
    return value


@njit(cache=True, error_model="numpy", nogil=True)
def _at_the_spike(
    sample: Sample,
    group: int,
    own: bool,
    log_weights: Array,
    counts: Array,
    mass: Array,
    spike: int,
    responsibilities: Array,
    pointwise: Array,
) -> float:
    """Add the people of a group that is at the spike: each is of that component for certain."""
    value = 0.0
    for row in range(sample.starts[group], sample.starts[group + 1]):
        u = sample.pattern[row]
        people = sample.repeats[row] if len(sample.repeats) > 0 else 1.0
        log_weight = log_weights[u, spike]
        value += people * log_weight
        if len(mass) > 0:
            if own:
                for k in range(log_weights.shape[1]):
                    counts[u, k] = 0.0
            counts[u, spike] += people
            mass[spike] += people
        if len(responsibilities) > 0:
            for k in range(log_weights.shape[1]):
                responsibilities[row, k] = 0.0
            responsibilities[row, spike] = 1.0
        if len(pointwise) > 0:
            pointwise[row] = log_weight
    return value


# sample, passes, counts, means, roots, shifts, df, mass, first, second, responsibilities, pointwise
_EXPECTATION = f8(SAMPLE, i8, a2, a2, a3, a2, a1, a1, a2, a3, a2, a1)
expectation = Pointer(_expectation, _EXPECTATION, nogil=True)
call_expectation = call_at(_EXPECTATION)


@njit(cache=True, error_model="numpy", nogil=True)
def moments_at(
    expectation_at: int,
    passes: int,
    sample: Sample,
    counts: Array,
    means: Array,
    roots: Array,
    shifts: Array,
    df: Array,
) -> tuple[float, Array, Array, Array]:
    """E step of compiled code: log likelihood, mass, first and second moments; ``counts`` as in the expectation.

    ``expectation_at`` and ``passes`` are addresses.
    """
    n_located, n_both = means.shape[0], means.shape[1] + shifts.shape[0]
    mass, first = np.empty(counts.shape[1] + 2 * len(df)), np.empty((n_located, n_both))
    second = np.empty((n_located, n_both, n_both))
    value = call_expectation(
        expectation_at,
        sample,
        passes,
        counts,
        means,
        roots,
        shifts,
        df,
        mass,
        first,
        second,
        np.empty((0, 0)),
        np.empty(0),
    )
    return value, mass, first, second


@njit(cache=True, error_model="numpy", nogil=True)
def log_likelihood_at(
    expectation_at: int,
    passes: int,
    sample: Sample,
    counts: Array,
    means: Array,
    roots: Array,
    shifts: Array,
    df: Array,
) -> float:
    """Log likelihood alone, for a part of the time; arguments as in :func:`moments_at`."""
    nothing, nothing_2d, nothing_3d = np.empty(0), np.empty((0, 0)), np.empty((0, 0, 0))
    return call_expectation(
        expectation_at,
        sample,
        passes,
        counts,
        means,
        roots,
        shifts,
        df,
        nothing,
        nothing_2d,
        nothing_3d,
        nothing_2d,
        nothing,
    )


@njit(cache=True, error_model="numpy", nogil=True)
def log_densities_at(
    expectation_at: int,
    passes: int,
    sample: Sample,
    counts: Array,
    means: Array,
    roots: Array,
    shifts: Array,
    df: Array,
) -> Array:
    """Log density (n_rows,) of every row of the sample, whatever it stands for; arguments as in :func:`moments_at`."""
    n_located, n_both = means.shape[0], means.shape[1] + shifts.shape[0]
    pointwise = np.empty(len(sample.pattern))
    call_expectation(
        expectation_at,
        sample,
        passes,
        counts,
        means,
        roots,
        shifts,
        df,
        np.empty(counts.shape[1] + 2 * len(df)),
        np.empty((n_located, n_both)),
        np.empty((n_located, n_both, n_both)),
        np.empty((0, 0)),
        pointwise,
    )
    return pointwise


_LOG_BLOCK = 256


@njit(cache=True, error_model="numpy", nogil=True)
def log_weights_into(alpha: Array, beta: Array, predictors: Array, out: Array) -> None:
    """Write the log weights of every row of predictors into ``out`` (U, K); component 0 has logit zero."""
    n_rows, n_predictors = predictors.shape
    n_components = len(alpha) + 1
    eta = np.empty((n_components, _LOG_BLOCK))
    largest = np.empty(_LOG_BLOCK)
    total = np.empty(_LOG_BLOCK)
    for start in range(0, n_rows, _LOG_BLOCK):
        size = min(_LOG_BLOCK, n_rows - start)
        for i in range(size):
            eta[0, i] = 0.0
            largest[i] = 0.0
        for k in range(1, n_components):
            for i in range(size):
                value = alpha[k - 1]
                for p in range(n_predictors):
                    value += predictors[start + i, p] * beta[p, k - 1]
                eta[k, i] = value
                largest[i] = max(largest[i], value)
        for i in range(size):
            total[i] = 0.0
        for k in range(n_components):
            for i in range(size):
                total[i] += exp_nonpositive(eta[k, i] - largest[i])
        for i in range(size):
            total[i] = largest[i] + log_normal(total[i])
        for k in range(n_components):
            for i in range(size):
                out[start + i, k] = eta[k, i] - total[i]


NOTHING_2D: Array = np.empty((0, 0))
NOTHING_1D: Array = np.empty(0)


def pass_for(sample: Sample, *, threads: bool = True) -> int:
    """Address of the pass that suits a sample: shared among threads when it is large and ``threads`` allows."""
    return (group_pass_threads if threads and use_threads(sample) else group_pass).address
