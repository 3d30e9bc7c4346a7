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

from bayesgmm.core.ascent import ROUNDING
from bayesgmm.core.borrowed import borrowed
from bayesgmm.core.small_climb import COLLAPSED, LOWER, SAME, climb_by_em, climb_to_top
from bayesgmm.core.small_mixture import (
    WIDTH,
    Form,
    People,
    Point,
    SmallPrior,
    evaluate,
    free_slots,
    new_point,
)
from bayesgmm.core.small_passes import Scratch, new_scratch
from bayesgmm.core.small_starts import SPLITS, orders_of, partition_starts, split_starts, ward_cuts

Array = NDArray[np.float64]
Long = NDArray[np.int64]
Small = NDArray[np.int8]

# what came of a problem
FITTED, NOBODY, TRAIT_MISSING, CONSTANT, TOO_FEW, REPEATED, NO_MODE = range(7)
NOT_TRIED = -1  # status of a number of components and family, beside those of small_climb
BIC, ICL = 0, 1
_SCREENING = 4  # EM steps every start gets before the best half go on
_FINISHERS = 4  # starts that go on, at least; what the others would find is in docs/many.md
_SAME_HILL = 1e-3  # log posterior units after screening within which two starts climb the same hill
_NEAR = 1e-4  # distance to the limit to which the height of every hill is found out
_FLOOR = 1e-12  # conditional variance of a collapsed component, as a share of the sample's
_REPEATS = 1e-12  # one less the correlation at which two traits repeat each other
_STEPS = 1000  # passes of the single Gaussian of people some of whom lack a trait


class Model(NamedTuple):
    """A number of components with a family and what its prior says; numbers that depend on the data are not given.

    Attributes
    ----------
    family : int
        The same for the models of one family, which come one after another with more and more components.
    n_components, n_parameters : int
    form : Form
    one_unit : bool
        The family may only be rescaled as a whole.
    concentration, strength, dof : float
    improper : bool
        The components' prior has no constant: flat, or Jeffreys'.
    mean_power, covariance_power, unit_power : float
        See :class:`bayesgmm.core.gaussian.NiwPrior`; the last of each trait.
    own_mean, own_scale : bool
        Whether ``m0`` and ``Psi0`` are the defaults, which depend on the data.
    mean_0, mean_1, scale_00, scale_01, scale_11 : float
        Those given, in the traits' units.
    """

    family: int
    n_components: int
    n_parameters: int
    form: Form
    one_unit: bool
    concentration: float
    strength: float
    dof: float
    improper: bool
    mean_power: float
    covariance_power: float
    unit_power: float
    own_mean: bool
    own_scale: bool
    mean_0: float
    mean_1: float
    scale_00: float
    scale_01: float
    scale_11: float

    def row(self) -> list[float]:
        """The numbers in a row, as the compiled code takes them."""
        numbers: list[float] = []
        for value in self:
            numbers += value if isinstance(value, tuple) else [value]
        return [float(number) for number in numbers]


