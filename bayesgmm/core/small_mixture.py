r"""A mixture of one or two traits as a few numbers: its log posterior with curvature, and the steps of EM and Newton.

A state is a table with a row a component: log weight, two means, the logarithms of ``a_0`` and ``a_1``, and ``u`` (see
:mod:`bayesgmm.core.small_passes`). Where there is one trait the second is there with nobody who has it, and nothing of
it moves. The families are those whose every coordinate is either a component's own, or the same for all components, or
the same for both traits: EII, VII, EEI, VVI, EEE, VVV, and E and V of one trait. They differ in a table that says
which free coordinate each of a component's coordinates is.

The log posterior is that of :mod:`bayesgmm.core.posterior`, of standardised traits, as a density in the natural
parameters.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bayesgmm.core.small_passes import ONE_SCORES, TWO_SCORES, Scratch, one_trait_pass, two_trait_pass

Array = NDArray[np.float64]
Long = NDArray[np.int64]

WIDTH = 6  # numbers of a component: log weight, means, logarithms of a0 and a1, u
_LOG_2PI = 1.8378770664093453
_TINY = 1e-300
_SINGULAR_SHARE = 1e-13  # share of a trait's variance that the other leaves, below which nothing but rounding is left


class People(NamedTuple):
    """Standardised traits of the people who have both, the first only, and the second only."""

    both_first: Array
    both_second: Array
    first_only: Array
    second_only: Array


class Form(NamedTuple):
    """A covariance family of one or two traits.

    Attributes
    ----------
    n_traits : int
    shared : bool
        All components have one covariance.
    spherical, on_axes : bool
        The two variances are equal; the covariance is diagonal.
    """

    n_traits: int
    shared: bool
    spherical: bool
    on_axes: bool


class SmallPrior(NamedTuple):
    """The prior of one problem in standardised units; see :class:`bayesgmm.core.gaussian.NiwPrior`.

    Attributes
    ----------
    extra : float
        Concentration less one.
    strength, mean_power, covariance_power : float
    first_mean, second_mean : float
        ``m0``.
    scale_00, scale_01, scale_11 : float
        ``Psi`` of ``exp(-tr(Psi P) / 2)``.
    constant : float
        What no parameter changes.
    """

    extra: float
    strength: float
    mean_power: float
    covariance_power: float
    first_mean: float
    second_mean: float
    scale_00: float
    scale_01: float
    scale_11: float
    constant: float


class Point(NamedTuple):
    """A state and what is known there.

    Attributes
    ----------
    state : ndarray (n_components, 6)
    sums : ndarray (n_components, 6)
        Moments of the E step in whitened coordinates: of ``1``, ``z_0``, ``z_1``, ``z_0^2``, ``z_0 z_1``, ``z_1^2``,
        what is missing at what is expected.
    gradient : ndarray (n_free,)
        Of the log posterior in free whitened coordinates.
    curvature : ndarray (n_free, n_free)
        Minus its Hessian.
    """

    state: Array
    sums: Array
    gradient: Array
    curvature: Array


@njit(cache=True, error_model="numpy", nogil=True)
def new_point(n_components: int) -> Point:
    """Space for a point of up to so many components."""
    size = WIDTH * n_components
    return Point(
        np.zeros((n_components, WIDTH)), np.zeros((n_components, WIDTH)), np.zeros(size), np.zeros((size, size))
    )


@njit(cache=True, error_model="numpy", nogil=True)
def copy_point(source: Point, n_components: int, n_free: int, out: Point) -> None:
    """Copy a point."""
    # taken out of the tuples once: every access counts a reference, which costs as much as copying a row
    state, sums, gradient, curvature = source.state, source.sums, source.gradient, source.curvature
    to_state, to_sums, to_gradient, to_curvature = out.state, out.sums, out.gradient, out.curvature
    for k in range(n_components):
        for c in range(WIDTH):
            to_state[k, c] = state[k, c]
            to_sums[k, c] = sums[k, c]
    for a in range(n_free):
        to_gradient[a] = gradient[a]
        for b in range(n_free):
            to_curvature[a, b] = curvature[a, b]


@njit(cache=True, error_model="numpy", nogil=True)
def free_slots(form: Form, n_components: int, slots: Long) -> int:
    """Write which free coordinate each coordinate of each component is, -1 where it is fixed; return their number."""
    free = n_components - 1
    for k in range(n_components):
        slots[WIDTH * k] = k - 1
        slots[WIDTH * k + 1] = free
        slots[WIDTH * k + 2] = free + 1 if form.n_traits > 1 else -1
        free += form.n_traits
    for k in range(n_components):
        at = WIDTH * k + 3
        if k > 0 and form.shared:
            for c in range(3):
                slots[at + c] = slots[3 + c]
            continue
        slots[at] = free
        free += 1
        slots[at + 1] = -1
        slots[at + 2] = -1
        if form.n_traits > 1:
            slots[at + 1] = slots[at] if form.spherical else free
            free += 0 if form.spherical else 1
            if not form.on_axes:
                slots[at + 2] = free
                free += 1
    return free


@njit(cache=True, error_model="numpy", nogil=True)
def _add(curvature: Array, a: int, b: int, value: float) -> None:
    """Add a mixed derivative of two coordinates to the free ones that they are, which may be the same one."""
    if a >= 0 and b >= 0:
        curvature[a, b] += value
        curvature[b, a] += value


@njit(cache=True, error_model="numpy", nogil=True)
def _add_own(curvature: Array, a: int, value: float) -> None:
    if a >= 0:
        curvature[a, a] += value


@njit(cache=True, error_model="numpy", nogil=True)
def _add_gaussian(
    curvature: Array,
    slots: Long,
    k: int,
    mass: float,
    f0: float,
    f1: float,
    s00: float,
    s01: float,
    s11: float,
    with_means: bool,
) -> None:
    """Add the curvature of a Gaussian's complete log density given its moments."""
    at = WIDTH * k
    if with_means:
        _add_own(curvature, slots[at + 1], mass)
        _add_own(curvature, slots[at + 2], mass)
        _add(curvature, slots[at + 1], slots[at + 5], -f1)
        _add(curvature, slots[at + 2], slots[at + 5], -f0)
        _add(curvature, slots[at + 1], slots[at + 3], -2.0 * f0)
        _add(curvature, slots[at + 2], slots[at + 4], -2.0 * f1)
    _add_own(curvature, slots[at + 5], s11)
    _add(curvature, slots[at + 5], slots[at + 3], 2.0 * s01)
    _add_own(curvature, slots[at + 3], 2.0 * s00)
    _add_own(curvature, slots[at + 4], 2.0 * s11)


