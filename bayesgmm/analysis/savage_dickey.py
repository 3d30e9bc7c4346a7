"""Densities of an effect at none: what a Savage-Dickey Bayes factor is the ratio of (Dickey 1971)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import gaussian_kde, norm

Array = NDArray[np.float64]

_FAR = 4.0  # posterior sds from the mean beyond which a kernel density of draws is not to be trusted
_FEWEST = 2.0  # effective draws without which there is no kernel density
_LEAST = 1e-300


def kernel_of(values: Array, weights: Array | None) -> gaussian_kde | None:
    """Kernel density of (weighted) draws; None where they are next to one value, which has none.

    Parameters
    ----------
    values : ndarray (n,)
    weights : ndarray (n,), optional
        They sum to one.
    """
    effective = len(values) if weights is None else 1.0 / float(weights @ weights)
    kept = values if weights is None else values[weights > 0.0]
    if effective < _FEWEST or np.ptp(kept) == 0.0:
        return None
    return gaussian_kde(values, weights=weights)


def log_posterior_of_none(values: Array | None, weights: Array | None, mean: float, sd: float) -> float:
    """Log posterior density of an effect at zero.

    From draws a kernel estimate within 4 sds of the mean, the normal tail beyond; without draws the normal's.

    Parameters
    ----------
    values : ndarray (n,) or None
        Draws; None: the posterior is taken for normal.
    weights : ndarray (n,), optional
        Importance weights that sum to one.
    mean, sd : float
        Of the posterior; NaN where it has none.
    """
    kernel = None if values is None or abs(mean) > _FAR * sd else kernel_of(values, weights)
    if kernel is None:
        with np.errstate(invalid="ignore", divide="ignore"):
            return float(norm.logpdf(0.0, mean, sd))
    return float(np.log(max(float(kernel(0.0)[0]), _LEAST)))
