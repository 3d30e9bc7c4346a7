"""Many small mixtures: each problem fitted with every number of components and every family, and the best kept.

One compiled function takes a run of problems and gives up Python's lock, so that threads share the runs. What comes of
a problem depends on that problem only.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bayesgmm.core.small_climb import COLLAPSED
from bayesgmm.core.small_data import (
    Moments,
    covariance_of,
    filled_points,
    in_units,
    known_values,
    mean_and_sd,
)
from bayesgmm.core.small_facts import count_modes, has_repeats, is_narrow, put_in_order, spike_of
from bayesgmm.core.small_mixture import WIDTH, People, Point, evaluate, new_point
from bayesgmm.core.small_passes import Scratch, new_scratch
from bayesgmm.core.small_prior import model_at, prior_of
from bayesgmm.core.small_search import search
from bayesgmm.core.small_starts import orders_of, ward_cuts

Array = NDArray[np.float64]
Long = NDArray[np.int64]
Small = NDArray[np.int8]

# what came of a problem
FITTED, NOBODY, TRAIT_MISSING, CONSTANT, TOO_FEW, REPEATED, NO_MODE, INTERRUPTED = range(8)
NOT_TRIED = -1  # status of a number of components and family, beside those of small_climb
BIC, ICL = 0, 1
_FLOOR = 1e-12  # conditional variance of a collapsed component, as a share of the sample's


class Found(NamedTuple):
    """What is found, a row a problem.

    Attributes
    ----------
    outcome : ndarray of int8 (n_problems,)
    chosen : ndarray of int64 (n_problems,)
        Model with the best criterion; -1 where there is none.
    n_observed : ndarray of int64 (n_problems,)
    n_modes : ndarray of int64 (n_problems,)
        Of the chosen density of one trait; 0 where not counted.
    spike : ndarray (n_problems, 5)
        Numbers of :class:`bayesgmm.core.small_facts.Spike`; NaN where there is none.
    weights : ndarray (n_problems, most)
    means : ndarray (n_problems, most, 2)
    covariances : ndarray (n_problems, most, 3)
        Of the chosen model, components in order; NaN beyond.
    log_posterior, log_likelihood, entropy, gap : ndarray (n_problems, n_models)
    status : ndarray of int8 (n_problems, n_models)
    """

    outcome: Small
    chosen: Long
    n_observed: Long
    n_modes: Long
    spike: Array
    weights: Array
    means: Array
    covariances: Array
    log_posterior: Array
    log_likelihood: Array
    entropy: Array
    gap: Array
    status: Small

    def part(self, start: int, stop: int) -> Found:
        """The rows of some problems, to be written."""
        return Found._make(array[start:stop] for array in self)


@njit(cache=True, error_model="numpy", nogil=True)
def _fit_problem(
    first: Array,
    second: Array,
    two: bool,
    models: Array,
    criterion: int,
    uniform: Array,
    most: int,
    tolerance: float,
    largest: int,
    slots: Long,
    best: Point,
    work: Point,
    trial: Point,
    scratch: Scratch,
    p: int,
    found: Found,
) -> None:
    both_0, both_1 = known_values(first, second, 0, False, True), known_values(first, second, 1, False, True)
    only_0, only_1 = known_values(first, second, 0, False, False), known_values(first, second, 1, False, False)
    all_0, all_1 = known_values(first, second, 0, True, True), known_values(first, second, 1, True, True)
    n = len(both_0) + len(only_0) + len(only_1)
    found.n_observed[p] = n
    if n == 0:
        found.outcome[p] = NOBODY
        return
    if len(all_0) == 0 or (two and len(all_1) == 0):
        found.outcome[p] = TRAIT_MISSING
        return
    mean_0, sd_0 = mean_and_sd(all_0)
    mean_1, sd_1 = (0.0, 1.0)
    if two:
        mean_1, sd_1 = mean_and_sd(all_1)
    if (len(all_0) > 1 and all_0.min() == all_0.max()) or (two and len(all_1) > 1 and all_1.min() == all_1.max()):
        found.outcome[p] = CONSTANT
        return
    unit_0, unit_1 = sd_0 if sd_0 > 0.0 else 1.0, sd_1 if sd_1 > 0.0 else 1.0
    if not two:
        only_0.sort()
    given = People(both_0, both_1, only_0, only_1)
    # the covariance of standardised traits, over n
    c00, c01, c11 = sd_0 * sd_0 / (unit_0 * unit_0), 0.0, sd_1 * sd_1 / (unit_1 * unit_1)
    if two and len(only_0) + len(only_1) == 0:
        for i in range(n):
            c01 += (both_0[i] - mean_0) / unit_0 * ((both_1[i] - mean_1) / unit_1)
        c01 /= n
    elif two:
        c00 = c01 = c11 = np.nan
        if sd_0 > 0.0 and sd_1 > 0.0 and n > 1:
            people = in_units(given, mean_0, mean_1, unit_0, unit_1)
            c00, c01, c11 = covariance_of(people, slots, work, trial, scratch)
    has_covariance = n > 1 and not math.isnan(c00)
    times = n / (n - 1.0) if n > 1 else 1.0
    moments = Moments(
        mean_0,
        mean_1,
        c00 * unit_0 * unit_0 * times,
        c01 * unit_0 * unit_1 * times,
        c11 * unit_1 * unit_1 * times,
        unit_0,
        unit_1,
        len(all_0),
        len(all_1) if two else 0,
        has_covariance,
    )
    standardised = -1  # how people are standardised: each trait by itself (0) or both alike (1)
    u0, u1 = 1.0, 1.0
    people = given
    points, white = np.empty((1, 0)), np.empty((1, 0))
    floor_0, floor_1 = 0.0, 0.0
    cuts = np.zeros((largest + 1, largest + 1), dtype=np.int64)
    orders = np.empty((4, n), dtype=np.int64)
    smaller = np.empty((largest, WIDTH))
    n_smaller, family = 0, -1
    lowest, tried, repeated = np.inf, False, False
    chosen = np.empty((largest, WIDTH))
    chosen_units = (1.0, 1.0)
    for m in range(len(models)):
        model = model_at(models[m])
        k, form = model.n_components, model.form
        if model.family != family:
            n_smaller, family = 0, model.family
        if n < k:
            continue
        if standardised != int(model.one_unit):
            u0, u1 = unit_0, unit_1
            if model.one_unit and two:
                u0 = math.sqrt(0.5 * (unit_0 * unit_0 + unit_1 * unit_1))
                u1 = u0
            people = in_units(given, mean_0, mean_1, u0, u1)
            points, white = filled_points(first, second, moments, u0, u1, two)
            orders_of(points, orders)
            if not two:
                ward_cuts(points[0], largest, cuts)
            floor_0, floor_1 = 0.0, 0.0
            if has_covariance:
                s00, s01 = moments.s00 / (u0 * u0), moments.s01 / (u0 * u1)
                s11 = moments.s11 / (u1 * u1)
                floor_0 = _FLOOR * (s00 - s01 * s01 / s11 if two else s00)
                floor_1 = _FLOOR * s11
                if not floor_0 > 0.0:
                    floor_0, floor_1 = 1e-300, 1e-300
            standardised = int(model.one_unit)
        whole, prior = prior_of(model, moments, u0, u1)
        if not whole:
            repeated = True
            continue
        tried = True
        value, gap, status = search(
            model, prior, people, points, white, orders, cuts, floor_0, floor_1, uniform[m], smaller[:n_smaller],
            most, tolerance, slots, best, work, trial, scratch,
        )  # fmt: skip
        found.status[p, m] = status
        n_smaller = 0
        if status == COLLAPSED:
            continue
        for j in range(k):
            for c in range(WIDTH):
                smaller[j, c] = best.state[j, c]
        n_smaller = k
        put_in_order(best.state, k)
        value = evaluate(best, k, people, form, prior, False, slots, 0, scratch)
        entropy = max(scratch.parts[0] - scratch.parts[1], 0.0)
        logs = moments.known_0 * math.log(u0) + moments.known_1 * math.log(u1)
        power = model.unit_power * (math.log(u0) + (math.log(u1) if two else 0.0))
        log_likelihood = scratch.parts[0] - logs
        found.log_posterior[p, m] = value - logs - power
        found.log_likelihood[p, m] = log_likelihood
        found.entropy[p, m] = entropy
        found.gap[p, m] = gap
        score = -2.0 * log_likelihood + model.n_parameters * math.log(n)
        if criterion == ICL:
            score += 2.0 * entropy
        if score < lowest:
            lowest = score
            found.chosen[p] = m
            chosen_units = (u0, u1)
            for j in range(k):
                for c in range(WIDTH):
                    chosen[j, c] = best.state[j, c]
    if found.chosen[p] < 0:
        found.outcome[p] = NO_MODE if tried else (REPEATED if repeated and n > 2 else TOO_FEW)
        return
    found.outcome[p] = FITTED
    k = model_at(models[found.chosen[p]]).n_components
    if not two:
        found.n_modes[p] = count_modes(chosen, k)
    u0, u1 = chosen_units
    for j in range(k):
        row = chosen[j]
        s11 = math.exp(-2.0 * row[4])
        found.weights[p, j] = math.exp(row[0])
        found.means[p, j, 0] = mean_0 + u0 * row[1]
        found.means[p, j, 1] = mean_1 + u1 * row[2]
        found.covariances[p, j, 0] = u0 * u0 * (math.exp(-2.0 * row[3]) + row[5] * row[5] * s11)
        found.covariances[p, j, 1] = -u0 * u1 * row[5] * s11
        found.covariances[p, j, 2] = u1 * u1 * s11
    possible = has_repeats(all_0) or (two and has_repeats(all_1))
    for j in range(k):
        possible = possible or is_narrow(found.covariances[p, j, 0], sd_0)
        possible = possible or (two and is_narrow(found.covariances[p, j, 2], sd_1))
    if possible:
        spike = spike_of(
            first, second, two, found.weights[p], found.means[p], found.covariances[p], k, sd_0, sd_1,
        )  # fmt: skip
        for c in range(len(spike)):
            found.spike[p, c] = spike[c]


@njit(cache=True, error_model="numpy", nogil=True)
def fit_problems(
    matrix: Array,
    first: Long,
    second: Long,
    models: Array,
    criterion: int,
    uniform: Array,
    most: int,
    tolerance: float,
    found: Found,
) -> None:
    """Fit a run of problems.

    Parameters
    ----------
    matrix : ndarray (n_rows, n_samples)
        NaN where missing.
    first, second : ndarray of int64 (n_problems,)
        Rows of the problem's traits; ``second`` is empty where there is one trait.
    models : ndarray (n_models, 22)
        Rows of :class:`Model`.
    criterion : int
        BIC or ICL.
    uniform : ndarray (n_models, restarts, most components)
        Random numbers of the starts.
    most : int
        Most passes of a climb.
    tolerance : float
    found : Found
        Written; of the problems of this run only.
    """
    largest = uniform.shape[2]
    two = len(second) > 0
    slots = np.empty(WIDTH * largest, dtype=np.int64)
    best, work, trial = new_point(largest), new_point(largest), new_point(largest)
    scratch = new_scratch(largest)
    nothing = np.full(matrix.shape[1], np.nan)
    for p in range(len(first)):
        _fit_problem(
            matrix[first[p]], matrix[second[p]] if two else nothing, two, models, criterion, uniform, most, tolerance,
            largest, slots, best, work, trial, scratch, p, found,
        )  # fmt: skip
