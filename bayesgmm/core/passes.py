"""Passes over people for many draws of the parameters, compiled: what is said of every draw of a posterior."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numba import types
from numpy.typing import NDArray

from bayesgmm.core.moments import NOTHING_2D, call_expectation, expectation, log_weights_into, pass_for
from bayesgmm.core.objective import Stacked, writable
from bayesgmm.core.pointers import Pointer, a1, a2, a3, a4, i8
from bayesgmm.core.sample import SAMPLE, Sample

Array = NDArray[np.float64]

_PARTS = 4  # of the draws, side by side; fixed, so that sums do not depend on the number of threads


class OfDraws(NamedTuple):
    """What :func:`pass_over` returns.

    Attributes
    ----------
    log_likelihood : ndarray (n_draws,)
    agreement : ndarray (n_draws, n_components, n_components)
        Sum over people of the pivot's membership (row) times the draw's (column); empty without a pivot.
    pointwise : ndarray (n_draws, n_rows)
        Log density of every row; empty unless asked for.
    membership : ndarray (n_rows, n_components)
        Responsibilities summed over the draws; empty unless asked for.
    """

    log_likelihood: Array
    agreement: Array
    pointwise: Array
    membership: Array


def _pass_over(
    sample: Sample,
    expectation_at: int,
    passes: int,
    alpha: Array,
    beta: Array,
    means: Array,
    roots: Array,
    shifts: Array,
    df: Array,
    pivot: Array,
    log_likelihood: Array,
    agreement: Array,
    pointwise: Array,
    membership: Array,
) -> None:
    n_draws, n_located, size = means.shape
    n_components = alpha.shape[1] + 1
    n_rows, n_both = len(sample.pattern), size + shifts.shape[1]
    counts = np.empty((len(sample.predictors), n_components))
    mass, first = np.empty(n_components + 2 * df.shape[1]), np.empty((n_located, n_both))
    second = np.empty((n_located, n_both, n_both))
    needed = n_rows if len(pivot) > 0 or len(membership) > 0 else 0
    responsibilities, no_row = np.empty((needed, n_components)), np.empty(0)
    for s in range(n_draws):
        row = pointwise[s] if len(pointwise) > 0 else no_row
        log_weights_into(alpha[s], beta[s], sample.predictors, counts)
        log_likelihood[s] = call_expectation(
            expectation_at,
            sample,
            passes,
            counts,
            means[s],
            roots[s],
            shifts[s],
            df[s],
            mass,
            first,
            second,
            responsibilities,
            row,
        )
        for i in range(len(membership)):
            for k in range(n_components):
                membership[i, k] += responsibilities[i, k]
        for i in range(len(pivot)):
            for k in range(n_components):
                for j in range(n_components):
                    agreement[s, k, j] += pivot[i, k] * responsibilities[i, j]


_passing = Pointer(_pass_over, types.void(SAMPLE, i8, i8, a2, a3, a3, a4, a3, a2, a2, a1, a3, a2, a2), nogil=True)


def pass_over(
    sample: Sample,
    draws: Stacked,
    *,
    pivot: Array | None = None,
    pointwise: bool = False,
    membership: bool = False,
    threads: int | None = None,
) -> OfDraws:
    """Pass over people once for each draw.

    Parameters
    ----------
    sample : Sample
    draws : Stacked
        Standardised, with one leading dim.
    pivot : ndarray (n_rows, n_components), optional
        Memberships that each draw's are compared with.
    pointwise : bool
        Keep the log density of every row.
    membership : bool
        Add up the responsibilities.
    threads : int, optional
        At most so many at a time, by default as many as there are processors.
    """
    n_draws, k = draws.pi.shape
    n_rows = len(sample.pattern)
    log_pi = np.log(draws.pi)
    alpha = log_pi[:, 1:] - log_pi[:, :1]
    parameters = [writable(x) for x in (alpha, draws.beta, draws.means, draws.roots, draws.shifts, draws.df)]
    pivot = NOTHING_2D if pivot is None else writable(pivot)
    log_likelihood = np.empty(n_draws)
    agreement = np.zeros((n_draws if len(pivot) else 0, k, k))
    kept = np.empty((n_draws if pointwise else 0, n_rows))
    summed = np.zeros((_PARTS, n_rows if membership else 0, k))
    ends = np.linspace(0, n_draws, _PARTS + 1).astype(int)
    # compiled, once, before threads ask for it
    run, addresses = _passing.compiled, (expectation.address, pass_for(sample, threads=False))

    def part(number: int) -> None:
        these = slice(ends[number], ends[number + 1])
        out = (log_likelihood[these], agreement[these], kept[these], summed[number])
        run(sample, *addresses, *(x[these] for x in parameters), pivot, *out)

    with ThreadPoolExecutor(min(_PARTS, threads or os.cpu_count() or 1)) as pool:
        list(pool.map(part, range(_PARTS)))
    return OfDraws(log_likelihood, agreement, kept, summed.sum(axis=0))
