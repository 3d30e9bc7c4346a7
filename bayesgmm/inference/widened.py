"""Draws of a number spread out to another standard deviation, inside the range that the number can have."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

Array = NDArray[np.float64]

REAL, POSITIVE, SHARE = "real", "positive", "share"
_EDGE = 1e-15  # shares nearer to 0 or 1 have no logarithm of their odds


def widened(values: Array, sd: float, kind: str) -> Array:
    """Draws in the same order whose standard deviation is ``sd``.

    Parameters
    ----------
    values : ndarray
    sd : float
        What it cannot be brought to (infinite, or of draws that are all alike) leaves the draws as they are.
    kind : {"real", "positive", "share"}
        Numbers of any size move about their mean. Positive ones move in their logarithm, as if log-normal: their mean
        and sd are those that are asked for. Shares move in the logarithm of their odds, which brings their sd there to
        first order.
    """
    mean, own = float(values.mean()), float(values.std())
    if not (np.isfinite(sd) and sd > 0.0 and np.isfinite(own) and own > 0.0):
        return values
    if kind == REAL:
        return mean + (values - mean) * (sd / own)
    if kind == POSITIVE:
        logs = np.log(values)
        square = np.log1p((sd / mean) ** 2)
        centred = (logs - logs.mean()) * (np.sqrt(square) / logs.std())
        result: Array = np.exp(np.log(mean) - 0.5 * square + centred)
        return result
    odds = logit(np.clip(values, _EDGE, 1.0 - _EDGE))
    centre = odds.mean()
    share: Array = expit(centre + (odds - centre) * (sd / own))
    return share
