"""Repeated values of a trait: the cell that each stands for, and values that hold more people than they should."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import minimum_filter1d
from scipy.stats import binom

Array = NDArray[np.float64]
Long = NDArray[np.int64]

_EQUAL = 1e-9  # of the trait's standard deviation: values closer than this differ by rounding of the computer
_AROUND = 3  # distinct values on each side, among which the smallest gap is the resolution


@dataclass(frozen=True)
class Cells:
    """Distinct values and what each stands for.

    Attributes
    ----------
    values : ndarray (n_values,)
        Ascending.
    counts : ndarray (n_values,)
        People with each.
    half : ndarray (n_values,)
        A value stands for all within this distance: half of the resolution around it, the smallest gap between
        distinct values near by. So whole minutes are known by what lies between them, also after a logarithm.
    place : ndarray of int (n,)
        Distinct value of each person.
    """

    values: Array
    counts: Array
    half: Array
    place: Long

    @property
    def repeated(self) -> bool:
        """Whether any value is there twice."""
        return len(self.values) < len(self.place)

    def nearest(self, values: Array) -> Long:
        """The distinct value nearest to each of other values."""
        between = 0.5 * (self.values[1:] + self.values[:-1])
        return np.searchsorted(between, values)

    def rounded(self, values: Array) -> Array:
        """Other values rounded as these are: to the distinct value in whose cell they lie, where there is one."""
        at = self.nearest(values)
        inside = np.abs(values - self.values[at]) <= self.half[at] * (1.0 + _EQUAL)
        return np.where(inside, self.values[at], values)

    def half_at(self, values: Array) -> Array:
        """What each of other values stands for: half of the resolution for the distinct ones, else nothing."""
        at = self.nearest(values)
        return np.where(np.abs(values - self.values[at]) <= _EQUAL * self.half[at], self.half[at], 0.0)


def cells_of(values: Array, weight: Array | None = None) -> Cells:
    """Distinct values of a trait (n,), without missing ones; ``weight`` says how many people each stands for."""
    order = np.argsort(values, kind="stable")
    ascending = values[order]
    new = np.ones(len(values), dtype=bool)
    new[1:] = np.diff(ascending) > _EQUAL * max(float(values.std()), np.finfo(float).tiny)
    number = np.cumsum(new) - 1
    place = np.empty(len(values), dtype=np.int64)
    place[order] = number
    distinct = ascending[new]
    counts = np.bincount(place, weight).astype(float)
    half = np.zeros(len(distinct))
    if len(distinct) > 1:
        gaps = np.concatenate((np.diff(distinct), [np.inf]))
        # gaps from _AROUND values before each value to _AROUND after it
        half = 0.5 * minimum_filter1d(gaps, 2 * _AROUND, mode="constant", cval=np.inf)
    return Cells(distinct, counts, half, place)


def chance_of_heaps(cells: Cells, scale: float = 1.0) -> Array:
    """Probability that a value holds so many people of those that it and its neighbours hold (n_values,).

    Neighbours are the three distinct values on each side, or more on one side at an end: six. Where they share a smooth
    density a value's part is that of its cell in the length of all seven: a seventh between evenly spaced values, less
    where others are rarely equal. Where fewer than seven are distinct nothing is said: 1.

    Parameters
    ----------
    cells : Cells
    scale : float
        People that one of the counts is worth, where people are weighted.
    """
    n, most = len(cells.values), 2 * _AROUND
    if n <= most:
        return np.ones(n)
    first = np.clip(np.arange(n) - _AROUND, 0, n - most - 1)
    sums = np.concatenate(([0.0], np.cumsum(cells.counts))) * scale
    around = np.rint(sums[first + most + 1] - sums[first])
    length = (cells.values[first + most] - cells.values[first]) * (most + 1) / most
    part = np.minimum(2.0 * cells.half / length, 1.0 / (most + 1))
    return np.asarray(binom.sf(np.rint(cells.counts * scale) - 1, around, part))
