r"""The evidence by sequential Monte Carlo from the prior to the posterior (Del Moral, Doucet and Jasra 2006).

Particles drawn from the prior are led to the posterior through :math:`p(x)\, p(y \mid x)^\beta`, with
:math:`\beta` raised from 0 to 1 by as much as leaves half of them effective. The evidence is the product over stages of
the mean of :math:`p(y \mid x)^{\Delta\beta}`. It needs no mode, no normal approximation and no constant of the prior
density, and so is a check on the other ways; it takes thousands of times as long.

Between stages each particle moves along the difference of two others (differential evolution, ter Braak 2006,
Statistics and Computing 16:239), which needs no scale and crosses between modes. A prior that does not tell components
apart lets a particle be replaced by its copy in the order of means.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from bayesgmm.checks import check_seed, check_whole
from bayesgmm.core.objective import Stacked
from bayesgmm.core.passes import pass_over
from bayesgmm.errors import InputError
from bayesgmm.inference.bridge import Evidence
from bayesgmm.inference.density import FusedDensity
from bayesgmm.inference.prior_draws import draw_prior

if TYPE_CHECKING:
    from bayesgmm.inference.map_fit import MapFit

Array = NDArray[np.float64]

_EFFECTIVE = 0.5  # share of particles that a stage leaves effective
_BISECTIONS = 60
_WHOLE_STEPS = 0.1  # share of moves by the whole difference of two particles, from mode to mode
_JITTER = 1e-4  # sds added to a move, so that particles can reach every point
_MOST_STAGES = 500


def temper(fit: MapFit, *, particles: int = 2000, moves: int = 20, runs: int = 4, seed: int = 0) -> Evidence:
    """Evidence of a model by independent runs, whose scatter is the error.

    Parameters
    ----------
    fit : MapFit
        Whose problem it is; its mode only centres the coordinates.
    particles : int, default 2000
    moves : int, default 20
        Of every particle between stages.
    runs : int, default 4
    seed : int

    Raises
    ------
    InputError
        If an argument is out of bounds, or the prior tells components apart or has learned scales.
    """
    for name, value, least in (("particles", particles, 100), ("moves", moves, 1), ("runs", runs, 2)):
        check_whole(name, value, least)
    check_seed(seed)
    priors = fit.problem.priors
    if priors.scales is not None or not priors.label_invariant or priors.weights_jeffreys:
        raise InputError("evidence: by 'smc' the prior must treat components alike, without learned scales")
    found = [_Run(fit, particles, np.random.default_rng((seed, j))).log_evidence(moves) for j in range(runs)]
    values = np.array(found)
    log_evidence = float(logsumexp(values) - math.log(runs))
    error = float(values.std(ddof=1) / math.sqrt(runs))
    reliable = error < 0.5
    advice = "the runs agree" if reliable else "the runs disagree; take more particles and moves"
    return Evidence(log_evidence, error, "sequential Monte Carlo", reliable, advice)


@dataclass
class _Particles:
    free: Array
    log_likelihood: Array
    log_density: Array


class _Run:
    """One population on its way from the prior to the posterior."""

    def __init__(self, fit: MapFit, n: int, rng: np.random.Generator) -> None:
        problem = fit.problem
        self._problem, self._near, self._rng = problem, fit.parameters, rng
        # coordinates as they are: the whitening serves the mode alone
        self._density = FusedDensity(problem.arrays, fit.parameters)
        self._inverse = np.linalg.inv(self._density.scale)
        self._at = self._evaluated(self._in_order(draw_prior(problem, n, rng)))

    def log_evidence(self, moves: int) -> float:
        """Of all labellings, in the traits' units."""
        beta, total = 0.0, 0.0
        for _ in range(_MOST_STAGES):
            step = self._step(beta)
            log_weights = step * self._at.log_likelihood
            total += float(logsumexp(log_weights) - math.log(len(log_weights)))
            beta += step
            self._resample(log_weights)
            for _ in range(moves):
                self._move(beta)
            if beta >= 1.0:
                return total + self._problem.log_likelihood_shift
            self._reorder()
        raise InputError(f"evidence: {_MOST_STAGES} stages do not reach the posterior; take more particles")

    def _step(self, beta: float) -> float:
        """The longest step after which half of the particles are effective."""

        def effective(step: float) -> float:
            w = step * self._at.log_likelihood
            return float(np.exp(2.0 * logsumexp(w) - logsumexp(2.0 * w))) / len(w)

        low, high = 0.0, 1.0 - beta
        if effective(high) >= _EFFECTIVE:
            return high
        for _ in range(_BISECTIONS):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if effective(middle) >= _EFFECTIVE else (low, middle)
        return low

    def _resample(self, log_weights: Array) -> None:
        n = len(log_weights)
        weights = np.exp(log_weights - logsumexp(log_weights))
        ladder = (self._rng.random() + np.arange(n)) / n
        chosen = np.minimum(np.searchsorted(np.cumsum(weights), ladder), n - 1)
        self._take(self._rng.permutation(chosen))

    def _take(self, chosen: NDArray[np.int64]) -> None:
        at = self._at
        self._at = _Particles(at.free[chosen], at.log_likelihood[chosen], at.log_density[chosen])

    def _move(self, beta: float) -> None:
        """One half moves along differences of the other, then the other way round."""
        n, size = self._at.free.shape
        half = n // 2
        order = self._rng.permutation(n)
        spread = self._at.free.std(axis=0)
        for mine, others in ((order[:half], order[half:]), (order[half:], order[:half])):
            first = self._rng.integers(len(others), size=len(mine))
            second = (first + self._rng.integers(1, len(others), size=len(mine))) % len(others)
            difference = self._at.free[others[first]] - self._at.free[others[second]]
            length = 2.38 / math.sqrt(2.0 * size) * np.exp(self._rng.normal(0.0, 0.5, len(mine)))
            length = np.where(self._rng.random(len(mine)) < _WHOLE_STEPS, 1.0, length)
            noise = _JITTER * spread * self._rng.standard_normal((len(mine), size))
            proposed = self._evaluated(self._at.free[mine] + length[:, None] * difference + noise)
            rise = _tempered(proposed, beta) - _tempered(self._at, beta)[mine]
            accepted = np.log(self._rng.random(len(mine))) < rise
            to = mine[accepted]
            self._at.free[to] = proposed.free[accepted]
            self._at.log_likelihood[to] = proposed.log_likelihood[accepted]
            self._at.log_density[to] = proposed.log_density[accepted]

    def _reorder(self) -> None:
        stacked = self._problem.arrays.stacked(self._at.free, self._near)
        self._at.free = self._in_order(stacked)

    def _in_order(self, stacked: Stacked) -> Array:
        """Free coordinates (n, n_free) of draws, components in the order of their means."""
        arrays, n_df = self._problem.arrays, self._near.n_df
        each = (replace(stacked.at(j), n_df=n_df).sorted() for j in range(len(stacked.pi)))
        return np.stack([arrays.free(parameters) for parameters in each])

    def _evaluated(self, free: Array) -> _Particles:
        points = (free - self._density.centre) @ self._inverse.T
        total = self._density.values(points)
        stacked = self._problem.arrays.stacked(free, self._near)
        # a weight too small for a number has no logarithm
        stacked = stacked._replace(pi=np.maximum(stacked.pi, np.finfo(float).tiny))
        log_likelihood = pass_over(self._problem.arrays.sample, stacked).log_likelihood
        bad = ~(np.isfinite(total) & np.isfinite(log_likelihood))
        return _Particles(free, np.where(bad, -1e300, log_likelihood), np.where(bad, -np.inf, total))


def _tempered(at: _Particles, beta: float) -> Array:
    """Log of prior times likelihood to a power, in the flat coordinates."""
    value: Array = at.log_density - (1.0 - beta) * at.log_likelihood
    return value
