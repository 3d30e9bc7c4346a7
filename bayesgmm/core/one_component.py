"""Mean and covariance of traits; where some are missing, by the one-component case of the engine, without a prior."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bayesgmm.core.ascent import MEMORY, SINGULAR, ascend
from bayesgmm.core.families import Family
from bayesgmm.core.gather import Uncertain, gather
from bayesgmm.core.gaussian import NiwPrior, covariances_from_roots
from bayesgmm.core.objective import MixtureArrays, Parameters
from bayesgmm.core.sample import Sample
from bayesgmm.core.traits import is_complete, known_moments, scatter_about
from bayesgmm.core.weights import WeightsPrior

Array = NDArray[np.float64]

_STEPS = 5000


def _gaussian_of(sample: Sample, n_traits: int) -> tuple[Array, Array | None]:
    """Maximum likelihood mean and covariance of a sample's traits; None where the covariance is singular.

    The sample's predictors and covariates play no part.
    """
    n = len(sample.pattern)
    alone = sample._replace(
        pattern=np.zeros(n, dtype=np.int32),
        predictors=np.zeros((1, 0)),
        mix_starts=np.empty(0, dtype=np.int64),
        mix_rows=np.empty(0, dtype=np.int32),
        mix_probabilities=np.empty(0),
        covariates=np.zeros((0, n)),
        own=False,
    )
    arrays = MixtureArrays(
        alone,
        WeightsPrior(np.ones(1), np.zeros((0, 0)), np.zeros(0)),
        NiwPrior.flat(n_traits, Family("VVV")),
        np.zeros((0, n_traits)),
        np.zeros(n_traits),
    )
    start = Parameters(
        np.zeros(0), np.zeros((0, 0)), np.zeros((1, n_traits)), np.eye(n_traits)[None], np.zeros((0, n_traits))
    )
    full, counts = start.full(), np.empty((1, 1))
    history, following = np.empty(_STEPS), np.empty(len(full))
    parts, enough = (arrays.engine(), arrays.hyper, arrays.floor), 1e-14 * sample.total
    _, status, _ = ascend(full, alone, *parts, counts, _STEPS, enough, MEMORY, history, following)
    found = start.of_full(full)
    return found.means[0], None if status == SINGULAR else covariances_from_roots(found.roots)[0]


def mean_and_variance(values: Array, shares: Array | None) -> tuple[Array, Array]:
    """Weighted mean and variance over people of the known values of each column."""
    if not values.shape[1]:
        return np.zeros(0), np.zeros(0)
    mean, variance = known_moments(np.ascontiguousarray(values), np.empty(0) if shares is None else shares)
    return mean, variance


def mean_and_covariance(traits: Array, shares: Array | None, total: float) -> tuple[Array, Array | None]:
    """Sample mean and covariance of traits; where some are missing, those of a single Gaussian by EM.

    No covariance where there are too few people for one.
    """
    mean, variance = mean_and_variance(traits, shares)
    if total <= 1.0 or len(traits) < 2:
        return mean, None
    if is_complete(traits):
        return mean, scatter_about(traits, np.empty(0) if shares is None else shares, mean) / (total - 1.0)
    unit = np.sqrt(variance)
    if not (unit > 0.0).all():
        return mean, None
    n, size = traits.shape
    nothing = np.zeros((n, 0))
    sample, _ = gather(
        traits, nothing, nothing, shares, Uncertain.nobody(0), centre=mean, scale=1.0 / unit, compress=False
    )
    _, covariance = _gaussian_of(sample, size)
    return mean, None if covariance is None else covariance * np.outer(unit, unit) * (total / (total - 1.0))
