"""Starts of one mixture from what another found: components cut in two, hardly parted, or merged."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bayesgmm.core.objective import Parameters
from bayesgmm.core.sample import Sample
from bayesgmm.core.starts import StartMoments

Array = NDArray[np.float64]

_MERGES = 4  # pairs merged of one component more
_APART = 1e-3  # sds by which the halves of a component are moved apart where a larger split leads lower


class Member(NamedTuple):
    """What a model has found, for others to start from.

    ``compared`` (m, K): memberships of some people; ``moments`` of everybody's, in each unit; and the same of pairs of
    components as one, in its own unit.
    """

    compared: Array
    moments: dict[bool, StartMoments]
    merged: list[tuple[Array, StartMoments]]


def split_memberships(r: Array, n_located: int, points: Array, sample: Sample) -> list[Array]:
    """Memberships (n_rows, K + 1) with each component in turn cut in two across its longest axis.

    Parameters
    ----------
    r : ndarray (n_rows, K)
    n_located : int
        Components that have a mean; the others come last, and stay.
    points : ndarray (n_traits, n_rows)
        Standardised traits.
    sample : Sample
        Of which the rows are. Components of too few people to be two are not cut.
    """
    found = []
    for k in range(n_located):
        share = r[:, k] * sample.repeats if len(sample.repeats) else r[:, k]
        mass = share.sum()
        if mass < 2.0 * (len(points) + 1):
            continue
        centred = points - (points @ share / mass)[:, None]
        _, axes = np.linalg.eigh((centred * share) @ centred.T)
        above = axes[:, -1] @ centred > 0.0
        split = np.insert(r, n_located, np.where(above, r[:, k], 0.0), axis=1)
        split[above, k] = 0.0
        found.append(split)
    return found


def barely_split(p: Parameters, n_df: int, k: int) -> Parameters:
    """Component ``k`` as two of half the weight, hardly apart: the likelihood is next to the same.

    ``n_df`` degrees of freedom are estimated with one component more.
    """
    located = len(p.means)
    log_pi = p.log_pi.copy()
    log_pi[k] -= np.log(2.0)
    log_pi = np.insert(log_pi, located, log_pi[k])
    # the longest axis of the covariance is the one along which the precision is least
    _, axes = np.linalg.eigh(p.roots[k] @ p.roots[k].T)
    step = axes[:, 0] * _APART / max(float(np.linalg.norm(p.roots[k].T @ axes[:, 0])), 1e-300)
    means = np.vstack((p.means, p.means[k] + step))
    means[k] -= step
    full = np.concatenate((np.zeros((len(p.beta), 1)), p.beta), axis=1)
    full = np.insert(full, located, full[:, k], axis=1)
    return replace(
        p,
        alpha=log_pi[1:] - log_pi[0],
        beta=full[:, 1:] - full[:, :1],
        means=means,
        roots=np.concatenate((p.roots, p.roots[[k]])),
        df=np.append(p.df, p.df[k]) if len(p.df) else p.df,
        n_df=n_df,
    )


def merged_memberships(r: Array, n_located: int) -> list[Array]:
    """Memberships with two components as one, for the pairs that share most people."""
    if len(r) == 0 or n_located < 2:
        return []
    shared, mass = r.T @ r, r.sum(axis=0)
    pairs = sorted(
        itertools.combinations(range(n_located), 2),
        key=lambda p: -shared[p] / max(min(mass[p[0]], mass[p[1]]), 1e-300),
    )
    found = []
    for i, j in pairs[:_MERGES]:
        one = np.delete(r, j, axis=1)
        one[:, i] += r[:, j]
        found.append(one)
    return found
