"""Gather people into the rows of a sample: grouped by missing traits, sorted by predictors, repeated rows counted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayesgmm.core.fixed import Fixed
from bayesgmm.core.sample import Sample
from bayesgmm.core.traits import is_complete

Array = NDArray[np.float64]
Index = NDArray[np.int32]
Long = NDArray[np.int64]

_SURE = 20_000  # people up to whom repeated rows are counted; above, a subset of half as many tells whether it pays
_WORTH = 0.98  # share of distinct rows in that subset above which rows are not looked through for repeats
_PAYS = 0.9  # share of distinct rows of all above which counting them would save too little


@dataclass(frozen=True)
class Uncertain:
    """People whose predictors are not certain: what they may be, and with which probability.

    Attributes
    ----------
    person : ndarray of int (m,)
        Non-decreasing; a person has several entries, whose probabilities sum to one.
    probability : ndarray (m,)
    rows : ndarray (m, n_predictors)
    """

    person: Long
    probability: Array
    rows: Array

    @classmethod
    def nobody(cls, n_predictors: int) -> Uncertain:
        """Everybody's predictors are certain."""
        return cls(np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros((0, n_predictors)))

    def mixed(self, log_weights_of_rows: Array, n_people: int, log_weights: Array) -> Array:
        """Log weights (n_people, K) with those of uncertain people averaged over what they may be."""
        out = log_weights.copy()
        if len(self.person):
            largest, average = np.full_like(log_weights, -np.inf), np.zeros_like(log_weights)
            np.maximum.at(largest, self.person, log_weights_of_rows)
            likeness = np.exp(log_weights_of_rows - largest[self.person])
            np.add.at(average, self.person, self.probability[:, None] * likeness)
            who = np.unique(self.person)
            out[who] = largest[who] + np.log(average[who])
        return out

    def of(self, people: Long, n_people: int) -> Uncertain:
        """The same for some of the people, numbered by their place in ``people``."""
        place = np.full(n_people, -1, dtype=np.int64)
        place[people] = np.arange(len(people))
        keep = place[self.person] >= 0
        moved = place[self.person[keep]]
        order = np.argsort(moved, kind="stable")
        return Uncertain(moved[order], self.probability[keep][order], self.rows[keep][order])

    def taken(self, people: Long) -> Uncertain:
        """The same for people at these positions, of whom some may come more than once, numbered by their place."""
        begin = np.searchsorted(self.person, people, side="left")
        times = np.searchsorted(self.person, people, side="right") - begin
        entry = np.repeat(begin - (np.cumsum(times) - times), times) + np.arange(times.sum())
        return Uncertain(np.repeat(np.arange(len(people)), times), self.probability[entry], self.rows[entry])


