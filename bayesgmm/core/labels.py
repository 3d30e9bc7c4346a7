"""Labels of components: which permutation makes a draw agree best with a pivot (design, section 7)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Array = NDArray[np.float64]


def best_order(agreement: Array) -> NDArray[np.int64]:
    """Permutation of a draw's components that maximises agreement of memberships with a pivot.

    Pivotal reordering by linear assignment (Marin, Mengersen and Robert 2005, section 3), not an ordering of the
    means, which would distort the posterior where components overlap.

    Parameters
    ----------
    agreement : ndarray (n_components, n_components)
        Sum over people of the pivot's membership (row) times the draw's (column).

    Returns
    -------
    ndarray of int (n_components,)
        Component ``order[k]`` of the draw is the pivot's component ``k``.
    """
    _, order = linear_sum_assignment(agreement, maximize=True)
    return np.asarray(order, dtype=np.int64)


def canonical_order(means: Array) -> NDArray[np.int64]:
    """Order of components by their mean on the first trait, ties by the next; ``means`` (n_components, n_traits)."""
    return np.asarray(np.lexsort(means.T[::-1]), dtype=np.int64)
