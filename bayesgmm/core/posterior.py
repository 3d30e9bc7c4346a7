r"""The log posterior and its gradient in flat coordinates, compiled: one function for Newton, curvature and sampler.

Full coordinates are ``alpha`` (K-1), ``beta`` (P, K-1), ``means`` (L, D), ``shifts`` (Q, D), the logarithms of degrees
of freedom that are estimated (none, one for all, or L), then those of the precisions' factors
:math:`L_k = U_k \mathrm{diag}(e^{l_k})`: ``l`` (L, D) and the entries of the unit lower triangular ``U`` below the
diagonal, row by row. L of the K components have a mean; the others, noise and a spike, come last. Free coordinates are
the same with the last two replaced by the covariance family's own, of which the full ones are a linear map
(:func:`bayesgmm.core.families.tie`).

By Fisher's identity the gradient of the marginal log likelihood is the expected gradient of the complete-data log
likelihood under the responsibilities, whose moments the expectation returns.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from bayesgmm.core.linalg import copy_into
from bayesgmm.core.moments import log_likelihood_at, log_weights_into, moments_at
from bayesgmm.core.pointers import Pointer, a1, a2, a3, b1, call_at, f8, i8, l1
from bayesgmm.core.sample import SAMPLE, Sample
from bayesgmm.core.vectormath import digamma
from bayesgmm.core.weights import add_weights_prior, call_expected

Array = NDArray[np.float64]
Long = NDArray[np.int64]


class Hyper(NamedTuple):
    """Hyperparameters as arrays.

    ``constant`` is the part of the log prior that no parameter changes; ``covariance_power``, ``scale``, ``copies`` and
    ``jacobian_power`` are those of :class:`bayesgmm.core.gaussian.NiwPrior`; ``shift_precision`` (Q, D).
    ``df`` (L,), empty where components are Gaussian, are the degrees of freedom where they are given; ``n_df`` of them
    are estimated, under a gamma density of shape ``df_shape`` and rate ``df_rate``.
    """

    concentration: Array
    effect_mean: Array
    effect_precision: Array
    effect_kind: Long
    effect_shape: Array
    mean: Array
    strength: float
    mean_power: float
    covariance_power: float
    scale: Array
    copies: Array
    jacobian_power: Array
    shift_precision: Array
    df: Array
    n_df: int
    df_shape: float
    df_rate: float
    constant: float


class Engine(NamedTuple):
    """Addresses of what is compiled apart; see :mod:`bayesgmm.core.pointers`. Zero where a model does not need it."""

    passes: int
    expectation: int
    expected: int
    newton: int
    covariances: int
    components: int
    step: int
    value: int
    equal_volume: bool
    on_axes: bool
    projected: bool


HYPER = types.NamedTuple((a1, a2, a3, l1, a2, a1, f8, f8, f8, a2, a1, a2, a2, a1, i8, f8, f8, f8), Hyper)
ENGINE = types.NamedTuple((i8, i8, i8, i8, i8, i8, i8, i8, b1, b1, b1), Engine)


class Tie(NamedTuple):
    """A covariance family's linear map from free to full coordinates, row by row (compressed sparse rows)."""

    starts: Long
    columns: Long
    values: Array
    n_free: int


TIE = types.NamedTuple((l1, l1, a1, i8), Tie)


@njit(cache=True, error_model="numpy", nogil=True)
def unpack(  # type: ignore[no-untyped-def]
    full: Array,
    n_components: int,
    n_located: int,
    n_traits: int,
    n_predictors: int,
    n_covariates: int,
    df_given: Array,
    n_df: int,
):
    """Split full coordinates into alpha, beta, means, shifts, precision factors and degrees of freedom."""
    free = n_components - 1
    alpha, beta = np.empty(free), np.empty((n_predictors, free))
    means, shifts = np.empty((n_located, n_traits)), np.empty((n_covariates, n_traits))
    for k in range(free):
        alpha[k] = full[k]
    at = free
    for p in range(n_predictors):
        for k in range(free):
            beta[p, k] = full[at]
            at += 1
    for k in range(n_located):
        for d in range(n_traits):
            means[k, d] = full[at]
            at += 1
    for q in range(n_covariates):
        for d in range(n_traits):
            shifts[q, d] = full[at]
            at += 1
    df = df_given.copy()
    for k in range(len(df)):
        if n_df > 0:
            df[k] = np.exp(full[at + k % n_df])
    at += n_df
    roots = np.zeros((n_located, n_traits, n_traits))
    for k in range(n_located):
        for d in range(n_traits):
            roots[k, d, d] = np.exp(full[at])
            at += 1
    for k in range(n_located):
        for d in range(1, n_traits):
            for e in range(d):
                roots[k, d, e] = full[at] * roots[k, e, e]
                at += 1
    return alpha, beta, means, shifts, roots, df


