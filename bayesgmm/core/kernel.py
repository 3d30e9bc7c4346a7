r"""The fused pass over people: everything EM, Newton and the sampler need, in one reading of the data.

For person :math:`i` with pattern of predictors :math:`u(i)`

.. math:: \ell_i = \log \sum_k w_{u(i)k} N(y_i; \mu_k, (L_k L_k')^{-1}), \qquad
          r_{ik} = w_{u(i)k} N(y_i; \mu_k, (L_k L_k')^{-1}) / e^{\ell_i}

The pass returns :math:`\sum_i \ell_i` and the moments of the responsibilities. By Fisher's identity those moments are
the gradient of the marginal log likelihood as well as what the M step needs.

People come sorted by pattern, so that a block of people with the same predictors shares its log weights and the
responsibilities per pattern add up without scattering.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import get_num_threads, njit, prange
from numpy.typing import NDArray

from bayesgmm.core.vectormath import exp_nonpositive

Array = NDArray[np.float64]
Index = NDArray[np.int32]

BLOCK = 256  # people whose log densities stay in the first-level cache for a few components
CHUNK = 8192  # people a thread takes at a time; fixed, so that sums do not depend on the number of threads
_PRODUCT = 64  # sums in [1, K] multiplied before one logarithm is taken: no overflow below 65,000 components
_HALF_LOG_2PI = 0.9189385332046727
_REDUCE = {"reassoc", "contract", "nsz"}


@dataclass(frozen=True)
class Moments:
    """What one pass returns.

    Attributes
    ----------
    log_likelihood : float
        Sum over people of the log density of their traits.
    pattern_counts : ndarray (n_patterns, n_components)
        Responsibilities summed over the people of each pattern.
    first : ndarray (n_components, n_traits)
        ``sum_i r_ik (y_i - mu_k)``.
    second : ndarray (n_components, n_traits, n_traits)
        ``sum_i r_ik (y_i - mu_k)(y_i - mu_k)'``, about the current means so that no digits cancel.
    """

    log_likelihood: float
    pattern_counts: Array
    first: Array
    second: Array


@njit(cache=True, error_model="numpy", fastmath=_REDUCE)
def _log_densities(
    traits: Array, start: int, size: int, mean: Array, root: Array, log_constant: float, diff: Array, out: Array
) -> None:
    """Fill ``diff`` (D, BLOCK) with y - mu and ``out`` (BLOCK) with the log density of one component."""
    n_traits = traits.shape[0]
    if n_traits == 1:
        centre, scale = mean[0], root[0, 0]
        y = traits[0, start : start + size]
        for i in range(size):
            v = y[i] - centre
            diff[0, i] = v
            z = v * scale
            out[i] = log_constant - 0.5 * z * z
        return
    if n_traits == 2:
        m0, m1 = mean[0], mean[1]
        l00, l10, l11 = root[0, 0], root[1, 0], root[1, 1]
        y0, y1 = traits[0, start : start + size], traits[1, start : start + size]
        for i in range(size):
            v0 = y0[i] - m0
            v1 = y1[i] - m1
            diff[0, i] = v0
            diff[1, i] = v1
            z0 = l00 * v0 + l10 * v1
            z1 = l11 * v1
            out[i] = log_constant - 0.5 * (z0 * z0 + z1 * z1)
        return
    for d in range(n_traits):
        centre = mean[d]
        y = traits[d, start : start + size]
        for i in range(size):
            diff[d, i] = y[i] - centre
    z = np.empty(BLOCK)
    for i in range(size):
        out[i] = 0.0
    for d in range(n_traits):
        scale = root[d, d]
        for i in range(size):
            z[i] = scale * diff[d, i]
        for e in range(d + 1, n_traits):
            scale = root[e, d]
            for i in range(size):
                z[i] += scale * diff[e, i]
        for i in range(size):
            out[i] += z[i] * z[i]
    for i in range(size):
        out[i] = log_constant - 0.5 * out[i]


@njit(cache=True, error_model="numpy", fastmath=_REDUCE)
def _normalise(joint: Array, size: int, largest: Array, total: Array) -> float:
    """Turn log joint densities (K, BLOCK) into responsibilities in place; return the sum of log marginals.

    ``largest + log(total)`` is each person's log marginal density afterwards.
    """
    n_components = joint.shape[0]
    for i in range(size):
        largest[i] = joint[0, i]
    for k in range(1, n_components):
        for i in range(size):
            largest[i] = max(largest[i], joint[k, i])
    for i in range(size):
        total[i] = 0.0
    for k in range(n_components):
        for i in range(size):
            e = exp_nonpositive(joint[k, i] - largest[i])
            joint[k, i] = e
            total[i] += e
    log_marginal = 0.0
    for i in range(size):
        log_marginal += largest[i]
    for first in range(0, size, _PRODUCT):
        product = 1.0
        for i in range(first, min(first + _PRODUCT, size)):
            product *= total[i]
        log_marginal += math.log(product)
    for k in range(n_components):
        for i in range(size):
            joint[k, i] /= total[i]
    return log_marginal


@njit(cache=True, error_model="numpy", fastmath=_REDUCE)
def _add_moments(r: Array, diff: Array, size: int, first: Array, second: Array) -> float:
    """Add one component's moments over a block; return the sum of its responsibilities."""
    n_traits = diff.shape[0]
    count = 0.0
    for i in range(size):
        count += r[i]
    for d in range(n_traits):
        s = 0.0
        for i in range(size):
            s += r[i] * diff[d, i]
        first[d] += s
        for e in range(d + 1):
            s = 0.0
            for i in range(size):
                s += r[i] * diff[d, i] * diff[e, i]
            second[d, e] += s
    return count


