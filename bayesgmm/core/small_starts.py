"""Starting states of a small mixture: hard partitions of its people, and a smaller mixture with a component split.

The kinds of partition are those of :mod:`bayesgmm.core.starts`. Of one trait people come sorted, so partitions are
cuts. Nothing depends on the order or the number of problems.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bayesgmm.core.small_mixture import WIDTH, Form, SmallPrior, em_step

Array = NDArray[np.float64]
Long = NDArray[np.int64]

SPIKE_SHARE, SPIKE_PEOPLE = 0.1, 5.0  # of people with one value, from which it starts a component of its own
TREE = 128  # points on which the hierarchy is built; neighbours are brought together first where there are more
_LLOYD_STEPS = 8
SPLITS = 2  # starts made of each component of the mixture with one component fewer
_APART = 0.8  # standard deviations from the middle of a split component to its parts
_NARROW, _WIDE = 0.5, 1.4  # factors of the standard deviation where it is split into a core and its surroundings


@njit(cache=True, error_model="numpy", nogil=True)
def _cut(order: Long, n_components: int, labels: Long) -> None:
    n = len(order)
    for rank in range(n):
        labels[order[rank]] = min(int((rank + 0.5) / n * n_components), n_components - 1)


@njit(cache=True, error_model="numpy", nogil=True)
def _along(points: Array, direction: int, score: Array) -> None:
    """Write two traits' places along a principal axis, the widest first; the points (2, n) are centred."""
    n = points.shape[1]
    s00, s01, s11 = 0.0, 0.0, 0.0
    for i in range(n):
        s00 += points[0, i] * points[0, i]
        s01 += points[0, i] * points[1, i]
        s11 += points[1, i] * points[1, i]
    angle = 0.5 * math.atan2(2.0 * s01, s00 - s11)
    c, s = math.cos(angle), math.sin(angle)
    for i in range(n):
        score[i] = c * points[0, i] + s * points[1, i] if direction == 0 else c * points[1, i] - s * points[0, i]


@njit(cache=True, error_model="numpy", nogil=True)
def orders_of(points: Array, orders: Long) -> None:
    """Write the orders of the people in which partitions are cut.

    Parameters
    ----------
    points : ndarray (n_traits, n)
        Standardised; of one trait sorted.
    orders : ndarray of int (4, n)
        Along the widest axis, along the other, by the distance from the medians (for components that differ in width),
        and by the first trait.
    """
    n = points.shape[1]
    half = n // 2
    if points.shape[0] == 1:
        y = points[0]
        middle = 0.5 * (y[max(half - 1, 0)] + y[half])
        low, high = half - 1, half
        for rank in range(n):
            orders[0, rank] = rank
            orders[3, rank] = rank
            if low >= 0 and (high >= n or middle - y[low] <= y[high] - middle):
                orders[2, rank] = low
                low -= 1
            else:
                orders[2, rank] = high
                high += 1
        return
    score, away = np.empty(n), np.zeros(n)
    for direction in range(2):
        _along(points, direction, score)
        orders[direction] = np.argsort(score, kind="mergesort")
    for d in range(2):
        ordered = np.sort(points[d])
        middle = 0.5 * (ordered[max(half - 1, 0)] + ordered[half])
        for i in range(n):
            away[i] += (points[d, i] - middle) ** 2
    orders[2] = np.argsort(away, kind="mergesort")
    orders[3] = np.argsort(points[0], kind="mergesort")


@njit(cache=True, error_model="numpy", nogil=True)
def _by_spike(points: Array, order: Long, n_components: int, labels: Long) -> bool:
    """The commonest value a component of its own and the rest cut into equal parts; False where none stands out.

    ``order`` sorts the first trait; of two traits both have to be alike.
    """
    n = len(order)
    if n_components < 2:
        return False
    best, most, begin = 0, 0, 0
    for rank in range(1, n + 1):
        if rank < n and points[0, order[rank]] == points[0, order[begin]]:
            continue
        if rank - begin > most:
            best, most = begin, rank - begin
        begin = rank
    if most < max(SPIKE_PEOPLE, SPIKE_SHARE * n):
        return False
    value = points[0, order[best]]
    other = np.nan
    if points.shape[0] > 1:
        second = np.empty(most)
        for j in range(most):
            second[j] = points[1, order[best + j]]
        second.sort()
        begin, most = 0, 0
        for j in range(1, len(second) + 1):
            if j < len(second) and second[j] == second[begin]:
                continue
            if j - begin > most:
                most, other = j - begin, second[begin]
            begin = j
        if most < max(SPIKE_PEOPLE, SPIKE_SHARE * n):
            return False
    if most == n:
        return False
    rest = 0
    for rank in range(n):
        i = order[rank]
        alike = points[0, i] == value and (points.shape[0] == 1 or points[1, i] == other)
        if alike:
            labels[i] = 0
        else:
            labels[i] = 1 + min(int((rest + 0.5) / (n - most) * (n_components - 1)), n_components - 2)
            rest += 1
    return True