@njit(cache=True, error_model="numpy", nogil=True)
def pack(
    alpha: Array, beta: Array, means: Array, shifts: Array, roots: Array, df: Array, n_df: int, full: Array
) -> None:
    """Write full coordinates; the inverse of :func:`unpack`."""
    n_components, n_traits = means.shape
    free = len(alpha)
    for k in range(free):
        full[k] = alpha[k]
    at = free
    for p in range(beta.shape[0]):
        for k in range(free):
            full[at] = beta[p, k]
            at += 1
    for k in range(n_components):
        for d in range(n_traits):
            full[at] = means[k, d]
            at += 1
    for q in range(shifts.shape[0]):
        for d in range(n_traits):
            full[at] = shifts[q, d]
            at += 1
    for k in range(n_df):
        full[at] = np.log(df[k])
        at += 1
    for k in range(n_components):
        for d in range(n_traits):
            full[at] = np.log(roots[k, d, d])
            at += 1
    for k in range(n_components):
        for d in range(1, n_traits):
            for e in range(d):
                full[at] = roots[k, d, e] / roots[k, e, e]
                at += 1


@njit(cache=True, error_model="numpy", nogil=True)
def _df_gradient(df: Array, mass: Array, hyper: Hyper, jacobian: bool, gradient: Array) -> float:
    """Gradient in the logarithms of estimated degrees of freedom; log prior of the same without its constant.

    By Fisher's identity it is that of ``sum r E[log Gamma(u; nu/2, nu/2)]`` (Peel and McLachlan 2000, equation 30).
    """
    value = 0.0
    n_df, n_located = hyper.n_df, len(df)
    for j in range(n_df):
        gradient[j] = 0.0
    if n_df == 0:
        return value
    at = len(hyper.concentration)
    for k in range(n_located):
        half = 0.5 * df[k]
        slope = mass[k] * (np.log(half) + 1.0 - digamma(half)) + mass[at + n_located + k] - mass[at + k]
        gradient[k % n_df] += half * slope
    for j in range(n_df):
        power = hyper.df_shape - 1.0
        if jacobian:
            power += 1.0
        gradient[j] += power - hyper.df_rate * df[j]
        value += power * np.log(df[j]) - hyper.df_rate * df[j]
    return value


