"""Missing traits filled in from a fit: conditional means, or draws."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from bayesgmm import names
from bayesgmm.checks import check_whole, seed_or_zero

if TYPE_CHECKING:
    from bayesgmm.inference.map_fit import MapFit

Array = NDArray[np.float64]


def impute(fit: MapFit, draws: int | None = None, seed: int | None = None) -> xr.DataArray:
    """Fill in missing traits; the arguments are those of :meth:`bayesgmm.MapFit.impute`.

    Given its component a person's missing traits are Gaussian with mean
    ``mu_M + Sigma_MO inv(Sigma_OO) (y_O - mu_O)`` (Student-t with the same mean, ``df + |O|`` degrees of freedom and a
    scale that grows with the distance of the observed); the components are averaged, or drawn, with the
    responsibilities. Noise is even along each trait's range, and a spike has its value.
    """
    if draws is not None:
        check_whole("draws", draws, 1)
    problem, rng = fit.problem, np.random.default_rng(seed_or_zero(seed))
    coords = {names.SAMPLE: np.asarray(problem.sample_ids), names.TRAIT: list(problem.trait_names)}
    traits, r = problem.traits, fit.responsibilities.values
    shifted = problem.covariates @ fit.params[names.SHIFTS].values
    means, covariances = fit.params[names.MEANS].values, fit.params[names.COVARIANCES].values
    df, box = fit.parameters.df, problem.fixed.noise
    filled = np.repeat(traits[None], draws or 1, axis=0)
    missing = np.isnan(traits)
    for mask in np.unique(missing[missing.any(axis=1)], axis=0):
        who = np.flatnonzero((missing == mask).all(axis=1))
        gone, seen = np.flatnonzero(mask), np.flatnonzero(~mask)
        conditional = np.empty((len(means), len(who), len(gone)))
        factors = np.empty((len(means), len(gone), len(gone)))
        stretch = np.ones((len(means), len(who)))
        for k, (mean, covariance) in enumerate(zip(means, covariances, strict=True)):
            if k >= problem.n_located:
                conditional[k], factors[k] = mean[gone], 0.0
                continue
            slopes = np.linalg.solve(covariance[np.ix_(seen, seen)], covariance[np.ix_(seen, gone)])
            offset = traits[np.ix_(who, seen)] - mean[seen] - shifted[np.ix_(who, seen)]
            conditional[k] = mean[gone] + shifted[np.ix_(who, gone)] + offset @ slopes
            residual = covariance[np.ix_(gone, gone)] - covariance[np.ix_(gone, seen)] @ slopes
            factors[k] = np.linalg.cholesky(0.5 * (residual + residual.T))
            if len(df):
                squared = (offset * np.linalg.solve(covariance[np.ix_(seen, seen)], offset.T).T).sum(axis=1)
                stretch[k] = np.sqrt((df[k] + squared) / (df[k] + len(seen)))
        if draws is None:
            filled[0][np.ix_(who, gone)] = np.einsum("nk,kng->ng", r[who], conditional)
            continue
        cumulative = r[who].cumsum(axis=1)[:, :-1]
        for j in range(draws):
            component = (rng.random(len(who))[:, None] > cumulative).sum(axis=1)
            noise = np.einsum("ngh,nh->ng", factors[component], rng.standard_normal((len(who), len(gone))))
            noise *= stretch[component, np.arange(len(who))][:, None]
            if len(df):
                located = np.minimum(component, problem.n_located - 1)
                noise /= np.sqrt(rng.chisquare(df[located] + len(seen)) / (df[located] + len(seen)))[:, None]
            drawn = conditional[component, np.arange(len(who))] + noise
            if box is not None:
                even = component == problem.n_located
                drawn[even] += rng.uniform(-0.5, 0.5, (int(even.sum()), len(gone))) * box.along[gone]
            filled[j][np.ix_(who, gone)] = drawn
    if draws is None:
        return xr.DataArray(filled[0], dims=(names.SAMPLE, names.TRAIT), coords=coords, name=names.TRAITS)
    dims = (names.DRAW, names.SAMPLE, names.TRAIT)
    return xr.DataArray(filled, dims=dims, coords={names.DRAW: np.arange(draws), **coords}, name=names.TRAITS)