def gather(
    traits: Array,
    predictors: Array,
    covariates: Array,
    weights: Array | None,
    uncertain: Uncertain,
    *,
    centre: Array,
    scale: Array,
    compress: bool | None = None,
    fixed: Fixed | None = None,
) -> tuple[Sample, Long | slice]:
    """Bring people together as a sample.

    Parameters
    ----------
    traits : ndarray (n_people, n_traits)
        In their own units; NaN where missing; nobody without any. Kept as they are, not copied, where people need no
        new order.
    predictors : ndarray (n_people, n_predictors)
        Centred.
    covariates : ndarray (n_people, n_covariates)
        Of the means, standardised.
    weights : ndarray (n_people,), optional
        How many people each stands for; above zero.
    uncertain : Uncertain
    centre, scale : ndarray (n_traits,)
        What standardises the traits; see :class:`bayesgmm.core.sample.Sample`.
    compress : bool, optional
        Count people who are alike in everything as one row. None: when that saves at least a tenth of the rows.
    fixed : Fixed, optional
        Components whose density no parameter changes. People at a spike become a group without traits.

    Returns
    -------
    sample : Sample
    row_of : ndarray of int or slice
        Row of each person; a slice when it is the person's own number.
    """
    n = len(traits)
    fixed = Fixed() if fixed is None else fixed
    traits = fixed.without_spike(traits)
    group, masks = _groups(traits)
    pattern, table, mixes = _patterns(predictors, uncertain)
    own = pattern is None
    columns = [*traits.T, *covariates.T, *(predictors.T if own else [pattern])]
    compressed = _compresses(columns, compress)
    if compressed and own:
        # rows alike in traits and predictors: patterns are worth finding after all
        pattern, table = _distinct_rows(predictors)
        own = False
    order = _order(group, pattern, [*traits.T, *covariates.T] if compressed else [])
    repeats = np.empty(0) if weights is None else weights
    row_of: Long | slice = slice(None)
    chosen: Long | slice = slice(None) if order is None else order
    if compressed:
        assert order is not None
        new = _new_rows(order, [group, pattern, *traits.T, *covariates.T])
        number = np.cumsum(new) - 1
        repeats = np.bincount(number, None if weights is None else weights[order]).astype(float)
        row_of = np.empty(n, dtype=np.int64)
        row_of[order] = number
        chosen = order[new]
    elif order is not None:
        row_of = np.empty(n, dtype=np.int64)
        row_of[order] = np.arange(n)
        repeats = repeats[order] if weights is not None else repeats
    n_rows = n if isinstance(chosen, slice) else len(chosen)
    rows = traits[chosen]
    of_group = None if group is None else group[chosen]
    starts = np.array([0, n_rows]) if of_group is None else np.searchsorted(of_group, np.arange(len(masks) + 1))
    lengths = np.diff(starts) * masks.sum(axis=1)
    # row by row, so that the known values of a person follow one another
    values = rows.reshape(-1) if masks.all() else rows[~np.isnan(rows)]
    if own:
        table = np.require(predictors[chosen], np.float64, ("C", "W"))
        pattern_rows = np.arange(n_rows, dtype=np.int32)
    else:
        pattern_rows = np.zeros(n_rows, dtype=np.int32)
        if pattern is not None:
            pattern_rows[:] = pattern[chosen]
    observed = np.stack([np.concatenate((np.flatnonzero(m), np.flatnonzero(~m))) for m in masks]).astype(np.int32)
    counted = repeats if compressed or weights is not None else np.empty(0)
    sample = Sample(
        values=np.require(values, np.float64, ("C", "W")),
        centre=np.require(centre, np.float64, ("C", "W")),
        scale=np.require(scale, np.float64, ("C", "W")),
        offsets=np.concatenate(([0], np.cumsum(lengths))).astype(np.int64),
        starts=starts.astype(np.int64),
        observed=observed,
        n_observed=masks.sum(axis=1).astype(np.int64),
        repeats=np.require(counted, np.float64, ("C", "W")),
        pattern=np.ascontiguousarray(pattern_rows),
        predictors=table,
        mix_starts=mixes[0],
        mix_rows=mixes[1],
        mix_probabilities=mixes[2],
        covariates=np.require(covariates[chosen].T, np.float64, ("C", "W")),
        fixed=fixed.log_densities(masks, 1.0 / scale),
        total=float(n) if weights is None else float(weights.sum()),
        own=own,
    )
    return sample, row_of


def _groups(traits: Array) -> tuple[Long | None, NDArray[np.bool_]]:
    """Group of each person by which traits they have (None: all alike) and the groups' masks."""
    if is_complete(np.ascontiguousarray(traits)):
        return None, np.ones((1, traits.shape[1]), dtype=bool)
    missing = np.isnan(traits)
    masks, group = np.unique(missing, axis=0, return_inverse=True)
    return group.reshape(-1).astype(np.int64), ~masks


def _patterns(predictors: Array, uncertain: Uncertain) -> tuple[Long | None, Array, tuple[Long, Index, Array]]:
    """Pattern of each person (None: everybody has a row of their own), distinct rows, and the mixtures."""
    n = len(predictors)
    certain = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int32), np.empty(0)
    if predictors.shape[1] == 0:
        return np.broadcast_to(np.int64(0), n), np.zeros((1, 0)), certain
    if len(uncertain.person) == 0:
        if _distinct_share(list(predictors.T)) > 0.5:
            return None, np.zeros((0, predictors.shape[1])), certain
        pattern, table = _distinct_rows(predictors)
        return pattern, table, certain
    entry, table = _distinct_rows(np.vstack((predictors, uncertain.rows)))
    own_entry, other_entry = entry[:n], entry[n:]
    who, first, times = np.unique(uncertain.person, return_index=True, return_counts=True)
    widest = int(times.max())
    ids = np.full((n, widest), -1, dtype=np.int64)
    shares = np.zeros((n, widest))
    ids[:, 0], shares[:, 0] = own_entry, 1.0
    ids[who] = -1
    column = np.arange(len(uncertain.person)) - np.repeat(first, times)
    ids[uncertain.person, column] = other_entry
    shares[who] = 0.0
    shares[uncertain.person, column] = uncertain.probability
    pattern, distinct = _distinct_rows(np.hstack((ids.astype(float), shares)))
    used = distinct[:, :widest] >= 0
    mix_rows = distinct[:, :widest][used].astype(np.int32)
    mix_starts = np.concatenate(([0], np.cumsum(used.sum(axis=1)))).astype(np.int64)
    # rows that only averages of certain people used are gone from the table
    kept, renumbered = np.unique(mix_rows, return_inverse=True)
    probabilities = np.ascontiguousarray(distinct[:, widest:][used])
    return pattern, np.ascontiguousarray(table[kept]), (mix_starts, renumbered.astype(np.int32), probabilities)


