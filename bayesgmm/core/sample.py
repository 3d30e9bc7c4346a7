"""People as the compiled passes read them: grouped by which traits they have, sorted by predictors, without copies."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import get_num_threads, types
from numpy.typing import NDArray

from bayesgmm.core.fixed import NOWHERE
from bayesgmm.core.pointers import a1, a2, b1, f8, i1, i2, l1

Array = NDArray[np.float64]
Index = NDArray[np.int32]
Long = NDArray[np.int64]

CHUNK = 8192  # people a thread takes at a time; fixed, so that sums do not depend on the number of threads


class Sample(NamedTuple):
    """People of one problem. Rows with the same traits, predictors and covariates may stand for several.

    Traits stay in their own units, in the order of memory in which a table of people has them, so that a fit needs no
    copy of them; the passes standardise a block at a time.

    Attributes
    ----------
    values : ndarray
        Observed traits, group after group; each group's part is an array (people, observed traits).
    centre, scale : ndarray (n_traits,)
        What is subtracted from a trait, and what the difference is multiplied by.
    offsets : ndarray of int64 (n_groups + 1,)
        Where each group begins in ``values``.
    starts : ndarray of int64 (n_groups + 1,)
        First row (person) of each group.
    observed : ndarray of int32 (n_groups, n_traits)
        The traits a group has, then those it lacks.
    n_observed : ndarray of int64 (n_groups,)
        How many it has.
    repeats : ndarray (n_rows,)
        How many people a row stands for; empty when every row is one person.
    pattern : ndarray of int32 (n_rows,)
        Row of the weights' table each person has; non-decreasing within a group.
    predictors : ndarray (n_patterns, n_predictors)
        Distinct rows of centred predictors.
    mix_starts : ndarray of int64
        Where a person's genotype is not certain the weights are averaged over what it may be: pattern ``c`` averages
        the rows ``mix_rows[mix_starts[c]:mix_starts[c + 1]]`` of ``predictors``. Empty: pattern ``c`` is row ``c``.
    mix_rows : ndarray of int32
    mix_probabilities : ndarray
        Prior probability of each; they sum to one over a pattern.
    covariates : ndarray (n_covariates, n_rows)
        Covariates of the means, standardised.
    fixed : ndarray (n_groups, n_fixed)
        Log density of a group's people in the components that no parameter changes, in standardised units: noise, then
        a spike. A group that has no trait is at the spike, and certain of that component.
    total : float
        Sum of ``repeats``.
    own : bool
        Every row has a row of ``predictors`` of its own, in the same order: n x K numbers then serve for log weights
        and responsibilities both.
    """

    values: Array
    centre: Array
    scale: Array
    offsets: Long
    starts: Long
    observed: Index
    n_observed: Long
    repeats: Array
    pattern: Index
    predictors: Array
    mix_starts: Long
    mix_rows: Index
    mix_probabilities: Array
    covariates: Array
    fixed: Array
    total: float
    own: bool


SAMPLE = types.NamedTuple((a1, a1, a1, l1, l1, i2, l1, a1, i1, a2, l1, i1, a1, a2, a2, f8, b1), Sample)


def complete_sample(
    traits: Array,
    pattern: Index | None = None,
    predictors: Array | None = None,
    *,
    repeats: Array | None = None,
    covariates: Array | None = None,
) -> Sample:
    """Sample of people who have every trait.

    Parameters
    ----------
    traits : ndarray (n_rows, n_traits)
        Standardised.
    pattern, predictors, repeats, covariates
        As in :class:`Sample`; by default nobody differs.
    """
    n, size = traits.shape
    return Sample(
        values=np.ascontiguousarray(traits).reshape(-1),
        centre=np.zeros(size),
        scale=np.ones(size),
        offsets=np.array([0, size * n], dtype=np.int64),
        starts=np.array([0, n], dtype=np.int64),
        observed=np.arange(size, dtype=np.int32)[None],
        n_observed=np.array([size], dtype=np.int64),
        repeats=np.empty(0) if repeats is None else repeats,
        pattern=np.zeros(n, dtype=np.int32) if pattern is None else pattern,
        predictors=np.zeros((1, 0)) if predictors is None else predictors,
        mix_starts=np.empty(0, dtype=np.int64),
        mix_rows=np.empty(0, dtype=np.int32),
        mix_probabilities=np.empty(0),
        covariates=np.zeros((0, n)) if covariates is None else covariates,
        fixed=np.zeros((1, 0)),
        total=float(n) if repeats is None else float(repeats.sum()),
        own=False,
    )


def n_rows(sample: Sample) -> int:
    """Rows of a sample."""
    return len(sample.pattern)


def at_spike(sample: Sample) -> NDArray[np.bool_]:
    """Rows (n_rows,) of people at a spike."""
    there = np.zeros(len(sample.pattern), dtype=bool)
    for g in np.flatnonzero(sample.n_observed == 0):
        there[sample.starts[g] : sample.starts[g + 1]] = True
    return there


def has_noise(sample: Sample) -> bool:
    """Whether the first of the fixed components is noise; at a spike people elsewhere have no density."""
    return sample.fixed.shape[1] > 0 and bool((sample.fixed[:, 0] > NOWHERE).any())


def use_threads(sample: Sample) -> bool:
    """Whether a pass over this sample is shared among threads."""
    return len(sample.pattern) > 4 * CHUNK and get_num_threads() > 1