@njit(cache=True, error_model="numpy", nogil=True)
def _add_marginal(
    curvature: Array, slots: Long, k: int, c0: float, c1: float, mass: float, first: float, second: float
) -> None:
    """Add the same for people of whom one trait is known, whose whitened value is ``c_0 z_0 + c_1 z_1``."""
    at = WIDTH * k
    p, q, cross = c0 * c0, c1 * c1, c0 * c1
    e0, e1, l0, l1, w = slots[at + 1], slots[at + 2], slots[at + 3], slots[at + 4], slots[at + 5]
    _add_own(curvature, e0, mass * p)
    _add_own(curvature, e1, mass * q)
    _add(curvature, e0, e1, mass * cross)
    # derivatives of the logarithm of the marginal standard deviation: -p, -q, -cross
    for a, c in ((e0, c0), (e1, c1)):
        _add(curvature, a, l0, -2.0 * first * c * p)
        _add(curvature, a, l1, -2.0 * first * c * q)
        _add(curvature, a, w, -2.0 * first * c * cross)
    left = mass - second
    _add_own(curvature, l0, left * 2.0 * p * q + 2.0 * second * p * p)
    _add_own(curvature, l1, left * 2.0 * p * q + 2.0 * second * q * q)
    _add(curvature, l0, l1, -left * 2.0 * p * q + 2.0 * second * p * q)
    _add_own(curvature, w, left * p * (p - q) + 2.0 * second * cross * cross)
    _add(curvature, l0, w, -left * 2.0 * cross * p + 2.0 * second * p * cross)
    _add(curvature, l1, w, left * 2.0 * cross * p + 2.0 * second * q * cross)


