"""Which predictors have an effect under a spike and slab: the probability that each is in the slab."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy.special import log_expit, logsumexp

from bayesgmm import names
from bayesgmm.core.effect_density import SPIKE_SLAB, log_odds_of_slab
from bayesgmm.errors import InputError
from bayesgmm.inference.map_fit import MapFit

if TYPE_CHECKING:
    from bayesgmm.inference.posterior import Posterior
    from bayesgmm.problem import Problem

Array = NDArray[np.float64]


def inclusion(result: MapFit | Posterior) -> pd.DataFrame:
    """Posterior probability that each predictor is in the slab of a spike-and-slab prior.

    Parameters
    ----------
    result : MapFit or Posterior
        Of a model with :class:`bayesgmm.LogOddsSpikeSlab` effects. From a posterior, the mean over draws of the
        probability given the effects (George and McCulloch 1993), which is less noisy than a share of draws. From a MAP
        fit, that probability at the mode, which is not a posterior probability: it says to which side the mode fell.

    Returns
    -------
    pandas.DataFrame
        One row per predictor: ``predictor``, ``prior`` and posterior ``probability`` of the slab,
        ``log10_bayes_factor`` of the slab against the spike (above 1 strong; NaN from a mode), ``engine`` and ``note``
        (where no draw was on the other side, the Bayes factor is bounded by the number of draws).

    Raises
    ------
    InputError
        If no predictor has a spike-and-slab prior.
    """
    if not hasattr(result, "problem"):
        raise InputError(
            f"inclusion: given a {type(result).__name__}; give a fit or a posterior under bg.LogOddsSpikeSlab (a "
            "selection of predictors has its own table, .inclusion)"
        )
    problem = result.problem
    at_mode = isinstance(result, MapFit)
    spiked, odds = _log_odds(problem, result.params if isinstance(result, MapFit) else result.posterior)
    prior = problem.priors.effect_shape[spiked, 0]
    log_in, log_out = (logsumexp(log_expit(x), axis=0) - np.log(len(odds)) for x in (odds, -odds))
    # where no draw was near the other side, all that is known is that it is rarer than one draw in so many
    most = np.log(len(odds))
    bounded = np.abs(log_in - log_out) > most
    gained = np.clip(log_in - log_out, -most, most) - np.log(prior) + np.log1p(-prior)
    at_mode_note = "at the mode, one of possibly many; sample the posterior"
    beyond = np.where(log_in > log_out, "at least: no draw was at the spike", "at most: no draw was in the slab")
    return pd.DataFrame(
        {
            names.PREDICTOR: [problem.predictor_names[p] for p in spiked],
            "prior": prior,
            "probability": np.exp(log_in),
            "log10_bayes_factor": np.full(len(spiked), np.nan) if at_mode else gained / np.log(10.0),
            "engine": "map" if at_mode else "posterior",
            "note": at_mode_note if at_mode else np.where(bounded, beyond, ""),
        }
    )


def slab_probabilities(problem: Problem, draws: xr.Dataset) -> tuple[NDArray[np.int64], Array]:
    """Predictors with a spike and slab, and how probable the slab is given each draw's effects (n_draws, predictors).

    Given the effects predictors are in the slab independently of each other.

    Raises
    ------
    InputError
        If no predictor has a spike-and-slab prior.
    """
    spiked, odds = _log_odds(problem, draws)
    return spiked, np.exp(log_expit(odds))


def _log_odds(problem: Problem, draws: xr.Dataset) -> tuple[NDArray[np.int64], Array]:
    priors = problem.priors
    spiked = np.flatnonzero(priors.effect_kind == SPIKE_SLAB)
    if not len(spiked) or problem.n_components < 2:
        raise InputError(
            "inclusion: no effect has a spike-and-slab prior; use Priors(effects=bayesgmm.LogOddsSpikeSlab()) in a "
            "model with predictors of the weights and at least two components"
        )
    effects = draws[names.EFFECTS].values
    beta = problem.beta(effects.reshape(-1, len(problem.predictor_names), problem.n_components - 1))
    u = priors.weights_prior().squared_lengths(beta)[:, spiked]
    prior, spike = priors.effect_shape[spiked].T
    return spiked, log_odds_of_slab(u, problem.n_components - 1, prior, spike)