@njit(cache=True, error_model="numpy", nogil=True)
def ward_cuts(sorted_values: Array, most: int, cuts: Long) -> None:
    """Merge neighbours so that the sum of squares within grows least (Ward 1963), and keep where the parts begin.

    Parameters
    ----------
    sorted_values : ndarray (n,)
    most : int
        Most components.
    cuts : ndarray of int (most + 1, most + 1)
        Written: ``cuts[k, j]`` is where part ``j`` of ``k`` begins, and ``cuts[k, k]`` is ``n``.
    """
    n = len(sorted_values)
    n_parts = min(n, TREE)
    begin, count, mean = np.empty(n_parts, dtype=np.int64), np.empty(n_parts), np.empty(n_parts)
    for b in range(n_parts):
        begin[b] = b * n // n_parts
        end = (b + 1) * n // n_parts
        count[b] = end - begin[b]
        total = 0.0
        for i in range(begin[b], end):
            total += sorted_values[i]
        mean[b] = total / count[b]
    cost = np.full(n_parts, np.inf)
    for b in range(n_parts - 1):
        cost[b] = count[b] * count[b + 1] / (count[b] + count[b + 1]) * (mean[b + 1] - mean[b]) ** 2
    left = n_parts
    while left > 1:
        if left <= most:
            for b in range(left):
                cuts[left, b] = begin[b]
            cuts[left, left] = n
        at = 0
        for b in range(1, left - 1):
            if cost[b] < cost[at]:
                at = b
        total = count[at] + count[at + 1]
        mean[at] = (count[at] * mean[at] + count[at + 1] * mean[at + 1]) / total
        count[at] = total
        for b in range(at + 1, left - 1):
            begin[b], count[b], mean[b], cost[b] = begin[b + 1], count[b + 1], mean[b + 1], cost[b + 1]
        left -= 1
        if at > 0:
            cost[at - 1] = count[at - 1] * count[at] / (count[at - 1] + count[at]) * (mean[at] - mean[at - 1]) ** 2
        cost[at] = np.inf
        if at < left - 1:
            cost[at] = count[at] * count[at + 1] / (count[at] + count[at + 1]) * (mean[at + 1] - mean[at]) ** 2


@njit(cache=True, error_model="numpy", nogil=True)
def _kmeans_line(sorted_values: Array, before: Array, uniform: Array, distances: Array, labels: Long) -> None:
    """k-means++ and Lloyd's steps, as :func:`bayesgmm.core.starts.kmeans`, of sorted values: clusters are intervals.

    ``before`` (n + 1,) has the sums of the values before each.
    """
    n, n_components = len(sorted_values), len(uniform)
    centres = np.empty(n_components)
    for k in range(n_components):
        chosen = min(int(uniform[k] * n), n - 1)
        if k > 0:
            # the distances become their own running sum, in which the target is looked up
            total = 0.0
            for i in range(n):
                nearest = np.inf
                for j in range(k):
                    nearest = min(nearest, (sorted_values[i] - centres[j]) ** 2)
                total += nearest
                distances[i] = total
            chosen = min(np.searchsorted(distances, uniform[k] * total, side="right"), n - 1)
        centres[k] = sorted_values[chosen]
    centres.sort()
    begins = np.zeros(n_components + 1, dtype=np.int64)
    begins[n_components] = n
    for _ in range(_LLOYD_STEPS):
        moved = False
        for k in range(1, n_components):
            begin = np.searchsorted(sorted_values, 0.5 * (centres[k - 1] + centres[k]))
            moved = moved or begin != begins[k]
            begins[k] = begin
        if not moved:
            break
        for k in range(n_components):
            if begins[k + 1] > begins[k]:
                centres[k] = (before[begins[k + 1]] - before[begins[k]]) / (begins[k + 1] - begins[k])
    for k in range(n_components):
        for i in range(begins[k], begins[k + 1]):
            labels[i] = k


