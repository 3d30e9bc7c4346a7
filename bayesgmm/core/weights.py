r"""Mixing weights as a function of predictors: log weights, and the M step's penalised multinomial logistic problem.

.. math:: w_{uk} = \mathrm{softmax}_k(\alpha_k + x_u \beta_k), \qquad \alpha_0 = 0,\ \beta_0 = 0

``alpha`` are log ratios of the baseline weights to component 0, ``beta`` log odds ratios against component 0, so
``pi = softmax(0, alpha)``. The priors do not depend on which component is 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
from numba import njit, types
from numpy.typing import NDArray
from scipy.special import gammaln

from bayesgmm.core.effect_density import (
    LAPLACE,
    N_SHAPES,
    NONE,
    NORMAL,
    SPIKE_SLAB,
    draw_mixing,
    dual_length,
    kink_slope,
    log_constants,
    radial,
    radial_values,
    squared_length,
)
from bayesgmm.core.linalg import copy_into, dot, multiple_into, solve_positive
from bayesgmm.core.pointers import Pointer, a1, a2, a3, b1, call_at, f8, i8, l1
from bayesgmm.core.vectormath import exp_nonpositive, log_normal

Array = NDArray[np.float64]
Long = NDArray[np.int64]

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
        Scale of every pairwise log odds ratio, the standard deviation of a normal one; infinite for a flat prior.
    effect_kind : ndarray (n_predictors,) of int
        Family of each predictor's effects, see :mod:`bayesgmm.core.effect_density`; left out, normal.
    effect_shape : ndarray (n_predictors, N_SHAPES)
    """

    concentration: Array
    effect_mean: Array
    effect_sd: Array
    effect_kind: Long = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    effect_shape: Array = field(default_factory=lambda: np.zeros((0, N_SHAPES)))

    def __post_init__(self) -> None:
        if len(self.effect_kind) != len(self.effect_sd):
            object.__setattr__(self, "effect_kind", np.full(len(self.effect_sd), NORMAL, dtype=np.int64))
            object.__setattr__(self, "effect_shape", np.zeros((len(self.effect_sd), N_SHAPES)))

    @property
    def n_components(self) -> int:
        """Number of components."""
        return len(self.concentration)

    def rescaled(self, unit: Array) -> WeightsPrior:
        """The same prior for predictors divided by ``unit`` (n_predictors,)."""
        return replace(self, effect_mean=self.effect_mean * unit[:, None], effect_sd=self.effect_sd * unit)

    def effect_precision(self) -> Array:
        """Prior precision of the contrasts of each predictor, (P, K-1, K-1).

        At scale ``s`` the covariance is ``(s^2 / 2)(I + 11')``; its inverse is ``(2 / s^2)(I - 11' / K)``.
        """
        size = self.n_components - 1
        shape = np.eye(size) - np.ones((size, size)) / self.n_components
        return (2.0 / self.effect_sd**2)[:, None, None] * shape

    def draw_effects(self, n: int, rng: np.random.Generator, sds: Array | None = None) -> Array:
        """Draw contrasts (n, P, K-1) of every predictor, given scales (n, P) where those are drawn too."""
        size = self.n_components - 1
        factor = np.linalg.cholesky(0.5 * (np.eye(size) + np.ones((size, size))))
        noise = rng.standard_normal((n, len(self.effect_sd), size)) @ factor.T
        for p in np.flatnonzero(self.effect_kind != NORMAL):
            mixing = draw_mixing(int(self.effect_kind[p]), self.effect_shape[p], self.n_components, n, rng)
            noise[:, p] *= mixing[:, None]
        drawn: Array = self.effect_mean + (self.effect_sd if sds is None else sds)[..., None] * noise
        return drawn

    def log_density_weights(self, log_pi: Array) -> Array:
        """Dirichlet log density of baseline weights; zero when flat. ``log_pi`` (..., K)."""
        a = self.concentration
        value: Array = gammaln(a.sum()) - gammaln(a).sum() + np.sum((a - 1.0) * log_pi, axis=-1)
        return value

    def log_density_effects(self, beta: Array) -> Array:
        """Log density of the contrasts of each predictor; a flat prior adds nothing.

        Parameters
        ----------
        beta : ndarray (..., P, K-1)

        Returns
        -------
        ndarray (..., P)
        """
        return self.log_kernel_effects(beta) + self.log_constants()

    def log_constants(self) -> Array:
        """Normalising constant of each predictor's density (P,); zero where flat."""
        return log_constants(self.effect_kind, self.effect_shape, self.effect_sd, self.n_components)

    def squared_lengths(self, beta: Array) -> Array:
        """Squared Mahalanobis lengths (..., P) of contrasts (..., P, K-1) about their prior means."""
        offset = beta - self.effect_mean
        lengths = np.einsum("...pk,pkl,...pl->...p", offset, self.effect_precision(), offset)
        result: Array = np.maximum(lengths, 0.0)
        return result

    def log_kernel_effects(self, beta: Array) -> Array:
        """Log density of the contrasts (..., P, K-1) of each predictor without its constant (..., P)."""
        u = self.squared_lengths(beta)
        flat = np.ascontiguousarray(u.reshape(-1, u.shape[-1]))
        return radial_values(self.effect_kind, self.effect_shape, self.n_components - 1, flat).reshape(u.shape)

    def at_kink(self, beta: Array) -> NDArray[np.bool_]:
        """Predictors (P,) whose effects lie exactly where a Laplace prior has its kink."""
        precision = self.effect_precision()
        return np.array(
            [
                kind == LAPLACE and squared_length(np.ascontiguousarray(b), mean, own) == 0.0
                for kind, b, mean, own in zip(self.effect_kind, beta, self.effect_mean, precision, strict=True)
            ],
            dtype=bool,
        )

    @property
    def has_kinks(self) -> bool:
        """Whether some effect has a Laplace prior."""
        return bool((self.effect_kind == LAPLACE).any())

    @property
    def is_smooth(self) -> bool:
        """Whether every prior's curvature at its mean is that of its bulk: no kink and no spike."""
        return not np.isin(self.effect_kind, (LAPLACE, SPIKE_SLAB)).any()

    def softened(self) -> WeightsPrior:
        """The same with normal priors of the same covariance in place of kinks, and of the slab's in place of spikes.

        Where to begin a climb and in which units to sample, not what is climbed or sampled.
        """
        if self.is_smooth:
            return self
        kinked, spiked = self.effect_kind == LAPLACE, self.effect_kind == SPIKE_SLAB
        kind = np.where(kinked | spiked, NORMAL, self.effect_kind).astype(np.int64)
        return replace(self, effect_kind=kind, effect_sd=np.where(kinked, np.sqrt(2.0), 1.0) * self.effect_sd)


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
    effect_kind: Long,
    effect_shape: Array,
    curvature: bool,
    gradient: Array,
    hessian: Array,
) -> float:
    """Add the gradient and curvature of the log prior of (alpha, beta); return its value, constants left out.

    The curvature is the negative Hessian where the effects' prior is normal; else that of the normal that touches it
    from below (:mod:`bayesgmm.core.effect_density`), which is positive and with which Newton's step is that of EM.
    ``gradient`` must hold that of the rest: at a kink what is left is the steepest ascent of both together, nothing
    where the rest pulls less than the kink holds.

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
        kind, omega = effect_kind[p], 1.0
        if kind == NONE or free == 0:
            continue
        if kind != NORMAL:
            u = squared_length(beta[p], effect_mean[p], effect_precision[p])
            if kind == LAPLACE and u == 0.0:
                pull = dual_length(gradient[at : at + free], effect_precision[p])
                left = max(1.0 - kink_slope(free) / pull, 0.0) if pull > 0.0 else 0.0
                for k in range(free):
                    gradient[at + k] *= left
                continue
            psi, omega, _ = radial(kind, effect_shape[p, 0], effect_shape[p, 1], free, u)
            value += psi
        for k in range(free):
            pull = 0.0
            for m in range(free):
                pull += effect_precision[p, k, m] * (beta[p, m] - effect_mean[p, m])
                if curvature:
                    hessian[at + k, at + m] += omega * effect_precision[p, k, m]
            if kind == NORMAL:
                value -= 0.5 * pull * (beta[p, k] - effect_mean[p, k])
            gradient[at + k] -= omega * pull
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
    effect_kind: Long,
    effect_shape: Array,
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
    concentration, effect_mean, effect_precision, effect_kind, effect_shape
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
    effects = (effect_mean, effect_precision, effect_kind, effect_shape)
    value += add_weights_prior(alpha, beta, concentration, 1.0, *effects, yes, slope, hessian)
    copy_into(slope, gradient)
    for taken in range(max_steps):
        if taken > 0:
            value = call_expected(expected, alpha, beta, predictors, counts, yes, slope, hessian)
            value += add_weights_prior(alpha, beta, concentration, 1.0, *effects, yes, slope, hessian)
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
            trial += add_weights_prior(trial_alpha, trial_beta, concentration, 1.0, *effects, no, trial_slope, none)
            if trial >= value:
                copy_into(trial_alpha, alpha)
                multiple_into(trial_beta, 1.0, beta)
                break
            length *= 0.5
        else:
            return False
    return True


# expected, alpha, beta, predictors, counts, concentration, effect_mean, effect_precision, effect_kind, effect_shape,
# max_steps, tolerance, gradient
NEWTON = types.boolean(i8, a1, a2, a2, a2, a1, a2, a3, l1, a2, i8, f8, a1)
newton_weights = Pointer(_newton_weights, NEWTON, nogil=True)
call_newton = call_at(NEWTON)