@njit(cache=True, error_model="numpy", nogil=True)
def _chunk(
    traits: Array,
    pattern: Index,
    start: int,
    stop: int,
    row_shift: int,
    log_weights: Array,
    means: Array,
    roots: Array,
    counts: Array,
    first: Array,
    second: Array,
    responsibilities: Array,
    pointwise: Array,
) -> float:
    n_components, n_traits = means.shape
    joint = np.empty((n_components, BLOCK))
    diff = np.empty((n_components, n_traits, BLOCK))
    largest = np.empty(BLOCK)
    total = np.empty(BLOCK)
    log_constant = np.empty(n_components)
    for k in range(n_components):
        log_constant[k] = -n_traits * _HALF_LOG_2PI
        for d in range(n_traits):
            log_constant[k] += math.log(roots[k, d, d])
    log_likelihood = 0.0
    for begin in range(start, stop, BLOCK):
        size = min(BLOCK, stop - begin)
        head = pattern[begin]
        same = head == pattern[begin + size - 1]
        for k in range(n_components):
            constant = log_constant[k] + log_weights[head, k] if same else log_constant[k]
            _log_densities(traits, begin, size, means[k], roots[k], constant, diff[k], joint[k])
            if not same:
                for i in range(size):
                    joint[k, i] += log_weights[pattern[begin + i], k]
        log_likelihood += _normalise(joint, size, largest, total)
        for k in range(n_components):
            count = _add_moments(joint[k], diff[k], size, first[k], second[k])
            if same:
                counts[head + row_shift, k] += count
            else:
                for i in range(size):
                    counts[pattern[begin + i] + row_shift, k] += joint[k, i]
        if responsibilities.shape[0] > 0:
            for i in range(size):
                for k in range(n_components):
                    responsibilities[begin + i, k] = joint[k, i]
        if pointwise.shape[0] > 0:
            for i in range(size):
                pointwise[begin + i] = largest[i] + math.log(total[i])
    return log_likelihood


@njit(cache=True, error_model="numpy", nogil=True)
def fused_pass(
    traits: Array,
    pattern: Index,
    log_weights: Array,
    means: Array,
    roots: Array,
    responsibilities: Array,
    pointwise: Array,
) -> tuple[float, Array, Array, Array]:
    """One pass on one thread; see :func:`moments` for the shapes."""
    n_people = traits.shape[1]
    n_components, n_traits = means.shape
    counts = np.zeros((log_weights.shape[0], n_components))
    first = np.zeros((n_components, n_traits))
    second = np.zeros((n_components, n_traits, n_traits))
    log_likelihood = 0.0
    for start in range(0, n_people, CHUNK):
        stop = min(start + CHUNK, n_people)
        log_likelihood += _chunk(
            traits,
            pattern,
            start,
            stop,
            0,
            log_weights,
            means,
            roots,
            counts,
            first,
            second,
            responsibilities,
            pointwise,
        )
    _symmetrise(second)
    return log_likelihood, counts, first, second