@njit(cache=True, error_model="numpy", nogil=True)
def _add_scores(curvature: Array, slots: Long, n_components: int, one_trait: bool, scratch: Scratch) -> None:
    """Add the covariance of the scores that not knowing the memberships costs.

    A coordinate's score is ``scratch.factors[k, c]`` times a row of the pass: of one trait the first of a component's
    three rows is of its weight, the second of its means, the third of the rest.
    """
    gram, own, factors = scratch.gram, scratch.own, scratch.factors
    n_rows = ONE_SCORES if one_trait else TWO_SCORES
    for k in range(n_components):
        for j in range(k + 1):
            for a in range(WIDTH):
                i = slots[WIDTH * k + a]
                if i < 0:
                    continue
                ra = (a + 1) // 2 if one_trait else a
                if one_trait and a == 5:
                    ra = 2
                for b in range(WIDTH if j < k else a + 1):
                    m = slots[WIDTH * j + b]
                    if m < 0:
                        continue
                    rb = b
                    if one_trait:
                        rb = 2 if b == 5 else (b + 1) // 2
                    # rows of a pass go with coordinates in order, so this is the lower triangle
                    value = gram[n_rows * k + ra, n_rows * j + rb]
                    if j == k:
                        value -= own[k, ra, rb]
                    value *= factors[k, a] * factors[j, b]
                    if j == k and a == b:
                        curvature[i, i] += value
                    else:
                        curvature[i, m] += value
                        curvature[m, i] += value


