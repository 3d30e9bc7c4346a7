r"""Factor of the degrees of freedom of Student-t components in a mean-field posterior.

A person's latent precision ``u`` is part of q with the membership, gamma given it (Svensen and Bishop 2005,
Neurocomputing 64:235), so the degrees of freedom enter the bound through ``sum r`` and ``sum r E[log u - u + 1]`` only:

.. math:: q(\nu) \propto p(\nu) \exp\left( a (f(\nu) - \nu / 2) + \tfrac{b}{2} \nu \right), \qquad
          f(\nu) = \tfrac{\nu}{2} \log \tfrac{\nu}{2} - \log \Gamma(\tfrac{\nu}{2})

with ``a`` the first sum and ``b``, never positive, the second. It has no name and one dimension, so its expectations
are sums over a grid of :math:`\log \nu`, which for so smooth a density are exact to rounding. What people need of it is
:math:`E \nu` and :math:`E f(\nu) - f(E \nu)`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from bayesgmm.core.tails import Tails

Array = NDArray[np.float64]
Order = NDArray[np.int64]

_POINTS = 512
_WIDE = np.linspace(-8.0, 25.0, 1200)  # logarithms within which the density is looked for
_DEPTH = 40.0  # below its top, in logarithms, at which it is nothing
_LARGE = 1e4  # degrees of freedom from which Stirling's series is exact


def log_height(df: Array) -> Array:
    r""":math:`f(\nu) - \nu / 2`, without the digits that large logarithms lose."""
    half = 0.5 * np.asarray(df)
    exact = half * np.log(half) - gammaln(half) - half
    series = 0.5 * np.log(half / (2.0 * np.pi)) - 1.0 / (12.0 * half) + 1.0 / (360.0 * half**3)
    return np.where(half > _LARGE, series, exact)


@dataclass(frozen=True)
class TailFactor:
    """Factor of the degrees of freedom that are estimated; where they are given or there are none it holds nothing.

    Attributes
    ----------
    tails : Tails
        The prior.
    people : ndarray (n_free,)
        ``a``.
    excess : ndarray (n_free,)
        ``b``.
    """

    tails: Tails
    people: Array
    excess: Array

    @classmethod
    def updated(cls, tails: Tails, mass: Array, precisions: Array, log_precisions: Array) -> TailFactor:
        """The factor that maximises the bound.

        Parameters
        ----------
        tails : Tails
        mass, precisions, log_precisions : ndarray (L,)
            ``sum_i r_ik``, ``sum_i r_ik E[u_ik]`` and ``sum_i r_ik E[log u_ik]``.
        """
        free = tails.n_free
        excess = np.minimum(log_precisions - precisions + mass, 0.0)
        return cls(tails, *(np.array([x[j::free].sum() for j in range(free)]) for x in (mass, excess)))

    @cached_property
    def _grid(self) -> tuple[Array, Array, Array, Array]:
        """Logarithms (n_free, points), their probabilities, steps, and log normalising constants (n_free,)."""
        wide = self._log_kernel(np.broadcast_to(_WIDE, (self.tails.n_free, len(_WIDE))))
        inside = wide > wide.max(axis=1, keepdims=True) - _DEPTH
        gap = _WIDE[1] - _WIDE[0]
        low, high = _WIDE[inside.argmax(axis=1)] - gap, _WIDE[len(_WIDE) - 1 - inside[:, ::-1].argmax(axis=1)] + gap
        logs = low[:, None] + (high - low)[:, None] * np.linspace(0.0, 1.0, _POINTS)
        heights = self._log_kernel(logs)
        top = heights.max(axis=1, keepdims=True)
        each = np.exp(heights - top)
        step = logs[:, 1] - logs[:, 0]
        total = each.sum(axis=1)
        return logs, each / total[:, None], step, top[:, 0] + np.log(total * step)

    def _log_kernel(self, logs: Array) -> Array:
        """Log density of the logarithms without its constant."""
        df, tails = np.exp(logs), self.tails
        prior = tails.shape * logs - tails.rate * df
        value: Array = prior + self.people[:, None] * log_height(df) + 0.5 * self.excess[:, None] * df
        return value

    def _of_components(self, each: Array, n_located: int) -> Array:
        """Numbers (..., n_free) of what is estimated as one for every component (..., L)."""
        return each[..., np.arange(n_located) % self.tails.n_free]

    @cached_property
    def means(self) -> Array:
        """Expected degrees of freedom (n_free,)."""
        logs, probabilities, _, _ = self._grid
        value: Array = (probabilities * np.exp(logs)).sum(axis=1)
        return value

    @cached_property
    def expected_heights(self) -> Array:
        r"""Expected :math:`f(\nu) - \nu / 2` (n_free,)."""
        logs, probabilities, _, _ = self._grid
        value: Array = (probabilities * log_height(np.exp(logs))).sum(axis=1)
        return value

    @property
    def df(self) -> Array:
        """Expected degrees of freedom of every component (L,); those given; none where components are Gaussian."""
        tails = self.tails
        return self._of_components(self.means, len(tails.df)) if tails.n_free else tails.df

    @property
    def log_excess(self) -> Array:
        r""":math:`E f(\nu) - f(E \nu)` of every component (L,); never positive."""
        n_located = len(self.tails.df)
        if not self.tails.n_free:
            return np.zeros(n_located)
        return self._of_components(self.expected_heights - log_height(self.means), n_located)

    def heights(self) -> Array:
        r"""Expected :math:`f(\nu) - \nu / 2` of every component that has it estimated (L,), else nothing."""
        return self._of_components(self.expected_heights, len(self.tails.df)) if self.tails.n_free else np.zeros(0)

    def divergence(self) -> float:
        """Kullback-Leibler divergence from the prior."""
        if not self.tails.n_free:
            return 0.0
        told = self.people @ self.expected_heights + 0.5 * self.excess @ self.means
        return float(told - self._grid[3].sum() - self.tails.log_constant)

    # -- draws and moments ------------------------------------------------------------------------

    def sds(self) -> Array:
        """Standard deviations (n_free,)."""
        logs, probabilities, _, _ = self._grid
        return np.sqrt((probabilities * (np.exp(logs) - self.means[:, None]) ** 2).sum(axis=1))

    def draw(self, n: int, rng: np.random.Generator) -> Array:
        """Draw degrees of freedom of every component (n, L)."""
        tails = self.tails
        if not tails.n_free:
            return np.tile(tails.df, (n, 1))
        logs, probabilities, step, _ = self._grid
        drawn = np.empty((n, tails.n_free))
        for j in range(tails.n_free):
            # the grid's density with straight lines between its points
            at = rng.choice(_POINTS, n, p=probabilities[j])
            drawn[:, j] = logs[j, at] + step[j] * (rng.random(n) - rng.random(n))
        return self._of_components(np.exp(drawn), len(tails.df))

    def log_density(self, df: Array) -> Array:
        """Log density (n,) of draws (n, L), a density in the degrees of freedom themselves."""
        if not self.tails.n_free:
            return np.zeros(len(df))
        logs = np.log(df[:, : self.tails.n_free])
        value: Array = (self._log_kernel(logs.T).T - logs - self._grid[3]).sum(axis=1)
        return value

    def permuted(self, order: Order) -> TailFactor:
        """Component ``j`` of the result is component ``order[j]`` of this object."""
        if self.tails.n_free < 2:
            return self
        return replace(self, people=self.people[order], excess=self.excess[order])