@njit(cache=True, error_model="numpy", nogil=True)
def components_gradient(
    means: Array,
    shifts: Array,
    roots: Array,
    df: Array,
    mass: Array,
    first: Array,
    second: Array,
    hyper: Hyper,
    jacobian: bool,
    gradient: Array,
) -> float:
    """Gradient in means, shifts, degrees of freedom and precision factors given the moments; log prior of the same.

    Parameters
    ----------
    means, shifts, roots, df
        Where the moments are about.
    mass, first, second
        See :class:`bayesgmm.core.moments.Moments`.
    hyper : Hyper
    jacobian : bool
        Add the log Jacobian of the covariances' coordinates.
    gradient : ndarray
        Written: means (L, D), shifts (Q, D), log degrees of freedom, log diagonals (L, D), lower entries.

    Returns
    -------
    float
        Log prior without its constant, and the log Jacobian when asked.
    """
    n_components, size = means.shape
    n_covariates = shifts.shape[0]
    at_shifts = n_components * size
    at_df = at_shifts + n_covariates * size
    at_diagonal = at_df + hyper.n_df
    at_lower = at_diagonal + n_components * size
    value = 0.0
    for q in range(n_covariates):
        for d in range(size):
            pull = hyper.shift_precision[q, d] * shifts[q, d]
            gradient[at_shifts + q * size + d] = -pull
            value -= 0.5 * pull * shifts[q, d]
    value += _df_gradient(df, mass, hyper, jacobian, gradient[at_df:at_diagonal])
    scatter, prior_scatter = np.empty((size, size)), np.empty((size, size))
    pull_vector = np.empty(size)
    for k in range(n_components):
        root = roots[k]
        for d in range(size):
            pull_vector[d] = first[k, d] - hyper.strength * (means[k, d] - hyper.mean[d])
            for e in range(size):
                prior_scatter[d, e] = hyper.copies[k] * hyper.scale[d, e] + hyper.strength * (
                    means[k, d] - hyper.mean[d]
                ) * (means[k, e] - hyper.mean[e])
                scatter[d, e] = second[k, d, e] + prior_scatter[d, e]
        for d in range(size):
            gradient[k * size + d] = 0.0
        for d in range(size):
            through = 0.0
            for e in range(d, size):
                through += root[e, d] * pull_vector[e]
            for e in range(d, size):
                gradient[k * size + e] += root[e, d] * through
            for q in range(n_covariates):
                through = 0.0
                for e in range(d, size):
                    through += root[e, d] * second[k, size + q, e]
                for e in range(d, size):
                    gradient[at_shifts + q * size + e] += root[e, d] * through
        for e in range(size):
            power = hyper.mean_power + hyper.copies[k] * hyper.covariance_power
            if jacobian:
                power += hyper.jacobian_power[k, e]
            value += power * np.log(root[e, e])
            total, prior_total = 0.0, 0.0
            for d in range(e, size):
                product, prior_product = 0.0, 0.0
                for c in range(e, size):
                    product += scatter[d, c] * root[c, e]
                    prior_product += prior_scatter[d, c] * root[c, e]
                total += product * root[d, e]
                prior_total += prior_product * root[d, e]
                if d > e:
                    gradient[at_lower + d * (d - 1) // 2 + e] = -product * root[e, e]
            value -= 0.5 * prior_total
            gradient[at_diagonal + k * size + e] = power + mass[k] - total
        at_lower += size * (size - 1) // 2
    return value


@njit(cache=True, error_model="numpy", nogil=True)
def full_of_free(free: Array, head: int, tie: Tie) -> Array:
    """Full coordinates of free ones; the first ``head`` are the same."""
    full = np.empty(head + len(tie.starts) - 1)
    copy_into(free[:head], full[:head])
    for row in range(len(tie.starts) - 1):
        total = 0.0
        for j in range(tie.starts[row], tie.starts[row + 1]):
            total += tie.values[j] * free[head + tie.columns[j]]
        full[head + row] = total
    return full


def _full_value_and_gradient(
    full: Array, sample: Sample, engine: Engine, hyper: Hyper, jacobian: bool, gradient: Array
) -> float:
    """Log posterior and gradient in full coordinates; see :func:`value_and_gradient`.

    An empty ``gradient`` is not written, and the value alone takes a part of the time.
    """
    n_components, size = len(hyper.concentration), len(hyper.mean)
    n_predictors, n_covariates = len(hyper.effect_mean), len(hyper.shift_precision)
    n_located = len(hyper.copies)
    alpha, beta, means, shifts, roots, df = unpack(
        full, n_components, n_located, size, n_predictors, n_covariates, hyper.df, hyper.n_df
    )
    counts = np.empty((len(sample.predictors), n_components))
    log_weights_into(alpha, beta, sample.predictors, counts)
    nothing_2d = np.empty((0, 0))
    head = (n_components - 1) * (1 + n_predictors)
    no = head < 0  # and not False: a literal would have functions compiled twice
    if len(gradient) > 0:
        slope = gradient
        value, mass, first, second = moments_at(
            engine.expectation, engine.passes, sample, counts, means, roots, shifts, df
        )
        call_expected(engine.expected, alpha, beta, sample.predictors, counts, no, slope[:head], nothing_2d)
    else:
        # the value alone: the priors' parts of a gradient cost next to nothing and are thrown away
        slope = np.zeros(len(full))
        value = log_likelihood_at(engine.expectation, engine.passes, sample, counts, means, roots, shifts, df)
        n_both = size + n_covariates
        mass, first = np.zeros(n_components + 2 * len(df)), np.zeros((n_located, n_both))
        second = np.zeros((n_located, n_both, n_both))
    less = 0.0 if jacobian else 1.0
    value += add_weights_prior(
        alpha,
        beta,
        hyper.concentration,
        less,
        hyper.effect_mean,
        hyper.effect_precision,
        hyper.effect_kind,
        hyper.effect_shape,
        no,
        slope[:head],
        nothing_2d,
    )
    value += components_gradient(means, shifts, roots, df, mass, first, second, hyper, jacobian, slope[head:])
    return value + hyper.constant


# full, sample, engine, hyper, jacobian, gradient
_FULL = f8(a1, SAMPLE, ENGINE, HYPER, b1, a1)
full_value_and_gradient = Pointer(_full_value_and_gradient, _FULL, nogil=True)
_call_full = call_at(_FULL)


@njit(cache=True, error_model="numpy", nogil=True)
def value_and_gradient(
    free: Array, sample: Sample, engine: Engine, hyper: Hyper, tie: Tie, jacobian: bool, gradient: Array
) -> float:
    """Log posterior at free coordinates; its gradient is written into ``gradient``.

    Parameters
    ----------
    free : ndarray (n_free,)
    sample : Sample
    engine : Engine
    hyper : Hyper
    tie : Tie
        The covariance family.
    jacobian : bool
        False: the density in the natural parameters (pi, B, mu, Sigma, Delta), whose mode is the MAP. True: the
        density of the free coordinates themselves, which is what a sampler moving in them needs; the logarithm of the
        Jacobian, ``sum log pi_k`` and that of the covariances, is added up to a constant.
    gradient : ndarray (n_free,)

    Returns
    -------
    float
    """
    head = len(free) - tie.n_free
    full = full_of_free(free, head, tie)
    full_gradient = np.empty(len(full))
    value = _call_full(engine.value, full, sample, engine, hyper, jacobian, full_gradient)
    copy_into(full_gradient[:head], gradient[:head])
    for j in range(head, len(gradient)):
        gradient[j] = 0.0
    for row in range(len(tie.starts) - 1):
        for j in range(tie.starts[row], tie.starts[row + 1]):
            gradient[head + tie.columns[j]] += tie.values[j] * full_gradient[head + row]
    return value


@njit(cache=True, error_model="numpy", nogil=True)
def negative_hessian_into(
    free: Array, sample: Sample, engine: Engine, hyper: Hyper, tie: Tie, step: float, out: Array
) -> None:
    """Write the negative Hessian of the log posterior at free coordinates, from central differences of the gradient."""
    size = len(free)
    moved, ahead, behind = free.copy(), np.empty(size), np.empty(size)
    no = size < 0  # and not False: a literal would have functions compiled twice
    for j in range(size):
        length = step * max(1.0, abs(free[j]))
        moved[j] = free[j] + length
        value_and_gradient(moved, sample, engine, hyper, tie, no, ahead)
        width = moved[j]
        moved[j] = free[j] - length
        value_and_gradient(moved, sample, engine, hyper, tie, no, behind)
        width -= moved[j]
        moved[j] = free[j]
        for i in range(size):
            out[j, i] = (behind[i] - ahead[i]) / width
    for j in range(size):
        for i in range(j):
            out[j, i] = 0.5 * (out[j, i] + out[i, j])
            out[i, j] = out[j, i]


def _whitened_value_and_gradient(
    x: Array, centre: Array, scale: Array, sample: Sample, engine: Engine, hyper: Hyper, tie: Tie, gradient: Array
) -> float:
    """Log density at the sampler's ``x``, free coordinates being ``centre + scale @ x``; the gradient is written."""
    size = len(x)
    free, inner = np.empty(size), np.empty(size)
    for i in range(size):
        free[i] = centre[i]
        gradient[i] = 0.0
        for j in range(size):
            free[i] += scale[i, j] * x[j]
    value = value_and_gradient(free, sample, engine, hyper, tie, size >= 0, inner)  # True, but no literal
    for i in range(size):
        for j in range(size):
            gradient[j] += scale[i, j] * inner[i]
    return value


# x, centre, scale, sample, engine, hyper, tie, gradient
WHITENED = f8(a1, a1, a2, SAMPLE, ENGINE, HYPER, TIE, a1)
whitened_value_and_gradient = Pointer(_whitened_value_and_gradient, WHITENED, nogil=True)


@njit(cache=True, error_model="numpy", nogil=True)
def whitened_values(
    points: Array, centre: Array, scale: Array, sample: Sample, engine: Engine, hyper: Hyper, tie: Tie, out: Array
) -> None:
    """Write the log density at many of the sampler's points (n, size)."""
    size = len(centre)
    free, nothing = np.empty(size), np.empty(0)
    for s in range(len(points)):
        for i in range(size):
            free[i] = centre[i]
            for j in range(size):
                free[i] += scale[i, j] * points[s, j]
        full = full_of_free(free, size - tie.n_free, tie)
        out[s] = _call_full(engine.value, full, sample, engine, hyper, size >= 0, nothing)  # True, but no literal