@njit(cache=True, error_model="numpy", nogil=True)
def evaluate(
    point: Point,
    n_components: int,
    people: People,
    form: Form,
    prior: SmallPrior,
    curved: bool,
    slots: Long,
    n_free: int,
    scratch: Scratch,
) -> float:
    """Log posterior at a point's state; its moments, and when ``curved`` gradient and curvature, are written.

    The log likelihood and its expected value given the memberships are left in ``scratch.parts``.

    Returns
    -------
    float
        The log posterior; NaN where it has none.
    """
    state, sums, curvature = point.state, point.sums, point.curvature
    root, constant, place, inverse = scratch.root, scratch.constant, scratch.place, scratch.inverse
    moments, factors = scratch.moments, scratch.factors
    for k in range(n_components):
        root[k, 0], root[k, 1] = math.exp(state[k, 3]), math.exp(state[k, 4])
        for c in range(WIDTH):
            sums[k, c] = 0.0
            factors[k, c] = 1.0
    if curved:
        for a in range(n_free):
            for b in range(n_free):
                curvature[a, b] = 0.0
    value, complete = 0.0, 0.0
    with_scores = curved and n_components > 1
    if len(people.both_first) > 0:
        for k in range(n_components):
            constant[k] = state[k, 0] - _LOG_2PI + state[k, 3] + state[k, 4]
        value += two_trait_pass(
            people.both_first,
            people.both_second,
            n_components,
            state,
            root,
            constant,
            with_scores,
            scratch,
            moments,
        )
        for k in range(n_components):
            mass, f0, f1, s00, s01, s11 = (
                moments[k, 0],
                moments[k, 1],
                moments[k, 2],
                moments[k, 3],
                moments[k, 4],
                moments[k, 5],
            )
            complete += mass * constant[k] - 0.5 * (s00 + s11)
            for c in range(WIDTH):
                sums[k, c] += moments[k, c]
            if curved:
                _add_gaussian(curvature, slots, k, mass, f0, f1, s00, s01, s11, True)
        if with_scores:
            _add_scores(curvature, slots, n_components, False, scratch)
    for trait in range(2):
        known = people.first_only if trait == 0 else people.second_only
        if len(known) == 0:
            continue
        for k in range(n_components):
            c0, c1 = 0.0, 1.0
            if trait == 0:
                slope = state[k, 5] / root[k, 1]
                inverse[k] = 1.0 / math.sqrt(1.0 / (root[k, 0] * root[k, 0]) + slope * slope)
                c0, c1 = inverse[k] / root[k, 0], -slope * inverse[k]
            else:
                inverse[k] = root[k, 1]
            place[k] = state[k, 1 + trait]
            constant[k] = state[k, 0] - 0.5 * _LOG_2PI + math.log(inverse[k])
            factors[k, 0] = 1.0
            factors[k, 1], factors[k, 2] = c0, c1
            factors[k, 3], factors[k, 4], factors[k, 5] = c0 * c0, c1 * c1, c0 * c1
        value += one_trait_pass(known, n_components, place, inverse, constant, with_scores, scratch, moments)
        for k in range(n_components):
            mass, first, second = moments[k, 0], moments[k, 1], moments[k, 2]
            c0, c1 = factors[k, 1], factors[k, 2]
            complete += mass * constant[k] - 0.5 * second
            sums[k, 0] += mass
            sums[k, 1] += c0 * first
            sums[k, 2] += c1 * first
            sums[k, 3] += mass + c0 * c0 * (second - mass)
            sums[k, 4] += c0 * c1 * (second - mass)
            sums[k, 5] += mass + c1 * c1 * (second - mass)
            if curved:
                _add_marginal(curvature, slots, k, c0, c1, mass, first, second)
        if with_scores:
            _add_scores(curvature, slots, n_components, True, scratch)
    scratch.parts[0], scratch.parts[1] = value, complete
    return value + _add_prior(point, n_components, people, form, prior, curved, slots, n_free, root)


@njit(cache=True, error_model="numpy", nogil=True)
def n_people(people: People) -> int:
    """People with a trait."""
    return len(people.both_first) + len(people.first_only) + len(people.second_only)


@njit(cache=True, error_model="numpy", nogil=True)
def _scale_of(prior: SmallPrior, a0: float, a1: float, u: float) -> tuple[float, float, float]:
    """The prior's scatter in whitened coordinates."""
    s00 = a0 * a0 * (prior.scale_00 + u * (2.0 * prior.scale_01 + u * prior.scale_11))
    s01 = a0 * a1 * (prior.scale_01 + u * prior.scale_11)
    return s00, s01, a1 * a1 * prior.scale_11