@njit(cache=True, error_model="numpy", nogil=True)
def _model_at(row: Array) -> Model:
    return Model(
        int(row[0]),
        int(row[1]),
        int(row[2]),
        Form(int(row[3]), row[4] > 0.0, row[5] > 0.0, row[6] > 0.0),
        row[7] > 0.0,
        row[8],
        row[9],
        row[10],
        row[11] > 0.0,
        row[12],
        row[13],
        row[14],
        row[15] > 0.0,
        row[16] > 0.0,
        row[17],
        row[18],
        row[19],
        row[20],
        row[21],
    )


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
def _mean_and_sd(values: Array) -> tuple[float, float]:
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
def _known(first: Array, second: Array, trait: int, other: bool, both: bool) -> Array:
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
def _gaussian(people: People, slots: Long, point: Point, trial: Point, scratch: Scratch) -> tuple[float, float, float]:
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
def _prior_of(model: Model, moments: Moments, unit_0: float, unit_1: float) -> tuple[bool, SmallPrior]:
    """The prior in standardised units; False where its default scale cannot be formed."""
    form, k = model.form, model.n_components
    size = form.n_traits
    m0, m1, p00, p01, p11 = 0.0, 0.0, 0.0, 0.0, 0.0
    if not model.own_mean:
        m0 = (model.mean_0 - moments.mean_0) / unit_0
        m1 = (model.mean_1 - moments.mean_1) / unit_1 if size > 1 else 0.0
    if model.own_scale:
        p00, p01, p11 = moments.s00, moments.s01, moments.s11
        whole = p00 > 0.0 and (size == 1 or p11 > 0.0)
        if form.on_axes:
            p01 = 0.0
        elif size > 1 and whole:
            # the smallest eigenvalue of the correlation matrix
            whole = 1.0 - abs(p01) / math.sqrt(p00 * p11) >= _REPEATS
        if not (moments.has_covariance and whole):
            return False, SmallPrior(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
        if form.spherical and size > 1:
            p00 = 0.5 * (p00 + p11)
            p11 = p00
        share = k ** (-2.0 / size)
        p00, p01, p11 = p00 * share, p01 * share, p11 * share
    else:
        p00, p01, p11 = model.scale_00, model.scale_01, model.scale_11
    p00, p01, p11 = p00 / (unit_0 * unit_0), p01 / (unit_0 * unit_1), p11 / (unit_1 * unit_1)
    if size == 1:
        p01, p11 = 0.0, 0.0
    a = model.concentration
    constant = math.lgamma(k * a) - k * math.lgamma(a)
    if not model.improper:
        half = 0.5 * model.dof
        of_mean = 0.5 * size * math.log(model.strength / (2.0 * math.pi))
        if size == 1:
            of_covariance = half * math.log(0.5 * p00) - math.lgamma(half)
        elif form.spherical:
            of_covariance = half * math.log(0.25 * (p00 + p11)) - math.lgamma(half)
        elif form.on_axes:
            of_covariance = half * (math.log(0.5 * p00) + math.log(0.5 * p11)) - 2.0 * math.lgamma(half)
        else:
            of_covariance = half * math.log(0.25 * (p00 * p11 - p01 * p01)) - 0.5 * math.log(math.pi)
            of_covariance -= math.lgamma(half) + math.lgamma(half - 0.5)
        constant += k * of_mean + (1 if form.shared else k) * of_covariance
    if form.spherical and size > 1:
        # the density of the one variance has the mean of the two
        p00 = 0.25 * (p00 + p11)
        p11, p01 = p00, 0.0
    prior = SmallPrior(
        a - 1.0, model.strength, model.mean_power, model.covariance_power, m0, m1, p00, p01, p11, constant
    )
    return True, prior


@njit(cache=True, error_model="numpy", nogil=True)
def _points(
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


@njit(cache=True, error_model="numpy", nogil=True)
def _search(
    model: Model,
    prior: SmallPrior,
    people: People,
    points: Array,
    white: Array,
    orders: Long,
    cuts: Long,
    floor_0: float,
    floor_1: float,
    uniform: Array,
    smaller: Array,
    most: int,
    tolerance: float,
    slots: Long,
    best: Point,
    work: Point,
    trial: Point,
    scratch: Scratch,
) -> tuple[float, float, int]:
    """Highest mode that is found: its log posterior, the distance to the limit and its status; ``best`` is there.

    ``smaller`` (n_components - 1, 6) is the best of one component fewer; empty where that is not known.
    """
    people, points, white, orders, cuts = (
        borrowed(people), borrowed(points), borrowed(white), borrowed(orders), borrowed(cuts),
    )  # fmt: skip
    uniform, smaller, slots, best, work, trial, scratch = (
        borrowed(uniform), borrowed(smaller), borrowed(slots), borrowed(best), borrowed(work), borrowed(trial),
        borrowed(scratch),
    )  # fmt: skip
    k, form = model.n_components, model.form
    n_free = free_slots(form, k, slots)
    size = len(uniform) + SPLITS * k
    starts, heights = np.empty((size, k, WIDTH)), np.empty(size)
    # of one component there is one start
    random = uniform if k > 1 else uniform[:1]
    n_starts = partition_starts(
        points, white, orders, cuts, k, form, prior, floor_0, floor_1, random, starts
    )  # fmt: skip
    if k > 1 and len(smaller) == k - 1:
        n_starts += split_starts(smaller, k, form, starts[n_starts:])
    steps = min(_SCREENING, most) if k > 1 else 1
    for j in range(n_starts):
        work.state[:k] = starts[j]
        heights[j] = climb_by_em(work, k, people, form, prior, floor_0, floor_1, slots, steps, scratch)
        starts[j] = work.state[:k]
        if math.isnan(heights[j]):
            heights[j] = -np.inf
    # the most promising half of the hills until their height is known to a little, as long as they may be the highest
    order = np.argsort(-heights[:n_starts], kind="mergesort")
    limits = np.full(n_starts, -np.inf)
    highest, n_modes, n_climbed = -np.inf, 0, 0
    most_climbed = max(_FINISHERS, n_starts // 2)
    modes = np.empty_like(starts)
    for at in range(n_starts):
        j = order[at]
        if heights[j] == -np.inf or n_climbed == most_climbed:
            break
        if at > 0 and heights[order[at - 1]] - heights[j] <= _SAME_HILL:
            continue
        work.state[:k] = starts[j]
        value, gap, status, _ = climb_to_top(
            work, trial, k, people, form, prior, floor_0, floor_1, slots, n_free, most, tolerance, _NEAR, highest,
            modes[:n_modes], scratch,
        )  # fmt: skip
        n_climbed += 1
        if status in (COLLAPSED, LOWER, SAME) or not math.isfinite(value):
            continue
        starts[j] = work.state[:k]
        modes[n_modes] = work.state[:k]
        n_modes += 1
        # of equal heights the first stays, so that rounding does not choose
        limits[j] = value + gap if math.isfinite(gap) and gap < _NEAR else value
        if limits[j] > highest + _NEAR:
            highest = limits[j]
        else:
            limits[j] = -np.inf
    top, best_gap, best_status = -np.inf, np.inf, COLLAPSED
    order = np.argsort(-limits, kind="mergesort")
    for j in order:
        if not limits[j] > highest - 10.0 * _NEAR:
            break
        work.state[:k] = starts[j]
        value, gap, status, _ = climb_to_top(
            work, trial, k, people, form, prior, floor_0, floor_1, slots, n_free, most, tolerance, 0.0, -np.inf,
            modes[:0], scratch,
        )  # fmt: skip
        if status != COLLAPSED and value > top + ROUNDING * abs(value):
            top, best_gap, best_status = value, gap, status
            best.state[:k] = work.state[:k]
    return top, best_gap, best_status


@njit(cache=True, error_model="numpy", nogil=True)
def _in_order(state: Array, n_components: int) -> None:
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
def _count_modes(state: Array, n_components: int) -> int:
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
    both_0, both_1 = _known(first, second, 0, False, True), _known(first, second, 1, False, True)
    only_0, only_1 = _known(first, second, 0, False, False), _known(first, second, 1, False, False)
    all_0, all_1 = _known(first, second, 0, True, True), _known(first, second, 1, True, True)
    n = len(both_0) + len(only_0) + len(only_1)
    found.n_observed[p] = n
    if n == 0:
        found.outcome[p] = NOBODY
        return
    if len(all_0) == 0 or (two and len(all_1) == 0):
        found.outcome[p] = TRAIT_MISSING
        return
    mean_0, sd_0 = _mean_and_sd(all_0)
    mean_1, sd_1 = (0.0, 1.0)
    if two:
        mean_1, sd_1 = _mean_and_sd(all_1)
    if (len(all_0) > 1 and all_0.min() == all_0.max()) or (two and len(all_1) > 1 and all_1.min() == all_1.max()):
        found.outcome[p] = CONSTANT
        return
    unit_0, unit_1 = sd_0 if sd_0 > 0.0 else 1.0, sd_1 if sd_1 > 0.0 else 1.0
    if not two:
        only_0.sort()
    # the covariance of standardised traits, over n
    c00, c01, c11 = sd_0 * sd_0 / (unit_0 * unit_0), 0.0, sd_1 * sd_1 / (unit_1 * unit_1)
    if two and len(only_0) + len(only_1) == 0:
        for i in range(n):
            c01 += (both_0[i] - mean_0) / unit_0 * ((both_1[i] - mean_1) / unit_1)
        c01 /= n
    elif two:
        c00 = c01 = c11 = np.nan
        if sd_0 > 0.0 and sd_1 > 0.0 and n > 1:
            people = People(
                _standardised(both_0, mean_0, unit_0),
                _standardised(both_1, mean_1, unit_1),
                _standardised(only_0, mean_0, unit_0),
                _standardised(only_1, mean_1, unit_1),
            )
            c00, c01, c11 = _gaussian(people, slots, work, trial, scratch)
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
    people = People(both_0, both_1, only_0, only_1)
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
        model = _model_at(models[m])
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
            people = People(
                _standardised(both_0, mean_0, u0),
                _standardised(both_1, mean_1, u1),
                _standardised(only_0, mean_0, u0),
                _standardised(only_1, mean_1, u1),
            )
            points, white = _points(first, second, moments, u0, u1, two)
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
        whole, prior = _prior_of(model, moments, u0, u1)
        if not whole:
            repeated = True
            continue
        tried = True
        value, gap, status = _search(
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
        _in_order(best.state, k)
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
    k = _model_at(models[found.chosen[p]]).n_components
    if not two:
        found.n_modes[p] = _count_modes(chosen, k)
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


@njit(cache=True, error_model="numpy", nogil=True)
def membership_into(
    matrix: Array, first: Long, second: Long, weights: Array, means: Array, covariances: Array, out: Array
) -> None:
    """Write the membership probabilities of people under fits that are given.

    Parameters
    ----------
    matrix, first, second
        As in :func:`fit_problems`.
    weights, means, covariances
        As in :class:`Found`.
    out : ndarray (n_problems, n_samples, n_components)
        NaN beyond a problem's components; of a person without traits the weights.
    """
    two = len(second) > 0
    log_2pi = math.log(2.0 * math.pi)
    for p in range(len(first)):
        k = 0
        while k < weights.shape[1] and not math.isnan(weights[p, k]):
            k += 1
        x = matrix[first[p]]
        z = matrix[second[p]] if two else x
        for i in range(len(x)):
            largest = -np.inf
            for j in range(k):
                c00, c01, c11 = covariances[p, j, 0], covariances[p, j, 1], covariances[p, j, 2]
                value = math.log(weights[p, j])
                v0, v1 = x[i] - means[p, j, 0], z[i] - means[p, j, 1]
                if two and not math.isnan(v1):
                    value -= 0.5 * (log_2pi + math.log(c11) + v1 * v1 / c11)
                    if not math.isnan(v0):
                        left, rest = c00 - c01 * c01 / c11, v0 - c01 / c11 * v1
                        value -= 0.5 * (log_2pi + math.log(left) + rest * rest / left)
                elif not math.isnan(v0):
                    value -= 0.5 * (log_2pi + math.log(c00) + v0 * v0 / c00)
                out[p, i, j] = value
                largest = max(largest, value)
            total = 0.0
            for j in range(k):
                out[p, i, j] = math.exp(out[p, i, j] - largest)
                total += out[p, i, j]
            for j in range(k):
                out[p, i, j] /= total
            for j in range(k, out.shape[2]):
                out[p, i, j] = np.nan
