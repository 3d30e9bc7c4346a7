"""Labels of components: which permutation makes a draw agree best with a pivot (design, section 7)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Array = NDArray[np.float64]


def best_order(agreement: Array, n_fixed: int = 0) -> NDArray[np.int64]:
    """Permutation of a draw's components that maximises agreement of memberships with a pivot.

    Pivotal reordering by linear assignment (Marin, Mengersen and Robert 2005, section 3), not an ordering of the
    means, which would distort the posterior where components overlap.

    Parameters
    ----------
    agreement : ndarray (n_components, n_components)
        Sum over people of the pivot's membership (row) times the draw's (column).
    n_fixed : int
        The last so many components, noise and a spike, cannot be mistaken for others and keep their places.

    Returns
    -------
    ndarray of int (n_components,)
        Component ``order[k]`` of the draw is the pivot's component ``k``.
    """
    n_located = len(agreement) - n_fixed
    _, order = linear_sum_assignment(agreement[:n_located, :n_located], maximize=True)
    return np.concatenate((order, np.arange(n_located, len(agreement)))).astype(np.int64)


def order_and_margin(agreement: Array, n_fixed: int = 0) -> tuple[NDArray[np.int64], float, float]:
    """The best permutation, what it agrees to, and how much better that is than any other.

    The second best differs in at least one match: it is the best of those that forbid one match of the best (Murty
    1968).

    Parameters
    ----------
    agreement : ndarray (n_components, n_components)
        As in :func:`best_order`; not negative.
    n_fixed : int
        As in :func:`best_order`.

    Returns
    -------
    order : ndarray of int (n_components,)
    best : float
        Sum of agreements of the best permutation.
    margin : float
        What the second best is below it; infinite where there is no other.
    """
    order = best_order(agreement, n_fixed)
    every = np.arange(len(order))
    best = float(agreement[every, order].sum())
    n_located = len(order) - n_fixed
    if n_located == 1:
        return order, best, float("inf")
    second = -np.inf
    forbidden = -float(agreement.sum()) - 1.0
    for k in range(n_located):
        other = agreement.copy()
        other[k, order[k]] = forbidden
        second = max(second, float(other[every, best_order(other, n_fixed)].sum()))
    return order, best, best - second


def canonical_order(means: Array) -> NDArray[np.int64]:
    """Order of components by their mean on the first trait, ties by the next; ``means`` (n_components, n_traits)."""
    return np.asarray(np.lexsort(means.T[::-1]), dtype=np.int64)
