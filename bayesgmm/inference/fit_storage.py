"""A fit as a DataTree for NetCDF and Zarr, and back."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from io import StringIO
from os import PathLike

import numpy as np
import pandas as pd
import xarray as xr

from bayesgmm import __version__, names
from bayesgmm.inference.map_fit import Emptied, MapFit
from bayesgmm.inference.storage import open_tree
from bayesgmm.inference.tidy import without_empty
from bayesgmm.problem_storage import problem_from_dataset, problem_to_dataset


def tree_of_map(fit: MapFit) -> xr.DataTree:
    """Groups ``map`` and ``constant_data``."""
    stored = without_empty(fit.params)
    stored[names.RESPONSIBILITIES] = fit.responsibilities
    stored["history"] = fit.history
    stored.attrs = {
        "converged": int(fit.converged),
        "reason": fit.reason,
        "gap": fit.gap,
        "strict": int(fit.strict),
        "gradient_norm": fit.gradient_norm,
        "seed": "None" if fit.seed is None else int(fit.seed),
        "starts": fit.starts.to_json(orient="split"),
        "versions": json.dumps({"bayesgmm": __version__}),
        names.LOG_POSTERIOR: fit.log_posterior,
        names.LOG_LIKELIHOOD: fit.log_likelihood,
    }
    at = fit.problem.priors.scales_at
    if at is not None:
        stored.attrs["scales_at"] = json.dumps(at.tolist())
    if fit.emptied is not None:
        stored.attrs["emptied"] = json.dumps(asdict(fit.emptied))
    return xr.DataTree.from_dict({"map": stored, "constant_data": problem_to_dataset(fit.problem)})


def read_fit(path: str | PathLike[str]) -> MapFit:
    """Read a fit written by :meth:`MapFit.save`.

    Raises
    ------
    InputError
        If the file is not a fit.
    """
    return map_from_tree(open_tree(path, needs=("map", "constant_data")))


def map_from_tree(tree: xr.DataTree) -> MapFit:
    """Rebuild a fit from the groups ``map`` and ``constant_data``."""
    stored = tree["map"].to_dataset()
    problem = problem_from_dataset(tree["constant_data"].to_dataset())
    scales = problem.priors.scales
    if scales is not None and "scales_at" in stored.attrs:
        # a posterior's problem has the prior's own scales, its fit those that it was given
        at = np.array(json.loads(stored.attrs["scales_at"]))
        problem = problem.with_resolved(replace(problem.priors, effect_sd=scales.sds(at), scales_at=at))
    beta = np.zeros((len(problem.predictor_names), problem.n_components - 1))
    if names.EFFECTS in stored:
        beta = problem.beta(stored[names.EFFECTS].values)
    shifts = np.zeros((0, len(problem.trait_names)))
    if names.SHIFTS in stored:
        shifts = stored[names.SHIFTS].values
    df = stored[names.DF].values if names.DF in stored else None
    params = problem.label(
        stored[names.WEIGHTS].values, stored[names.MEANS].values, stored[names.COVARIANCES].values, beta, shifts, df
    )
    seed, emptied = stored.attrs["seed"], stored.attrs.get("emptied")
    return MapFit(
        problem=problem,
        parameters=problem.parameters(params),
        converged=bool(stored.attrs["converged"]),
        reason=str(stored.attrs["reason"]),
        gap=float(stored.attrs["gap"]),
        strict=bool(stored.attrs["strict"]),
        gradient_norm=float(stored.attrs["gradient_norm"]),
        seed=None if seed == "None" else int(seed),
        log_posteriors=stored["history"].values,
        start_rows=[dict(row) for _, row in pd.read_json(StringIO(stored.attrs["starts"]), orient="split").iterrows()],
        emptied=None if emptied is None else Emptied(**json.loads(emptied)),
    )
