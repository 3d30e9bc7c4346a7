r"""Normal factor of the weights where predictors act on them, with a bound that keeps the whole a lower bound.

The softmax has no conjugate prior. q(alpha, beta) is one normal with a full covariance, and the expectation of
:math:`\log \sum_k e^{\eta_k}` is bounded from above by tilting (Knowles and Minka 2011, section 5, here with the
covariances of the logits): for every vector :math:`a` that sums to one, by Jensen's inequality,

.. math:: E[\log \sum_k e^{\eta_k}] = E[a' \eta] + E[\log \sum_k e^{\eta_k - a' \eta}]
          \le \log \sum_k e^{\bar\eta_k + v_k / 2}, \qquad v_k = \mathrm{var}(\eta_k - a' \eta)

and the best :math:`a` is the softmax of the exponents. To second order in the variances this is the expectation itself,
so that among many people the bound is nearly tight, while that of Bohning (1992) has the largest curvature that a
softmax can have wherever it is. It depends on differences of logits only and so not on which component is the
reference.

The Dirichlet prior of the baseline weights, as a density in their log ratios, is the likelihood of ``a_k`` people in
component ``k`` who have the average person's predictors. Every prior of the effects is a scale mixture of normals whose
log density is convex in the squared length ``u``; so :math:`E \psi(u) \ge \psi(E u)`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.special import gammaln

from bayesgmm.core.effect_density import radial
from bayesgmm.core.weights import WeightsPrior, log_softmax

Array = NDArray[np.float64]
Order = NDArray[np.int64]

_TILTS = 50  # Newton steps of a tilt at most; two or three where the logits are known to within one or two
_NEAR = 1e-7  # distance of the tilt from the softmax at which it is the best: the bound's error is of its square
_HALVINGS = 30
_POINTS = 4096  # quasi-random points for expected weights, which have no closed form


@dataclass(frozen=True)
class Tilted:
    """The bound at every row of predictors.

    Attributes
    ----------
    log_weights : ndarray (U, K)
        Expected log weights, from below.
    softmax : ndarray (U, K)
        Slopes of the bound in the logits.
    tilt : ndarray (U, K)
    """

    log_weights: Array
    softmax: Array
    tilt: Array


def tilted(logits: Array, covariances: Array) -> Tilted:
    """Bound the expected log weights of normal logits.

    Parameters
    ----------
    logits : ndarray (U, K)
        Their means.
    covariances : ndarray (U, K, K)
    """
    log_weights, softmax, tilt = np.empty_like(logits), np.empty_like(logits), np.empty_like(logits)
    _tilt_into(logits, covariances, log_weights, softmax, tilt)
    return Tilted(log_weights, softmax, tilt)


@njit(cache=True, error_model="numpy", nogil=True)
def _height_of(logits: Array, covariance: Array, tilt: Array, softmax: Array) -> float:
    """The bound at a tilt, and the softmax of its exponents, written."""
    k = len(logits)
    square, peak = 0.0, -np.inf
    for j in range(k):
        pull = 0.0
        for m in range(k):
            pull += covariance[j, m] * tilt[m]
        square += tilt[j] * pull
        softmax[j] = logits[j] + 0.5 * covariance[j, j] - pull
        peak = max(peak, softmax[j])
    total = 0.0
    for j in range(k):
        softmax[j] = math.exp(softmax[j] - peak)
        total += softmax[j]
    for j in range(k):
        softmax[j] /= total
    return peak + math.log(total) + 0.5 * square


@njit(cache=True, error_model="numpy", nogil=True)
def _solve(matrix: Array, right: Array, out: Array) -> None:
    """Solve a small system by elimination with pivots, in place of the matrix."""
    k = len(right)
    for j in range(k):
        out[j] = right[j]
    for j in range(k):
        pivot = j
        for i in range(j + 1, k):
            if abs(matrix[i, j]) > abs(matrix[pivot, j]):
                pivot = i
        if pivot != j:
            for m in range(k):
                matrix[j, m], matrix[pivot, m] = matrix[pivot, m], matrix[j, m]
            out[j], out[pivot] = out[pivot], out[j]
        for i in range(j + 1, k):
            ratio = matrix[i, j] / matrix[j, j]
            for m in range(j, k):
                matrix[i, m] -= ratio * matrix[j, m]
            out[i] -= ratio * out[j]
    for j in range(k - 1, -1, -1):
        for m in range(j + 1, k):
            out[j] -= matrix[j, m] * out[m]
        out[j] /= matrix[j, j]


@njit(cache=True, error_model="numpy", nogil=True)
def _tilt_into(logits: Array, covariances: Array, log_weights: Array, softmax: Array, tilt: Array) -> None:
    """The best tilt of every row by Newton's method, whose direction always lowers the bound."""
    n_rows, k = logits.shape
    none = np.zeros((k, k))
    trial, trial_softmax, away, step = np.empty(k), np.empty(k), np.empty(k), np.empty(k)
    matrix = np.empty((k, k))
    for u in range(n_rows):
        covariance, a, q = covariances[u], tilt[u], softmax[u]
        for j in range(k):
            trial[j] = 0.0
        _height_of(logits[u], none, trial, a)
        height = _height_of(logits[u], covariance, a, q)
        for _ in range(_TILTS):
            largest = 0.0
            for j in range(k):
                away[j] = q[j] - a[j]
                largest = max(largest, abs(away[j]))
            if largest < _NEAR:
                break
            for j in range(k):
                for m in range(k):
                    mean = 0.0
                    for i in range(k):
                        mean += q[i] * covariance[i, m]
                    matrix[j, m] = (1.0 if j == m else 0.0) + q[j] * (covariance[j, m] - mean)
            _solve(matrix, away, step)
            length, lower = 1.0, False
            for _ in range(_HALVINGS):
                for j in range(k):
                    trial[j] = a[j] + length * step[j]
                found = _height_of(logits[u], covariance, trial, trial_softmax)
                lower = found <= height
                if lower:
                    break
                length *= 0.5
            if not lower:
                break
            height = found
            for j in range(k):
                a[j], q[j] = trial[j], trial_softmax[j]
        for j in range(k):
            log_weights[u, j] = logits[u, j] - height


