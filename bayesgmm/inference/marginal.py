r"""Density of one log odds ratio at zero by Laplace's method: what is left after everything else is integrated out.

The marginal posterior density of a linear function :math:`a'\theta` at :math:`v` is the ratio of two integrals of the
joint density, each by Laplace's approximation: over the plane where :math:`a'\theta = v`, around the highest point
there, and over all (Tierney and Kadane 1986, JASA 81:82). Where an effect is many standard deviations from zero no
draw comes near it, and a normal tail is off by orders of magnitude; this follows the density out there.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from bayesgmm.core.effect_density import SPIKE_SLAB
from bayesgmm.core.objective import Parameters
from bayesgmm.inference.density import FusedDensity, WhitenedDensity
from bayesgmm.problem import Problem

Array = NDArray[np.float64]

_STEPS = 40
_HALVINGS = 30
_DONE = 1e-9  # log units that a step would gain
_DIFFERENCE = 1e-5  # of central differences of the gradient, in coordinates of order one


class EffectsAtNone:
    """Densities at zero of the pairwise log odds ratios of one problem.

    Parameters
    ----------
    problem : Problem
    near : Parameters
        Standardised; where the search for the mode begins.
    """

    def __init__(self, problem: Problem, near: Parameters) -> None:
        self._problem = problem
        self._density: FusedDensity | None = None
        self._level = math.nan
        if problem.family.linear and problem.priors.scales is None and len(near.beta):
            self._density = FusedDensity(problem.arrays, near)
            sign, log_det = np.linalg.slogdet(_curvature(self._density, np.zeros(self._density.size), None))
            if sign > 0.0:
                self._level = self._density(np.zeros(self._density.size))[0] - 0.5 * float(log_det)

    def log_density(self, p: int, high: int, low: int) -> float:
        """Log posterior density at zero of predictor ``p``'s log odds ratio of component ``high`` against ``low``.

        NaN where the method does not apply: a curved covariance family, scales that are learned, a spike and slab
        (whose posterior has many modes), or a density that is not curved downwards.
        """
        density, priors = self._density, self._problem.priors
        if density is None or priors.effect_kind[p] == SPIKE_SLAB or not math.isfinite(self._level):
            return math.nan
        free = self._problem.n_components - 1
        direction = np.zeros(density.size)
        for component, sign in ((high, 1.0), (low, -1.0)):
            if component > 0:
                direction[free * (1 + p) + component - 1] += sign / self._problem.predictor_unit[p]
        within = density.scale.T @ direction
        length = float(np.linalg.norm(within))
        height = _highest_on_plane(density, within / length, -float(direction @ density.centre) / length)
        return height - self._level - 0.5 * math.log(2.0 * math.pi) - math.log(length)


def _highest_on_plane(density: WhitenedDensity, normal: Array, distance: float) -> float:
    """Laplace's log integral over the plane ``normal @ x = distance``, but for the powers of two pi; NaN on failure."""
    size = density.size
    # the first column of an orthogonal matrix that begins with the normal, and the rest of it: the plane's directions
    basis = np.linalg.qr(np.column_stack((normal, np.eye(size))))[0][:, 1:size]
    x = distance * normal
    value, gradient = density(x)
    for _ in range(_STEPS):
        if not (math.isfinite(value) and np.isfinite(gradient).all()):
            return math.nan
        curvature, turns = np.linalg.eigh(_curvature(density, x, basis)) if size > 1 else (np.ones(0), np.ones((0, 0)))
        slope = turns.T @ (basis.T @ gradient)
        step = slope / np.maximum(np.abs(curvature), 1e-3)
        if float(slope @ step) < _DONE:
            if (curvature <= 0.0).any():
                return math.nan
            return value - 0.5 * float(np.log(curvature).sum())
        move, share = basis @ (turns @ step), 1.0
        for _ in range(_HALVINGS):
            trial_value, trial_gradient = density(np.ascontiguousarray(x + share * move))
            if math.isfinite(trial_value) and trial_value > value:
                break
            share *= 0.5
        else:
            return math.nan
        x, value, gradient = x + share * move, trial_value, trial_gradient
    return math.nan


def _curvature(density: WhitenedDensity, x: Array, basis: Array | None) -> Array:
    """Negative Hessian at a point, along all coordinates or along the columns of a basis."""
    directions = np.eye(density.size) if basis is None else basis
    rows = np.empty((directions.shape[1], directions.shape[1]))
    for j, direction in enumerate(directions.T):
        ahead = density(np.ascontiguousarray(x + _DIFFERENCE * direction))[1]
        behind = density(np.ascontiguousarray(x - _DIFFERENCE * direction))[1]
        rows[j] = directions.T @ (behind - ahead) / (2.0 * _DIFFERENCE)
    result: Array = 0.5 * (rows + rows.T)
    return result
