"""One small problem's people as they are fitted: who has which trait, moments, standardised and filled-in traits."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bayesgmm.core.borrowed import borrowed
from bayesgmm.core.small_climb import COLLAPSED, climb_by_em, climb_to_top
from bayesgmm.core.small_mixture import WIDTH, Form, People, Point, SmallPrior, free_slots
from bayesgmm.core.small_passes import Scratch

Array = NDArray[np.float64]
Long = NDArray[np.int64]

_STEPS = 1000  # passes of the single Gaussian of people some of whom lack a trait


class Moments(NamedTuple):
    """Facts of one problem's traits: means, covariance (n - 1), standard deviations, and whether there is a covariance.

    ``known`` counts the people who have each trait.
    """

    mean_0: float
    mean_1: float
    s00: float
    s01: float
    s11: float
    sd_0: float
    sd_1: float
    known_0: int
    known_1: int
    has_covariance: bool


@njit(cache=True, error_model="numpy", nogil=True)
def mean_and_sd(values: Array) -> tuple[float, float]:
    """Mean, and standard deviation over n, about the mean as it is rounded."""
    n = len(values)
    mean = 0.0
    for y in values:
        mean += y
    mean /= n
    left, square = 0.0, 0.0
    for y in values:
        left += y - mean
        square += (y - mean) * (y - mean)
    left /= n
    return mean + left, math.sqrt(max(square / n - left * left, 0.0))


@njit(cache=True, error_model="numpy", nogil=True)
def _standardised(values: Array, centre: float, unit: float) -> Array:
    out = np.empty(len(values))
    scale = 1.0 / unit
    for i in range(len(values)):
        out[i] = (values[i] - centre) * scale
    return out


@njit(cache=True, error_model="numpy", nogil=True)
def in_units(people: People, mean_0: float, mean_1: float, unit_0: float, unit_1: float) -> People:
    """People's traits less their means, in units."""
    return People(
        _standardised(people.both_first, mean_0, unit_0),
        _standardised(people.both_second, mean_1, unit_1),
        _standardised(people.first_only, mean_0, unit_0),
        _standardised(people.second_only, mean_1, unit_1),
    )


@njit(cache=True, error_model="numpy", nogil=True)
def known_values(first: Array, second: Array, trait: int, other: bool, both: bool) -> Array:
    """Values of a trait of the people who have both traits, or this one only; or (``other``) everybody who has it."""
    n = 0
    out = np.empty(len(first))
    for i in range(len(first)):
        y, z = (first[i], second[i]) if trait == 0 else (second[i], first[i])
        if not math.isnan(y) and (other or math.isnan(z) != both):
            out[n] = y
            n += 1
    return out[:n]


@njit(cache=True, error_model="numpy", nogil=True)
def covariance_of(
    people: People, slots: Long, point: Point, trial: Point, scratch: Scratch
) -> tuple[float, float, float]:
    """Maximum likelihood covariance of standardised traits where some are missing; NaN where it is singular."""
    people, slots, point, trial, scratch = (
        borrowed(people), borrowed(slots), borrowed(point), borrowed(trial), borrowed(scratch),
    )  # fmt: skip
    form = Form(2, False, False, False)
    flat = SmallPrior(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    # not literals, for each of which the climb would be compiled again
    one, few, most = np.int64(1), np.int64(3), np.int64(_STEPS)
    n_free = free_slots(form, one, slots)
    for c in range(WIDTH):
        point.state[0, c] = 0.0
    if math.isnan(climb_by_em(point, one, people, form, flat, 0.0, 0.0, slots, few, scratch)):
        return np.nan, np.nan, np.nan
    _, _, status, _ = climb_to_top(
        point, trial, one, people, form, flat, 0.0, 0.0, slots, n_free, most, 1e-12, 0.0, -np.inf,
        np.empty((0, 1, WIDTH)), scratch,
    )  # fmt: skip
    if status == COLLAPSED:
        return np.nan, np.nan, np.nan
    row = point.state[0]
    s11 = math.exp(-2.0 * row[4])
    return math.exp(-2.0 * row[3]) + row[5] * row[5] * s11, -row[5] * s11, s11


@njit(cache=True, error_model="numpy", nogil=True)
def filled_points(
    first: Array, second: Array, moments: Moments, unit_0: float, unit_1: float, two: bool
) -> tuple[Array, Array]:
    """Standardised traits of everybody who has one, what is missing at what is expected; and the same whitened."""
    n = 0
    for i in range(len(first)):
        if not (math.isnan(first[i]) and (not two or math.isnan(second[i]))):
            n += 1
    points = np.empty((2 if two else 1, n))
    if not two:
        at = 0
        for i in range(len(first)):
            if not math.isnan(first[i]):
                points[0, at] = (first[i] - moments.mean_0) / unit_0
                at += 1
        points[0].sort()
        return points, points
    s00, s01, s11 = moments.s00, moments.s01, moments.s11
    to_first = s01 / s11 if s11 > 0.0 and moments.has_covariance else 0.0
    to_second = s01 / s00 if s00 > 0.0 and moments.has_covariance else 0.0
    white = np.empty((2, n))
    left = s11 - to_second * s01
    usable = moments.has_covariance and s00 > 0.0 and left > 1e-12 * s11
    at = 0
    for i in range(len(first)):
        y, z = first[i] - moments.mean_0, second[i] - moments.mean_1
        if math.isnan(y) and math.isnan(z):
            continue
        if math.isnan(y):
            y = to_first * z
        if math.isnan(z):
            z = to_second * y
        points[0, at], points[1, at] = y / unit_0, z / unit_1
        white[0, at], white[1, at] = points[0, at], points[1, at]
        if usable:
            white[0, at] = y / math.sqrt(s00)
            white[1, at] = (z - to_second * y) / math.sqrt(left)
        at += 1
    return points, white