@njit(cache=True, error_model="numpy", nogil=True)
def _add_prior(
    point: Point,
    n_components: int,
    people: People,
    form: Form,
    prior: SmallPrior,
    curved: bool,
    slots: Long,
    n_free: int,
    root: Array,
) -> float:
    """Log prior; when ``curved`` the gradient of everything is written and the prior's curvature added."""
    state, sums, gradient, curvature = point.state, point.sums, point.gradient, point.curvature
    value = prior.constant
    total = n_people(people) + n_components * prior.extra
    if curved:
        for a in range(n_free):
            gradient[a] = 0.0
    for k in range(n_components):
        a0, a1, u = root[k, 0], root[k, 1], state[k, 5]
        d0, d1 = prior.first_mean - state[k, 1], prior.second_mean - state[k, 2]
        q0, q1 = a0 * (d0 + u * d1), a1 * d1
        logs = state[k, 3] + state[k, 4]
        value += prior.extra * state[k, 0] + prior.mean_power * logs - 0.5 * prior.strength * (q0 * q0 + q1 * q1)
        own = k == 0 or not form.shared
        p00, p01, p11 = _scale_of(prior, a0, a1, u) if own else (0.0, 0.0, 0.0)
        if own:
            value += prior.covariance_power * logs - 0.5 * (p00 + p11)
        if not curved:
            continue
        s = prior.strength
        power = sums[k, 0] + prior.mean_power + (prior.covariance_power if own else 0.0)
        at = WIDTH * k
        weight = math.exp(state[k, 0])
        _add_to(gradient, slots[at], sums[k, 0] + prior.extra - total * weight)
        _add_to(gradient, slots[at + 1], sums[k, 1] + s * q0)
        _add_to(gradient, slots[at + 2], sums[k, 2] + s * q1)
        _add_to(gradient, slots[at + 3], power - sums[k, 3] - s * q0 * q0 - p00)
        _add_to(gradient, slots[at + 4], power - sums[k, 5] - s * q1 * q1 - p11)
        _add_to(gradient, slots[at + 5], -sums[k, 4] - s * q0 * q1 - p01)
        _add_gaussian(curvature, slots, k, s, s * q0, s * q1, s * q0 * q0, s * q0 * q1, s * q1 * q1, True)
        if own:
            _add_gaussian(curvature, slots, k, 0.0, 0.0, 0.0, p00, p01, p11, False)
        _add_own(curvature, slots[at], total * weight * (1.0 - weight))
        for j in range(1, k):
            _add(curvature, slots[at], slots[WIDTH * j], -total * weight * math.exp(state[j, 0]))
    return value


@njit(cache=True, error_model="numpy", nogil=True)
def _add_to(gradient: Array, a: int, value: float) -> None:
    if a >= 0:
        gradient[a] += value


@njit(cache=True, error_model="numpy", nogil=True)
def em_step(
    state: Array,
    sums: Array,
    n_components: int,
    form: Form,
    prior: SmallPrior,
    floor_first: float,
    floor_second: float,
    out: Array,
) -> bool:
    """Write the state that EM moves to from the moments at ``state``; False where a covariance would be singular."""
    two = form.n_traits > 1
    pooled_n, pooled_00, pooled_01, pooled_11 = 0.0, 0.0, 0.0, 0.0
    people = 0.0
    for k in range(n_components):
        people += max(sums[k, 0] + prior.extra, _TINY)
    for k in range(n_components):
        a0, a1, u = math.exp(state[k, 3]), math.exp(state[k, 4]), state[k, 5]
        mass, f0, f1 = sums[k, 0], sums[k, 1], sums[k, 2]
        d0, d1 = prior.first_mean - state[k, 1], prior.second_mean - state[k, 2]
        q0, q1 = a0 * (d0 + u * d1), a1 * d1
        e0, e1 = 0.0, 0.0
        if mass + prior.strength > 0.0:
            e0 = (f0 + prior.strength * q0) / (mass + prior.strength)
            e1 = (f1 + prior.strength * q1) / (mass + prior.strength) if two else 0.0
        out[k, 0] = math.log(max(mass + prior.extra, _TINY) / people)
        out[k, 1] = state[k, 1] + e0 / a0 - u * e1 / a1
        out[k, 2] = state[k, 2] + e1 / a1
        q0 -= e0
        q1 -= e1
        s = prior.strength
        s00 = sums[k, 3] - e0 * (2.0 * f0 - e0 * mass) + s * q0 * q0
        s01 = sums[k, 4] - e0 * f1 - e1 * f0 + e0 * e1 * mass + s * q0 * q1
        s11 = sums[k, 5] - e1 * (2.0 * f1 - e1 * mass) + s * q1 * q1
        n = mass + prior.mean_power
        if k == 0 or not form.shared:
            p00, p01, p11 = _scale_of(prior, a0, a1, u)
            s00 += p00
            s01 += p01
            s11 += p11
            n += prior.covariance_power
        if form.shared:
            pooled_n += n
            pooled_00 += s00
            pooled_01 += s01
            pooled_11 += s11
        elif not _narrow(state, k, n, s00, s01, s11, form, floor_first, floor_second, out):
            return False
    if form.shared:
        for k in range(n_components):
            if not _narrow(state, k, pooled_n, pooled_00, pooled_01, pooled_11, form, floor_first, floor_second, out):
                return False
    return True


