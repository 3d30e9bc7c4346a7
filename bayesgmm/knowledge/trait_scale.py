"""From an effect on the trait to a log odds ratio between two components: the bridge of scales."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bayesgmm import names
from bayesgmm.errors import InputError, first_few

if TYPE_CHECKING:
    from bayesgmm.inference.map_fit import MapFit
    from bayesgmm.inference.posterior import Posterior

    type Components = MapFit | Posterior | Mapping[str, ArrayLike]

Array = NDArray[np.float64]

_LEAST_SEPARATION = 1e-8  # of the means, relative to their size


def log_odds_from_trait_shift(
    shift: ArrayLike,
    standard_error: ArrayLike,
    components: Components,
    *,
    trait: str | None = None,
    trait_sd: float | None = None,
) -> tuple[Any, Any]:
    """Log odds ratio of component 1 against 0 that shifts a trait's mean by so much per allele.

    Parameters
    ----------
    shift : float or array
        Change of the trait's mean per effect allele, as linear regression estimates it, in the trait's units.
    standard_error : float or array
        Of the shift.
    components : MapFit, Posterior or mapping
        The two components: a fit of the same trait without predictors, or ``{"weights": [w0, w1], "means": [m0,
        m1]}``.
    trait : str, optional
        Which trait of a fit of several.
    trait_sd : float, optional
        The shift is in standard deviations of the trait, and this is one of them.

    Returns
    -------
    log_odds_ratio, standard_error
        Numbers or arrays, as they came.

    Raises
    ------
    InputError
        If there are not two components, their means are one, or a number is out of bounds.

    Notes
    -----
    The mean of a mixture is ``sum_k w_k mu_k`` and, per allele, ``dw_k/dx = w_k (B_k - Bbar)``. With two components
    and ``b = B_1 - B_0`` this is ``dE[y]/dx = w_0 w_1 (mu_1 - mu_0) b``, which is inverted. It assumes that the
    variant acts on membership only and not within components; that the earlier study's trait had the same components;
    that the effect is small enough for the slope at the average person to be the regression's (an odds ratio of 2 is);
    and it takes weights and means as known. With more components one number does not determine the log odds ratios.

    An effect of linear regression on a 0/1 outcome of which a share ``q`` is 1 is bridged by ``{"weights": [1 - q, q],
    "means": [0, 1]}``.
    """
    unit = 1.0 if trait_sd is None else float(trait_sd)
    if not (np.isfinite(unit) and unit > 0.0):
        raise InputError(f"trait_sd = {trait_sd!r}; it must be above 0 and finite")
    slope = shift_per_log_odds(components, trait) / unit
    ratio = np.asarray(shift, dtype=float) / slope
    error = np.asarray(standard_error, dtype=float) / abs(slope)
    return (float(ratio), float(error)) if ratio.ndim == 0 else (ratio, error)


def shift_per_log_odds(components: Components, trait: str | None = None) -> float:
    """Shift of a trait's mean per unit of log odds of component 1 against 0, ``w_0 w_1 (mu_1 - mu_0)``."""
    weights, means = _numbers(components, trait)
    if len(weights) != 2:
        raise InputError(
            f"components: there are {len(weights)}; an effect on the trait determines the log odds ratio of two "
            "components only (with more, many sets of log odds ratios shift the mean alike). Give effects on the log "
            "odds, or leave the earlier study out"
        )
    if not ((weights > 0.0).all() and abs(weights.sum() - 1.0) < 1e-6):
        raise InputError(f"components: weights = {weights.tolist()}; they must be above 0 and add to 1")
    gap = float(means[1] - means[0])
    if not np.isfinite(means).all() or abs(gap) <= _LEAST_SEPARATION * np.abs(means).max():
        raise InputError(
            f"components: means = {means.tolist()}; they must be finite and differ, else no log odds ratio shifts the "
            "trait"
        )
    return float(weights[0] * weights[1] * gap)


def _numbers(components: Any, trait: str | None) -> tuple[Array, Array]:
    if isinstance(components, Mapping):
        unknown = set(components) - {names.WEIGHTS, names.MEANS}
        if unknown or len(components) != 2:
            raise InputError(f"components: the mapping has {first_few(components)}; it must have 'weights' and 'means'")
        weights, means = (np.asarray(components[key], dtype=float).ravel() for key in (names.WEIGHTS, names.MEANS))
        if weights.shape != means.shape:
            raise InputError(f"components: {weights.size} weights and {means.size} means; give one of each a component")
        return weights, means
    params = getattr(components, "params", None)
    if params is None and hasattr(components, "posterior"):
        params = components.posterior.mean((names.CHAIN, names.DRAW))
    if params is None:
        raise InputError(
            f"components is a {type(components).__name__}; give a fit without predictors, or "
            "{'weights': [w0, w1], 'means': [m0, m1]}"
        )
    traits = [str(t) for t in params[names.TRAIT].values]
    if trait is None and len(traits) > 1:
        raise InputError(f"trait: the fit has several, {first_few(traits)}; say which the earlier effects are on")
    if trait is not None and trait not in traits:
        raise InputError(f"trait = {trait!r}; the fit has {first_few(traits)}")
    chosen = params[names.MEANS].isel({names.TRAIT: traits.index(trait) if trait is not None else 0})
    return np.asarray(params[names.WEIGHTS].values, dtype=float), np.asarray(chosen.values, dtype=float)