def _distinct_rows(rows: Array) -> tuple[Long, Array]:
    """Number of each row among the distinct ones, in lexical order, and the distinct ones."""
    order = np.lexsort(rows.T[::-1])
    ordered = rows[order]
    new = np.concatenate(([True], (ordered[1:] != ordered[:-1]).any(axis=1)))
    number = np.empty(len(rows), dtype=np.int64)
    number[order] = np.cumsum(new) - 1
    return number, np.ascontiguousarray(ordered[new])


def _distinct_share(columns: list[Array]) -> float:
    """Share of rows that are distinct, in a subset when there are many."""
    n = len(columns[0])
    if n > _SURE:
        chosen = np.random.default_rng(0).choice(n, _SURE // 2, replace=False)
        columns = [c[chosen] for c in columns]
    order = np.lexsort(columns)
    return float(_new_rows(order, list(columns)).mean())


def _compresses(columns: list[Array], compress: bool | None) -> bool:
    if compress is not None:
        return compress
    if len(columns[0]) <= _SURE:
        return _distinct_share(columns) <= _PAYS
    if _distinct_share(columns) > _WORTH:
        return False
    order = np.lexsort(columns)
    return float(_new_rows(order, list(columns)).mean()) <= _PAYS


def _new_rows(order: Long, columns: list[Array | Long | None]) -> NDArray[np.bool_]:
    """Whether each row, in order, differs from the one before; missing values are alike."""
    new = np.zeros(len(order), dtype=bool)
    new[0] = True
    for column in columns:
        if column is not None:
            sorted_column = column[order]
            differ = sorted_column[1:] != sorted_column[:-1]
            if sorted_column.dtype.kind == "f":
                differ &= ~(np.isnan(sorted_column[1:]) & np.isnan(sorted_column[:-1]))
            new[1:] |= differ
    return new


def _order(group: Long | None, pattern: Long | None, finer: list[Array]) -> Long | None:
    """Order of people by group, then pattern, then ``finer``; None when it is the one they have."""
    keys: list[Array | Long] = list(finer)
    if pattern is not None and len(pattern) and pattern.any():
        keys.append(pattern)
    if group is not None:
        keys.append(group)
    return np.lexsort(keys) if keys else None


def thinned(sample: Sample, most: int) -> Sample:
    """Every so many-th row of a sample, so that at most about ``most`` remain: for starts and labels."""
    n = len(sample.pattern)
    every = -(-n // most)
    if every <= 1:
        return sample
    values, offsets, starts, kept = [], [0], [0], []
    for g in range(len(sample.starts) - 1):
        begin, end = int(sample.starts[g]), int(sample.starts[g + 1])
        block = sample.values[sample.offsets[g] : sample.offsets[g + 1]].reshape(
            end - begin, int(sample.n_observed[g])
        )[::every]
        values.append(block.ravel())
        offsets.append(offsets[-1] + block.size)
        kept.append(np.arange(begin, end, every))
        starts.append(starts[-1] + len(block))
    rows = np.concatenate(kept)
    pattern, predictors = sample.pattern[rows], sample.predictors
    if sample.own:
        predictors, pattern = predictors[pattern], np.arange(len(rows), dtype=np.int32)
    repeats = sample.repeats[rows] if len(sample.repeats) else sample.repeats
    return sample._replace(
        values=np.concatenate(values),
        offsets=np.array(offsets, dtype=np.int64),
        starts=np.array(starts, dtype=np.int64),
        repeats=repeats,
        pattern=np.ascontiguousarray(pattern),
        predictors=np.ascontiguousarray(predictors),
        covariates=np.ascontiguousarray(sample.covariates[:, rows]),
        total=float(repeats.sum()) if len(repeats) else float(len(rows)),
    )
