r"""The fused pass over people: everything EM, Newton and the sampler need, in one reading of the data.

For person :math:`i` with pattern of predictors :math:`u(i)` and covariates of the mean :math:`c_i`

.. math:: \ell_i = \log \sum_k w_{u(i)k} N(y_i; \mu_k + c_i \Delta, (L_k L_k')^{-1}), \qquad
          r_{ik} = w_{u(i)k} N(y_i; \mu_k + c_i \Delta, (L_k L_k')^{-1}) / e^{\ell_i}

The pass returns :math:`\sum_i \ell_i` and the moments of the responsibilities. By Fisher's identity those moments are
the gradient of the marginal log likelihood as well as what the M step needs.

With Student-t components the density is that of a Gaussian of variance :math:`\Sigma_k / u` averaged over
:math:`u \sim \mathrm{Gamma}(\nu_k/2, \nu_k/2)`, and the moments are those of :math:`r_{ik} E[u_{ik}]` (Lange, Little
and Taylor 1989; Peel and McLachlan 2000), so that what is made of them, M step or gradient, stays the same.

Components after those that have a mean have a density that no parameter changes: noise spread evenly over a box.

People come in groups that have the same traits, sorted by pattern within a group, so that a block of people with the
same predictors shares its log weights and the responsibilities per pattern add up without scattering. This file knows
one group; :mod:`bayesgmm.core.moments` brings groups together.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange, types
from numpy.typing import NDArray

from bayesgmm.core.pointers import Pointer, a1, a2, a3, b1, call_at, i1, i8
from bayesgmm.core.sample import CHUNK
from bayesgmm.core.vectormath import digamma, exp_nonpositive, log_gamma_ratio, log_normal

Array = NDArray[np.float64]
Index = NDArray[np.int32]

BLOCK = 256  # people whose log densities stay in the first-level cache for a few components
_PRODUCT = 64  # sums in [1, K] multiplied before one logarithm is taken: no overflow below 65,000 components
_RUN = 8  # people of one pattern in a row, on average, above which their sums are taken apart
_HALF_LOG_2PI = 0.9189385332046727
_REDUCE = {"reassoc", "contract", "nsz"}


@njit(cache=True, error_model="numpy", fastmath=_REDUCE)
def _load(values: Array, start: int, size: int, centre: Array, scale: Array, out: Array) -> None:
    """Fill ``out`` (D, BLOCK) with standardised traits of people whose ``values`` lie one after another."""
    n_traits = len(centre)
    if n_traits == 1:
        middle, factor = centre[0], scale[0]
        y = values[start : start + size]
        for i in range(size):
            out[0, i] = (y[i] - middle) * factor
        return
    at = start * n_traits
    for d in range(n_traits):
        middle, factor = centre[d], scale[d]
        for i in range(size):
            out[d, i] = (values[at + i * n_traits + d] - middle) * factor


@njit(cache=True, error_model="numpy", fastmath=_REDUCE)
def _log_densities(
    traits: Array, size: int, mean: Array, root: Array, log_constant: float, diff: Array, out: Array
) -> None:
    """Fill ``diff`` (D, BLOCK) with y - mu and ``out`` (BLOCK) with the log density of one component."""
    n_traits = traits.shape[0]
    if n_traits == 1:
        centre, scale = mean[0], root[0, 0]
        for i in range(size):
            v = traits[0, i] - centre
            diff[0, i] = v
            z = v * scale
            out[i] = log_constant - 0.5 * z * z
        return
    if n_traits == 2:
        m0, m1 = mean[0], mean[1]
        l00, l10, l11 = root[0, 0], root[1, 0], root[1, 1]
        for i in range(size):
            v0 = traits[0, i] - m0
            v1 = traits[1, i] - m1
            diff[0, i] = v0
            diff[1, i] = v1
            z0 = l00 * v0 + l10 * v1
            z1 = l11 * v1
            out[i] = log_constant - 0.5 * (z0 * z0 + z1 * z1)
        return
    for d in range(n_traits):
        centre = mean[d]
        for i in range(size):
            diff[d, i] = traits[d, i] - centre
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
def _student(
    size: int, n_traits: int, df: float, constant: float, out: Array, precision: Array, log_precision: Array
) -> None:
    r"""Turn a component's ``-delta / 2`` (BLOCK) into the log density of its Student-t, in place.

    ``precision`` is filled with :math:`E[u]` of each person and ``log_precision`` with :math:`E[\log u]`, given that
    they belong to the component.
    """
    half = 0.5 * (df + n_traits)
    level = digamma(half) - math.log(0.5 * df)
    for i in range(size):
        ratio = 1.0 - 2.0 * out[i] / df
        log_ratio = log_normal(ratio)
        out[i] = constant - half * log_ratio
        precision[i] = 2.0 * half / (df * ratio)
        log_precision[i] = level - log_ratio


@njit(cache=True, error_model="numpy", fastmath=_REDUCE)
def _add_precisions(
    r: Array, size: int, precision: Array, log_precision: Array, mass: Array, at: int, step: int
) -> None:
    """Add ``sum r E[u]`` and ``sum r E[log u]`` of one component, and turn ``r`` into ``r E[u]``."""
    log_total, total = 0.0, 0.0
    for i in range(size):
        log_total += r[i] * log_precision[i]
        r[i] *= precision[i]
        total += r[i]
    mass[at] += total
    mass[at + step] += log_total


@njit(cache=True, error_model="numpy", fastmath=_REDUCE)
def _total(r: Array, size: int) -> float:
    total = 0.0
    for i in range(size):
        total += r[i]
    return total


@njit(cache=True, error_model="numpy", fastmath=_REDUCE)
def _find_largest(joint: Array, size: int, largest: Array) -> None:
    """Largest of each person's log joint densities (K, BLOCK), which exponentials are taken relative to."""
    for i in range(size):
        largest[i] = joint[0, i]
    for k in range(1, joint.shape[0]):
        for i in range(size):
            largest[i] = max(largest[i], joint[k, i])


