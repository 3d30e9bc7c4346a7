r"""Passes over the people of one small problem, of one or two traits, with the sums that Newton's method needs.

Components are seen in their own whitened coordinates, ``z = L'(y - mu)`` with ``inv(Sigma) = L L'``; with

.. math:: L = \begin{pmatrix} a_0 & 0 \\ u a_0 & a_1 \end{pmatrix}, \qquad
          z_0 = a_0 (v_0 + u v_1), \quad z_1 = a_1 v_1, \quad v = y - \mu.

The scores of a person in a component, in coordinates that are whitened too (a move of the mean in standard deviations,
the logarithms of ``a_0`` and ``a_1``, and ``u`` in units of ``a_0 / a_1``), are then

.. math:: (1,\; z_0,\; z_1,\; 1 - z_0^2,\; 1 - z_1^2,\; -z_0 z_1)

with 1 for the log weight, and for a person of whom one trait is known ``(1, z, 1 - z^2)`` of that trait. With
responsibilities ``r`` the Hessian of the log likelihood is (Louis 1982)

.. math:: \sum_i \sum_k r_{ik} \left( \nabla^2 \ell_{ik} + s_{ik} s_{ik}' \right) - g_i g_i', \qquad
          g_i = \sum_k r_{ik} s_{ik},

of which the first part is linear in the moments of the E step, and the passes return the sums of the other two.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bayesgmm.core.vectormath import exp_nonpositive

Array = NDArray[np.float64]

BLOCK = 256  # people whose scores stay in the first two levels of cache
ROW = BLOCK + 8  # room of a block: rows a power of two apart would share the same few lines of the cache
ONE_SCORES, TWO_SCORES = 3, 6
_PRODUCT = 64  # sums in [1, K] multiplied before one logarithm is taken
_REDUCE = {"reassoc", "contract", "nsz"}


class Scratch(NamedTuple):
    """Working space of the passes, one a thread.

    Rows that are written in one loop lie a constant apart in one row of an array: what the compiler has to rule out
    before it makes vectors of a loop is that rows overlap, and it gives up where it would have to rule out many.

    Attributes
    ----------
    seen : ndarray (n_components, 3 ROW)
        Responsibilities and the whitened traits of a block.
    largest, total : ndarray (BLOCK,)
    rows : ndarray (2 n_components, 3 ROW)
        Responsibilities times scores, three a row.
    gram : ndarray (6 n_components, 6 n_components)
        Sums over people of products of these: the lower triangle.
    own : ndarray (n_components, 6, 6)
        Sums of responsibilities times products of scores: the lower triangle.
    root : ndarray (n_components, 2)
    constant, place, inverse : ndarray (n_components,)
    moments, factors : ndarray (n_components, 6)
        Numbers of each component that a pass is given, and that it returns.
    parts : ndarray (2,)
        Log likelihood, and its expected value were the memberships known; the difference is their entropy.
    """

    seen: Array
    largest: Array
    total: Array
    rows: Array
    gram: Array
    own: Array
    root: Array
    constant: Array
    place: Array
    inverse: Array
    moments: Array
    factors: Array
    parts: Array


@njit(cache=True, error_model="numpy", nogil=True)
def new_scratch(n_components: int) -> Scratch:
    """Working space for up to so many components."""
    return Scratch(
        np.empty((n_components, 3 * ROW)),
        np.empty(BLOCK),
        np.empty(BLOCK),
        np.empty((2 * n_components, 3 * ROW)),
        np.empty((TWO_SCORES * n_components, TWO_SCORES * n_components)),
        np.empty((n_components, TWO_SCORES, TWO_SCORES)),
        np.empty((n_components, 2)),
        np.empty(n_components),
        np.empty(n_components),
        np.empty(n_components),
        np.empty((n_components, TWO_SCORES)),
        np.empty((n_components, TWO_SCORES)),
        np.empty(2),
    )


@njit(cache=True, error_model="numpy", nogil=True, fastmath=_REDUCE)
def _normalise(joint: Array, n_components: int, size: int, largest: Array, total: Array) -> float:
    """Turn log joint densities into responsibilities in place; return the sum of log marginal densities."""
    value = 0.0
    if n_components == 1:
        for i in range(size):
            value += joint[0, i]
        for i in range(size):
            joint[0, i] = 1.0
        return value
    for i in range(size):
        largest[i] = max(joint[0, i], joint[1, i])
    for k in range(2, n_components):
        for i in range(size):
            largest[i] = max(largest[i], joint[k, i])
    for i in range(size):
        total[i] = 0.0
        value += largest[i]
    for k in range(n_components):
        for i in range(size):
            e = exp_nonpositive(joint[k, i] - largest[i])
            joint[k, i] = e
            total[i] += e
    for begin in range(0, size, _PRODUCT):
        product = 1.0
        for i in range(begin, min(begin + _PRODUCT, size)):
            product *= total[i]
        value += math.log(product)
    for i in range(size):
        total[i] = 1.0 / total[i]
    for k in range(n_components):
        for i in range(size):
            joint[k, i] *= total[i]
    return value


@njit(cache=True, error_model="numpy", nogil=True, fastmath=_REDUCE)
def _products(left: Array, right: Array, at: int, bt: int, size: int, out: Array) -> None:
    """Add the sums of products of three rows with three rows: nine sums for six readings."""
    s00, s01, s02, s10, s11, s12, s20, s21, s22 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(size):
        a0, a1, a2 = left[i], left[ROW + i], left[2 * ROW + i]
        b0, b1, b2 = right[i], right[ROW + i], right[2 * ROW + i]
        s00 += a0 * b0
        s01 += a0 * b1
        s02 += a0 * b2
        s10 += a1 * b0
        s11 += a1 * b1
        s12 += a1 * b2
        s20 += a2 * b0
        s21 += a2 * b1
        s22 += a2 * b2
    out[at, bt] += s00
    out[at, bt + 1] += s01
    out[at, bt + 2] += s02
    out[at + 1, bt] += s10
    out[at + 1, bt + 1] += s11
    out[at + 1, bt + 2] += s12
    out[at + 2, bt] += s20
    out[at + 2, bt + 1] += s21
    out[at + 2, bt + 2] += s22


@njit(cache=True, error_model="numpy", nogil=True)
def _all_products(rows: Array, n_rows: int, size: int, gram: Array) -> None:
    """Add the sums of products of every two scores: the lower triangle, in blocks of three by three."""
    for a in range(n_rows):
        for b in range(a + 1):
            _products(rows[a], rows[b], 3 * a, 3 * b, size, gram)


@njit(cache=True, error_model="numpy", nogil=True, fastmath=_REDUCE)
def one_trait_pass(
    y: Array,
    n_components: int,
    place: Array,
    inverse: Array,
    constant: Array,
    curved: bool,
    scratch: Scratch,
    moments: Array,
) -> float:
    """One pass over people of whom one trait is known.

    Parameters
    ----------
    y : ndarray (n_people,)
    n_components : int
    place, inverse, constant : ndarray (n_components,)
        Mean, inverse standard deviation, and log weight plus the normal density's constant.
    curved : bool
        Also the sums of products of scores.
    scratch : Scratch
        ``own`` and ``gram`` (three rows a component) are written when ``curved``.
    moments : ndarray (n_components, 6)
        Written: sums of ``r``, ``r z`` and ``r z^2``.

    Returns
    -------
    float
        Sum over people of the log density.
    """
    seen = scratch.seen
    rows, gram, own = scratch.rows, scratch.gram, scratch.own
    n_rows = ONE_SCORES * n_components
    for k in range(n_components):
        for c in range(3):
            moments[k, c] = 0.0
    if curved:
        for a in range(n_rows):
            for b in range(n_rows):
                gram[a, b] = 0.0
        for k in range(n_components):
            for a in range(ONE_SCORES):
                for b in range(ONE_SCORES):
                    own[k, a, b] = 0.0
    value = 0.0
    for begin in range(0, len(y), BLOCK):
        size = min(BLOCK, len(y) - begin)
        some = y[begin : begin + size]
        for k in range(n_components):
            centre, scale, level = place[k], inverse[k], constant[k]
            here = seen[k]
            for i in range(size):
                v = (some[i] - centre) * scale
                here[i] = level - 0.5 * v * v
                here[ROW + i] = v
        value += _normalise(seen, n_components, size, scratch.largest, scratch.total)
        for k in range(n_components):
            mass, first, second = 0.0, 0.0, 0.0
            here = seen[k]
            for i in range(size):
                r, v = here[i], here[ROW + i]
                w = r * v
                mass += r
                first += w
                second += w * v
            if curved:
                # a loop that stores, and one that sums: the compiler makes vectors of each but not of both in one
                row = rows[k]
                for i in range(size):
                    r, v = here[i], here[ROW + i]
                    w = r * v
                    row[i] = r
                    row[ROW + i] = w
                    row[2 * ROW + i] = r - w * v
                third, fourth = 0.0, 0.0
                for i in range(size):
                    r, v = here[i], here[ROW + i]
                    q = r * v * v
                    third += q * v
                    fourth += q * v * v
                own[k, 0, 0] += mass
                own[k, 1, 0] += first
                own[k, 1, 1] += second
                own[k, 2, 0] += mass - second
                own[k, 2, 1] += first - third
                own[k, 2, 2] += mass - 2.0 * second + fourth
            moments[k, 0] += mass
            moments[k, 1] += first
            moments[k, 2] += second
        if curved and n_components > 1:
            _all_products(rows, n_components, size, gram)
    return value


@njit(cache=True, error_model="numpy", nogil=True, fastmath=_REDUCE)
def two_trait_pass(
    y0: Array,
    y1: Array,
    n_components: int,
    state: Array,
    root: Array,
    constant: Array,
    curved: bool,
    scratch: Scratch,
    moments: Array,
) -> float:
    """One pass over people of whom both traits are known.

    Parameters
    ----------
    y0, y1 : ndarray (n_people,)
    n_components : int
    state : ndarray (n_components, 6)
        Log weight, means, logarithms of ``a_0`` and ``a_1``, and ``u``.
    root : ndarray (n_components, 2)
        ``a_0`` and ``a_1``.
    constant : ndarray (n_components,)
        Log weight plus the normal density's constant.
    curved, scratch
        As in :func:`one_trait_pass`, with six rows a component.
    moments : ndarray (n_components, 6)
        Written: sums of ``r``, ``r z_0``, ``r z_1``, ``r z_0^2``, ``r z_0 z_1``, ``r z_1^2``.
    """
    seen = scratch.seen
    rows, gram, own = scratch.rows, scratch.gram, scratch.own
    n_rows = TWO_SCORES * n_components
    for k in range(n_components):
        for c in range(6):
            moments[k, c] = 0.0
    if curved:
        for a in range(n_rows):
            for b in range(n_rows):
                gram[a, b] = 0.0
        for k in range(n_components):
            for a in range(TWO_SCORES):
                for b in range(a + 1):
                    own[k, a, b] = 0.0
    value = 0.0
    for begin in range(0, len(y0), BLOCK):
        size = min(BLOCK, len(y0) - begin)
        some0, some1 = y0[begin : begin + size], y1[begin : begin + size]
        for k in range(n_components):
            m0, m1, u = state[k, 1], state[k, 2], state[k, 5]
            a0, a1, level = root[k, 0], root[k, 1], constant[k]
            here = seen[k]
            for i in range(size):
                v1 = some1[i] - m1
                p = a0 * (some0[i] - m0 + u * v1)
                q = a1 * v1
                here[i] = level - 0.5 * (p * p + q * q)
                here[ROW + i] = p
                here[2 * ROW + i] = q
        value += _normalise(seen, n_components, size, scratch.largest, scratch.total)
        for k in range(n_components):
            mass, first, second, s00, s01, s11 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
            here = seen[k]
            for i in range(size):
                r, p, q = here[i], here[ROW + i], here[2 * ROW + i]
                wp, wq = r * p, r * q
                mass += r
                first += wp
                second += wq
                s00 += wp * p
                s01 += wp * q
                s11 += wq * q
            if curved:
                low, high = rows[2 * k], rows[2 * k + 1]
                for i in range(size):
                    r, p, q = here[i], here[ROW + i], here[2 * ROW + i]
                    wp, wq = r * p, r * q
                    low[i] = r
                    low[ROW + i] = wp
                    low[2 * ROW + i] = wq
                    high[i] = r - wp * p
                    high[ROW + i] = r - wq * q
                    high[2 * ROW + i] = -wp * q
                ppp, ppq, pqq, qqq, p4, p3q, ppqq, pq3, q4 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
                for i in range(size):
                    r, p, q = here[i], here[ROW + i], here[2 * ROW + i]
                    pp, qq = r * p * p, r * q * q
                    cube_p, cube_q = pp * p, qq * q
                    ppp += cube_p
                    ppq += pp * q
                    pqq += qq * p
                    qqq += cube_q
                    p4 += cube_p * p
                    p3q += cube_p * q
                    ppqq += pp * q * q
                    pq3 += cube_q * p
                    q4 += cube_q * q
                # products of the scores (1, p, q, 1 - p p, 1 - q q, -p q)
                own[k, 0, 0] += mass
                own[k, 1, 0] += first
                own[k, 1, 1] += s00
                own[k, 2, 0] += second
                own[k, 2, 1] += s01
                own[k, 2, 2] += s11
                own[k, 3, 0] += mass - s00
                own[k, 3, 1] += first - ppp
                own[k, 3, 2] += second - ppq
                own[k, 3, 3] += mass - 2.0 * s00 + p4
                own[k, 4, 0] += mass - s11
                own[k, 4, 1] += first - pqq
                own[k, 4, 2] += second - qqq
                own[k, 4, 3] += mass - s00 - s11 + ppqq
                own[k, 4, 4] += mass - 2.0 * s11 + q4
                own[k, 5, 0] -= s01
                own[k, 5, 1] -= ppq
                own[k, 5, 2] -= pqq
                own[k, 5, 3] += p3q - s01
                own[k, 5, 4] += pq3 - s01
                own[k, 5, 5] += ppqq
            moments[k, 0] += mass
            moments[k, 1] += first
            moments[k, 2] += second
            moments[k, 3] += s00
            moments[k, 4] += s01
            moments[k, 5] += s11
        if curved and n_components > 1:
            _all_products(rows, 2 * n_components, size, gram)
    return value
