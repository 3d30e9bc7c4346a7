r"""Distribution function and density of one trait under a mixture, and quantile residuals.

With weights ``w_ik`` of the person's own, ``F_i(y) = sum_k w_ik G_k(y)``. A residual is ``Phi^-1(F_i(y_i))`` (Dunn and
Smyth 1996, Journal of Computational and Graphical Statistics 5:236): standard normal where the mixture is right,
whatever its shape and the person's predictors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, ndtr, ndtri, stdtr

Array = NDArray[np.float64]

_SMALLEST = 1e-300  # probability of a tail below which a number has no room; a residual of 37
_GRID = 4097  # points on which the distribution of a sum of uniforms is held
_NARROW = 1e-3  # of the sum's range: uniforms narrower than this are left out of it


class Component(Protocol):
    """One trait of one component."""

    def tails(self, values: Array, shifted: Array | float) -> tuple[Array, Array]:
        """Probability below and above values, of people whose covariates add ``shifted`` to the mean."""
        ...


@dataclass(frozen=True)
class Located:
    """Normal, or Student-t with ``df`` degrees of freedom, about a mean that covariates shift."""

    mean: float
    sd: float
    df: float | None = None

    def tails(self, values: Array, shifted: Array | float) -> tuple[Array, Array]:
        """See :class:`Component`."""
        z = (values - shifted - self.mean) / self.sd
        return (ndtr(z), ndtr(-z)) if self.df is None else (stdtr(self.df, z), stdtr(self.df, -z))

    def density(self, values: Array) -> Array:
        """Density at values, of people whose covariates add nothing."""
        z = (values - self.mean) / self.sd
        if self.df is None:
            return np.exp(-0.5 * z * z) / (np.sqrt(2.0 * np.pi) * self.sd)
        half = 0.5 * (self.df + 1.0)
        constant = gammaln(half) - gammaln(0.5 * self.df) - 0.5 * np.log(np.pi * self.df)
        result: Array = np.exp(constant - half * np.log1p(z * z / self.df)) / self.sd
        return result


@dataclass(frozen=True, eq=False)
class Spread:
    """Noise: a sum of uniforms, one for each side of a box that need not lie along the traits' axes.

    Attributes
    ----------
    points, below : ndarray (m,)
        Values, and the probability below them.
    """

    points: Array
    below: Array

    @classmethod
    def of(cls, centre: float, widths: Array) -> Spread:
        """The sum of uniforms of these widths (D,), about its centre.

        The distribution function of a sum is that of the sum without one uniform, averaged over that one's width.
        """
        widths = np.sort(np.abs(widths))[::-1]
        reach = 0.5 * float(widths.sum())
        points = np.linspace(-reach, reach, _GRID)
        below = np.clip(points / widths[0] + 0.5, 0.0, 1.0)
        for width in widths[1:][widths[1:] > _NARROW * reach]:
            steps = 0.5 * (below[1:] + below[:-1]) * np.diff(points)
            integral = np.concatenate(([0.0], np.cumsum(steps)))

            def up_to(at: Array, integral: Array = integral) -> Array:
                # beyond the grid the distribution function is 0 or 1
                return np.interp(at, points, integral) + np.maximum(at - reach, 0.0)

            below = (up_to(points + 0.5 * width) - up_to(points - 0.5 * width)) / width
        return cls(centre + points, below)

    def tails(self, values: Array, shifted: Array | float) -> tuple[Array, Array]:
        """See :class:`Component`; noise is not shifted."""
        below = np.interp(values, self.points, self.below, left=0.0, right=1.0)
        return below, 1.0 - below

    def density(self, values: Array) -> Array:
        """Density at values: how fast the distribution function rises."""
        rise = np.diff(self.below) / np.diff(self.points)
        at = np.searchsorted(self.points, values, side="right") - 1
        inside = (at >= 0) & (at < len(rise))
        return np.where(inside, rise[np.clip(at, 0, len(rise) - 1)], 0.0)


@dataclass(frozen=True)
class Point:
    """A spike: everybody at one value, who count half as below it and half as above."""

    value: float

    def tails(self, values: Array, shifted: Array | float) -> tuple[Array, Array]:
        """See :class:`Component`; a spike is not shifted."""
        below = 0.5 * (1.0 + np.sign(values - self.value))
        return below, 1.0 - below


def mixture_tails(
    values: Array, weights: Array, components: Sequence[Component], shifted: Array | float = 0.0
) -> tuple[Array, Array]:
    """Probability below and above values; both, since one of them has no digits left far out.

    Parameters
    ----------
    values : ndarray (...)
    weights : ndarray (..., n_components)
        Of each person, or one row for all; leading dims broadcast against the values.
    components : sequence of Component
    shifted : ndarray (...) or float
        What the person's covariates add to every mean.

    Returns
    -------
    below, above : ndarray (...)
    """
    shape = np.broadcast_shapes(np.shape(values), np.shape(shifted), weights.shape[:-1])
    below, above = np.zeros(shape), np.zeros(shape)
    for k, component in enumerate(components):
        of_below, of_above = component.tails(values, shifted)
        below += weights[..., k] * of_below
        above += weights[..., k] * of_above
    return below, above


def normal_scores(below: Array, above: Array) -> Array:
    """Standard normal quantiles of probabilities given from both ends, from the end that has the digits."""
    tail = ndtri(np.maximum(np.minimum(below, above), _SMALLEST))
    scores: Array = np.where(below <= above, tail, -tail)
    return scores