@njit(cache=True, error_model="numpy", fastmath=_REDUCE)
def _normalise(joint: Array, size: int, largest: Array, total: Array) -> None:
    """Turn log joint densities (K, BLOCK) into responsibilities in place.

    ``largest + log(total)`` is each person's log marginal density afterwards.
    """
    n_components = joint.shape[0]
    _find_largest(joint, size, largest)
    for i in range(size):
        total[i] = 0.0
    for k in range(n_components):
        for i in range(size):
            e = exp_nonpositive(joint[k, i] - largest[i])
            joint[k, i] = e
            total[i] += e
    for i in range(size):
        inverse = 1.0 / total[i]
        for k in range(n_components):
            joint[k, i] *= inverse


@njit(cache=True, error_model="numpy", fastmath=_REDUCE)
def _marginalise(joint: Array, size: int, largest: Array, total: Array) -> None:
    """Leave ``largest + log(total)`` as in :func:`_normalise`, and no responsibilities."""
    n_components = joint.shape[0]
    _find_largest(joint, size, largest)
    for i in range(size):
        total[i] = 0.0
    for k in range(n_components):
        for i in range(size):
            total[i] += exp_nonpositive(joint[k, i] - largest[i])


@njit(cache=True, error_model="numpy", fastmath=_REDUCE)
def _sum_of_logs(size: int, largest: Array, total: Array) -> float:
    log_marginal = 0.0
    for i in range(size):
        log_marginal += largest[i]
    for first in range(0, size, _PRODUCT):
        product = 1.0
        for i in range(first, min(first + _PRODUCT, size)):
            product *= total[i]
        log_marginal += math.log(product)
    return log_marginal


@njit(cache=True, error_model="numpy", fastmath=_REDUCE)
def _repeat(joint: Array, size: int, repeats: Array, largest: Array, total: Array) -> float:
    """Multiply responsibilities by what each row stands for; return the sum of log marginals, likewise."""
    n_components = joint.shape[0]
    log_marginal = 0.0
    for i in range(size):
        log_marginal += repeats[i] * (largest[i] + log_normal(total[i]))
    for k in range(n_components):
        for i in range(size):
            joint[k, i] *= repeats[i]
    return log_marginal


@njit(cache=True, error_model="numpy", fastmath=_REDUCE)
def _add_log_weights(pattern: Index, log_weights: Array, joint: Array) -> None:
    """Add log weights to log densities (K, BLOCK) of people of few patterns, one after another."""
    begin, size = 0, len(pattern)
    while begin < size:
        u, end = pattern[begin], begin + 1
        while end < size and pattern[end] == u:
            end += 1
        for k in range(joint.shape[0]):
            for i in range(begin, end):
                joint[k, i] += log_weights[u, k]
        begin = end