@njit(cache=True, error_model="numpy", nogil=True)
def _narrow(
    state: Array,
    k: int,
    n: float,
    s00: float,
    s01: float,
    s11: float,
    form: Form,
    floor_first: float,
    floor_second: float,
    out: Array,
) -> bool:
    """Write component ``k``'s factor of the precision ``n S^-1`` of whitened scatter ``S``; False where singular."""
    two = form.n_traits > 1
    s00, s01, s11 = s00 / n, s01 / n, s11 / n
    if form.on_axes:
        s01 = 0.0
    if form.spherical and two:
        s00 = 0.5 * (s00 + s11)
        s11 = s00
    if not two:
        s01, s11 = 0.0, 1.0
    if not (n > 0.0 and s11 > 0.0 and s11 < np.inf and s00 < np.inf):
        return False
    slope = s01 / s11
    pivot = s00 - slope * s01
    if not pivot > 0.0:
        return False
    out[k, 3] = state[k, 3] - 0.5 * math.log(pivot)
    out[k, 4] = state[k, 4] - 0.5 * math.log(s11)
    out[k, 5] = state[k, 5] - math.exp(state[k, 4] - state[k, 3]) * slope
    return _is_regular(out, k, two, floor_first, floor_second)


@njit(cache=True, error_model="numpy", nogil=True)
def _is_regular(state: Array, k: int, two: bool, floor_first: float, floor_second: float) -> bool:
    """Whether a component's conditional variances are above the floor, and neither trait repeats the other."""
    conditional = math.exp(-2.0 * state[k, 3])
    if not conditional > floor_first:
        return False
    if not two:
        return True
    second = math.exp(-2.0 * state[k, 4])
    explained = state[k, 5] * state[k, 5] * second
    return second > floor_second and conditional > _SINGULAR_SHARE * (conditional + explained)


@njit(cache=True, error_model="numpy", nogil=True)
def _of_step(step: Array, slot: int) -> float:
    return step[slot] if slot >= 0 else 0.0


@njit(cache=True, error_model="numpy", nogil=True)
def moved(
    state: Array,
    step: Array,
    slots: Long,
    n_components: int,
    two: bool,
    floor_first: float,
    floor_second: float,
    out: Array,
) -> bool:
    """Write the state after a step in free whitened coordinates; False where a covariance would be singular."""
    highest = -np.inf
    for k in range(n_components):
        at = WIDTH * k
        a0, a1, u = math.exp(state[k, 3]), math.exp(state[k, 4]), state[k, 5]
        out[k, 0] = state[k, 0] + _of_step(step, slots[at])
        highest = max(highest, out[k, 0])
        second = _of_step(step, slots[at + 2]) / a1
        out[k, 1] = state[k, 1] + _of_step(step, slots[at + 1]) / a0 - u * second
        out[k, 2] = state[k, 2] + second
        out[k, 3] = state[k, 3] + _of_step(step, slots[at + 3])
        out[k, 4] = state[k, 4] + _of_step(step, slots[at + 4])
        out[k, 5] = u + _of_step(step, slots[at + 5]) * a1 / a0
        if not _is_regular(out, k, two, floor_first, floor_second):
            return False
    total = 0.0
    for k in range(n_components):
        total += math.exp(out[k, 0] - highest)
    total = highest + math.log(total)
    for k in range(n_components):
        out[k, 0] -= total
    return True
