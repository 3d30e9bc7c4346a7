"""Missing traits filled in from a fit: conditional means, or draws."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from bayesgmm import names
from bayesgmm.errors import InputError

if TYPE_CHECKING:
    from bayesgmm.inference.map_fit import MapFit

Array = NDArray[np.float64]


def impute(fit: MapFit, draws: int | None = None, seed: int | None = None) -> xr.DataArray:
    """Fill in missing traits; the arguments are those of :meth:`bayesgmm.MapFit.impute`.

    Given its component a person's missing traits are Gaussian with mean
    ``mu_M + Sigma_MO inv(Sigma_OO) (y_O - mu_O)``; the components are averaged, or drawn, with the responsibilities.
    """
    if draws is not None and draws < 1:
        raise InputError(f"draws = {draws}; it must be at least 1")
    problem, rng = fit.problem, np.random.default_rng(0 if seed is None else seed)
    coords = {names.SAMPLE: np.asarray(problem.sample_ids), names.TRAIT: list(problem.trait_names)}
    traits, r = problem.traits, fit.responsibilities.values
    shifted = problem.covariates @ fit.params[names.SHIFTS].values
    means, covariances = fit.params[names.MEANS].values, fit.params[names.COVARIANCES].values
    filled = np.repeat(traits[None], draws or 1, axis=0)
    missing = np.isnan(traits)
    for mask in np.unique(missing[missing.any(axis=1)], axis=0):
        who = np.flatnonzero((missing == mask).all(axis=1))
        gone, seen = np.flatnonzero(mask), np.flatnonzero(~mask)
        conditional = np.empty((len(means), len(who), len(gone)))
        factors = np.empty((len(means), len(gone), len(gone)))
        for k, (mean, covariance) in enumerate(zip(means, covariances, strict=True)):
            slopes = np.linalg.solve(covariance[np.ix_(seen, seen)], covariance[np.ix_(seen, gone)])
            offset = traits[np.ix_(who, seen)] - mean[seen] - shifted[np.ix_(who, seen)]
            conditional[k] = mean[gone] + shifted[np.ix_(who, gone)] + offset @ slopes
            residual = covariance[np.ix_(gone, gone)] - covariance[np.ix_(gone, seen)] @ slopes
            factors[k] = np.linalg.cholesky(0.5 * (residual + residual.T))
        if draws is None:
            filled[0][np.ix_(who, gone)] = np.einsum("nk,kng->ng", r[who], conditional)
            continue
        cumulative = r[who].cumsum(axis=1)[:, :-1]
        for j in range(draws):
            component = (rng.random(len(who))[:, None] > cumulative).sum(axis=1)
            noise = np.einsum("ngh,nh->ng", factors[component], rng.standard_normal((len(who), len(gone))))
            filled[j][np.ix_(who, gone)] = conditional[component, np.arange(len(who))] + noise
    if draws is None:
        return xr.DataArray(filled[0], dims=(names.SAMPLE, names.TRAIT), coords=coords, name=names.TRAITS)
    dims = (names.DRAW, names.SAMPLE, names.TRAIT)
    return xr.DataArray(filled, dims=dims, coords={names.DRAW: np.arange(draws), **coords}, name=names.TRAITS)
