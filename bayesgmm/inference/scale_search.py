r"""Scales of the effects for a MAP fit where they are learned: the mode of their own posterior, by Laplace and EM.

The joint density of effects and scales is infinite where a scale is zero and its effects are at their mean, so a MAP
fit is one given the scales. They are those at which

.. math:: \log p(\theta) + \log p(y \mid \theta)

is highest, :math:`\theta` the logarithms of the scales and the effects integrated out (empirical Bayes with a prior;
MacKay 1992, Neural Computation 4:415). EM climbs it: expected squared effects by the normal approximation at the mode
given the scales, then the scales that suit them, then the mode again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bayesgmm.core.scale_model import ScaleModel
from bayesgmm.errors import FitWarning, warn
from bayesgmm.inference.learned_density import standard_effects
from bayesgmm.inference.map_fit import MapFit
from bayesgmm.problem import Problem

Array = NDArray[np.float64]

_ROUNDS = 60
_STEPS = 4  # of the scales in each
_DIFFERENCE = 1e-5
_LEAST_CURVATURE = 0.05  # of the prior of a log scale, which a half-Cauchy has less of far out
_LONGEST = 2.0  # step of a log scale
_SETTLED = 0.01  # relative change of every effect's scale at which they have settled


def with_fitted_scales(fit: MapFit, climb: Callable[[Problem, MapFit], MapFit]) -> MapFit:
    """The fit given the scales at the mode of their posterior.

    Parameters
    ----------
    fit : MapFit
        Given any scales.
    climb : callable
        Fits a problem from an earlier fit.

    Returns
    -------
    MapFit
        Its problem's ``priors.effect_sd`` and ``priors.scales_at`` say which scales it was given; its starts are those
        of ``fit``. With a warning the last scales tried, where they do not settle or there is no normal approximation.
    """
    problem = fit.problem
    scales = problem.priors.scales
    assert scales is not None
    theta = problem.priors.scales_at if problem.priors.scales_at is not None else scales.median
    now = replace(fit, problem=_given(problem, scales, theta, known=False), information=None)
    for _ in range(_ROUNDS):
        squares = _expected_squares(now)
        if not np.isfinite(squares).all():
            _tell("the log posterior is not curved downwards at the mode")
            break
        new = _better_scales(scales, theta, squares, problem)
        moved = float(np.abs(scales.sds(new) / scales.sds(theta) - 1.0).max())
        theta = new
        now = climb(_given(problem, scales, theta, known=False), now)
        if moved < _SETTLED:
            break
    else:
        _tell(f"after {_ROUNDS} rounds they still moved by {moved:.2g}")
    return replace(now, problem=_given(problem, scales, theta, known=True), start_rows=fit.start_rows)


def _tell(why: str) -> None:
    warn(f"the scales of the effects that the fit is given have not settled: {why}; sample the posterior", FitWarning)


def _given(problem: Problem, scales: ScaleModel, theta: Array, *, known: bool) -> Problem:
    """The problem given the scales: a normal prior of the effects, which remembers them when ``known``."""
    sds = scales.sds(theta)
    priors = replace(
        problem.priors, effect_sd=sds, scales=scales if known else None, scales_at=theta if known else None
    )
    return problem.with_resolved(priors)


def _expected_squares(fit: MapFit) -> Array:
    """Expected squared lengths (P,) of the standardised effects about their prior means, were their scale one."""
    problem = fit.problem
    free, size = problem.n_components - 1, len(problem.predictor_names)
    prior = problem.arrays.weights_prior
    precision = standard_effects(prior).effect_precision()[0]
    offset = fit.parameters.beta - prior.effect_mean
    block = slice(free, free * (1 + size))
    covariance = fit.covariance_matrix[block, block].reshape(size, free, size, free)
    own = np.einsum("pkpl->pkl", covariance)
    squares: Array = np.einsum("kl,pkl->p", precision, own + offset[:, :, None] * offset[:, None, :])
    return squares


def _better_scales(scales: ScaleModel, start: Array, squares: Array, problem: Problem) -> Array:
    """Scales of a higher expected log density of effects and scales: a few damped Gauss-Newton steps."""
    free, learned, unit = problem.n_components - 1, scales.learned, problem.predictor_unit

    def height(theta: Array) -> float:
        logs = np.log(scales.sds(theta) * unit)[learned]
        return float(
            -free * logs.sum() - 0.5 * (squares[learned] * np.exp(-2.0 * logs)).sum() + scales.log_density(theta)
        )

    theta, value = start, height(start)
    # the next round changes what suits best, so a few steps will do (generalised EM)
    for _ in range(_STEPS):
        ratio = np.where(learned, squares / (scales.sds(theta) * unit) ** 2, 0.0)
        slopes = scales.slopes(theta)
        gradient = np.where(learned, ratio - free, 0.0) @ slopes + scales.gradient(theta)
        # scales are independent a priori, so one difference has every curvature
        own = (scales.gradient(theta - _DIFFERENCE) - scales.gradient(theta + _DIFFERENCE)) / (2.0 * _DIFFERENCE)
        information = 2.0 * (slopes.T * ratio) @ slopes + np.diag(np.maximum(own, _LEAST_CURVATURE))
        step = np.clip(np.linalg.solve(information, gradient), -_LONGEST, _LONGEST)
        length = 1.0
        while length > 1e-3 and not height(theta + length * step) > value:
            length *= 0.5
        if length <= 1e-3:
            break
        theta = theta + length * step
        value = height(theta)
    return theta
