r"""Draws under Dirichlet(1/2) thinned to draws under Jeffreys' prior of the weights.

Jeffreys' prior is :math:`\sqrt{\det P} \le 1` times the kernel of Dirichlet(1/2) (:mod:`bayesgmm.core.fisher`), so a
draw of the posterior under the second, kept with that probability, is a draw of the posterior under the first (von
Neumann's rejection, where what is proposed is the chain).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayesgmm.core.fisher import log_information_ratio
from bayesgmm.errors import InputError

if TYPE_CHECKING:
    from bayesgmm.problem import Problem

Array = NDArray[np.float64]

_FEWEST = 25  # draws of a chain that must be left: fewer say nothing of whether chains agree


@dataclass(frozen=True)
class Thinned:
    """Which draws are kept.

    Attributes
    ----------
    keep : ndarray of int (n_chains, n_kept)
        Draws of each chain; as many of each as the chain with the fewest has.
    acceptance : float
        Share that was accepted.
    error : float
        Standard error of a draw's probability to be accepted, the largest; 0 for one trait.
    """

    keep: NDArray[np.int64]
    acceptance: float
    error: float


def log_jeffreys_ratio(pi: Array, means: Array, roots: Array) -> tuple[Array, Array]:
    """Log of Jeffreys' prior of the weights over the kernel of Dirichlet(1/2), and its error, of any leading dims."""
    lead = pi.shape[:-1]
    n = int(np.prod(lead))
    log_ratio, error = log_information_ratio(
        pi.reshape(n, -1), means.reshape(n, *means.shape[-2:]), roots.reshape(n, *roots.shape[-3:])
    )
    return log_ratio.reshape(lead), error.reshape(lead)


def thin(problem: Problem, pi: Array, means: Array, roots: Array, seed: int) -> Thinned:
    """Choose the draws (chain, draw, ...) that are draws under Jeffreys' prior of the weights.

    Raises
    ------
    InputError
        If too few are left; the message says how many draws it takes.
    """
    log_ratio, error = log_jeffreys_ratio(pi, means, roots)
    rng = np.random.default_rng([seed, 1])
    accepted = np.log(rng.random(log_ratio.shape)) < log_ratio
    fewest = int(accepted.sum(axis=1).min())
    share = float(accepted.mean())
    if fewest < _FEWEST:
        n_draws = accepted.shape[1]
        needed = int(np.ceil(2.0 * _FEWEST * n_draws / max(fewest, 0.5)))
        raise InputError(
            f"weights prior: under Jeffreys' prior {100 * share:.2g}% of the draws are kept, and of one chain {fewest} "
            f"of {n_draws}, of which at least {_FEWEST} are needed: give draws = {needed} or more, or fewer than "
            f"{problem.n_components} components (where components overlap, hardly any draw is kept)"
        )
    keep = np.stack([np.flatnonzero(row)[:fewest] for row in accepted]).astype(np.int64)
    return Thinned(keep, share, float(error.max()))
