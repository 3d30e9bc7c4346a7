"""The search for the highest mode of one small mixture: many starts, few of which are climbed to the top."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bayesgmm.core.ascent import ROUNDING
from bayesgmm.core.borrowed import borrowed
from bayesgmm.core.small_climb import COLLAPSED, LOWER, SAME, climb_by_em, climb_to_top
from bayesgmm.core.small_mixture import WIDTH, People, Point, SmallPrior, free_slots
from bayesgmm.core.small_passes import Scratch
from bayesgmm.core.small_prior import Model
from bayesgmm.core.small_starts import SPLITS, partition_starts, split_starts

Array = NDArray[np.float64]
Long = NDArray[np.int64]

_SCREENING = 4  # EM steps every start gets before the best half go on
_FINISHERS = 4  # starts that go on, at least; what the others would find is in docs/many.md
_SAME_HILL = 1e-3  # log posterior units after screening within which two starts climb the same hill
_NEAR = 1e-4  # distance to the limit to which the height of every hill is found out


@njit(cache=True, error_model="numpy", nogil=True)
def search(
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
        n_starts += split_starts(smaller, points, k, form, starts[n_starts:])
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
