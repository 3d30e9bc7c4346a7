"""Statistics of the shape of a distribution that need no model: skewness, kurtosis, modes and people far out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

Array = NDArray[np.float64]

STATISTICS = ("skewness", "kurtosis", "modes", "far below", "far above")

_REACH = 3.0  # median absolute deviations from the median, beyond which is far
_GRID = 512  # points on which densities are estimated, at least
_FINE = 4.0  # of them in a bandwidth, at least
_MOST = 16_384
_FAR = 1000.0  # bandwidths from the quartiles
_A_MODE = 0.05  # of the highest: a lower bump is no mode


def shape_of(values: Array, weight: Array | None = None) -> Array:
    """The ``STATISTICS`` of values (n,): skewness, excess kurtosis, modes, and the shares of people far out.

    Far is more than three median absolute deviations from the median; see :func:`count_modes` for modes.
    """
    ascending, cumulative = in_order(values, weight)
    share = np.full(len(values), 1.0 / len(values)) if weight is None else weight / weight.sum()
    centred = values - values @ share
    squared = centred * centred
    variance = float(squared @ share)
    if not variance > 0.0:
        return np.array([0.0, 0.0, 1.0, 0.0, 0.0])
    median = float(np.interp(0.5, cumulative, ascending))
    away = np.abs(values - median)
    reach = _REACH * float(np.interp(0.5, *in_order(away, weight)[::-1]))
    return np.array(
        [
            ((squared * centred) @ share) / variance**1.5,
            ((squared * squared) @ share) / variance**2 - 3.0,
            count_modes(values, share, effective(len(values), weight), ascending, cumulative),
            share[values < median - reach].sum(),
            share[values > median + reach].sum(),
        ]
    )


def effective(n: int, weight: Array | None) -> float:
    """People that weighted ones are worth: ``(sum w)^2 / sum w^2`` (Kish 1965)."""
    return float(n) if weight is None else float(weight.sum() ** 2 / (weight**2).sum())


def in_order(values: Array, weight: Array | None = None) -> tuple[Array, Array]:
    """Values ascending and the share of people up to the middle of each, for :func:`numpy.interp`."""
    if weight is None:
        return np.sort(values), (np.arange(len(values)) + 0.5) / len(values)
    order = np.argsort(values, kind="stable")
    w = weight[order]
    return values[order], (np.cumsum(w) - 0.5 * w) / w.sum()


def count_modes(values: Array, share: Array, n: float, ascending: Array, cumulative: Array) -> int:
    """Modes of a kernel density estimate with the bandwidth of Silverman (1986, eq. 3.31).

    ``0.9 min(sd, IQR / 1.34) n^(-1/5)``. A rule that is the same for the people and for replicated ones is what is
    needed here; bumps below 5% of the highest mode are left out.
    """
    mean = float(values @ share)
    spread = float(np.sqrt((values - mean) ** 2 @ share))
    quartiles = np.interp([0.25, 0.75], cumulative, ascending)
    iqr = float(quartiles[1] - quartiles[0]) / 1.34
    bandwidth = 0.9 * (min(spread, iqr) if iqr > 0.0 else spread) * n**-0.2
    # far outliers, who are no mode, would leave the grid too coarse for the others
    low = max(ascending[0], quartiles[0] - _FAR * bandwidth) - 3.0 * bandwidth
    high = min(ascending[-1], quartiles[1] + _FAR * bandwidth) + 3.0 * bandwidth
    near = (values > low) & (values < high)
    size = int(np.clip((high - low) / bandwidth * _FINE, _GRID, _MOST))
    step = (high - low) / size
    place = np.minimum(((values[near] - low) / step).astype(np.int64), size - 1)
    density = gaussian_filter1d(np.bincount(place, share[near], minlength=size), bandwidth / step, mode="constant")
    rises = np.diff(density)
    moving = rises != 0.0  # a flat top is one mode
    up, heights = rises[moving] > 0.0, density[1:][moving]
    tops = up[:-1] & ~up[1:]
    return int((heights[:-1][tops] > _A_MODE * density.max()).sum())


def pair_correlations(scores: Array, weight: Array | None = None) -> Array:
    """Correlations of every pair of columns of scores (n, D), NaN where missing, about zero; (D (D - 1) / 2,).

    Each is over the people who have both.
    """
    there = ~np.isnan(scores)
    filled = np.where(there, scores, 0.0)
    counted = filled if weight is None else filled * weight[:, None]
    products, squares = counted.T @ filled, (counted * filled).T @ there
    pairs = np.triu_indices(scores.shape[1], 1)
    size = np.sqrt(squares[pairs] * squares.T[pairs])
    found: Array = products[pairs] / np.where(size > 0.0, size, 1.0)
    return found
