"""What a posterior has learned of the scales of the effects: groups' scales, shrinkage, how many effects there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesgmm import names
from bayesgmm.checks import check_fitted, check_share
from bayesgmm.core.learned_scales import GroupScales, HorseshoeScales
from bayesgmm.errors import InputError

if TYPE_CHECKING:
    from bayesgmm.inference.posterior import Posterior

Array = NDArray[np.float64]

_BINS = 10  # of equal prior probability, between which mass is seen to move
_POINTS = 2**13


def group_scales(posterior: Posterior, *, level: float = 0.95) -> pd.DataFrame:
    """How large the effects are in each group of predictors, and what the data have added to the prior.

    Parameters
    ----------
    posterior : Posterior
        Of a model with :class:`bayesgmm.LogOddsGroups` effects.
    level : float, default 0.95
        Probability of the intervals.

    Returns
    -------
    pandas.DataFrame
        One row per group: ``group``, ``n_predictors``, posterior ``mean``, ``median``, ``lower``, ``upper`` of its
        scale (a standard deviation of log odds ratios, as a multiple of the prior's ``sd``), ``prior_median``,
        ``prior_lower``, ``prior_upper``, ``moved`` and ``probability_largest`` (that no other group has a larger
        scale). ``moved`` is the share of the prior's mass that the data have moved, the total variation distance over
        tenths of the prior: 0, nothing was learned; near 1, next to nothing of the prior is left. A thousand draws show
        about 0.04 where nothing was learned.

    Raises
    ------
    InputError
        If the posterior is of another prior, or the level out of bounds.
    """
    check_fitted("group_scales", posterior)
    _check_level(level)
    scales = posterior.problem.priors.scales
    if not isinstance(scales, GroupScales):
        raise InputError(
            "group_scales: the effects' prior has no groups; use Priors(effects=bayesgmm.LogOddsGroups(...)) in a "
            "model with at least two components"
        )
    draws = posterior.posterior[names.GROUP_SCALES].values.reshape(-1, len(scales.groups))
    prior = scales.variables(scales.simulate(_POINTS))[names.GROUP_SCALES][1]
    tails = [0.5 * (1.0 - level), 0.5 * (1.0 + level)]
    largest = np.bincount(draws.argmax(axis=1), minlength=len(scales.groups)) / len(draws)
    rows = []
    for g, name in enumerate(scales.groups):
        lower, upper = np.quantile(draws[:, g], tails)
        prior_lower, prior_median, prior_upper = np.quantile(prior[:, g], [tails[0], 0.5, tails[1]])
        rows.append(
            {
                names.GROUP: name,
                "n_predictors": int(scales.member[:, g].sum()),
                "mean": float(draws[:, g].mean()),
                "median": float(np.median(draws[:, g])),
                "lower": float(lower),
                "upper": float(upper),
                "prior_median": float(prior_median),
                "prior_lower": float(prior_lower),
                "prior_upper": float(prior_upper),
                "moved": _moved(prior[:, g], draws[:, g]),
                "probability_largest": float(largest[g]),
            }
        )
    return pd.DataFrame(rows)


def effective_effects(posterior: Posterior, *, level: float = 0.95) -> pd.DataFrame:
    """How many effects there are under a horseshoe, and how far each is shrunk.

    Parameters
    ----------
    posterior : Posterior
        Of a model with :class:`bayesgmm.LogOddsHorseshoe` effects.
    level : float, default 0.95
        Probability of the intervals.

    Returns
    -------
    pandas.DataFrame
        First the ``effective_effects``, the number of effects that are not shrunk to nothing, then one row per
        predictor with its ``shrinkage`` factor (near 1: drawn to the prior mean; near 0: left alone): ``parameter``,
        ``mean``, ``median``, ``lower``, ``upper``, and ``prior_median``.

    Raises
    ------
    InputError
        If the posterior is of another prior, or the level out of bounds.
    """
    check_fitted("effective_effects", posterior)
    _check_level(level)
    scales = posterior.problem.priors.scales
    if not isinstance(scales, HorseshoeScales):
        raise InputError(
            "effective_effects: the effects' prior is no horseshoe; use Priors(effects=bayesgmm.LogOddsHorseshoe(...)) "
            "in a model with at least two components"
        )
    prior = scales.variables(scales.simulate(_POINTS))
    tails = [0.5 * (1.0 - level), 0.5 * (1.0 + level)]
    rows = []
    for variable in (names.EFFECTIVE_EFFECTS, names.SHRINKAGE):
        array = posterior.posterior[variable]
        draws = array.values.reshape(array.sizes[names.CHAIN] * array.sizes[names.DRAW], -1)
        before = prior[variable][1].reshape(-1, draws.shape[1])
        labels = [variable]
        if variable == names.SHRINKAGE:
            labels = [f"{variable}[{name}]" for name in posterior.problem.predictor_names]
        for label, values, earlier in zip(labels, draws.T, before.T, strict=True):
            lower, middle, upper = np.quantile(values, [tails[0], 0.5, tails[1]])
            rows.append((label, float(values.mean()), float(middle), float(lower), float(upper), np.median(earlier)))
    return pd.DataFrame(rows, columns=["parameter", "mean", "median", "lower", "upper", "prior_median"])


def _moved(prior: Array, draws: Array) -> float:
    """Total variation distance over intervals of equal prior probability."""
    edges = np.quantile(prior, np.arange(1, _BINS) / _BINS)
    share = np.bincount(np.searchsorted(edges, draws), minlength=_BINS) / len(draws)
    return float(0.5 * np.abs(share - 1.0 / _BINS).sum())


def _check_level(level: float) -> None:
    check_share("level", level)
