"""What a small mixture that was fitted says: its components in order, its modes, memberships, and what is a spike."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bayesgmm.core.small_mixture import WIDTH

Array = NDArray[np.float64]
Long = NDArray[np.int64]

SPIKE_FEWEST = 3  # people of a component, below which nothing is said of it
# of a value that half a component have, and few another
SPIKE_LEAST, SPIKE_SHARE, SPIKE_NEXT = 5, 0.5, 0.1
SPIKE_NARROW = 1e-3  # a component whose sd is below this share of the trait's is a spike


@njit(cache=True, error_model="numpy", nogil=True)
def put_in_order(state: Array, n_components: int) -> None:
    """Sort components by their first mean, ties by the second."""
    for k in range(1, n_components):
        j = k
        while j > 0 and (
            state[j, 1] < state[j - 1, 1] or (state[j, 1] == state[j - 1, 1] and state[j, 2] < state[j - 1, 2])
        ):
            for c in range(WIDTH):
                state[j, c], state[j - 1, c] = state[j - 1, c], state[j, c]
            j -= 1


@njit(cache=True, error_model="numpy", nogil=True)
def count_modes(state: Array, n_components: int) -> int:
    """Modes of the density of one trait: turns from rising to falling on a grid about every component."""
    if n_components == 1:
        return 1
    per = 49
    grid = np.empty(per * n_components)
    for k in range(n_components):
        sd = math.exp(-state[k, 3])
        for j in range(per):
            grid[per * k + j] = state[k, 1] + sd * (j - per // 2) / 8.0
    grid.sort()
    modes, rising = 0, True
    for x in grid:
        slope = 0.0
        for k in range(n_components):
            a = math.exp(state[k, 3])
            z = (x - state[k, 1]) * a
            slope -= math.exp(state[k, 0] + state[k, 3] - 0.5 * z * z) * z * a
        if rising and slope < 0.0:
            modes += 1
        if slope != 0.0:
            rising = slope > 0.0
    return max(modes, 1)


@njit(cache=True, error_model="numpy", nogil=True)
def _membership_of(
    x: Array, z: Array, i: int, two: bool, k: int, weights: Array, means: Array, covariances: Array, out: Array
) -> None:
    """Write the membership probabilities of person ``i``, of one without traits the weights; NaN beyond ``k``."""
    log_2pi = math.log(2.0 * math.pi)
    largest = -np.inf
    for j in range(k):
        c00, c01, c11 = covariances[j, 0], covariances[j, 1], covariances[j, 2]
        value = math.log(weights[j])
        v0, v1 = x[i] - means[j, 0], z[i] - means[j, 1]
        if two and not math.isnan(v1):
            value -= 0.5 * (log_2pi + math.log(c11) + v1 * v1 / c11)
            if not math.isnan(v0):
                left, rest = c00 - c01 * c01 / c11, v0 - c01 / c11 * v1
                value -= 0.5 * (log_2pi + math.log(left) + rest * rest / left)
        elif not math.isnan(v0):
            value -= 0.5 * (log_2pi + math.log(c00) + v0 * v0 / c00)
        out[j] = value
        largest = max(largest, value)
    total = 0.0
    for j in range(k):
        out[j] = math.exp(out[j] - largest)
        total += out[j]
    for j in range(k):
        out[j] /= total
    for j in range(k, len(out)):
        out[j] = np.nan


@njit(cache=True, error_model="numpy", nogil=True)
def membership_into(
    matrix: Array, first: Long, second: Long, weights: Array, means: Array, covariances: Array, out: Array
) -> None:
    """Write the membership probabilities of people under fits that are given.

    Parameters
    ----------
    matrix, first, second
        As in :func:`bayesgmm.core.many.fit_problems`.
    weights, means, covariances
        As in :class:`bayesgmm.core.many.Found`.
    out : ndarray (n_problems, n_samples, n_components)
        NaN beyond a problem's components; of a person without traits the weights.
    """
    two = len(second) > 0
    for p in range(len(first)):
        k = 0
        while k < weights.shape[1] and not math.isnan(weights[p, k]):
            k += 1
        x = matrix[first[p]]
        z = matrix[second[p]] if two else x
        for i in range(len(x)):
            _membership_of(x, z, i, two, k, weights[p], means[p], covariances[p], out[p, i])


class Spike(NamedTuple):
    """One value of a trait that most people of a component have; of several the one with most people.

    Attributes
    ----------
    component, trait : float
        Which, from 0.
    value : float
    n_there, n_people : float
        People of the component with this value, and all of them.
    """

    component: float
    trait: float
    value: float
    n_there: float
    n_people: float


@njit(cache=True, error_model="numpy", nogil=True)
def has_repeats(values: Array) -> bool:
    """Whether any value is there as often as the least of a spike, without which only narrow components are one."""
    ordered = np.sort(values)
    run, longest = 1, 1
    for i in range(1, len(ordered)):
        run = run + 1 if ordered[i] == ordered[i - 1] else 1
        longest = max(longest, run)
    return longest >= SPIKE_FEWEST


@njit(cache=True, error_model="numpy", nogil=True)
def is_narrow(variance: float, sd: float) -> bool:
    """Whether a component is as narrow as a spike, of a trait with this standard deviation."""
    return variance < (SPIKE_NARROW * sd) ** 2


@njit(cache=True, error_model="numpy", nogil=True)
def spike_of(
    x: Array,
    z: Array,
    two: bool,
    weights: Array,
    means: Array,
    covariances: Array,
    k: int,
    sd_0: float,
    sd_1: float,
) -> Spike:
    """The component that is but for a few people at one value; NaN where none is.

    The rule is that of :func:`bayesgmm.inference.flags.point_masses`: people who are likelier in the component than
    not; the commonest value is that of half of them and of five, and the next is that of a tenth of as many.
    """
    n = len(x)
    r, likeliest = np.empty(k), np.empty(n, dtype=np.int64)
    for i in range(n):
        likeliest[i] = -1
        if math.isnan(x[i]) and (not two or math.isnan(z[i])):
            continue
        _membership_of(x, z, i, two, k, weights, means, covariances, r)
        for j in range(k):
            if r[j] > 0.5:
                likeliest[i] = j
    nothing = np.nan
    best = Spike(nothing, nothing, nothing, nothing, nothing)
    values = np.empty(n)
    for j in range(k):
        for trait in range(2 if two else 1):
            size = 0
            for i in range(n):
                y = x[i] if trait == 0 else z[i]
                if likeliest[i] == j and not math.isnan(y):
                    values[size] = y
                    size += 1
            if size < SPIKE_FEWEST:
                continue
            ordered = np.sort(values[:size])
            most, next_most, value, begin = 0, 0, nothing, 0
            for i in range(1, size + 1):
                if i < size and ordered[i] == ordered[begin]:
                    continue
                if i - begin >= most:
                    most, next_most, value = i - begin, most, ordered[begin]
                else:
                    next_most = max(next_most, i - begin)
                begin = i
            stands_out = most >= max(SPIKE_LEAST, SPIKE_SHARE * size) and next_most <= SPIKE_NEXT * most
            variance, sd = (covariances[j, 0], sd_0) if trait == 0 else (covariances[j, 2], sd_1)
            if (most == size or stands_out or is_narrow(variance, sd)) and not most <= best.n_there:
                best = Spike(float(j), float(trait), value, float(most), float(size))
    return best
