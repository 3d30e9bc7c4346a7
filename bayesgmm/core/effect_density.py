r"""Priors of effects: elliptical densities of the contrasts of one predictor, written once for every engine.

With ``d`` the contrasts (K-1,) less their prior means, ``m = K - 1``, ``s`` the scale and

.. math:: P = \frac{2}{s^2}(I - 11'/K), \qquad
   u = d' P d = \frac{2}{K s^2} \sum_{j<k} (B_k - B_j)^2

every family is a function of ``u`` alone, so it does not depend on which component is the reference:

.. math:: \log p(d) = \text{constant} - m \log s + \psi(u)

============== ======================================================================================
family         :math:`\psi(u)`
============== ======================================================================================
normal         :math:`-u / 2`
Student-t      :math:`-\frac{\nu + m}{2} \log(1 + u / \nu)`
Laplace        :math:`-\sqrt{c u}`, :math:`c = K / 2`: :math:`\exp(-\|\text{pairwise log odds ratios}\| / s)`
spike and slab :math:`\log((1 - q)\, e^{-m} \exp(-u / 2 e^2) + q \exp(-u / 2))`
============== ======================================================================================

Each is a scale mixture of normals (West 1987, Biometrika 74:646), so :math:`\psi` falls and is convex in ``u``, and
with :math:`\omega(u) = -2 \psi'(u)` the normal of precision :math:`\omega P` touches it from below: the M step of the
weights is that of a normal prior, reweighted. The gradient is :math:`-\omega P d`, the negative Hessian
:math:`\omega P + 2 \omega' (P d)(P d)'`.

The Laplace is that of the group lasso (Park and Casella 2008, JASA 103:681; Kyung, Gill, Ghosh and Casella 2010,
Bayesian Analysis 5:369): ``tau^2 ~ Gamma((m + 1) / 2, c / 2)`` times the normal's covariance. With ``c = K / 2`` every
pairwise log odds ratio has standard deviation ``sqrt(2) s`` for any number of components, and for two it is exactly
Laplace with scale ``s``. The spike and slab is that of George and McCulloch (1993, JASA 88:881), summed over inclusion.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.special import gammaln, kve, ndtr, ndtri, stdtr, stdtrit

Array = NDArray[np.float64]
Long = NDArray[np.int64]

NONE, NORMAL, STUDENT_T, LAPLACE, SPIKE_SLAB = -1, 0, 1, 2, 3
N_SHAPES = 2  # Student-t: degrees of freedom; spike and slab: inclusion, and the spike's sd as a share of the slab's
_ROUNDING = 1e-24  # of a squared length: contrasts this close to their prior means differ from them by rounding


@njit(cache=True, error_model="numpy", nogil=True)
def radial(kind: int, first: float, second: float, size: int, u: float) -> tuple[float, float, float]:
    """``psi(u)``, ``omega(u)`` and ``omega'(u)`` of a family.

    Parameters
    ----------
    kind : int
        One of the families' numbers; ``NONE`` for no prior.
    first, second : float
        Shape; see ``N_SHAPES``.
    size : int
        Contrasts, ``m = K - 1``.
    u : float
        Squared Mahalanobis length at scale ``s``.
    """
    if kind == NORMAL:
        return -0.5 * u, 1.0, 0.0
    if kind == STUDENT_T:
        weight = (first + size) / (first + u)
        return -0.5 * (first + size) * math.log1p(u / first), weight, -weight / (first + u)
    if kind == LAPLACE:
        root = math.sqrt(0.5 * (size + 1) * u)
        weight = root / u if u > 0.0 else np.inf
        return -root, weight, -0.5 * weight / u if u > 0.0 else -np.inf
    if kind == SPIKE_SLAB:
        sharp = 1.0 / (second * second)
        spike = math.log1p(-first) - size * math.log(second) - 0.5 * sharp * u
        slab = math.log(first) - 0.5 * u
        top = max(spike, slab)
        total = math.exp(spike - top) + math.exp(slab - top)
        inside = math.exp(spike - top) / total
        outside = math.exp(slab - top) / total
        omega = inside * sharp + outside
        return top + math.log(total), omega, -0.5 * (sharp - 1.0) * (sharp - 1.0) * inside * outside
    return 0.0, 0.0, 0.0


@njit(cache=True, error_model="numpy", nogil=True)
def squared_length(beta: Array, mean: Array, precision: Array) -> float:
    """``u`` of the contrasts (K-1,) of one predictor; zero where they differ from their means by rounding only."""
    size = len(beta)
    total, own = 0.0, 0.0
    for k in range(size):
        pull, own_pull = 0.0, 0.0
        for j in range(size):
            pull += precision[k, j] * (beta[j] - mean[j])
            own_pull += precision[k, j] * mean[j]
        total += pull * (beta[k] - mean[k])
        own += own_pull * mean[k]
    return total if total > _ROUNDING * own else 0.0


@njit(cache=True, error_model="numpy", nogil=True)
def dual_length(gradient: Array, precision: Array) -> float:
    """Length of a gradient (K-1,) against the precision, ``sqrt(g' inv(P) g)``: what a kink's slope is measured in."""
    size = len(gradient)
    total, squares = 0.0, 0.0
    for k in range(size):
        total += gradient[k]
        squares += gradient[k] * gradient[k]
    # inv(P) = (s^2 / 2)(I + 11')
    return math.sqrt(size / ((size + 1) * precision[0, 0]) * (squares + total * total))


@njit(cache=True, error_model="numpy", nogil=True)
def kink_slope(size: int) -> float:
    """Slope of the Laplace's cone: the largest dual length of a gradient that cannot move an effect off its mean."""
    return math.sqrt(0.5 * (size + 1))


@njit(cache=True, error_model="numpy", nogil=True)
def radial_values(kind: Long, shape: Array, size: int, u: Array) -> Array:
    """``psi`` of many squared lengths (draws, P), families by predictor."""
    out = np.empty(u.shape)
    for i in range(u.shape[0]):
        for p in range(u.shape[1]):
            out[i, p] = radial(kind[p], shape[p, 0], shape[p, 1], size, u[i, p])[0]
    return out


def log_constants(kind: Long, shape: Array, scale: Array, n_components: int) -> Array:
    """What is added to ``psi(u)`` for each predictor to be a density (P,); zero where flat."""
    size = n_components - 1
    if size == 0:
        return np.zeros(len(kind))
    with np.errstate(divide="ignore"):
        log_det = size * np.log(scale**2 / 2.0) + np.log(n_components)
    value: Array = -0.5 * (log_det + size * np.log(2.0 * np.pi))
    for p in np.flatnonzero(kind != NORMAL):
        value[p] = -0.5 * log_det[p]
        if kind[p] == STUDENT_T:
            dof = shape[p, 0]
            value[p] += gammaln(0.5 * (dof + size)) - gammaln(0.5 * dof) - 0.5 * size * np.log(dof * np.pi)
        elif kind[p] == LAPLACE:
            # the surface of a sphere times the integral of r^(m-1) exp(-sqrt(c) r)
            surface = np.log(2.0) + 0.5 * size * np.log(np.pi) - gammaln(0.5 * size)
            value[p] -= surface + gammaln(size) - 0.5 * size * np.log(0.5 * n_components)
        elif kind[p] == SPIKE_SLAB:
            value[p] -= 0.5 * size * np.log(2.0 * np.pi)
    result: Array = np.where(np.isinf(scale) | (kind == NONE), 0.0, value)
    return result


def draw_mixing(kind: int, shape: Array, n_components: int, n: int, rng: np.random.Generator) -> Array:
    """Draws (n,) of what multiplies a normal of scale ``s``, as a standard deviation, to be of the family."""
    if kind == STUDENT_T:
        return np.sqrt(shape[0] / rng.chisquare(shape[0], n))
    if kind == LAPLACE:
        return np.sqrt(rng.gamma(0.5 * n_components, 4.0 / n_components, n))
    if kind == SPIKE_SLAB:
        return np.where(rng.random(n) < shape[0], 1.0, shape[1])
    return np.ones(n)


def log_odds_of_slab(u: Array, size: int, inclusion: Array, spike: Array) -> Array:
    """Log odds of the slab against the spike given the squared length of the contrasts; George and McCulloch (1993)."""
    odds: Array = np.log(inclusion) - np.log1p(-inclusion) + size * np.log(spike) + 0.5 * u * (spike**-2.0 - 1.0)
    return odds


@dataclass(frozen=True)
class Pairwise:
    """Prior of one pairwise log odds ratio of a predictor, about its mean: what an ellipse's shadow is.

    Attributes
    ----------
    kind : int
    shape : tuple of float
    scale : float
    n_components : int
    """

    kind: int
    shape: tuple[float, ...]
    scale: float
    n_components: int

    @property
    def sd(self) -> float:
        """Standard deviation; infinite where there is none."""
        if self.kind == STUDENT_T:
            dof = self.shape[0]
            return self.scale * math.sqrt(dof / (dof - 2.0)) if dof > 2.0 else math.inf
        if self.kind == LAPLACE:
            return math.sqrt(2.0) * self.scale
        if self.kind == SPIKE_SLAB:
            inclusion, spike = self.shape[:2]
            return self.scale * math.sqrt(inclusion + (1.0 - inclusion) * spike**2)
        return self.scale

    def log_density(self, x: Array | float) -> Array:
        """Log density at ``x``."""
        z = np.abs(np.asarray(x, dtype=float)) / self.scale
        if self.kind == STUDENT_T:
            dof = self.shape[0]
            constant = gammaln(0.5 * (dof + 1.0)) - gammaln(0.5 * dof) - 0.5 * math.log(dof * math.pi)
            value = constant - 0.5 * (dof + 1.0) * np.log1p(z**2 / dof)
        elif self.kind == LAPLACE and self.n_components <= 2:
            value = -z - math.log(2.0)
        elif self.kind == LAPLACE:
            value = self._log_variance_gamma(z)
        elif self.kind == SPIKE_SLAB:
            inclusion, spike = self.shape[:2]
            narrow = math.log1p(-inclusion) - math.log(spike) - 0.5 * (z / spike) ** 2
            value = np.logaddexp(narrow, math.log(inclusion) - 0.5 * z**2) - 0.5 * math.log(2.0 * math.pi)
        else:
            value = -0.5 * z**2 - 0.5 * math.log(2.0 * math.pi)
        result: Array = value - math.log(self.scale)
        return result

    def _log_variance_gamma(self, z: Array) -> Array:
        """A normal whose variance is ``Gamma(K / 2, rate K / 4)``: a Bessel function of the third kind."""
        order, rate = 0.5 * self.n_components, 0.25 * self.n_components
        at_zero = 0.5 * math.log(rate) + gammaln(order - 0.5) - gammaln(order) - 0.5 * math.log(2.0 * math.pi)
        reach = np.maximum(z * math.sqrt(2.0 * rate), 1e-100)
        with np.errstate(divide="ignore"):
            bessel = np.log(kve(order - 0.5, reach)) - reach
        value = (
            (math.log(2.0) + 0.5 * math.log(rate) - gammaln(order) - 0.5 * math.log(2.0 * math.pi))
            + (order - 0.5) * np.log(0.5 * reach)
            + bessel
        )
        result: Array = np.where((reach < 1e-6) | ~np.isfinite(value) & (reach < 1.0), at_zero, value)
        return result

    def draw(self, n: int, rng: np.random.Generator) -> Array:
        """Draws (n,) about the mean."""
        mixing = draw_mixing(self.kind, np.array(self.shape), self.n_components, n, rng)
        return self.scale * rng.standard_normal(n) * mixing

    def tail(self, x: float) -> float:
        """Probability above ``x``, which is not negative."""
        z = x / self.scale
        if self.kind == STUDENT_T:
            return float(stdtr(self.shape[0], -z))
        if self.kind == LAPLACE and self.n_components <= 2:
            return 0.5 * math.exp(-z)
        if self.kind == LAPLACE:
            from scipy.integrate import quad

            return 0.5 - float(quad(lambda t: math.exp(float(self.log_density(t))), 0.0, x, limit=200)[0])
        if self.kind == SPIKE_SLAB:
            inclusion, spike = self.shape[:2]
            return float((1.0 - inclusion) * ndtr(-z / spike) + inclusion * ndtr(-z))
        return float(ndtr(-z))

    def reach(self, probability: float) -> float:
        """Distance from the mean within which a share ``probability`` of the prior lies."""
        beyond = 0.5 * (1.0 - probability)
        if self.kind == STUDENT_T:
            return self.scale * float(-stdtrit(self.shape[0], beyond))
        if self.kind in (LAPLACE, SPIKE_SLAB):
            from scipy.optimize import brentq

            far = self.scale * 30.0
            return float(brentq(lambda x: self.tail(x) - beyond, 0.0, far, xtol=1e-12 * far))
        return self.scale * float(-ndtri(beyond))
