r"""How many copies of itself, one a labelling, a mean-field posterior adds to the evidence that it bounds.

A posterior that does not depend on labels has a copy for every permutation of the components, and q is of one. The
mixture of the copies of q over a set S of permutations is a q as well, whose bound is higher by

.. math:: \log |S| - E_q \log \sum_{\sigma \in S} q_\sigma / q

The second part is nothing where components are apart, and all of the first where they coincide. With
:math:`\log(1 + x) < 0.805 \sqrt{x}` it is at most :math:`0.805 \sum_{\sigma \ne 1} B_\sigma` with :math:`B_\sigma` the
Bhattacharyya coefficient of a copy and q. That is at most the one of the memberships alone,

.. math:: \prod_i \sum_k \sqrt{r_{ik} r_{i \sigma(k)}} \le \prod_k A_{k \sigma(k)}, \qquad
          A_{kl} = \exp\left(-\tfrac12 \sum_i (\sqrt{r_{ik}} - \sqrt{r_{il}})^2\right)

so the sum is one over permutations of products of A: its permanent. Components that are alike, such as empty ones, are
taken as a group whose permutations make no copy; the best of all groupings by a level of A is a lower bound like each.
"""

from __future__ import annotations

from math import factorial, lgamma, prod

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

Array = NDArray[np.float64]

_SLOPE = 0.805  # the largest of log(1 + x) / sqrt(x), near x = 3.92
_SMALL = 10  # components up to which permanents are formed


def log_copies(responsibilities: Array, people: Array) -> float:
    """Logarithm, from below, of how many times its own evidence the copies of q have.

    Parameters
    ----------
    responsibilities : ndarray (n_rows, n_components)
        Of the components that can be exchanged.
    people : ndarray (n_rows,)
        How many each row stands for.

    Returns
    -------
    float
        Between 0, where all components coincide, and ``log(n_components!)``, where all are apart.
    """
    size = responsibilities.shape[1]
    roots = np.sqrt(responsibilities)
    shared = (roots * people[:, None]).T @ roots
    mass = np.diagonal(shared)
    alike = np.exp(-0.5 * np.maximum(mass[:, None] + mass[None, :] - 2.0 * shared, 0.0))
    np.fill_diagonal(alike, 1.0)
    best = 0.0
    for level in (2.0, *np.unique(alike[np.triu_indices(size, 1)])):
        n_groups, group = connected_components(alike >= level, directed=False)
        blocks = [np.flatnonzero(group == g) for g in range(n_groups)]
        most = lgamma(size + 1) - sum(lgamma(len(block) + 1) for block in blocks)
        within = prod(_permutations(alike[np.ix_(block, block)], size) for block in blocks)
        best = max(best, most - _SLOPE * max(_permutations(alike, size) - within, 0.0))
    return best


def _permutations(alike: Array, size: int) -> float:
    """Sum over permutations of products of entries; of many components over all maps, of which these are a part."""
    if size > _SMALL:
        return float(alike.sum(axis=1).prod())
    n = len(alike)
    # Ryser's formula
    chosen = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
    signs = (-1.0) ** (n - chosen.sum(axis=1))
    return min(float(signs @ (chosen @ alike.T).prod(axis=1)), float(factorial(n)))