@njit(cache=True, error_model="numpy", fastmath=_REDUCE)
def _add_counts(pattern: Index, row_shift: int, r: Array, k: int, counts: Array) -> None:
    """Add one component's responsibilities of people of few patterns to the patterns' counts."""
    begin, size = 0, len(pattern)
    while begin < size:
        u, end = pattern[begin], begin + 1
        while end < size and pattern[end] == u:
            end += 1
        count = 0.0
        for i in range(begin, end):
            count += r[i]
        counts[u + row_shift, k] += count
        begin = end


@njit(cache=True, error_model="numpy", fastmath=_REDUCE)
def _add_moments(r: Array, diff: Array, size: int, first: Array, second: Array, weighted: Array) -> None:
    """Add one component's moments over a block."""
    n_traits = diff.shape[0]
    for d in range(n_traits):
        s = 0.0
        for i in range(size):
            w = r[i] * diff[d, i]
            weighted[i] = w
            s += w
        first[d] += s
        for e in range(d + 1):
            s = 0.0
            for i in range(size):
                s += weighted[i] * diff[e, i]
            second[d, e] += s


@njit(cache=True, error_model="numpy", fastmath=_REDUCE)
def _add_covariate_moments(
    r: Array, diff: Array, covariates: Array, begin: int, size: int, first: Array, second: Array, weighted: Array
) -> None:
    """Add the moments of the covariates, and their cross moments with the traits, after those of the traits."""
    n_traits = diff.shape[0]
    for q in range(covariates.shape[0]):
        u = covariates[q, begin : begin + size]
        s = 0.0
        for i in range(size):
            w = r[i] * u[i]
            weighted[i] = w
            s += w
        first[n_traits + q] += s
        for e in range(n_traits):
            s = 0.0
            for i in range(size):
                s += weighted[i] * diff[e, i]
            second[n_traits + q, e] += s
        for p in range(q + 1):
            v = covariates[p, begin : begin + size]
            s = 0.0
            for i in range(size):
                s += weighted[i] * v[i]
            second[n_traits + q, n_traits + p] += s


@njit(cache=True, error_model="numpy", fastmath=_REDUCE)
def _shift(traits: Array, covariates: Array, person: int, size: int, shifts: Array) -> None:
    """Take from ``traits`` (D, BLOCK) what the covariates explain."""
    for d in range(traits.shape[0]):
        for q in range(covariates.shape[0]):
            slope = shifts[q, d]
            for i in range(size):
                traits[d, i] -= slope * covariates[q, person + i]


