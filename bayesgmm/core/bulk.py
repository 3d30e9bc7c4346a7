r"""Who is among the many: people who are not far from the others in any trait, by medians and quartiles.

A single stray of any size, or a few people with a code for missing (99999), may be all there is of a sample covariance.
Medians and quartiles do not notice them, so distances are measured in the standard deviation that a Gaussian of these
quartiles has, :math:`(q_{75} - q_{25}) / 1.349`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

FAR = 6.0  # such standard deviations from the median: of Gaussian data one in five hundred million
_QUARTILES = 2.0 * 0.6744897501960817  # distance of a standard normal's quartiles
_MEDIAN = 0.6744897501960817  # median of a standard normal's absolute value


def in_bulk(traits: Array, shares: Array | None = None) -> Mask:
    """Who is within six robust standard deviations of the median in every known trait (n_people,).

    Where the quartiles of a trait are one value, as of zeros and a few others, the standard deviation is that of the
    median distance of those who have another value.

    Parameters
    ----------
    traits : ndarray (n_people, n_traits)
        NaN where missing.
    shares : ndarray (n_people,), optional
        How many people each stands for.
    """
    inside = np.ones(len(traits), dtype=bool)
    for d in range(traits.shape[1]):
        known = ~np.isnan(traits[:, d])
        values = traits[known, d]
        if not len(values):
            continue
        weight = None if shares is None else shares[known]
        low, middle, high = _quantiles(values, weight, (0.25, 0.5, 0.75))
        distance = np.abs(values - middle)
        spread = (high - low) / _QUARTILES
        if not spread > 0.0:
            others = distance > 0.0
            if not others.any():
                continue
            spread = _quantiles(distance[others], None if weight is None else weight[others], (0.5,))[0] / _MEDIAN
        inside[known] &= distance <= FAR * spread
    return inside


def _quantiles(values: Array, weight: Array | None, at: tuple[float, ...]) -> list[float]:
    """The smallest values up to which these shares of people are: of people twice as of a weight of two."""
    if weight is None:
        places = [max(int(np.ceil(q * len(values))) - 1, 0) for q in at]
        ordered = np.partition(values, places)
        return [float(ordered[place]) for place in places]
    order = np.argsort(values, kind="stable")
    below = np.cumsum(weight[order])
    found = np.minimum(np.searchsorted(below, np.array(at) * below[-1]), len(values) - 1)
    return [float(v) for v in values[order[found]]]
