r"""Whether ranks are uniform: an exact simultaneous test of their empirical distribution, and its bands.

Of n ranks, each uniform on 0..L, the number :math:`R_i` below i is binomial(n, i / (L + 1)). The statistic is the
smallest two-sided binomial tail probability over i = 1..L (Saeilynoja, Buerkner and Vehtari 2022, Statistics and
Computing 32:32). :math:`R_1, R_2, \dots` is a Markov chain, so its distribution is had without simulation: sum over
the paths that stay where every tail probability is above the observed one (their algorithm 2).
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln
from scipy.stats import binom

Array = NDArray[np.float64]

_SAME = 1.0 + 1e-9  # tail probabilities that differ by rounding are one


@cache
def _tails(n: int, most: int) -> Array:
    """Two-sided tail probability (most, n + 1) of each count of ranks below 1..most."""
    count, share = np.arange(n + 1), np.arange(1, most + 1)[:, None] / (most + 1)
    tails: Array = 2.0 * np.minimum(binom.cdf(count, n, share), binom.sf(count - 1, n, share))
    return tails


def counts_below(ranks: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """How many of the ranks, each of 0..most, are below 1..most."""
    return np.bincount(ranks, minlength=most + 1)[:-1].cumsum()


def p_value(ranks: NDArray[np.int64], most: int) -> float:
    """Probability that uniform ranks of 0..most look as little uniform as these, or less.

    Resolved to about 1e-13.
    """
    below = counts_below(ranks, most)
    return escape(float(_tails(len(ranks), most)[np.arange(most), below].min()), len(ranks), most)


def escape(gamma: float, n: int, most: int) -> float:
    """Probability that a tail probability of uniform ranks is somewhere at most ``gamma``."""
    inside = _tails(n, most) > gamma * _SAME
    log_factorial = gammaln(np.arange(n + 1) + 1.0)
    states, mass = np.array([0]), np.array([1.0])
    for i in range(most):
        step = 1.0 / (most + 1 - i)  # of those not below i, the share that is not below i + 1 either
        target = np.flatnonzero(inside[i])
        if len(target) == 0:
            return 1.0
        move = target[None, :] - states[:, None]
        left = n - states[:, None]
        possible = move >= 0
        move = np.where(possible, move, 0)
        log_pmf = log_factorial[left] - log_factorial[move] - log_factorial[left - move]
        log_pmf = log_pmf + move * np.log(step) + (left - move) * np.log1p(-step)
        mass = mass @ np.where(possible, np.exp(log_pmf), 0.0)
        states = target
    return float(np.clip(1.0 - mass.sum(), 0.0, 1.0))


@cache
def band(n: int, most: int, level: float = 0.95) -> tuple[Array, Array]:
    """Counts below 1..most, lower and upper, between which all of them lie with probability ``level`` at least."""
    low, high = np.log(1e-9), 0.0
    for _ in range(40):
        middle = 0.5 * (low + high)
        if escape(float(np.exp(middle)), n, most) > 1.0 - level:
            high = middle
        else:
            low = middle
    inside = _tails(n, most) > np.exp(low) * _SAME
    lower = inside.argmax(axis=1)
    upper = n - inside[:, ::-1].argmax(axis=1)
    return lower.astype(float), upper.astype(float)
