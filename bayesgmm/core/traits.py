"""Facts of a table of traits with gaps, each from one reading of it, without copies the size of the table."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


@njit(cache=True, error_model="numpy", nogil=True)
def who_has_any(traits: Array) -> Mask:
    """Whether each person has at least one trait (n_people,)."""
    out = np.zeros(traits.shape[0], dtype=np.bool_)
    for i in range(traits.shape[0]):
        for d in range(traits.shape[1]):
            if not np.isnan(traits[i, d]):
                out[i] = True
                break
    return out


@njit(cache=True, error_model="numpy", nogil=True)
def is_complete(traits: Array) -> bool:
    """Whether no trait of anybody is missing."""
    for i in range(traits.shape[0]):
        for d in range(traits.shape[1]):
            if np.isnan(traits[i, d]):
                return False
    return True


@njit(cache=True, error_model="numpy", nogil=True)
def known_moments(traits: Array, shares: Array) -> tuple[Array, Array]:
    """Mean and variance (divided by n) of the known values of each trait.

    Parameters
    ----------
    traits : ndarray (n_people, n_traits)
        NaN where missing.
    shares : ndarray (n_people,)
        How many people each stands for; empty when one each.

    Returns
    -------
    mean, variance : ndarray (n_traits,)
        NaN for a trait that nobody has.
    """
    n, size = traits.shape
    weighted = len(shares) > 0
    mean, variance, total = np.zeros(size), np.zeros(size), np.zeros(size)
    share = 1.0
    for i in range(n):
        if weighted:
            share = shares[i]
        for d in range(size):
            y = traits[i, d]
            if not np.isnan(y):
                total[d] += share
                mean[d] += share * y
    for d in range(size):
        mean[d] /= total[d]
    # about the mean, so that no digits cancel; what the rounded mean leaves is taken off
    left = np.zeros(size)
    for i in range(n):
        if weighted:
            share = shares[i]
        for d in range(size):
            v = traits[i, d] - mean[d]
            if not np.isnan(v):
                left[d] += share * v
                variance[d] += share * v * v
    for d in range(size):
        left[d] /= total[d]
        mean[d] += left[d]
        variance[d] = variance[d] / total[d] - left[d] * left[d]
    return mean, variance


@njit(cache=True, error_model="numpy", nogil=True)
def scatter_about(traits: Array, shares: Array, mean: Array) -> Array:
    """Sum over people of ``(y - mean)(y - mean)'`` (n_traits, n_traits); nobody lacks a trait."""
    n, size = traits.shape
    weighted = len(shares) > 0
    scatter = np.zeros((size, size))
    v = np.empty(size)
    share = 1.0
    for i in range(n):
        if weighted:
            share = shares[i]
        for d in range(size):
            v[d] = traits[i, d] - mean[d]
            pulled = share * v[d]
            for e in range(d + 1):
                scatter[d, e] += pulled * v[e]
    for d in range(size):
        for e in range(d):
            scatter[e, d] = scatter[d, e]
    return scatter