@dataclass(frozen=True)
class NormalFactor:
    """Normal factor of ``alpha`` and ``beta``, contrasts against component 0.

    Attributes
    ----------
    prior : WeightsPrior
    mean : ndarray (1 + P, K-1)
        ``alpha``, then the effects of each predictor.
    covariance : ndarray ((1 + P) (K-1), (1 + P) (K-1))
        Of the same, row after row.
    """

    prior: WeightsPrior
    mean: Array
    covariance: Array

    @classmethod
    def at(cls, prior: WeightsPrior, alpha: Array, beta: Array, counts: Array, predictors: Array) -> NormalFactor:
        """Factor around known weights, with the curvature that counts (U, K) have there."""
        mean = np.vstack((alpha[None], beta))
        nothing = cls(prior, mean, np.zeros((mean.size, mean.size)))
        # of a kink or a spike the curvature is of no use: that of the normal of the same covariance is
        soft = replace(nothing, prior=prior.softened())
        _, precision = soft._gradient_and_precision(counts, predictors)
        return replace(nothing, covariance=_inverse(precision))

    def logits(self, predictors: Array) -> tuple[Array, Array]:
        """Means (U, K) and covariances (U, K, K) of the logits at rows of predictors (U, P); component 0 is zero."""
        free = self.mean.shape[1]
        x = np.column_stack((np.ones(len(predictors)), predictors))
        means, covariances = np.zeros((len(x), free + 1)), np.zeros((len(x), free + 1, free + 1))
        means[:, 1:] = x @ self.mean
        for k in range(free):
            for m in range(k + 1):
                block = self.covariance[k::free, m::free]
                covariances[:, k + 1, m + 1] = covariances[:, m + 1, k + 1] = ((x @ block) * x).sum(axis=1)
        return means, covariances

    def expected_log_weights(self, predictors: Array) -> Array:
        """Expected log weights (U, K) of every row of predictors, from below."""
        return self._bound(predictors).log_weights

    def _bound(self, predictors: Array) -> Tilted:
        """The bound at rows of predictors; the last is kept, since a step asks for it several times."""
        kept: tuple[Array, Tilted] | None = self.__dict__.get("_kept")
        if kept is None or kept[0] is not predictors:
            kept = (predictors, tilted(*self.logits(predictors)))
            self.__dict__["_kept"] = kept
        return kept[1]

    @cached_property
    def _at_zero(self) -> Tilted:
        """The bound at the average person."""
        return tilted(*self.logits(np.zeros((1, len(self.mean) - 1))))

    @cached_property
    def _radial(self) -> tuple[Array, Array]:
        """``psi`` and the weight of the touching normal of every predictor, at the expected squared length."""
        free = self.mean.shape[1]
        lengths = self.prior.squared_lengths(self.mean[1:])
        precision = self.prior.effect_precision()
        psi, omega = np.zeros(len(lengths)), np.zeros(len(lengths))
        for p in range(len(lengths)):
            own = slice((1 + p) * free, (2 + p) * free)
            u = float(lengths[p] + (precision[p] * self.covariance[own, own]).sum())
            first, second = self.prior.effect_shape[p]
            psi[p], omega[p], _ = radial(int(self.prior.effect_kind[p]), first, second, free, u)
        return psi, omega

    @property
    def expected_squares(self) -> Array:
        """Expected squared lengths (P,) of the effects about their prior means, were their scale one."""
        free, size = self.mean.shape[1], len(self.mean) - 1
        precision, covariance = self.prior.effect_precision(), self.covariance[free:, free:]
        own = np.einsum("pkpl->pkl", covariance.reshape(size, free, size, free))
        lengths = self.prior.squared_lengths(self.mean[1:]) + np.einsum("pkl,pkl->p", precision, own)
        value: Array = lengths * self.prior.effect_sd**2
        return value

    def with_effect_sds(self, sds: Array) -> NormalFactor:
        """The same factor beside a prior of other scales (P,); the bound at rows of predictors is kept."""
        made = replace(self, prior=replace(self.prior, effect_sd=sds))
        made.__dict__.update({name: self.__dict__[name] for name in ("_kept", "_at_zero") if name in self.__dict__})
        return made

    def divergence(self) -> float:
        """Kullback-Leibler divergence from the prior, from above."""
        a = self.prior.concentration
        prior = gammaln(a.sum()) - gammaln(a).sum() + a @ self._at_zero.log_weights[0]
        prior += (self._radial[0] + self.prior.log_constants()).sum()
        size = self.mean.size
        entropy = 0.5 * (np.linalg.slogdet(self.covariance)[1] + size * (1.0 + np.log(2.0 * np.pi)))
        return float(-prior - entropy)

    def updated(self, counts: Array, predictors: Array) -> NormalFactor:
        """A factor that raises the bound given counts (U, K): a natural-gradient step, halved until it does.

        The full step is Newton's for the mean; the new precision is the bound's curvature.
        """
        gradient, precision = self._gradient_and_precision(counts, predictors)
        before, height = _inverse(self.covariance), self._height(counts, predictors)
        length = 1.0
        for _ in range(_HALVINGS):
            covariance = _inverse((1.0 - length) * before + length * precision)
            mean = self.mean + length * (covariance @ gradient).reshape(self.mean.shape)
            trial = replace(self, mean=mean, covariance=covariance)
            if trial._height(counts, predictors) >= height:
                return trial
            length *= 0.5
        return self

    def _height(self, counts: Array, predictors: Array) -> float:
        """The bound's part that depends on this factor."""
        return float((counts * self.expected_log_weights(predictors)).sum()) - self.divergence()

    def _gradient_and_precision(self, counts: Array, predictors: Array) -> tuple[Array, Array]:
        """Gradient in the mean, and the precision at which that in the covariance vanishes."""
        free, size = self.mean.shape[1], self.mean.size
        gradient, precision = np.zeros(size), np.zeros((size, size))
        people = (
            (predictors, counts, self._bound(predictors)),
            (np.zeros((1, len(self.mean) - 1)), self.prior.concentration[None], self._at_zero),
        )
        for rows, members, bound in people:
            x = np.column_stack((np.ones(len(rows)), rows))
            total, q, a = members.sum(axis=1), bound.softmax[:, 1:], bound.tilt[:, 1:]
            gradient += (x.T @ (members[:, 1:] - total[:, None] * q)).ravel()
            for k in range(free):
                for m in range(k + 1):
                    bend = a[:, k] * a[:, m] - q[:, k] * a[:, m] - a[:, k] * q[:, m]
                    if m == k:
                        bend = bend + q[:, k]
                    block = x.T @ ((total * bend)[:, None] * x)
                    precision[k::free, m::free] += block
                    if m != k:
                        precision[m::free, k::free] += block
        _, omega = self._radial
        for p, own in enumerate(omega[:, None, None] * self.prior.effect_precision()):
            at = slice((1 + p) * free, (2 + p) * free)
            gradient[at] -= own @ (self.mean[1 + p] - self.prior.effect_mean[p])
            precision[at, at] += own
        return gradient, precision

    # -- draws and moments ------------------------------------------------------------------------

    def draw(self, n: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """Draw baseline weights (n, K) and effects (n, P, K-1)."""
        noise = rng.standard_normal((n, self.mean.size)) @ np.linalg.cholesky(self.covariance).T
        drawn = self.mean + noise.reshape(n, *self.mean.shape)
        logits = np.concatenate((np.zeros((n, 1)), drawn[:, 0]), axis=1)
        return np.maximum(np.exp(log_softmax(logits)), np.finfo(float).tiny), drawn[:, 1:]

    def log_density(self, pi: Array, beta: Array) -> Array:
        """Log density (n,) of draws, a density in the baseline weights themselves."""
        log_pi = np.log(pi)
        alpha = log_pi[:, 1:] - log_pi[:, :1]
        away = np.concatenate((alpha[:, None], beta), axis=1) - self.mean
        root = np.linalg.cholesky(self.covariance)
        z = np.linalg.solve(root, away.reshape(len(pi), -1).T)
        normal = -0.5 * (z**2).sum(axis=0) - np.log(np.diagonal(root)).sum()
        value: Array = normal - 0.5 * self.mean.size * np.log(2.0 * np.pi) - log_pi.sum(axis=1)
        return value

    def expected_weights(self, predictors: Array) -> Array:
        """Expected weights (m, K) at rows of predictors, to second order in the variances of the logits.

        Exponents of the tilted bound would be too large; the term is cut where it would leave the simplex.
        """
        logits, covariances = self.logits(predictors)
        w = np.exp(log_softmax(logits))
        about = np.einsum("ukl,ul->uk", covariances, w)
        square = np.einsum("uk,uk->u", about, w)[:, None]
        spread = np.diagonal(covariances, axis1=1, axis2=2)
        mean = (w * spread).sum(axis=1, keepdims=True)
        bend = 0.5 * w * (spread - 2.0 * about + 2.0 * square - mean)
        raised = np.maximum(w + bend, 1e-3 * w)
        weights: Array = raised / raised.sum(axis=1, keepdims=True)
        return weights

    @cached_property
    def _baseline(self) -> tuple[Array, Array]:
        """Mean and standard deviation (K,) of the baseline weights, by quasi-random points."""
        from scipy.special import ndtri
        from scipy.stats import qmc

        free = self.mean.shape[1]
        uniform = qmc.Sobol(free, rng=np.random.default_rng(0)).random(_POINTS)
        noise = ndtri(np.clip(uniform, 1e-12, 1.0 - 1e-12)) @ np.linalg.cholesky(self.covariance[:free, :free]).T
        weights = np.exp(log_softmax(np.column_stack((np.zeros(_POINTS), self.mean[0] + noise))))
        return weights.mean(axis=0), weights.std(axis=0)

    def baseline(self) -> Array:
        """Expected baseline weights (K,)."""
        return self._baseline[0]

    def weight_sds(self) -> Array:
        """Standard deviations (K,) of the baseline weights."""
        return self._baseline[1]

    def permuted(self, order: Order) -> NormalFactor:
        """Component ``j`` of the result is component ``order[j]`` of this object."""
        free = self.mean.shape[1]
        full = np.vstack((np.zeros((1, free)), np.eye(free)))[order]
        turn = full[1:] - full[:1]
        whole = np.kron(np.eye(len(self.mean)), turn)
        prior = replace(
            self.prior, concentration=self.prior.concentration[order], effect_mean=self.prior.effect_mean @ turn.T
        )
        return NormalFactor(prior, self.mean @ turn.T, whole @ self.covariance @ whole.T)


def _inverse(positive: Array) -> Array:
    """Inverse of a positive definite matrix, symmetric."""
    root = np.linalg.cholesky(positive)
    half = np.linalg.solve(root, np.eye(len(root)))
    return half.T @ half
