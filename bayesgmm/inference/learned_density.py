r"""The log posterior of effects and the scales that are learned with them, non-centred.

Coordinates are those of :class:`bayesgmm.inference.density.FusedDensity` with :math:`z_p` in place of the effects,

.. math:: \beta_p = b_p + s_p(\theta)\, z_p, \qquad z_p \sim N(0, \tfrac12 (I + 11')),

then :math:`\theta`, the logarithms of the scales. A priori all of these are independent, which keeps a sampler out of
the funnel that effects and a small scale make (Betancourt and Girolami 2015). Value and gradient are those of the
compiled log posterior under a flat prior of the effects, by the chain rule, plus the priors of ``z`` and ``theta``.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bayesgmm.core.objective import Parameters, Stacked
from bayesgmm.core.posterior import value_and_gradient
from bayesgmm.core.scale_model import ScaleModel
from bayesgmm.core.weights import WeightsPrior
from bayesgmm.errors import InputError
from bayesgmm.inference.density import LEAST_CURVATURE, FusedDensity, WhitenedDensity
from bayesgmm.problem import Problem

Array = NDArray[np.float64]

_LEAST_CURVATURE = 0.5  # of the scales, whose priors have more than that at their modes
_FURTHEST = 300.0  # logarithm of a scale beyond which it is no number to compute with


def posterior_density(problem: Problem, start: Parameters) -> FusedDensity | LearnedDensity:
    """What a sampler of this problem evaluates, without PyMC."""
    if problem.priors.scales is None:
        return FusedDensity(problem.arrays, start)
    return LearnedDensity(problem, start)


class LearnedDensity(WhitenedDensity):
    """Log posterior with learned scales, and the Jacobian of its coordinates.

    Parameters
    ----------
    problem : Problem
        Whose effects have a prior with learned scales.
    start : Parameters
        Where to begin the search for the mode: the MAP given the scales at their prior medians.
    """

    def __init__(self, problem: Problem, start: Parameters) -> None:
        self._scales = scales_of(problem)
        self._unit = problem.predictor_unit
        own = problem.arrays.weights_prior
        self._mean = own.effect_mean
        flat = replace(own, effect_sd=np.full(len(own.effect_sd), np.inf))
        self._arrays, self._near = replace(problem.arrays, weights_prior=flat), start
        arrays = self._arrays
        # chains run side by side, so a pass is not shared among threads
        self._data = (arrays.sample, arrays.engine(threads=False), arrays.hyper, arrays.tie)
        self._standard = standard_effects(own)
        self._precision = self._standard.effect_precision()[0]
        self._constant = float(self._standard.log_constants().sum())
        free = arrays.n_components - 1
        self._beta = slice(free, free * (1 + len(own.effect_sd)))
        self._n_core = arrays.n_free
        at = problem.priors.scales_at
        super().__init__(self.coordinates(start, self._scales.median if at is None else at))

    # -- coordinates ------------------------------------------------------------------------------

    def coordinates(self, parameters: Parameters, theta: Array) -> Array:
        """Coordinates (size,), not whitened, of parameters and scales."""
        free = self._arrays.free(parameters)
        z = (parameters.beta - self._mean) / self._sds(theta)[:, None]
        free[self._beta] = z.ravel()
        return np.concatenate((free, theta))

    def theta(self, points: Array) -> Array:
        """Coordinates of the scales (..., n_scales) at the sampler's points (..., size)."""
        result: Array = self.centre[self._n_core :] + points @ self.scale[self._n_core :].T
        return result

    def stacked(self, points: Array) -> Stacked:
        """Parameters of the mixture (standardised) at many points (n, size)."""
        at = self.centre + points @ self.scale.T
        free, theta = at[:, : self._n_core].copy(), at[:, self._n_core :]
        z = free[:, self._beta].reshape(len(at), *self._mean.shape)
        free[:, self._beta] = (self._mean + self._sds(theta)[..., None] * z).reshape(len(at), -1)
        return self._arrays.stacked(free, self._near)

    def parameters(self, x: Array) -> Parameters:
        """Parameters of the mixture (standardised) at ``x`` (size,)."""
        return self.stacked(x[None]).at(0)

    def permuted(self, coordinates: Array, order: NDArray[np.int64]) -> Array:
        """Coordinates, not whitened, with components exchanged; the scales stay.

        What is exchanged of the effects is ``z``, which is a linear map whatever the scales, and the effects themselves
        where their prior means are zero.
        """
        z = self._arrays.of_free(coordinates[: self._n_core], self._near)
        return np.concatenate((self._arrays.free(z.permuted(order)), coordinates[self._n_core :]))

    def _sds(self, theta: Array) -> Array:
        """Scales (..., P) of the effects of standardised predictors."""
        sds: Array = self._scales.sds(theta) * self._unit
        return sds

    # -- density ----------------------------------------------------------------------------------

    def __call__(self, x: Array) -> tuple[float, Array]:
        """Log density and gradient at ``x`` (size,)."""
        at = self.centre + self.scale @ x
        free, theta = at[: self._n_core], at[self._n_core :]
        if not np.abs(theta).max() < _FURTHEST:
            return -np.inf, np.zeros(self.size)
        scales = self._scales
        sds = self._sds(theta)
        z = free[self._beta].reshape(self._mean.shape)
        free = free.copy()
        free[self._beta] = (self._mean + sds[:, None] * z).ravel()
        gradient = np.empty(self.size)
        value = value_and_gradient(free, *self._data, True, gradient[: self._n_core])
        through = gradient[self._beta].reshape(z.shape) * sds[:, None]
        pull = z @ self._precision
        value += self._constant - 0.5 * float((pull * z).sum()) + float(scales.log_density(theta))
        gradient[self._n_core :] = (through * z).sum(axis=1) @ scales.slopes(theta) + scales.gradient(theta)
        gradient[self._beta] = (through - pull).ravel()
        return float(value), gradient @ self.scale

    def _information(self) -> Array:
        """Curvature with each block on its own: the effects' given the scales and the scales' given the effects.

        What they have in common changes its sign with an effect, so it is of no use for units.
        """
        rows, result = self._differences(), np.zeros((self.size, self.size))
        scales = np.arange(self.size) >= self._n_core
        for block, least in ((~scales, LEAST_CURVATURE), (scales, _LEAST_CURVATURE)):
            here = np.ix_(block, block)
            curvature, directions = np.linalg.eigh(rows[here])
            result[here] = (directions * np.maximum(curvature, least)) @ directions.T
        return result


def scales_of(problem: Problem) -> ScaleModel:
    """Prior of the scales of a problem that has them.

    Raises
    ------
    InputError
        If it has none.
    """
    scales = problem.priors.scales
    if scales is None:
        raise InputError(
            "the scales of this model's effects are given, not learned; see LogOddsGroups, LogOddsHorseshoe"
        )
    return scales


def standard_effects(prior: WeightsPrior) -> WeightsPrior:
    """Prior of effects at mean zero and scale one."""
    return WeightsPrior(prior.concentration, np.zeros(prior.effect_mean.shape), np.ones(len(prior.effect_sd)))


def log_density_given_scales(problem: Problem, beta: Array, theta: Array) -> Array:
    """Log density (..., P) of standardised effects (..., P, K-1) given the scales (..., n_scales)."""
    prior = problem.arrays.weights_prior
    sds = scales_of(problem).sds(theta) * problem.predictor_unit
    z = (beta - prior.effect_mean) / sds[..., None]
    value: Array = standard_effects(prior).log_density_effects(z) - (problem.n_components - 1) * np.log(sds)
    return value
