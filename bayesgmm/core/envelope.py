"""Is one data set among replicated ones? Ranks, an envelope around a whole curve, and several checks at once.

Row 0 of every table is what was observed and the others are replicates, so that under the model all rows are alike and
a rank among them is an exact probability.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_TAIL = 0.025  # on each side of the pointwise intervals by which deviations are scaled
_RANK = 1e-6  # of the largest singular value: directions below are none
_MOST_LEVERAGE = 0.5


def rank_p_values(table: Array, *, two_sided: bool = True) -> Array:
    """Probability of a value as extreme as each row's (n_rows, ...), among all rows; large ones if one-sided."""
    n = len(table)
    flat = table.reshape(n, -1)
    ordered = np.sort(flat, axis=0)
    p = np.empty(flat.shape)
    for j in range(flat.shape[1]):
        as_large = n - np.searchsorted(ordered[:, j], flat[:, j], "left")
        as_small = np.searchsorted(ordered[:, j], flat[:, j], "right")
        p[:, j] = np.minimum(1.0, 2.0 * np.minimum(as_large, as_small) / n) if two_sided else as_large / n
    return p.reshape(table.shape)


def envelope(curves: Array, level: float) -> tuple[Array, Array, Array]:
    """How far each curve (n_rows, m) strays, and the band that holds a share ``1 - level`` of them over their length.

    A curve's distance is its largest deviation from the median curve, in pointwise 95% half widths of its side (the
    directional quantile envelope of Myllymaki et al. 2017, JRSS B 79:381, there with studentised deviations).

    Returns
    -------
    distance : ndarray (n_rows,)
    lower, upper : ndarray (m,)
    """
    low, middle, high = np.quantile(curves, [_TAIL, 0.5, 1.0 - _TAIL], axis=0)
    least = 1e-12 * max(float(np.abs(curves).max()), np.finfo(float).tiny)
    down, up = np.maximum(middle - low, least), np.maximum(high - middle, least)
    away = curves - middle
    distance = np.maximum(away / up, -away / down).max(axis=1)
    reach = float(np.quantile(distance, 1.0 - level, method="higher"))
    return distance, middle - reach * down, middle + reach * up


def adjusted(p_values: Array) -> Array:
    """Probability that the smallest of the p-values of a row (n_rows, m) is as small as each of row 0's (m,).

    The single-step method of Westfall and Young (1993): like Bonferroni's, but knows how the checks go together.
    """
    smallest = p_values.min(axis=1)
    together: Array = (smallest[:, None] <= p_values[0]).mean(axis=0)
    return together


def given_estimates(statistics: Array, features: Array) -> Array:
    """Statistics (n_rows, m) freed of what the estimates say of them, by a regression on features (n_rows, q).

    A mixture is fitted to the people, so that its replicates have the people's skewness on average and the plain
    predictive p-value is too near one half. What is wanted is the statistic's distribution given the estimates (Bayarri
    and Berger 2000, JASA 95:1127; Robins, van der Vaart and Ventura 2000, JASA 95:1143); a regression of replicates'
    statistics on the replicates' own estimates gives it to first order (Beaumont et al. 2002, Genetics 162:2025).
    Replicates are each predicted without themselves, so that they stray as far as a new data set would.
    """
    centred = features - features[0]
    scale = centred.std(axis=0)
    moving = scale > 0.0
    design = np.column_stack((np.ones(len(features)), centred[:, moving] / scale[moving]))[1:]
    basis, values, _ = np.linalg.svd(design, full_matrices=False)
    basis = basis[:, values > _RANK * values[0]]
    leverage = np.minimum((basis**2).sum(axis=1), _MOST_LEVERAGE)
    away = (statistics[1:] - basis @ (basis.T @ statistics[1:])) / (1.0 - leverage)[:, None]
    # where the features are those of the observed row, the prediction is the constant alone
    here = np.linalg.lstsq(design, statistics[1:], rcond=_RANK)[0][0]
    return np.concatenate((statistics[:1], here + away))
