"""What the prior foretells of the data, and whether the data disagree with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import norm

from bayesgmm import names
from bayesgmm.analysis.sensitivity import base_of
from bayesgmm.analysis.tipping import unopposed_effects
from bayesgmm.checks import check_whole, seed_or_zero
from bayesgmm.core.effect_density import NORMAL
from bayesgmm.errors import InputError
from bayesgmm.inference.prior_draws import draw_prior, simulate_traits
from bayesgmm.model import check_model

if TYPE_CHECKING:
    from bayesgmm.inference.map_fit import MapFit
    from bayesgmm.model import Mixture
    from bayesgmm.problem import Problem

Array = NDArray[np.float64]

_DRAWS = 20_000  # of an effect's estimate, where its prior is not normal
LEAST_P = 0.05  # probability below which the data and the prior are said to disagree
_MOST_NUMBERS = 50_000_000  # simulated trait values: 400 MB
STATISTICS = ("mean", "sd", "skewness", "kurtosis")


def prior_predictive(
    model: Mixture, study: Any, draws: int = 200, seed: int | None = None, *, sample_weight: Any = None
) -> xr.Dataset:
    """Simulate the study's traits from the prior.

    Parameters
    ----------
    model : Mixture
    study : Study, DataFrame or ndarray
        Its people, with their genotypes and covariates; what is missing stays missing.
    draws : int, default 200
    seed : int, optional
        None: 0.
    sample_weight
        As in :meth:`bayesgmm.Mixture.fit`: what predictors are centred at and default priors stand on; people of
        weight zero are left out.

    Returns
    -------
    xarray.Dataset
        ``traits`` (draw, sample, trait), ``membership`` (draw, sample), and the parameters of each draw, as in
        :attr:`bayesgmm.MapFit.params`, with the dim draw.

    Raises
    ------
    PropernessError
        If the prior is improper.
    InputError
        If draws are out of bounds, or the covariance family has no density of its own.
    """
    check_model(model)
    check_whole("draws", draws, 1)
    seed = seed_or_zero(seed)
    problem = model.problem(study, sample_weight)
    size = draws * problem.n_samples * len(problem.trait_names)
    if size > _MOST_NUMBERS:
        raise InputError(
            f"draws = {draws}; with {problem.n_samples} people and "
            f"{len(problem.trait_names)} traits it must be at most "
            f"{_MOST_NUMBERS // (problem.n_samples * len(problem.trait_names))}"
        )
    rng = np.random.default_rng(seed)
    stacked = draw_prior(problem, draws, rng)
    traits, components = simulate_traits(problem, stacked, rng)
    result = problem.draws_of(stacked).isel({names.CHAIN: 0}, drop=True)
    result[names.TRAITS] = ((names.DRAW, names.SAMPLE, names.TRAIT), traits)
    result["membership"] = ((names.DRAW, names.SAMPLE), components)
    return result.assign_coords({names.SAMPLE: np.asarray(problem.sample_ids), names.DRAW: np.arange(draws)})


def prior_conflict(
    model: Mixture,
    study: Any,
    *,
    draws: int = 500,
    seed: int | None = None,
    base: MapFit | None = None,
    sample_weight: Any = None,
) -> pd.DataFrame:
    """Check whether the prior could have brought forth such data, and such effects.

    Parameters
    ----------
    model : Mixture
    study : Study, DataFrame or ndarray
    draws : int, default 500
        Data sets simulated from the prior.
    seed : int, optional
        None: 0.
    base : MapFit, optional
        The model's own fit, to save doing it again.
    sample_weight
        As in :meth:`bayesgmm.Mixture.fit`.

    Returns
    -------
    pandas.DataFrame
        One row per check: ``quantity`` (``mean``, ``sd``, ``skewness`` or ``kurtosis`` of each trait, or an effect),
        ``observed``, ``prior_lower`` and ``prior_upper`` (95% of what the prior foretells), ``p_value`` (two-sided
        prior predictive, Box 1980) and ``verdict``.

    Raises
    ------
    PropernessError, InputError
        As :func:`prior_predictive`.

    Notes
    -----
    An effect is checked by its estimate where its prior says next to nothing (sd 100), against what the prior foretells
    of such an estimate: the effect's prior convolved with the estimate's standard error (Evans and Moshonov 2006,
    Bayesian Analysis 1:893); by simulation where that prior is not normal.
    """
    seed = seed_or_zero(seed)
    simulated = prior_predictive(model, study, draws, seed, sample_weight=sample_weight)
    own, _ = base_of(model, study, base, seed, sample_weight)
    problem = own.problem
    weight = np.ones(problem.n_samples) if problem.sample_weight is None else problem.sample_weight
    rows = []
    for d, trait in enumerate(problem.trait_names):
        seen = ~np.isnan(problem.traits[:, d])
        observed = _statistics(problem.traits[seen, d][None], weight[seen])[0]
        foretold = _statistics(simulated[names.TRAITS].values[:, seen, d], weight[seen])
        for j, statistic in enumerate(STATISTICS):
            rows.append(_row(f"{statistic} of {trait}", float(observed[j]), foretold[:, j]))
    if problem.predictor_names and problem.n_components > 1:
        for p, predictor in enumerate(problem.predictor_names):
            each = unopposed_effects(own, predictor)[p, :, :2]
            rows += [_effect_row(problem, p, c, estimate, se, seed) for c, (estimate, se) in enumerate(each)]
    return pd.DataFrame(rows)


def _effect_row(problem: Problem, p: int, c: int, estimate: float, se: float, seed: int) -> dict[str, Any]:
    """What the prior foretells of an effect's estimate: its own density convolved with the standard error."""
    mean, prior = float(problem.priors.effect_mean[p, c]), problem.priors.pairwise_effect(p)
    quantity = f"effects[{problem.predictor_names[p]}, {problem.contrasts[c]}]"
    if prior.kind != NORMAL:
        rng = np.random.default_rng(seed)
        foretold = mean + prior.draw(_DRAWS, rng) + se * rng.standard_normal(_DRAWS)
        return _row(quantity, float(estimate), foretold)
    spread = float(np.hypot(se, prior.scale))
    p_value = float(2.0 * norm.sf(abs(estimate - mean) / spread))
    reach = float(norm.ppf(0.975)) * spread
    return {
        "quantity": quantity,
        "observed": float(estimate),
        "prior_lower": mean - reach,
        "prior_upper": mean + reach,
        "p_value": p_value,
        "verdict": _verdict(p_value),
    }


def _statistics(values: Array, weight: Array) -> Array:
    """Mean, sd, skewness and excess kurtosis of each row (n, people) -> (n, 4)."""
    share = weight / weight.sum()
    mean = values @ share
    centred = values - mean[:, None]
    sd = np.sqrt(centred**2 @ share)
    with np.errstate(invalid="ignore", divide="ignore"):
        third, fourth = centred**3 @ share / sd**3, centred**4 @ share / sd**4 - 3.0
    return np.column_stack((mean, sd, third, fourth))


def _row(quantity: str, observed: float, foretold: Array) -> dict[str, Any]:
    lower, upper = np.quantile(foretold, [0.025, 0.975])
    below = float((foretold <= observed).mean())
    p_value = min(1.0, 2.0 * min(below, 1.0 - below) + 1.0 / len(foretold))
    return {
        "quantity": quantity,
        "observed": observed,
        "prior_lower": float(lower),
        "prior_upper": float(upper),
        "p_value": p_value,
        "verdict": _verdict(p_value),
    }


def _verdict(p_value: float) -> str:
    if p_value < LEAST_P:
        return "prior and data disagree: the prior hardly foretells this"
    return "within what the prior foretells"