@njit(cache=True, error_model="numpy", nogil=True)
def _chunk(
    values: Array,
    centre: Array,
    scale: Array,
    covariates: Array,
    repeats: Array,
    pattern: Index,
    first_row: int,
    start: int,
    stop: int,
    row_shift: int,
    own: bool,
    log_weights: Array,
    means: Array,
    roots: Array,
    shifts: Array,
    df: Array,
    fixed: Array,
    counts: Array,
    mass: Array,
    first: Array,
    second: Array,
    responsibilities: Array,
    pointwise: Array,
) -> float:
    n_located, n_traits = means.shape
    n_covariates = covariates.shape[0]
    n_components = n_located + len(fixed)
    n_tailed = len(df)
    joint = np.empty((n_components, BLOCK))
    diff = np.empty((n_located, n_traits, BLOCK))
    precision, log_precision = np.empty((n_tailed, BLOCK)), np.empty((n_tailed, BLOCK))
    largest = np.empty(BLOCK)
    total = np.empty(BLOCK)
    traits = np.empty((n_traits, BLOCK))
    log_constant = np.empty(n_located)
    for k in range(n_located):
        if n_tailed > 0:
            half = 0.5 * df[k]
            log_constant[k] = log_gamma_ratio(half, 0.5 * n_traits)
            log_constant[k] -= 0.5 * n_traits * math.log(math.pi * df[k])
        else:
            log_constant[k] = -n_traits * _HALF_LOG_2PI
        for d in range(n_traits):
            log_constant[k] += math.log(roots[k, d, d])
    value_only = len(mass) == 0
    log_likelihood = 0.0
    for begin in range(start, stop, BLOCK):
        size = min(BLOCK, stop - begin)
        row = first_row + begin
        head = pattern[row]
        patterns = pattern[row : row + size]
        same = head == patterns[size - 1]
        # they do not decrease: these are fewer runs than eight people each on average
        few = not own and patterns[size - 1] - head < size // _RUN
        _load(values, begin, size, centre, scale, traits)
        if n_covariates > 0:
            _shift(traits, covariates, row, size, shifts)
        for k in range(n_located):
            constant = log_constant[k] + log_weights[head, k] if same else log_constant[k]
            if n_tailed > 0:
                _log_densities(traits, size, means[k], roots[k], 0.0, diff[k], joint[k])
                _student(size, n_traits, df[k], constant, joint[k], precision[k], log_precision[k])
            else:
                _log_densities(traits, size, means[k], roots[k], constant, diff[k], joint[k])
            if not same and not few:
                for i in range(size):
                    joint[k, i] += log_weights[patterns[i], k]
        for k in range(n_located, n_components):
            constant = fixed[k - n_located] + log_weights[head, k] if same else fixed[k - n_located]
            for i in range(size):
                joint[k, i] = constant
            if not same and not few:
                for i in range(size):
                    joint[k, i] += log_weights[patterns[i], k]
        if few and not same:
            _add_log_weights(patterns, log_weights, joint)
        if value_only:
            _marginalise(joint, size, largest, total)
        else:
            _normalise(joint, size, largest, total)
        if responsibilities.shape[0] > 0:
            for i in range(size):
                for k in range(n_components):
                    responsibilities[row + i, k] = joint[k, i]
        if pointwise.shape[0] > 0:
            for i in range(size):
                pointwise[row + i] = largest[i] + math.log(total[i])
        if repeats.shape[0] > 0:
            log_likelihood += _repeat(joint, size, repeats[row : row + size], largest, total)
        else:
            log_likelihood += _sum_of_logs(size, largest, total)
        for k in range(0 if value_only else n_components):
            count = _total(joint[k], size)
            mass[k] += count
            if own:
                for i in range(size):
                    counts[patterns[i], k] = joint[k, i]
            elif same:
                counts[head + row_shift, k] += count
            elif few:
                _add_counts(patterns, row_shift, joint[k], k, counts)
            else:
                for i in range(size):
                    counts[patterns[i] + row_shift, k] += joint[k, i]
            if k < n_tailed:
                _add_precisions(joint[k], size, precision[k], log_precision[k], mass, n_components + k, n_tailed)
            if k < n_located:
                _add_moments(joint[k], diff[k], size, first[k], second[k], largest)
                if n_covariates > 0:
                    _add_covariate_moments(joint[k], diff[k], covariates, row, size, first[k], second[k], largest)
    return log_likelihood


def _group_pass(
    values: Array,
    centre: Array,
    scale: Array,
    covariates: Array,
    repeats: Array,
    pattern: Index,
    first_row: int,
    own: bool,
    log_weights: Array,
    means: Array,
    roots: Array,
    shifts: Array,
    df: Array,
    fixed: Array,
    counts: Array,
    mass: Array,
    first: Array,
    second: Array,
    responsibilities: Array,
    pointwise: Array,
) -> float:
    """One pass over a group on one thread.

    Parameters
    ----------
    values : ndarray (n_people * n_traits,)
        Traits that the group has, person after person.
    centre, scale : ndarray (n_traits,)
        What standardises them.
    covariates, repeats, pattern
        Of every row of the sample; see :class:`bayesgmm.core.sample.Sample`.
    first_row : int
        Row of the group's first person.
    own : bool
        Every row has a pattern of its own. ``counts`` may then be the same array as ``log_weights``: what is read of a
        row is read before it is overwritten, so that n x K numbers serve for both.
    log_weights : ndarray (n_patterns, n_components)
        Of components that have a mean, then of those whose density no parameter changes.
    means : ndarray (n_located, n_traits)
    roots : ndarray (n_located, n_traits, n_traits)
        Lower Cholesky factors of the precisions (Student-t: of the scale matrices' inverses).
    shifts : ndarray (n_covariates, n_traits)
    df : ndarray (n_located,)
        Degrees of freedom of Student-t components; empty where they are Gaussian.
    fixed : ndarray (n_components - n_located,)
        Log density that every person of the group has in each of the other components.
    counts : ndarray (n_patterns, n_components)
        Responsibilities summed over each pattern's people are added (when ``own``: written).
    mass : ndarray (n_components,), Student-t: (n_components + 2 n_located,)
        The same over everybody; then ``sum_i r_ik E[u_ik]`` and ``sum_i r_ik E[log u_ik]``. Empty where only the value
        is wanted: counts and moments are then left as they are.
    first : ndarray (n_located, n_traits + n_covariates)
        ``sum_i r_ik (y_i - mu_k - c_i Delta)`` and ``sum_i r_ik c_i`` are added; Student-t: of ``r_ik E[u_ik]``.
    second : ndarray (n_located, n_traits + n_covariates, n_traits + n_covariates)
        Second moments of the same, lower triangle, about the current means so that no digits cancel.
    responsibilities, pointwise
        Of every row of the sample, or empty.

    Returns
    -------
    float
        Sum of the log densities.
    """
    log_likelihood = 0.0
    n_people = len(values) // len(centre)
    for start in range(0, n_people, CHUNK):
        log_likelihood += _chunk(
            values,
            centre,
            scale,
            covariates,
            repeats,
            pattern,
            first_row,
            start,
            min(start + CHUNK, n_people),
            0,
            own,
            log_weights,
            means,
            roots,
            shifts,
            df,
            fixed,
            counts,
            mass,
            first,
            second,
            responsibilities,
            pointwise,
        )
    return log_likelihood


