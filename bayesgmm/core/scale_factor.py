r"""Normal factor of the logarithms of learned scales, with a bound that keeps the whole a lower bound.

Given its scale an effect is normal, so the bound needs :math:`E \log s_p^2` from above, and :math:`E s_p^{-2}`. With
:math:`\eta_{pr}` linear in the coordinates of the scales, :math:`q(\theta) = N(m, V)`, either variances add up (groups)
or precisions do (the regularised horseshoe, :math:`1/s^2 = 1/t^2 + 1/c^2`):

- :math:`s_p^2 = \sum_r e^{\eta_{pr}}`: the logarithm is bounded by tilting (:mod:`bayesgmm.core.tilted`), and by the
  convexity of :math:`1/x`, :math:`E s_p^{-2} \le 1 / \sum_r (1 / E e^{-\eta_{pr}})`; of one group both are exact;
- :math:`s_p^{-2} = \sum_r e^{\eta_{pr}}`: :math:`E s_p^{-2}` is exact and, by Jensen's inequality,
  :math:`E \log s_p^2 \le -\log \sum_r e^{E \eta_{pr}}`.

Half-normal and inverse-gamma priors have exact expectations, a half-Cauchy's :math:`-\log(1 + e^{2 \theta})` is bounded
by tilting.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bayesgmm.core.scale_model import ScaleModel, ScaleTerms
from bayesgmm.core.tilted import Tilted, tilted

Array = NDArray[np.float64]

_STEPS = 4  # of one update; what suits best changes with the effects, so a few will do
_HALVINGS = 30
_SETTLED = 1e-10  # gain at which an update stops
_LARGEST = 600.0  # exponent above which a trial is no trial


@dataclass(frozen=True)
class ScaleFactor:
    """Factor of the coordinates of the scales.

    Attributes
    ----------
    model : ScaleModel
    unit : ndarray (n_predictors,)
        Standard deviations of the predictors: scales below are those of effects of standardised ones.
    n_contrasts : int
    mean : ndarray (n_scales,)
    covariance : ndarray (n_scales, n_scales)
    """

    model: ScaleModel
    unit: Array
    n_contrasts: int
    mean: Array
    covariance: Array

    @classmethod
    def at(cls, model: ScaleModel, unit: Array, n_contrasts: int, theta: Array, squares: Array) -> ScaleFactor:
        """Factor around known scales, with the curvature that expected squares (P,) of effects have there."""
        none = np.zeros((len(theta), len(theta)))
        known = cls(model, unit, n_contrasts, theta, none)
        _, precision = known._gradient_and_precision(squares)
        # a half-Cauchy is hardly curved far out
        return replace(known, covariance=np.linalg.inv(precision + np.eye(len(theta))))

    @cached_property
    def _terms(self) -> ScaleTerms:
        return self.model.terms()

    @cached_property
    def _rows(self) -> tuple[Array, Array]:
        r"""Means (P, R) and covariances (P, R, R) of :math:`\eta`, in units of standardised predictors."""
        terms = self._terms
        shift = 2.0 * np.log(self.unit)[:, None] * (1.0 if terms.variances_add else -1.0)
        return terms.rows @ self.mean + terms.at + shift, _spread(terms.rows, self.covariance)

    @cached_property
    def _exponentials(self) -> Array:
        """Expected exponentials (P, R): of minus ``eta`` where variances add."""
        means, covariances = self._rows
        sign = -1.0 if self._terms.variances_add else 1.0
        power = sign * means + 0.5 * np.diagonal(covariances, axis1=1, axis2=2)
        # a row of no group has an infinite one of either sign
        value: Array = np.exp(np.clip(power, -_LARGEST, _LARGEST))
        return value

    @cached_property
    def _shares(self) -> Array:
        """What each of them counts in the inverse of the squared scale (P, R)."""
        if not self._terms.variances_add:
            return np.ones(self._exponentials.shape)
        inverse = 1.0 / self._exponentials
        value: Array = (inverse / inverse.sum(axis=1, keepdims=True)) ** 2
        return value

    @cached_property
    def _tilted(self) -> Tilted:
        return tilted(*self._rows)

    @cached_property
    def _soft(self) -> Tilted:
        """The bound of ``log(1 + exp(row))`` of the priors that have it."""
        rows = np.stack((np.zeros_like(self._terms.soft_rows), self._terms.soft_rows), axis=1)
        return tilted(rows @ self.mean, _spread(rows, self.covariance))

    @property
    def inverse_squares(self) -> Array:
        """Expected inverse of the squared scale (P,), from above."""
        value: Array = (self._shares * self._exponentials).sum(axis=1)
        return value

    @property
    def log_squares(self) -> Array:
        """Expected logarithm of the squared scale (P,), from above."""
        means, _ = self._rows
        if self._terms.variances_add:
            top = means.argmax(axis=1)
            each = np.arange(len(means))
            value: Array = means[each, top] - self._tilted.log_weights[each, top]
            return value
        largest = means.max(axis=1)
        value = -largest - np.log(np.exp(means - largest[:, None]).sum(axis=1))
        return value

    @property
    def sds(self) -> Array:
        """Scales (P,) of the normal prior that the effects are given."""
        value: Array = 1.0 / np.sqrt(self.inverse_squares)
        return value

    def _log_prior(self) -> float:
        """Expected log prior density, from below."""
        terms = self._terms
        value = terms.constant + terms.linear @ self.mean - terms.exp_weights @ self._prior_exponentials
        value += self._soft.log_weights[:, 0].sum()
        return float(value)

    @cached_property
    def _prior_exponentials(self) -> Array:
        rows = self._terms.exp_rows
        power = rows @ self.mean + 0.5 * ((rows @ self.covariance) * rows).sum(axis=1)
        value: Array = np.exp(np.minimum(power, _LARGEST))
        return value

    def divergence(self) -> float:
        """Kullback-Leibler divergence from the prior, and what the effects' density at :attr:`sds` is too high by."""
        size = len(self.mean)
        entropy = 0.5 * (np.linalg.slogdet(self.covariance)[1] + size * (1.0 + np.log(2.0 * np.pi)))
        excess = 0.5 * self.n_contrasts * (np.log(self.inverse_squares) + self.log_squares).sum()
        return float(excess - self._log_prior() - entropy)

    def updated(self, squares: Array) -> ScaleFactor:
        """A factor that raises the bound given expected squares (P,) of the effects: natural-gradient steps, halved."""
        now, height = self, self._height(squares)
        for _ in range(_STEPS):
            gradient, precision = now._gradient_and_precision(squares)
            before, length, gain = np.linalg.inv(now.covariance), 1.0, 0.0
            for _ in range(_HALVINGS):
                covariance = np.linalg.inv((1.0 - length) * before + length * precision)
                covariance = 0.5 * (covariance + covariance.T)
                trial = replace(now, mean=now.mean + length * (covariance @ gradient), covariance=covariance)
                found = trial._height(squares)
                if found >= height:
                    now, gain, height = trial, found - height, found
                    break
                length *= 0.5
            if gain < _SETTLED:
                break
        return now

    def _height(self, squares: Array) -> float:
        """The bound's part that depends on this factor; minus infinity where it is none."""
        if not (np.isfinite(self.mean).all() and (np.linalg.eigvalsh(self.covariance) > 0.0).all()):
            return -np.inf
        # the effects' density at its own sds, beside what does not depend on the factor
        told = 0.5 * self.n_contrasts * np.log(self.inverse_squares).sum() - 0.5 * squares @ self.inverse_squares
        return float(told - self.divergence())

    def _gradient_and_precision(self, squares: Array) -> tuple[Array, Array]:
        """Gradient in the mean, and the precision at which that in the covariance vanishes."""
        terms, half = self._terms, 0.5 * self.n_contrasts
        pulls = 0.5 * squares[:, None] * self._shares * self._exponentials
        sign = -1.0 if terms.variances_add else 1.0
        gradient = terms.linear - sign * np.einsum("pr,prs->s", pulls, terms.rows)
        precision = np.einsum("pr,prs,prt->st", pulls, terms.rows, terms.rows)
        if terms.variances_add:
            gradient = gradient - half * np.einsum("pr,prs->s", self._tilted.softmax, terms.rows)
            bend = half * _bend(self._tilted)
            precision = precision + np.einsum("prq,prs,pqt->st", bend, terms.rows, terms.rows)
        else:
            means, _ = self._rows
            each = np.exp(means - means.max(axis=1, keepdims=True))
            gradient = gradient + half * np.einsum("pr,prs->s", each / each.sum(axis=1, keepdims=True), terms.rows)
        known = terms.exp_weights * self._prior_exponentials
        gradient = gradient - known @ terms.exp_rows - self._soft.softmax[:, 1] @ terms.soft_rows
        precision = precision + (terms.exp_rows.T * known) @ terms.exp_rows
        precision = precision + (terms.soft_rows.T * _bend(self._soft)[:, 1, 1]) @ terms.soft_rows
        return gradient, precision

    # -- draws and moments ------------------------------------------------------------------------

    def draw(self, n: int, rng: np.random.Generator) -> Array:
        """Draw coordinates (n, n_scales)."""
        noise = rng.standard_normal((n, len(self.mean)))
        return self.mean + noise @ np.linalg.cholesky(self.covariance).T

    def log_density(self, theta: Array) -> Array:
        """Log density (n,) of draws (n, n_scales) of the coordinates."""
        root = np.linalg.cholesky(self.covariance)
        z = np.linalg.solve(root, (theta - self.mean).T)
        value: Array = -0.5 * (z**2).sum(axis=0) - np.log(np.diagonal(root)).sum()
        return value - 0.5 * len(self.mean) * np.log(2.0 * np.pi)


def _spread(rows: Array, covariance: Array) -> Array:
    """Covariances (..., R, R) of linear forms (..., R, n_scales)."""
    value: Array = np.einsum("...rs,st,...qt->...rq", rows, covariance, rows, optimize=True)
    return value


def _bend(bound: Tilted) -> Array:
    """Twice the slope of the bound in the covariances (U, K, K)."""
    q, a = bound.softmax, bound.tilt
    outer = np.einsum("uk,um->ukm", q, a)
    value: Array = np.einsum("uk,um->ukm", a, a) - outer - np.swapaxes(outer, 1, 2)
    every = np.arange(q.shape[1])
    value[:, every, every] += q
    return value
