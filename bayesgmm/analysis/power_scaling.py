"""Power-scaling sensitivity: how the posterior moves when the prior, or the likelihood, is made a little stronger."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from bayesgmm import names
from bayesgmm.errors import InputError, MissingExtraError
from bayesgmm.inference.draws import log_likelihood_of
from bayesgmm.inference.laplace import USABLE_K, LaplacePosterior
from bayesgmm.inference.map_fit import MapFit
from bayesgmm.inference.posterior import Posterior
from bayesgmm.inference.tidy import parameter_index
from bayesgmm.inference.variational_posterior import VariationalPosterior

THRESHOLD = 0.05  # sensitivity from which it counts (Kallioinen et al. 2023, section 3.2)

STRONG_PRIOR = "strong prior or weak likelihood"
CONFLICT = "informative prior or prior-data conflict"
DATA = "decided by the data"
WEAK = "neither prior nor data say much of it"
UNKNOWN = "not told"
_MEANING = {
    STRONG_PRIOR: "the prior decides it as much as the data do; state the prior with it",
    CONFLICT: "the prior moves it, by shrinking it or against the data; bayesgmm.prior_conflict tells which",
    DATA: "the prior hardly matters",
    WEAK: "it does not move with either",
    UNKNOWN: "Laplace's draws are not to be trusted here; sample the posterior (Mixture.sample)",
}


def power_scaling(result: Posterior | MapFit, *, prior: str = "all") -> pd.DataFrame:
    """Sensitivity of every parameter to the strength of the prior and of the likelihood, with a diagnosis in words.

    Parameters
    ----------
    result : Posterior or MapFit
        A fit is answered by its Laplace posterior; where that has a k-hat above 0.7 nothing is diagnosed.
    prior : {"all", "weights", "components", "effects", "scales", "shifts"}
        The part of the prior that is made stronger or weaker; ``"scales"`` where those of the effects are learned.

    Returns
    -------
    pandas.DataFrame
        ``parameter``, ``variable``, ``prior`` and ``likelihood`` (sensitivities: change of the cumulative
        Jensen-Shannon distance per doubling of the power), ``diagnosis`` and ``meaning``.

    Raises
    ------
    InputError
        If there is no such part of the prior.

    Notes
    -----
    Kallioinen, Paananen, Burkner and Vehtari (2023), Statistics and Computing 34:57: draws are reweighted to the prior
    (likelihood) raised to powers near one; from 0.05 a parameter counts as sensitive. Sensitive to both: prior and data
    may disagree, but what is merely shrunk is called so too. To the prior alone: it is strong, or the likelihood weak.
    Computed by ArviZ.
    """
    try:
        from arviz_stats import psense
    except ImportError as error:
        raise MissingExtraError(f"power_scaling needs the extra: pip install 'bayesgmm[sample]' ({error})") from error
    if not isinstance(result, MapFit | Posterior):
        raise InputError(f"power_scaling: given a {type(result).__name__}; give a fit or a posterior")
    if isinstance(result, VariationalPosterior):
        raise InputError(
            "power_scaling: draws of a variational posterior are not the posterior's, so weighing them says nothing of "
            "it; give the fit, or a sampled posterior"
        )
    posterior = result.laplace() if isinstance(result, MapFit) else result
    log_prior = posterior.tree["log_prior"].to_dataset()
    if prior != "all" and prior not in log_prior:
        known = ", ".join(str(v) for v in log_prior.data_vars)
        raise InputError(f"prior = {prior!r}; this model has {known}, or 'all'")
    blocks = log_prior if prior == "all" else log_prior[[prior]]
    stats = posterior.tree["sample_stats"].to_dataset()
    if names.LOG_LIKELIHOOD in stats:
        total = stats[names.LOG_LIKELIHOOD].values
    else:
        total = log_likelihood_of(posterior.problem, posterior.problem.stacked(posterior.posterior))
    draws = posterior.posterior
    index = list(parameter_index(draws))
    lead = (names.CHAIN, names.DRAW)
    each = np.stack([draws[v].isel(where).transpose(*lead).values for _, v, where in index], axis=-1)
    varies = np.ptp(each, axis=(0, 1)) > 0.0
    n_chains, n_draws = each.shape[:2]
    coords = {names.CHAIN: np.arange(n_chains), names.DRAW: np.arange(n_draws)}
    tree = xr.DataTree.from_dict(
        {
            "posterior": xr.Dataset({"parameter": ((*lead, "which"), each[..., varies])}, coords=coords),
            "log_prior": blocks,
            "log_likelihood": xr.Dataset({"traits": ((*lead, "all_people"), total[..., None])}, coords=coords),
        }
    )
    found = np.zeros((2, len(index)))
    for row, group in enumerate(("prior", "likelihood")):
        try:
            found[row, varies] = psense(tree, group=group)["parameter"].values
        except ValueError as error:
            # a Laplace posterior whose weights are those of a few draws, which have no tail
            if "tail" not in str(error):
                raise
            found[row] = np.nan
    table = pd.DataFrame(
        {
            "parameter": [name for name, _, _ in index],
            "variable": [variable for _, variable, _ in index],
            "prior": found[0],
            "likelihood": found[1],
        }
    )
    trusted = not isinstance(posterior, LaplacePosterior) or posterior.pareto_k <= USABLE_K
    table["diagnosis"] = [_diagnosis(p, q) if trusted else UNKNOWN for p, q in found.T]
    table["meaning"] = table["diagnosis"].map(_MEANING)
    return table


def _diagnosis(prior: float, likelihood: float) -> str:
    if np.isnan(prior) or np.isnan(likelihood):
        return UNKNOWN
    if prior >= THRESHOLD:
        return CONFLICT if likelihood >= THRESHOLD else STRONG_PRIOR
    return DATA if likelihood >= THRESHOLD else WEAK