@njit(cache=True, error_model="numpy", nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _cluster_of(first: Array, second: Array, labels: Long, k: int) -> tuple[float, float, float]:
    """How many are of a cluster, and the sums of their traits."""
    count, sum_0, sum_1 = 0.0, 0.0, 0.0
    for i in range(len(labels)):
        there = 1.0 if labels[i] == k else 0.0
        count += there
        sum_0 += there * first[i]
        sum_1 += there * second[i]
    return count, sum_0, sum_1


@njit(cache=True, error_model="numpy", nogil=True)
def _to_nearest(first: Array, second: Array, centres: Array, distances: Array, labels: Long) -> None:
    for k in range(len(centres)):
        c0, c1 = centres[k, 0], centres[k, 1]
        if k == 0:
            for i in range(len(labels)):
                gap_0, gap_1 = first[i] - c0, second[i] - c1
                distances[i] = gap_0 * gap_0 + gap_1 * gap_1
                labels[i] = 0
            continue
        for i in range(len(labels)):
            gap_0, gap_1 = first[i] - c0, second[i] - c1
            distance = gap_0 * gap_0 + gap_1 * gap_1
            closer = distance < distances[i]
            distances[i] = distance if closer else distances[i]
            labels[i] = k if closer else labels[i]


@njit(cache=True, error_model="numpy", nogil=True)
def _kmeans_plane(first: Array, second: Array, uniform: Array, distances: Array, labels: Long) -> None:
    """k-means++ and Lloyd's steps, as :func:`bayesgmm.core.starts.kmeans`, of two traits; ends where nobody moves."""
    n, n_components = len(labels), len(uniform)
    centres = np.zeros((n_components, 2))
    for k in range(n_components):
        chosen = min(int(uniform[k] * n), n - 1)
        if k > 0:
            total, reached = 0.0, 0.0
            for i in range(n):
                total += distances[i]
            target, chosen = uniform[k] * total, n - 1
            for i in range(n):
                reached += distances[i]
                if reached > target:
                    chosen = i
                    break
        c0, c1 = first[chosen], second[chosen]
        centres[k, 0], centres[k, 1] = c0, c1
        for i in range(n):
            gap_0, gap_1 = first[i] - c0, second[i] - c1
            distance = gap_0 * gap_0 + gap_1 * gap_1
            distances[i] = distance if k == 0 else min(distances[i], distance)
    for _ in range(_LLOYD_STEPS):
        _to_nearest(first, second, centres, distances, labels)
        still = True
        for k in range(n_components):
            count, sum_0, sum_1 = _cluster_of(first, second, labels, k)
            if count > 0.0:
                still = still and centres[k, 0] == sum_0 / count and centres[k, 1] == sum_1 / count
                centres[k, 0], centres[k, 1] = sum_0 / count, sum_1 / count
        if still:
            return
    _to_nearest(first, second, centres, distances, labels)


@njit(cache=True, error_model="numpy", nogil=True)
def _state_of(
    points: Array,
    labels: Long,
    n_components: int,
    form: Form,
    prior: SmallPrior,
    floor_first: float,
    floor_second: float,
    out: Array,
) -> bool:
    """Write the state after an M step from a partition; False where a component would be singular."""
    origin, sums = np.zeros((n_components, WIDTH)), np.zeros((n_components, WIDTH))
    two = points.shape[0] > 1
    for i in range(len(labels)):
        k = labels[i]
        y0 = points[0, i]
        y1 = points[1, i] if two else 0.0
        sums[k, 0] += 1.0
        sums[k, 1] += y0
        sums[k, 2] += y1
        sums[k, 3] += y0 * y0
        sums[k, 4] += y0 * y1
        sums[k, 5] += y1 * y1
    return em_step(origin, sums, n_components, form, prior, floor_first, floor_second, out)


@njit(cache=True, error_model="numpy", nogil=True)
def partition_starts(
    points: Array,
    white: Array,
    orders: Long,
    cuts: Long,
    n_components: int,
    form: Form,
    prior: SmallPrior,
    floor_first: float,
    floor_second: float,
    uniform: Array,
    starts: Array,
) -> int:
    """Write states that follow from partitions of the people; return how many.

    Parameters
    ----------
    points, white : ndarray (n_traits, n)
        Standardised traits, what is missing filled in; the same whitened.
    orders : ndarray of int (4, n)
        Of :func:`orders_of`.
    cuts : ndarray of int
        Of :func:`ward_cuts`, where there is one trait.
    n_components : int
    uniform : ndarray (n_starts, n_components)
        Random numbers; as many starts are made at most.
    starts : ndarray (n_starts, n_components, 6)
        A start without a state, as of a component that would be singular, has NaN.
    """
    n_traits, n = points.shape
    labels, distances = np.empty(n, dtype=np.int64), np.empty(n)
    before = np.zeros(n + 1)
    for i in range(n):
        before[i + 1] = before[i] + points[0, i]
    made, kind = 0, 0
    while made < len(uniform):
        possible = True
        if kind == 0 or kind == 3:
            _cut(orders[0 if kind == 0 else 2], n_components, labels)
        elif kind == 1:
            possible = _by_spike(points, orders[3], n_components, labels)
        elif kind == 2:
            possible = n_traits == 1
            for k in range(n_components if possible else 0):
                for i in range(cuts[n_components, k], cuts[n_components, k + 1]):
                    labels[i] = k
        elif kind == 4:
            possible = n_traits == 2
            if possible:
                _cut(orders[1], n_components, labels)
        elif n_traits == 1:
            _kmeans_line(points[0], before, uniform[made, :n_components], distances, labels)
        else:
            _kmeans_plane(white[0], white[1], uniform[made, :n_components], distances, labels)
        kind += 1
        if not possible:
            continue
        if not _state_of(points, labels, n_components, form, prior, floor_first, floor_second, starts[made]):
            starts[made, :, :] = np.nan
        made += 1
    return made


@njit(cache=True, error_model="numpy", nogil=True)
def split_starts(smaller: Array, points: Array, n_components: int, form: Form, starts: Array) -> int:
    """Write states in which one component of a smaller mixture is two; return how many.

    Its parts lie on either side of it along its widest axis, or, where widths are free, one within the other
    (Ueda, Nakano, Ghahramani and Hinton 2000, Neural Computation 12:2109, split in this manner).

    Parameters
    ----------
    smaller : ndarray (n_components - 1, 6)
    points : ndarray (n_traits, n)
        Standardised traits: a sphere has no widest axis, and is parted along the trait that varies more.
    starts : ndarray (n_starts, n_components, 6)
    """
    made = 0
    two = form.n_traits > 1
    along_second = form.spherical and two and (points[1] ** 2).sum() > (points[0] ** 2).sum()
    for j in range(n_components - 1):
        row = smaller[j]
        for kind in range(1 if form.shared else SPLITS):
            for k in range(n_components - 1):
                for c in range(WIDTH):
                    starts[made, k, c] = smaller[k, c]
            for c in range(WIDTH):
                starts[made, n_components - 1, c] = row[c]
            half = row[0] - math.log(2.0)
            starts[made, j, 0] = half
            starts[made, n_components - 1, 0] = half
            if kind == 0:
                m0, m1 = _widest(row, two and not form.spherical)
                if along_second:
                    m0, m1 = 0.0, m0
                for at, sign in ((j, -_APART), (n_components - 1, _APART)):
                    starts[made, at, 1] += sign * m0
                    starts[made, at, 2] += sign * m1
            else:
                for at, factor in ((j, _NARROW), (n_components - 1, _WIDE)):
                    starts[made, at, 3] -= math.log(factor)
                    if form.n_traits > 1:
                        starts[made, at, 4] -= math.log(factor)
            made += 1
    return made


@njit(cache=True, error_model="numpy", nogil=True)
def _widest(row: Array, two: bool) -> tuple[float, float]:
    """One standard deviation along a component's widest axis."""
    first = math.exp(-row[3])
    if not two:
        return first, 0.0
    v11 = math.exp(-2.0 * row[4])
    v00, v01 = first * first + row[5] * row[5] * v11, -row[5] * v11
    angle = 0.5 * math.atan2(2.0 * v01, v00 - v11)
    c, s = math.cos(angle), math.sin(angle)
    length = math.sqrt(c * c * v00 + 2.0 * c * s * v01 + s * s * v11)
    return c * length, s * length
