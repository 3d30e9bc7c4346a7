"""The distribution of each trait alone under a mixture, person by person."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayesgmm.core.gaussian import covariances_from_roots
from bayesgmm.core.mixture_cdf import Component, Located, Point, Spread, mixture_tails, normal_scores
from bayesgmm.core.objective import Parameters
from bayesgmm.core.ties import Cells
from bayesgmm.problem import Problem

Array = NDArray[np.float64]
Rows = NDArray[np.int64] | slice

_FEWEST = 3.0  # people of the noise, whose range says nothing when they are fewer


@dataclass(frozen=True)
class Margin:
    """One trait under a mixture.

    Attributes
    ----------
    weights : ndarray (n_samples or 1, n_components)
        One row where they are everybody's.
    components : tuple of Component
    shifted : ndarray (n_samples or 1,)
        What covariates add to every mean.
    """

    weights: Array
    components: tuple[Component, ...]
    shifted: Array

    def tails(self, values: Array, rows: Rows) -> tuple[Array, Array]:
        """Probability below and above the values (..., n_rows) of some people."""
        weights = self.weights if len(self.weights) == 1 else self.weights[rows]
        shifted = self.shifted if len(self.shifted) == 1 else self.shifted[rows]
        return mixture_tails(values, weights, self.components, shifted)

    def residuals(self, values: Array, rows: Rows, cells: Cells, rng: np.random.Generator) -> Array:
        """Quantile residuals (n_rows,) of some people; drawn within the cell of a value where values repeat."""
        if not cells.repeated:
            return normal_scores(*self.tails(values, rows))
        half = cells.half_at(values)
        from_low, from_high = self.tails(values - half, rows), self.tails(values + half, rows)
        share = rng.random(len(values))
        below, above = ((1.0 - share) * low + share * high for low, high in zip(from_low, from_high, strict=True))
        return normal_scores(below, above)

    def pooled(self, values: Array, rows: Rows) -> Array:
        """Probability below each value (m,), averaged over some people."""
        pooled: Array = self.tails(values[:, None], rows)[0].mean(axis=1)
        return pooled


def margins_of(problem: Problem, parameters: Parameters) -> list[Margin]:
    """The margin of every trait."""
    same = not problem.predictor_names
    at = problem.predictors[:1] if same else problem.predictors
    weights = np.exp(problem.log_weights_at(at, parameters, None if same else problem.uncertain))
    spreads = np.sqrt(np.diagonal(covariances_from_roots(parameters.roots), axis1=1, axis2=2))
    dfs = parameters.df.tolist() or [None] * problem.n_located
    return [
        Margin(
            weights=weights,
            components=(
                *(
                    Located(problem.centre[d] + unit * mean, unit * sd, df)
                    for mean, sd, df in zip(parameters.means[:, d], spreads[:, d], dfs, strict=True)
                ),
                *_fixed(problem, d, weights),
            ),
            shifted=np.zeros(1)
            if not problem.covariate_names
            else problem.covariates @ (parameters.shifts[:, d] * unit / problem.covariate_unit),
        )
        for d, unit in enumerate(problem.unit)
    ]


def _fixed(problem: Problem, d: int, weights: Array) -> list[Component]:
    """Noise and a spike, in the order of the components.

    The box of the noise ends at the outermost people, who would have nobody of the noise beyond them. For the
    distribution it is widened to the unbiased estimate of a uniform's range, ``(m + 1) / (m - 1)`` of the observed.
    """
    box, spike = problem.fixed.noise, problem.fixed.spike
    found: list[Component] = []
    if box is not None:
        m = max(float(weights[:, problem.n_located].mean()) * problem.n_effective, _FEWEST)
        found.append(Spread.of(float(box.mean[d]), box.axes[d] * (box.high - box.low) * ((m + 1.0) / (m - 1.0))))
    return found if spike is None else [*found, Point(float(spike[d]))]
