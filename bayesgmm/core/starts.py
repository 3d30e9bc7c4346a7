"""Starting partitions of EM: hard assignments of rows to components, and the parameters that follow from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage

from bayesgmm.core.ascent import call_components, maximise_weights
from bayesgmm.core.linalg import precision_root
from bayesgmm.core.objective import MixtureArrays, Parameters
from bayesgmm.core.posterior import Engine, Hyper
from bayesgmm.core.sample import Sample, at_spike, has_noise

Array = NDArray[np.float64]
Labels = NDArray[np.int64]

_LLOYD_STEPS = 8
_TREE = 300  # rows on which the hierarchy is built; its cost grows with their square
_WEIGHT_STEPS = 8  # Newton steps of the weights at a start, where memberships are hard


def filled_points(sample: Sample, mean: Array, covariance: Array) -> Array:
    """Standardised traits of every row (n_traits, n_rows), what is missing filled by what the others foretell.

    Parameters
    ----------
    sample : Sample
    mean : ndarray (n_traits,)
    covariance : ndarray (n_traits, n_traits)
        Of standardised traits.
    """
    out = np.empty((len(mean), len(sample.pattern)))
    for g in range(len(sample.starts) - 1):
        begin, end, m = int(sample.starts[g]), int(sample.starts[g + 1]), int(sample.n_observed[g])
        block = sample.values[sample.offsets[g] : sample.offsets[g + 1]].reshape(end - begin, m).T
        seen, gone = sample.observed[g, :m], sample.observed[g, m:]
        block = (block - sample.centre[seen, None]) * sample.scale[seen, None]
        out[seen, begin:end] = block
        if len(gone):
            # traits that repeat each other leave the system without a single solution; the shortest serves
            slopes, *_ = np.linalg.lstsq(covariance[np.ix_(seen, seen)], covariance[np.ix_(seen, gone)], rcond=1e-12)
            out[gone, begin:end] = mean[gone, None] + slopes.T @ (block - mean[seen, None])
    return out


def whitened(points: Array, repeats: Array) -> Array:
    """Points (n_traits, n_rows) turned and scaled so that they are uncorrelated with unit variances.

    Distances between whitened points do not depend on the traits' units or on correlations that all components share.
    """
    centred, scatter = _about_the_mean(points, repeats)
    values, vectors = np.linalg.eigh(scatter)
    total = repeats.sum() if len(repeats) else points.shape[1]
    # a direction in which the traits repeat each other has nothing to tell
    kept = values > 1e-12 * values[-1]
    result: Array = (vectors[:, kept] / np.sqrt(values[kept] / total)).T @ centred
    return result


def _about_the_mean(points: Array, repeats: Array) -> tuple[Array, Array]:
    """Points less their mean, and the sum of their outer products over the people that they stand for."""
    centred = points - np.average(points, axis=1, weights=repeats if len(repeats) else None)[:, None]
    return centred, (centred * repeats if len(repeats) else centred) @ centred.T


def quantile_partition(points: Array, repeats: Array, n_components: int, direction: int = 0) -> Labels:
    """Cut rows into equal parts along a principal axis.

    Parameters
    ----------
    points : ndarray (n_traits, n_rows)
        Standardised traits.
    repeats : ndarray (n_rows,)
        What each row stands for; empty when one each.
    n_components : int
    direction : int
        Which principal axis, the widest first.

    Returns
    -------
    ndarray of int (n_rows,)
    """
    centred, scatter = _about_the_mean(points, repeats)
    _, vectors = np.linalg.eigh(scatter)
    return _cut(vectors[:, -1 - direction] @ centred, repeats, n_components)


def spread_partition(points: Array, repeats: Array, n_components: int) -> Labels:
    """Cut rows into equal parts by their distance from the centre: for components that differ in width."""
    halves = [_cut(point, repeats, 2) for point in points]
    middle = [0.5 * (p[h == 0].max(initial=-np.inf) + p[h == 1].min()) for p, h in zip(points, halves, strict=True)]
    centred = points - np.where(np.isfinite(middle), middle, points[:, 0])[:, None]
    return _cut((centred**2).sum(axis=0), repeats, n_components)


def spike_partition(points: Array, repeats: Array, n_components: int) -> Labels | None:
    """Rows of one value as a component of their own, the rest cut into equal parts; None where no value stands out.

    Survivors at the end of a study, or values at a limit, are a spike that cuts along an axis do not find.

    Parameters
    ----------
    points : ndarray (n_traits, n_rows)
        Standardised traits.
    repeats : ndarray (n_rows,)
        What each row stands for; empty when one each.
    n_components : int

    Returns
    -------
    ndarray of int (n_rows,) or None
    """
    people = repeats if len(repeats) else np.ones(points.shape[1])
    least = max(_SPIKE_PEOPLE, _SPIKE_SHARE * people.sum())
    spike = np.ones(points.shape[1], dtype=bool)
    for point in points:
        # the commonest value of each trait among those who share the commonest of the traits before
        values, group = np.unique(point[spike], return_inverse=True)
        alike = np.bincount(group, people[spike])
        if alike.max() < least:
            return None
        spike &= point == values[alike.argmax()]
    if n_components < 2 or spike.all():
        return None
    labels = np.zeros(points.shape[1], dtype=np.int64)
    labels[~spike] = 1
    if n_components > 2:
        rest = people[~spike] if len(repeats) else repeats
        labels[~spike] += quantile_partition(points[:, ~spike], rest, n_components - 1)
    return labels


def fitted_partition(points: Array, repeats: Array, predictors: Array, n_components: int) -> Labels:
    """Cut rows into equal parts by what a linear regression on the predictors foretells of the first trait."""
    root = np.sqrt(repeats) if len(repeats) else np.ones(points.shape[1])
    target = points[0] - np.average(points[0], weights=repeats if len(repeats) else None)
    slopes, *_ = np.linalg.lstsq(root[:, None] * predictors, root * target, rcond=None)
    return _cut(predictors @ slopes, repeats, n_components)


def random_partition(n_rows: int, n_components: int, rng: np.random.Generator) -> Labels:
    """Assign rows at random: every component starts near the whole sample."""
    labels: Labels = rng.integers(0, n_components, n_rows)
    return labels


def hierarchical_partition(points: Array, repeats: Array, n_components: int, rng: np.random.Generator) -> Labels:
    """Cut a model-based hierarchy of a subset, and give every other row to the nearest of its clusters.

    Merging so that the within-cluster sum of squares grows least (Ward 1963) is the agglomeration by classification
    likelihood under spherical covariances of one volume (Fraley 1998, section 3); on whitened points it sees ellipses
    of one shape as spheres.

    Parameters
    ----------
    points : ndarray (n_traits, n_rows)
        Whitened.
    repeats : ndarray (n_rows,)
        What each row stands for, and is drawn in proportion to; empty when one each.
    """
    n_rows = points.shape[1]
    chances = repeats / repeats.sum() if len(repeats) else None
    chosen = rng.choice(n_rows, _TREE, replace=False, p=chances) if n_rows > _TREE else np.arange(n_rows)
    some = points[:, chosen].T
    if len(some) <= n_components:
        return np.arange(n_rows) % n_components
    labels = fcluster(linkage(some, method="ward"), n_components, criterion="maxclust")
    # equal points can leave fewer clusters than asked for
    centres = np.stack([some[labels == k].mean(axis=0) for k in np.unique(labels)])
    out = np.empty(n_rows, dtype=np.int64)
    nearest(np.ascontiguousarray(points), centres, out)
    return out


def _cut(score: Array, repeats: Array, n_components: int) -> Labels:
    order = np.argsort(score, kind="stable")
    weight = repeats[order] if len(repeats) else np.ones(len(score))
    before = np.cumsum(weight) - 0.5 * weight
    labels = np.empty(len(score), dtype=np.int64)
    labels[order] = np.minimum((before / weight.sum() * n_components).astype(np.int64), n_components - 1)
    return labels


def kmeans_partition(points: Array, repeats: Array, n_components: int, rng: np.random.Generator) -> Labels:
    """Seed centres far apart (k-means++, Arthur and Vassilvitskii 2007) and take a few steps of Lloyd's algorithm.

    Parameters
    ----------
    points : ndarray (n_traits, n_rows)
        Whitened.
    repeats : ndarray (n_rows,)
        What each row stands for; empty when one each.
    n_components : int
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of int (n_rows,)
    """
    labels = np.empty(points.shape[1], dtype=np.int64)
    kmeans(np.ascontiguousarray(points), repeats, rng.random(n_components), labels)
    return labels


_SPIKE_SHARE, _SPIKE_PEOPLE = 0.1, 5.0  # of people with one value, from which it starts a component of its own


@njit(cache=True, error_model="numpy", nogil=True)
def nearest(points: Array, centres: Array, labels: Labels) -> None:
    """Write the nearest centre of every point (n_traits, n_rows)."""
    size, n = points.shape
    for i in range(n):
        best = np.inf
        for k in range(len(centres)):
            distance = 0.0
            for d in range(size):
                gap = points[d, i] - centres[k, d]
                distance += gap * gap
            if distance < best:
                best = distance
                labels[i] = k


@njit(cache=True, error_model="numpy", nogil=True)
def kmeans(points: Array, repeats: Array, uniform: Array, labels: Labels) -> None:
    """Write the labels of :func:`kmeans_partition`, with its random numbers given (n_components,)."""
    size, n = points.shape
    n_components = len(uniform)
    weighted = len(repeats) > 0
    centres = np.zeros((n_components, size))
    distances = np.full(n, np.inf)
    for k in range(n_components):
        total = 0.0
        for i in range(n):
            weight = repeats[i] if weighted else 1.0
            total += weight if k == 0 else weight * distances[i]
        target = uniform[k] * total
        chosen = n - 1
        reached = 0.0
        for i in range(n):
            weight = repeats[i] if weighted else 1.0
            reached += weight if k == 0 else weight * distances[i]
            if reached > target:
                chosen = i
                break
        for d in range(size):
            centres[k, d] = points[d, chosen]
        for i in range(n):
            distance = 0.0
            for d in range(size):
                gap = points[d, i] - centres[k, d]
                distance += gap * gap
            distances[i] = min(distances[i], distance)
    for _ in range(_LLOYD_STEPS):
        nearest(points, centres, labels)
        sums, counts = np.zeros((n_components, size)), np.zeros(n_components)
        for i in range(n):
            weight = repeats[i] if weighted else 1.0
            counts[labels[i]] += weight
            for d in range(size):
                sums[labels[i], d] += weight * points[d, i]
        for k in range(n_components):
            if counts[k] > 0.0:
                for d in range(size):
                    centres[k, d] = sums[k, d] / counts[k]
    nearest(points, centres, labels)


@njit(cache=True, error_model="numpy", nogil=True)
def _maximise(
    engine: Engine,
    hyper: Hyper,
    floor: Array,
    predictors: Array,
    counts: Array,
    mass: Array,
    first: Array,
    second: Array,
    means: Array,
    shifts: Array,
    roots: Array,
    alpha: Array,
    beta: Array,
    weight_steps: int,
) -> bool:
    gradient = np.empty(len(alpha) * (1 + len(beta)))
    for _ in range(weight_steps):
        maximise_weights(engine, hyper, predictors, counts, mass, alpha, beta, gradient)
    return call_components(engine.components, engine, hyper, floor, mass, first, second, means, shifts, roots) > 0.0


_HELD = 1_000_000  # products of people's traits that are formed at once
NOISE_SHARE = 0.05  # of everybody that noise starts with, where it does not start with those far from others
_NEIGHBOURS = 10  # whose distance tells who is far from others


def spread_over(arrays: MixtureArrays, points: Array, labels: Labels, number: int) -> Array:
    """Responsibilities (n_rows, n_components) of a partition among the components that have a mean.

    People at a spike are its own. Noise starts with a share of everybody, or at odd numbers of starts with the people
    whose distance to their tenth neighbour is far above the others' (Byers and Raftery 1998); or with those that the
    partition has beyond the components that have a mean.
    """
    located, n_rows = arrays.n_located, points.shape[1]
    r = np.zeros((n_rows, arrays.n_components))
    r[np.arange(n_rows), labels] = 1.0
    there = at_spike(arrays.sample)
    if has_noise(arrays.sample) and not (labels == located).any():
        lonely = _lonely(points, ~there) if number % 2 else np.full(n_rows, NOISE_SHARE)
        r[:, :located] *= 1.0 - lonely[:, None]
        r[:, located] = lonely
    r[there] = 0.0
    r[there, -1] = 1.0
    return r


def _lonely(points: Array, some: NDArray[np.bool_]) -> Array:
    """One for rows far from others, else zero (n_rows,): log distances to a neighbour cut where they part most."""
    from scipy.spatial import cKDTree

    out = np.zeros(points.shape[1])
    kept = points[:, some].T
    n_neighbours = min(_NEIGHBOURS, len(kept) - 1)
    if n_neighbours < 1:
        return out
    distance = cKDTree(kept).query(kept, n_neighbours + 1)[0][:, -1]
    logs = np.log(np.maximum(distance, 1e-12))
    order = np.argsort(logs)
    ranked, n = logs[order], len(logs)
    # the cut that leaves least variance within the two parts (Otsu 1979)
    before = np.arange(1, n)
    sums = np.cumsum(ranked)[:-1]
    between = (sums / before - (ranked.sum() - sums) / (n - before)) ** 2 * before * (n - before)
    far = np.zeros(n)
    far[order[int(between.argmax()) + 1 :]] = 1.0
    out[some] = far
    return out


class StartMoments(NamedTuple):
    """What an M step needs of memberships.

    ``mass`` (K,), ``counts`` by row of predictors (U, K), moments about zero ``first`` (L, B) and ``second`` (L, B, B).
    """

    mass: Array
    counts: Array
    first: Array
    second: Array


@dataclass(frozen=True, eq=False)
class StartPoints:
    """The people that starts are made of: what is common to every start and to every family in the same units.

    Attributes
    ----------
    sample : Sample
    both : ndarray (B, n_rows)
        Standardised traits, what is missing filled in, and covariates of the means.
    products : ndarray (B * B, n_rows) or None
        Of these, person by person; None where they are too many to hold.
    root : ndarray (D, D)
        Of the precision of all people's traits.
    """

    sample: Sample
    both: Array
    products: Array | None
    root: Array

    @classmethod
    def of(cls, sample: Sample, points: Array) -> StartPoints:
        """From standardised traits (n_traits, n_rows)."""
        size, n = points.shape
        both = np.vstack((points, sample.covariates)) if len(sample.covariates) else points
        products = None
        if len(both) ** 2 * n <= _HELD:
            products = (both[:, None, :] * both[None, :, :]).reshape(len(both) ** 2, n)
        pooled = np.cov(points, aweights=sample.repeats if len(sample.repeats) else None, ddof=0).reshape(size, size)
        root = np.empty((size, size))
        if not precision_root(pooled, root) > 0.0:
            root = np.eye(size)
        return cls(sample, both, products, root)

    def moments(self, r: Array, n_located: int) -> StartMoments:
        """Moments of memberships (n_rows, K), of which the first columns have a mean."""
        repeats, n_both = self.sample.repeats, len(self.both)
        r = r * repeats[:, None] if len(repeats) else r
        located = r[:, :n_located]
        first = np.ascontiguousarray((self.both @ located).T)
        if self.products is None:
            second = np.stack([(self.both * share) @ self.both.T for share in located.T])
        else:
            second = np.ascontiguousarray((self.products @ located).T).reshape(-1, n_both, n_both)
        return StartMoments(r.sum(axis=0), self._counts(r), first, second)

    def _counts(self, r: Array) -> Array:
        """People by row of predictors and component (U, K)."""
        sample = self.sample
        if sample.predictors.shape[1] == 0:
            counts = np.zeros((len(sample.predictors), r.shape[1]))
            counts[0] = r.sum(axis=0)
            return counts
        counts = np.zeros((len(sample.predictors), r.shape[1]))
        if len(sample.mix_starts):
            by_pattern = np.zeros((len(sample.mix_starts) - 1, r.shape[1]))
            np.add.at(by_pattern, sample.pattern, r)
            times = np.diff(sample.mix_starts)
            np.add.at(counts, sample.mix_rows, sample.mix_probabilities[:, None] * np.repeat(by_pattern, times, axis=0))
        else:
            np.add.at(counts, sample.pattern, r)
        return counts


def start_from(arrays: MixtureArrays, points: Array, responsibilities: Array) -> Parameters | None:
    """Parameters after an M step from given responsibilities; None where a component would be singular.

    Parameters
    ----------
    arrays : MixtureArrays
    points : ndarray (n_traits, n_rows)
        Standardised traits of every row, what is missing filled in.
    responsibilities : ndarray (n_rows, n_components)
    """
    people = StartPoints.of(arrays.sample, points)
    return starts_of(arrays, people, [people.moments(responsibilities, arrays.n_located)])[0]


def starts_of(arrays: MixtureArrays, people: StartPoints, moments: Sequence[StartMoments]) -> list[Parameters | None]:
    """Parameters after an M step from the moments of each of some memberships; None where one would be singular."""
    k, located, size, tails = arrays.n_components, arrays.n_located, arrays.n_traits, arrays.tails
    n_covariates, n_predictors = len(arrays.shift_precision), len(arrays.weights_prior.effect_mean)
    # from effects as the data have them, not from a spike's or a kink's hold on them
    soft = arrays.softened
    engine, hyper = soft.engine(), soft.hyper
    found: list[Parameters | None] = []
    for mass, counts, first, second in moments:
        means, shifts = np.zeros((located, size)), np.zeros((n_covariates, size))
        roots = np.broadcast_to(people.root, (located, size, size)).copy()
        alpha, beta = np.zeros(k - 1), np.zeros((n_predictors, k - 1))
        # at a start everybody weighs the same in a Student-t component
        weighing = mass if not len(tails.df) else np.concatenate((mass, mass[:located], np.zeros(located)))
        possible = _maximise(
            engine,
            hyper,
            arrays.floor,
            people.sample.predictors,
            counts,
            weighing,
            # which are written
            first.copy(),
            second.copy(),
            means,
            shifts,
            roots,
            alpha,
            beta,
            _WEIGHT_STEPS if n_predictors else 1,
        )
        made = Parameters(alpha, beta, means, roots, shifts, tails.df, tails.n_free) if possible else None
        found.append(made)
    return found