def _group_pass_threads(
    values: Array,
    centre: Array,
    scale: Array,
    covariates: Array,
    repeats: Array,
    pattern: Index,
    first_row: int,
    own: bool,
    log_weights: Array,
    means: Array,
    roots: Array,
    shifts: Array,
    df: Array,
    fixed: Array,
    counts: Array,
    mass: Array,
    first: Array,
    second: Array,
    responsibilities: Array,
    pointwise: Array,
) -> float:
    """The same with chunks of people shared among threads."""
    n_people = len(values) // len(centre)
    n_patterns = log_weights.shape[0]
    n_components = log_weights.shape[1]
    n_located, n_both = first.shape
    n_masses = len(mass)
    n_chunks = (n_people + CHUNK - 1) // CHUNK
    # People are sorted by pattern, so pattern + chunk is a row no other chunk writes to.
    stride = np.int64(0 if own else 1)
    rows = counts if own else np.zeros((n_patterns + n_chunks, n_components))
    masses = np.zeros((n_chunks, n_masses))
    firsts = np.zeros((n_chunks, n_located, n_both))
    seconds = np.zeros((n_chunks, n_located, n_both, n_both))
    log_likelihoods = np.zeros(n_chunks)
    for c in prange(n_chunks):
        start = np.int64(c) * CHUNK
        log_likelihoods[c] = _chunk(
            values,
            centre,
            scale,
            covariates,
            repeats,
            pattern,
            first_row,
            start,
            min(start + CHUNK, n_people),
            np.int64(c) * stride,
            own,
            log_weights,
            means,
            roots,
            shifts,
            df,
            fixed,
            rows,
            masses[c],
            firsts[c],
            seconds[c],
            responsibilities,
            pointwise,
        )
    log_likelihood = 0.0
    for c in range(n_chunks):
        log_likelihood += log_likelihoods[c]
        for k in range(n_masses):
            mass[k] += masses[c, k]
        for k in range(n_located):
            for d in range(n_both):
                first[k, d] += firsts[c, k, d]
                for e in range(n_both):
                    second[k, d, e] += seconds[c, k, d, e]
        if not own and n_masses > 0:
            head = pattern[first_row + c * CHUNK]
            tail = pattern[first_row + min((c + 1) * CHUNK, n_people) - 1]
            for u in range(head, tail + 1):
                for k in range(n_components):
                    counts[u, k] += rows[u + c, k]
    return log_likelihood


# values, centre, scale, covariates, repeats, pattern, first_row, own, log_weights, means, roots, shifts, df, fixed,
# counts, mass, first, second, responsibilities, pointwise
_PASS = types.float64(a1, a1, a1, a2, a1, i1, i8, b1, a2, a2, a3, a2, a1, a1, a2, a1, a2, a3, a2, a1)
group_pass = Pointer(_group_pass, _PASS, nogil=True)
group_pass_threads = Pointer(_group_pass_threads, _PASS, parallel=True)
call_pass = call_at(_PASS)
