"""A problem as a dataset for NetCDF and Zarr, and back: everything but the formulas' memory of their factor levels."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from bayesgmm import names
from bayesgmm.core.effect_density import N_SHAPES
from bayesgmm.core.families import Family
from bayesgmm.core.fixed import fixed_of_dict, fixed_to_dict
from bayesgmm.core.gather import Uncertain
from bayesgmm.core.learned_scales import scale_model_of
from bayesgmm.priors.resolved import ResolvedPriors
from bayesgmm.priors.stated import tails_of
from bayesgmm.problem import Problem

Array = NDArray[np.float64]

_SHAPE = "prior_shape"  # dim: what the prior of an effect has besides mean and scale
_POSSIBILITY = "possibility"  # dim: what an uncertain person's predictors may be


def problem_to_dataset(problem: Problem) -> xr.Dataset:
    """Data, predictors, resolved priors and names of a problem."""
    priors = problem.priors
    coords: dict[str, Any] = {
        names.SAMPLE: np.asarray(problem.sample_ids),
        names.TRAIT: list(problem.trait_names),
        names.TRAIT_BIS: list(problem.trait_names),
        names.COMPONENT: np.arange(problem.n_components),
    }
    data: dict[str, Any] = {
        names.TRAITS: ((names.SAMPLE, names.TRAIT), problem.traits),
        "prior_concentration": ((names.COMPONENT,), priors.concentration),
        "prior_mean": ((names.TRAIT,), priors.mean),
        "prior_strength": ((), priors.strength),
        "prior_dof": ((), priors.dof),
        "prior_scale": ((names.TRAIT, names.TRAIT_BIS), priors.scale),
    }
    if problem.sample_weight is not None:
        data[names.SAMPLE_WEIGHT] = ((names.SAMPLE,), problem.sample_weight)
    if problem.predictor_names:
        coords[names.PREDICTOR] = list(problem.predictor_names)
        data[names.PREDICTORS] = ((names.SAMPLE, names.PREDICTOR), problem.predictors)
        data["predictor_centers"] = ((names.PREDICTOR,), problem.predictor_centers)
        data["prior_effect_sd"] = ((names.PREDICTOR,), priors.effect_sd)
        data["prior_effect_kind"] = ((names.PREDICTOR,), priors.effect_kind)
        data["prior_effect_shape"] = ((names.PREDICTOR, _SHAPE), priors.effect_shape)
        if problem.n_components > 1:
            coords[names.CONTRAST] = list(problem.contrasts)
            data["prior_effect_mean"] = ((names.PREDICTOR, names.CONTRAST), priors.effect_mean)
        if len(problem.uncertain.person):
            data["uncertain_person"] = ((_POSSIBILITY,), problem.uncertain.person)
            data["uncertain_probability"] = ((_POSSIBILITY,), problem.uncertain.probability)
            data["uncertain_predictors"] = ((_POSSIBILITY, names.PREDICTOR), problem.uncertain.rows)
    if problem.covariate_names:
        coords[names.COVARIATE] = list(problem.covariate_names)
        data["mean_covariates"] = ((names.SAMPLE, names.COVARIATE), problem.covariates)
        data["covariate_centers"] = ((names.COVARIATE,), problem.covariate_centers)
        data["prior_shift_sd"] = ((names.COVARIATE, names.TRAIT), priors.shift_sd)
    if problem.variant_names:
        coords[names.VARIANT] = list(problem.variant_names)
        coords[names.GENOTYPE] = list(names.GENOTYPES)
        data["genotype_profiles"] = ((names.VARIANT, names.GENOTYPE, names.PREDICTOR), problem.profiles)
    about = {
        "reference": problem.reference,
        "formula": problem.formula,
        "means_formula": problem.means_formula,
        "family": problem.family.name,
        "compress": problem.compress,
        "variant_columns": problem.variant_columns,
        "genotype_account": problem.genotype_account.to_json(orient="split"),
        "units": problem.units,
        "weights_flat": priors.weights_flat,
        "components_flat": priors.components_flat,
        "scales_at": None if priors.scales_at is None else priors.scales_at.tolist(),
        "scales": None if priors.scales is None else priors.scales.to_dict(),
        "weights_jeffreys": priors.weights_jeffreys,
        "components_jeffreys": priors.components_jeffreys,
        "df": problem.df,
        "tails": [priors.tails.shape, priors.tails.rate],
        "fixed": fixed_to_dict(problem.fixed),
    }
    return xr.Dataset(data, coords=coords, attrs={"problem": json.dumps(about)})


def problem_from_dataset(stored: xr.Dataset) -> Problem:
    """Inverse of :func:`problem_to_dataset`."""
    about = json.loads(stored.attrs["problem"])

    def labels(dim: str) -> tuple[str, ...]:
        return tuple(str(x) for x in stored[dim].values) if dim in stored.coords else ()

    def array(name: str, shape: tuple[int, ...] = ()) -> Array:
        return np.asarray(stored[name].values, dtype=float) if name in stored else np.zeros(shape)

    trait_names, predictors, covariates = labels(names.TRAIT), labels(names.PREDICTOR), labels(names.COVARIATE)
    n_samples, n_components = stored.sizes[names.SAMPLE], stored.sizes[names.COMPONENT]
    fixed = fixed_of_dict(about.get("fixed") or {})
    priors = ResolvedPriors(
        concentration=array("prior_concentration"),
        mean=array("prior_mean"),
        strength=float(stored["prior_strength"]),
        dof=float(stored["prior_dof"]),
        scale=array("prior_scale"),
        effect_mean=array("prior_effect_mean", (len(predictors), n_components - 1)),
        effect_sd=array("prior_effect_sd", (len(predictors),)),
        reference=about["reference"],
        trait_names=trait_names,
        predictor_names=predictors,
        weights_flat=about["weights_flat"],
        components_flat=about["components_flat"],
        family=about["family"],
        covariate_names=covariates,
        shift_sd=array("prior_shift_sd", (0, len(trait_names))),
        effect_kind=array("prior_effect_kind", (len(predictors),)).astype(np.int64),
        effect_shape=array("prior_effect_shape", (len(predictors), N_SHAPES)),
        scales=scale_model_of(about["scales"]) if about.get("scales") else None,
        scales_at=np.asarray(about["scales_at"], dtype=float) if about.get("scales_at") else None,
        weights_jeffreys=about.get("weights_jeffreys", False),
        components_jeffreys=about.get("components_jeffreys", False),
        tails=tails_of(n_components - len(fixed), about.get("df"), *about.get("tails", (1.0, 0.0))),
        n_fixed=len(fixed),
    )
    uncertain = Uncertain.nobody(len(predictors))
    if "uncertain_person" in stored:
        person = np.asarray(stored["uncertain_person"].values, dtype=np.int64)
        uncertain = Uncertain(person, array("uncertain_probability"), array("uncertain_predictors"))
    samples = stored[names.SAMPLE].values
    return Problem(
        traits=array(names.TRAITS),
        predictors=array(names.PREDICTORS, (n_samples, 0)),
        predictor_centers=array("predictor_centers", (0,)),
        ids=samples if samples.dtype.kind in "iu" else np.array([str(s) for s in samples], dtype=object),
        trait_names=trait_names,
        predictor_names=predictors,
        n_components=n_components,
        reference=about["reference"],
        priors=priors,
        profiles=array("genotype_profiles", (0, len(names.GENOTYPES), len(predictors))),
        variant_names=labels(names.VARIANT),
        variant_columns=about["variant_columns"],
        genotype_account=pd.read_json(StringIO(about["genotype_account"]), orient="split", dtype={"variant": str}),
        units=about["units"],
        formula=about["formula"],
        family=Family(about["family"]),
        covariates=array("mean_covariates", (n_samples, 0)),
        covariate_centers=array("covariate_centers", (0,)),
        covariate_names=covariates,
        means_formula=about["means_formula"],
        sample_weight=array(names.SAMPLE_WEIGHT) if names.SAMPLE_WEIGHT in stored else None,
        uncertain=uncertain,
        compress=about["compress"],
        df=about.get("df"),
        fixed=fixed,
    )
