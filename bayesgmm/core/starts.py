"""Starting partitions of EM: hard assignments of people to components."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Labels = NDArray[np.int64]

_LLOYD_STEPS = 10
_SUBSET = 20_000  # people among whom centres are sought; more would cost time and change little


def quantile_partition(traits: Array, n_components: int, direction: int = 0) -> Labels:
    """Cut people into equal parts along a principal axis of the traits.

    Parameters
    ----------
    traits : ndarray (n_traits, n_samples)
        Standardised traits.
    n_components : int
    direction : int
        Which principal axis, the widest first.

    Returns
    -------
    ndarray of int (n_samples,)
    """
    centred = traits - traits.mean(axis=1, keepdims=True)
    _, vectors = np.linalg.eigh(centred @ centred.T)
    return _cut(vectors[:, -1 - direction] @ centred, n_components)


def spread_partition(traits: Array, n_components: int) -> Labels:
    """Cut people into equal parts by their distance from the centre: for components that differ in width.

    Parameters and result as in :func:`quantile_partition`.
    """
    centred = traits - np.median(traits, axis=1, keepdims=True)
    return _cut((centred**2).sum(axis=0), n_components)


def fitted_partition(traits: Array, predictors: Array, n_components: int) -> Labels:
    """Cut people into equal parts by what a linear regression on the predictors foretells of the first trait.

    Parameters
    ----------
    traits : ndarray (n_traits, n_samples)
    predictors : ndarray (n_samples, n_predictors)
        Centred.
    n_components : int

    Returns
    -------
    ndarray of int (n_samples,)
    """
    slopes, *_ = np.linalg.lstsq(predictors, traits[0] - traits[0].mean(), rcond=None)
    return _cut(predictors @ slopes, n_components)


def _cut(score: Array, n_components: int) -> Labels:
    ranks = np.empty(len(score), dtype=np.int64)
    ranks[np.argsort(score, kind="stable")] = np.arange(len(score))
    labels: Labels = ranks * n_components // len(score)
    return labels


def kmeans_partition(traits: Array, n_components: int, rng: np.random.Generator) -> Labels:
    """Seed centres far apart (k-means++, Arthur and Vassilvitskii 2007) and take a few steps of Lloyd's algorithm.

    Parameters
    ----------
    traits : ndarray (n_traits, n_samples)
        Standardised traits.
    n_components : int
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of int (n_samples,)
    """
    n_people = traits.shape[1]
    chosen = rng.choice(n_people, _SUBSET, replace=False) if n_people > _SUBSET else np.arange(n_people)
    points = traits[:, chosen].T
    centres = points[rng.integers(len(points))][None]
    distances = ((points - centres[0]) ** 2).sum(1)
    for _ in range(1, n_components):
        total = distances.sum()
        probabilities = distances / total if total > 0.0 else None
        new = points[rng.choice(len(points), p=probabilities)]
        centres = np.vstack((centres, new))
        distances = np.minimum(distances, ((points - new) ** 2).sum(1))
    for _ in range(_LLOYD_STEPS):
        labels = _nearest(points, centres)
        sums = np.stack([np.bincount(labels, points[:, d], n_components) for d in range(points.shape[1])], axis=1)
        counts = np.bincount(labels, minlength=n_components)[:, None]
        centres = np.where(counts > 0, sums / np.maximum(counts, 1), centres)
    return _nearest(traits.T, centres)


def _nearest(points: Array, centres: Array) -> Labels:
    # |y - c|^2 without the term in y alone, so that memory stays n x K
    score = -2.0 * points @ centres.T + (centres**2).sum(1)
    labels: Labels = np.argmin(score, axis=1)
    return labels
