"""Everything that is asked of a prior, at once: what the report and the command line show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from bayesgmm import names
from bayesgmm.analysis.power_scaling import CONFLICT, STRONG_PRIOR, UNKNOWN, power_scaling
from bayesgmm.analysis.prior_checks import LEAST_P, prior_conflict
from bayesgmm.analysis.sensitivity import base_of, sensitivity
from bayesgmm.analysis.settings import Grid
from bayesgmm.analysis.tipping import bayes_factor_curve, refuse_spike, scale_argument, tipping_points
from bayesgmm.checks import seed_or_zero
from bayesgmm.errors import InputError
from bayesgmm.inference.tidy import label_at
from bayesgmm.model import as_study
from bayesgmm.priors import Dirichlet

if TYPE_CHECKING:
    from bayesgmm.inference.map_fit import MapFit
    from bayesgmm.inference.posterior import Posterior
    from bayesgmm.model import Mixture
    from bayesgmm.problem import Problem

_SCALES = (0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0)
_CONCENTRATIONS = (1.0, 1.5, 2.0, 4.0, 8.0, 16.0)
_SHIFT = 0.5  # posterior sds by which an estimate has moved with the prior


@dataclass(frozen=True)
class PriorStudy:
    """What a prior does to the answer.

    Attributes
    ----------
    model : Mixture
    result : MapFit or Posterior
        Under the model's own priors.
    sensitivity : xarray.Dataset
        From :func:`bayesgmm.sensitivity`.
    tipping, bayes_factors : pandas.DataFrame or None
        From :func:`bayesgmm.tipping_points` and :func:`bayesgmm.bayes_factor_curve`; None without effects that have a
        scale.
    power_scaling, prior_checks : pandas.DataFrame or None
        From :func:`bayesgmm.power_scaling` and :func:`bayesgmm.prior_conflict`; None where the prior cannot be drawn
        from: it is improper, or the covariance family cannot be sampled.
    not_drawn, not_tipped : str
        Why, where they are None, or the tipping points and curves are.
    """

    model: Mixture
    result: MapFit | Posterior
    sensitivity: xr.Dataset
    tipping: pd.DataFrame | None
    bayes_factors: pd.DataFrame | None
    power_scaling: pd.DataFrame | None
    prior_checks: pd.DataFrame | None
    not_drawn: str = ""
    not_tipped: str = ""

    @property
    def findings(self) -> list[str]:
        """What a reader should know, one sentence each."""
        told = []
        if self.tipping is not None:
            told += [
                f"{row['predictor']}, {row[names.CONTRAST]}: {row['verdict']}."
                for row in self.tipping.to_dict("records")
            ]
        moved = self._moved()
        if moved:
            told.append(f"Within the settings looked at, {', '.join(moved)} moved by more than half a posterior sd.")
        else:
            told.append("Within the settings looked at, no estimate moved by more than half a posterior sd.")
        if self.power_scaling is not None:
            if (self.power_scaling["diagnosis"] == UNKNOWN).any():
                told.append("Power scaling says nothing: Laplace's draws are not to be trusted; use engine = nuts.")
            for diagnosis in (CONFLICT, STRONG_PRIOR):
                named = self.power_scaling.loc[self.power_scaling["diagnosis"] == diagnosis, "parameter"]
                if len(named):
                    told.append(f"By power scaling, {diagnosis}: {', '.join(named)}.")
        if self.prior_checks is not None:
            conflicts = self.prior_checks[self.prior_checks["p_value"] < LEAST_P]["quantity"]
            if len(conflicts):
                told.append(f"The prior hardly foretells {', '.join(conflicts)}.")
        if self.not_tipped:
            told.append(f"Tipping points and Bayes factor curves were left out: {self.not_tipped}.")
        if self.not_drawn:
            told.append(f"Power scaling and prior checks were left out: {self.not_drawn}.")
        unanswered = [str(h) for h in np.unique(self.sensitivity["how"].values) if "not to be trusted" in str(h)]
        if unanswered:
            told.append(
                "Laplace posteriors are not to be trusted at some settings (k-hat above 0.7): use engine = nuts."
            )
        return told

    def _moved(self) -> list[str]:
        """Parameters whose estimates range over more than half a posterior sd (its median over the settings)."""
        found = []
        dims = [str(d) for d in self.sensitivity["how"].dims]
        for variable in names.PARAMETERS:
            if variable not in self.sensitivity:
                continue
            array = self.sensitivity[variable]
            estimate = array.sel(summary="estimate")
            spread = estimate.max(dims) - estimate.min(dims)
            shift = spread / array.sel(summary="sd").median(dims)
            for place in np.argwhere(shift.values > _SHIFT):
                labels = [label_at(shift, str(d), int(i)) for d, i in zip(shift.dims, place, strict=True)]
                if variable != names.COVARIANCES or place[-1] <= place[-2]:
                    found.append(f"{variable}[{', '.join(labels)}]")
        return found

    def __repr__(self) -> str:
        return "\n".join(("PriorStudy:", *(f"  {f}" for f in self.findings)))


def prior_study(
    model: Mixture,
    study: Any,
    grid: Grid | None = None,
    *,
    engine: str = "map",
    seed: int | None = None,
    draws: int | None = None,
    base: MapFit | Posterior | None = None,
    progress: bool = False,
    sample_weight: Any = None,
    **sampler: Any,
) -> PriorStudy:
    """Ask everything of a prior: sensitivity, tipping points, Bayes factor curves, power scaling, prior checks.

    Parameters
    ----------
    model : Mixture
    study : Study, DataFrame or ndarray
    grid : mapping, list or DataFrame, optional
        As in :func:`bayesgmm.sensitivity`; ten scales of the effects (six concentrations without effects) when left
        out.
    engine, seed, draws, base, progress, sample_weight, **sampler
        As in :func:`bayesgmm.sensitivity`. Bayes factor curves are of the modes whatever the engine.

    Returns
    -------
    PriorStudy
        With ``findings`` in words.

    Raises
    ------
    InputError
        As :func:`bayesgmm.sensitivity`.
    """
    seed = seed_or_zero(seed)
    study = as_study(study, sample_weight)
    fit, posterior = base_of(model, study, base, seed, None)
    not_drawn = _why_not_drawn(fit.problem)
    if not_drawn and engine != "map":
        raise InputError(f"engine = {engine!r}: {not_drawn}; use engine = 'map'")
    not_tipped, argument = "", ""
    if fit.problem.predictor_names and fit.problem.n_components > 1:
        try:
            argument = scale_argument(model)
            refuse_spike(model)
        except InputError as reason:
            not_tipped = str(reason)
    effects = bool(argument) and not not_tipped
    if grid is None:
        grid = _default_grid(model, argument)
    options: dict[str, Any] = {"engine": engine, "seed": seed, "draws": draws, "progress": progress, **sampler}
    if engine == "nuts" and posterior is None:
        posterior = model.sample(study, init=fit, draws=1000 if draws is None else draws, seed=seed, **sampler)
    own: MapFit | Posterior = fit if posterior is None else posterior
    found = sensitivity(model, study, grid, base=own, bayes_factors=True, **options)
    return PriorStudy(
        model=model,
        result=own,
        sensitivity=found,
        tipping=tipping_points(model, study, base=own, **options) if effects else None,
        bayes_factors=bayes_factor_curve(model, study, base=fit, seed=seed) if effects else None,
        power_scaling=None if not_drawn else power_scaling(own),
        prior_checks=None if not_drawn else prior_conflict(model, study, base=fit, seed=seed),
        not_drawn=not_drawn,
        not_tipped=not_tipped,
    )


def _default_grid(model: Mixture, argument: str) -> Grid:
    """Ten scales of the effects, or where they have none, six concentrations."""
    if argument:
        return {f"effects.{argument}": list(_SCALES)}
    if not isinstance(model.priors.weights, Dirichlet):
        raise InputError(
            "grid: neither the effects' prior has a scale nor the weights' a concentration to vary; say what to vary, "
            "as {'components.dof': [3, 10]} or {'effects': [bg.Flat(), bg.LogOddsNormal(1)]}"
        )
    return {"weights.concentration": list(_CONCENTRATIONS)}


def _why_not_drawn(problem: Problem) -> str:
    """Why neither the prior nor the posterior can be drawn from; empty where they can."""
    try:
        problem.priors.refuse_improper()
        problem.refuse_unsampled()
    except InputError as reason:
        return str(reason)
    return ""
