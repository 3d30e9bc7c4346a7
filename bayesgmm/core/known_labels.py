"""The mode where everybody's component is known: the engine's passes and M step with memberships held.

With all traits known and a family in closed form this is one M step. Where traits are missing or tails are heavy it is
EM for those alone, and where a family alternates the steps go on until they stand still.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayesgmm.core.ascent import ROUNDING, maximise_components, maximise_df
from bayesgmm.core.moments import NOTHING_1D, NOTHING_2D, expectation, pass_for
from bayesgmm.core.objective import MixtureArrays, Parameters
from bayesgmm.core.sample import Sample

Array = NDArray[np.float64]
Labels = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class KnownLabels:
    """Components fitted to the people who are known to be theirs.

    Attributes
    ----------
    parameters : Parameters
        Standardised; the weights are the shares of the labels.
    log_density : float
        Sum over people of the log density of their traits under their own component.
    converged : bool
    """

    parameters: Parameters
    log_density: float
    converged: bool


def with_own_weights(sample: Sample) -> Sample:
    """The same people, each with log weights of their own to be given to a pass."""
    return sample._replace(pattern=np.arange(len(sample.pattern), dtype=np.int32), own=True)


def fit_known_labels(
    arrays: MixtureArrays, labels: Labels, *, max_iterations: int, tolerance: float
) -> KnownLabels | None:
    """Means and covariances at the mode given everybody's component; None where a covariance would be singular.

    Parameters
    ----------
    arrays : MixtureArrays
        Without predictors of the weights, covariates of the means, noise or a spike.
    labels : ndarray of int (n_rows,)
        Component of every row of the sample.
    max_iterations : int
    tolerance : float
        Stop when the log posterior is estimated to be this close to its limit.
    """
    k, size = arrays.n_components, arrays.n_traits
    sample = with_own_weights(arrays.sample)
    held = np.where(np.arange(k) == labels[:, None], 0.0, -np.inf)
    shares = np.bincount(labels, sample.repeats if len(sample.repeats) else None, k)
    alpha = np.log(shares[1:]) - np.log(shares[0])
    means, roots, shifts = np.zeros((k, size)), np.tile(np.eye(size), (k, 1, 1)), np.zeros((0, size))
    df, n_df = arrays.tails.df.copy(), arrays.tails.n_free
    mass, first, second = np.empty(k + 2 * len(df)), np.empty((k, size)), np.empty((k, size, size))
    engine, passes = arrays.engine(), pass_for(sample)
    before, gain_before = -np.inf, np.inf
    for step in range(max_iterations + 1):
        log_density = expectation.compiled(
            sample, passes, held.copy(), means, roots, shifts, df, mass, first, second, NOTHING_2D, NOTHING_1D
        )
        at = Parameters(alpha, np.zeros((0, k - 1)), means.copy(), roots.copy(), shifts, df.copy(), n_df)
        value = log_density + arrays.log_prior(at)
        gain = value - before
        rounding = ROUNDING * abs(value)
        # gains fall by a constant factor, so what is left is a geometric series
        left = gain * gain / (gain_before - gain) if gain < gain_before < np.inf else np.inf
        if step > 1 and (gain <= rounding or max(gain, left) <= tolerance):
            return KnownLabels(at, log_density, True)
        before, gain_before = value, gain
        if step < max_iterations:
            share = maximise_components.compiled(
                engine, arrays.hyper, arrays.floor, mass, first, second, means, shifts, roots
            )
            if not share > 0.0:
                return None
            maximise_df(arrays.hyper, mass, df)
    return KnownLabels(at, log_density, False)
