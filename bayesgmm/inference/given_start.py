"""Starts that are given: an earlier fit, labels, or responsibilities."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesgmm import names
from bayesgmm.core.objective import Parameters
from bayesgmm.core.starts import NOISE_SHARE
from bayesgmm.errors import InputError, first_few
from bayesgmm.inference.map_fit import MapFit
from bayesgmm.problem import Problem

Array = NDArray[np.float64]


def explicit_start(problem: Problem, init: Any) -> tuple[str, Parameters | Array]:
    """Parameters, or responsibilities of the people with traits, of a start that was given."""
    if isinstance(init, MapFit):
        earlier = init.problem
        if earlier.n_components != problem.n_components or earlier.trait_names != problem.trait_names:
            raise InputError("init is a fit of another number of components or of other traits")
        same = (earlier.predictor_names, earlier.covariate_names) == (problem.predictor_names, problem.covariate_names)
        # noise and a spike are counted among the components, so as many of them need not be of the same kinds
        same = same and earlier.fixed.kinds == problem.fixed.kinds
        if same and earlier.family == problem.family:
            return "earlier fit", _as_earlier(problem, init)
        absent = set(problem.sample_ids.tolist()) - set(earlier.sample_ids.tolist())
        if absent:
            raise InputError(
                f"init is a fit of another model without the people {first_few(sorted(absent))}; give labels or "
                "responsibilities"
            )
        return "earlier fit", init.responsibilities.sel(sample=problem.sample_ids).values[problem.people]
    given = np.asarray(init)
    if given.ndim == 1 and len(given) == problem.n_samples:
        if pd.isna(given).any():
            raise InputError("init has missing labels; give every person one")
        if set(map(str, given)) == set(problem.component_labels):  # as MapFit.assign names them
            given = np.array([problem.component_labels.index(str(label)) for label in given])
        labels, coded = np.unique(given, return_inverse=True)
        if len(labels) == problem.n_located != problem.n_components:
            return "given partition", _with_fixed(problem, np.eye(problem.n_located)[coded])[problem.people]
        if len(labels) != problem.n_components:
            raise InputError(
                f"init has {len(labels)} different labels for {problem.n_components} components; every component needs "
                "somebody to start from"
            )
        given = np.eye(problem.n_components)[coded]
    if given.shape != (problem.n_samples, problem.n_components):
        raise InputError(
            f"init has shape {np.asarray(init).shape}; it must be labels ({problem.n_samples},) or responsibilities "
            f"({problem.n_samples}, {problem.n_components})"
        )
    given = np.asarray(given, dtype=float)
    if not ((given >= 0.0).all() and np.allclose(given.sum(axis=1), 1.0, atol=1e-3)):
        raise InputError("init has responsibilities that are negative, missing, or do not sum to one for somebody")
    return "given partition", given[problem.people]


def _as_earlier(problem: Problem, init: MapFit) -> Parameters:
    """Parameters of a fit in this problem's units, degrees of freedom given or estimated as this problem has them."""
    parameters, tails = init.parameters, problem.priors.tails
    df = tails.df
    if tails.n_free and parameters.n_df:
        df = parameters.df
        if tails.n_free == 1:
            df = np.full_like(df, np.exp(np.log(df).mean()))
    if not init.problem.has_units_of(problem):
        others = init.params.drop_vars([names.DF, names.LOCATED], errors="ignore")
        own = others.assign({names.DF: (names.LOCATED, df[: tails.n_free])})
        parameters = problem.parameters(own, init.problem.reference)
    return replace(parameters, df=df, n_df=tails.n_free)


def _with_fixed(problem: Problem, located: Array) -> Array:
    """Responsibilities of all components from those of the ones that have a mean: noise and a spike left to find."""
    fixed, k = problem.fixed, problem.n_located
    r = np.zeros((problem.n_samples, problem.n_components))
    r[:, :k] = located
    if fixed.noise is not None:
        r[:, :k] *= 1.0 - NOISE_SHARE
        r[:, k] = NOISE_SHARE
    there = fixed.at_spike(problem.traits)
    r[there] = 0.0
    r[there, -1] = 1.0
    return r


def by_row(problem: Problem, responsibilities: Array) -> Array:
    """Responsibilities of every row from those of the people with traits: averages over the people it stands for."""
    row_of, n_rows = problem.row_of, problem.arrays.n_rows
    if isinstance(row_of, slice):
        return responsibilities
    weight = np.ones(len(responsibilities))
    if problem.sample_weight is not None:
        weight = problem.sample_weight[problem.people]
    total = np.zeros((n_rows, responsibilities.shape[1]))
    np.add.at(total, row_of, weight[:, None] * responsibilities)
    average: Array = total / np.bincount(row_of, weight, n_rows)[:, None]
    return average