@njit(cache=True, error_model="numpy")
def _symmetrise(second: Array) -> None:
    for k in range(second.shape[0]):
        for d in range(second.shape[1]):
            for e in range(d):
                second[k, e, d] = second[k, d, e]


@njit(cache=True, error_model="numpy", parallel=True)
def _fused_pass_threads(
    traits: Array,
    pattern: Index,
    log_weights: Array,
    means: Array,
    roots: Array,
    responsibilities: Array,
    pointwise: Array,
) -> tuple[float, Array, Array, Array]:
    n_people = traits.shape[1]
    n_patterns = log_weights.shape[0]
    n_components, n_traits = means.shape
    n_chunks = (n_people + CHUNK - 1) // CHUNK
    # People are sorted by pattern, so pattern + chunk is a row no other chunk writes to.
    rows = np.zeros((n_patterns + n_chunks, n_components))
    first = np.zeros((n_chunks, n_components, n_traits))
    second = np.zeros((n_chunks, n_components, n_traits, n_traits))
    log_likelihoods = np.zeros(n_chunks)
    for c in prange(n_chunks):
        start = c * CHUNK
        stop = min(start + CHUNK, n_people)
        log_likelihoods[c] = _chunk(
            traits,
            pattern,
            start,
            stop,
            c,
            log_weights,
            means,
            roots,
            rows,
            first[c],
            second[c],
            responsibilities,
            pointwise,
        )
    for c in range(1, n_chunks):
        start = c * CHUNK
        stop = min(start + CHUNK, n_people)
        # rows of patterns that nobody has still hold what an earlier chunk left there
        for u in range(pattern[start - 1] + 1, pattern[start]):
            rows[u] = 0.0
        for u in range(pattern[start], pattern[stop - 1] + 1):
            for k in range(n_components):
                rows[u, k] = rows[u, k] + rows[u + c, k] if u == pattern[start - 1] else rows[u + c, k]
    rows[pattern[n_people - 1] + 1 : n_patterns] = 0.0
    total_first = np.zeros((n_components, n_traits))
    total_second = np.zeros((n_components, n_traits, n_traits))
    log_likelihood = 0.0
    for c in range(n_chunks):
        log_likelihood += log_likelihoods[c]
        total_first += first[c]
        total_second += second[c]
    _symmetrise(total_second)
    return log_likelihood, rows[:n_patterns], total_first, total_second


_NOTHING_2D: Array = np.empty((0, 0))
_NOTHING_1D: Array = np.empty(0)


def moments(traits: Array, pattern: Index, log_weights: Array, means: Array, roots: Array) -> Moments:
    """Log likelihood and moments of the responsibilities, in one pass over people.

    Parameters
    ----------
    traits : ndarray (n_traits, n_samples)
        Complete traits, one row a trait, people sorted by ``pattern``.
    pattern : ndarray of int32 (n_samples,)
        Row of ``log_weights`` that each person has; non-decreasing.
    log_weights : ndarray (n_patterns, n_components)
        Log mixing weights of each pattern of predictors.
    means : ndarray (n_components, n_traits)
    roots : ndarray (n_components, n_traits, n_traits)
        Lower Cholesky factors ``L`` of the precisions, ``inv(Sigma) = L L'``.

    Returns
    -------
    Moments
    """
    threads = traits.shape[1] > 2 * CHUNK and get_num_threads() > 1
    run = _fused_pass_threads if threads else fused_pass
    return Moments(*run(traits, pattern, log_weights, means, roots, _NOTHING_2D, _NOTHING_1D))


def posterior_membership(
    traits: Array, pattern: Index, log_weights: Array, means: Array, roots: Array
) -> tuple[Array, Array]:
    """Responsibilities (n_samples, n_components) and pointwise log likelihood (n_samples,).

    The parameters are those of :func:`moments`.
    """
    responsibilities = np.empty((traits.shape[1], means.shape[0]))
    pointwise = np.empty(traits.shape[1])
    threads = traits.shape[1] > 2 * CHUNK and get_num_threads() > 1
    run = _fused_pass_threads if threads else fused_pass
    run(traits, pattern, log_weights, means, roots, responsibilities, pointwise)
    return responsibilities, pointwise
