"""Standard errors of parameters and of anything derived from them: observed information, sandwich, bootstrap."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm

from bayesgmm import names
from bayesgmm.analysis.quantities import LOG, LOGIT, Asked, Quantities, jacobian, one_draw
from bayesgmm.checks import check_share
from bayesgmm.errors import InputError
from bayesgmm.inference.map_fit import MapFit
from bayesgmm.inference.scores import variance_of_score

Array = NDArray[np.float64]

KINDS = ("observed", "sandwich", "bootstrap")


def standard_errors(
    fit: MapFit,
    kind: Literal["observed", "sandwich", "bootstrap"] = "observed",
    quantity: Asked = None,
    *,
    level: float = 0.95,
    draws: int = 1000,
    seed: int | None = None,
) -> pd.DataFrame:
    """Standard errors and intervals of every parameter, or of anything that is a function of them.

    Parameters
    ----------
    fit : MapFit
    kind : {"observed", "sandwich", "bootstrap"}
        ``observed``: inverse of the observed information J of the log posterior: right where the model is.
        ``sandwich``: ``J^-1 V J^-1`` with V from the people's scores (Huber 1967; White 1982): right for what the
        model, were it wrong, would tend to; needs many people for each parameter. ``bootstrap``: from people drawn
        anew (:func:`bayesgmm.bootstrap`, which has further kinds): the slowest, and the one that sees skewness.
    quantity : str, callable or mapping of names to callables, optional
        None: every free parameter. ``"effects"`` and the like: one variable. A function takes parameters as
        :attr:`MapFit.params` with the dims ``chain`` and ``draw`` first and returns a DataArray that keeps these:
        ``lambda p: p["means"].sel(component=1) - p["means"].sel(component=0)``.
    level : float, default 0.95
        Of the intervals. Normal; those of weights on the logit and those of variances on the logarithmic scale, so
        that they stay within bounds. Percentiles of the replicates for the bootstrap.
    draws : int, default 1000
        Replicates of the bootstrap.
    seed : int, optional
        Of the bootstrap.

    Returns
    -------
    pandas.DataFrame
        ``quantity``, ``estimate``, ``se``, ``lower``, ``upper``, ``kind``, ``note``. Derived quantities are by the
        delta method. An effect that a Laplace prior holds exactly at its kink has no standard error (NaN, and the note
        says so); those of the others are conditional on it.

    Raises
    ------
    InputError
        If an option is out of bounds, or the log posterior is not curved downwards at the mode in every direction.

    Notes
    -----
    Sample weights that are all whole numbers count people. Others are weights of the people's log likelihoods: the
    sandwich is then the one that is right for unequal sampling, the observed information is not.
    """
    if not isinstance(fit, MapFit):
        raise InputError(f"fit is a {type(fit).__name__}; give a MapFit, then the kind of standard errors")
    if kind not in KINDS:
        hint = f"; give quantity={kind!r} for that variable" if kind in names.PARAMETERS else ""
        raise InputError(f"kind = {kind!r}; it must be one of {', '.join(KINDS)}{hint}")
    check_share("level", level)
    if kind == "bootstrap":
        from bayesgmm.analysis.bootstrap import bootstrap

        return bootstrap(fit, draws=draws, seed=seed, level=level).table(quantity)
    asked = Quantities.resolve(fit.params, quantity, fit.held_effects)
    estimate = asked.of(one_draw(fit))[0]
    slope = jacobian(fit, asked)
    se = np.sqrt(np.einsum("jm,jl,lm->m", slope, covariance(fit, kind), slope))
    scaled = asked.near_normal(estimate)
    with np.errstate(invalid="ignore", divide="ignore"):
        reach = norm.ppf(0.5 + 0.5 * level) * se * _rate(asked, estimate)
    table = pd.DataFrame(
        {
            "quantity": asked.labels,
            "estimate": estimate,
            "se": se,
            "lower": asked.back(scaled - reach),
            "upper": asked.back(scaled + reach),
            "kind": kind,
            "note": "",
        }
    )
    table.loc[asked.held, ["se", "lower", "upper"]] = np.nan
    table.loc[asked.held, "note"] = "held by its prior; sample the posterior for its uncertainty"
    return table


def covariance(fit: MapFit, kind: str = "observed") -> Array:
    """Covariance matrix of the estimate in free standardised coordinates (n_free, n_free).

    Raises
    ------
    InputError
        If the log posterior is not curved downwards at the mode in every direction.
    """
    bread = fit.conditional_covariance
    if np.isnan(bread).any():
        raise InputError(
            "the log posterior is not curved downwards at the mode in every direction, so there are no standard errors "
            "from its curvature; use kind='bootstrap', a proper prior, or sample the posterior"
        )
    if kind == "observed":
        return bread
    return bread @ variance_of_score(fit.problem, fit.parameters) @ bread


def _rate(asked: Quantities, estimate: Array) -> Array:
    """Derivative of the nearly normal scale in the quantity itself."""
    rate = np.ones(len(estimate))
    log, odds = asked.scale == LOG, asked.scale == LOGIT
    rate[log] = 1.0 / estimate[log]
    rate[odds] = 1.0 / (estimate[odds] * (1.0 - estimate[odds]))
    return rate
