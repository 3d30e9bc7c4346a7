"""Memberships and densities of new people under a fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesgmm import names
from bayesgmm.core.kernel import posterior_membership
from bayesgmm.core.objective import Parameters
from bayesgmm.errors import InputError
from bayesgmm.problem import Problem
from bayesgmm.study import Study

Array = NDArray[np.float64]


def score(
    problem: Problem, parameters: Parameters, traits: Any, predictors: Any = None
) -> tuple[Array, Array, Sequence[str]]:
    """Membership probabilities (m, K), log densities (m,) and sample ids of new people.

    A person without any trait has the mixing weights of their predictors, and log density 0.

    Raises
    ------
    InputError
        If traits or predictors do not fit the problem.
    """
    values, samples, study = _traits(problem, traits)
    rows = _predictors(problem, study, predictors, len(values))
    log_weights = problem.log_weights_at(rows - problem.predictor_centers, parameters)
    probabilities, log_density = np.exp(log_weights), np.zeros(len(values))
    observed = ~np.isnan(values).all(axis=1)
    if np.isnan(values[observed]).any():
        raise InputError("predict: some people have some of the traits but not all; give complete traits")
    if observed.any():
        standard = np.ascontiguousarray(((values[observed] - problem.centre) / problem.unit).T)
        own_pattern = np.arange(int(observed.sum()), dtype=np.int32)
        inside, pointwise = posterior_membership(
            standard, own_pattern, np.ascontiguousarray(log_weights[observed]), parameters.means, parameters.roots
        )
        probabilities[observed] = inside
        log_density[observed] = pointwise - np.log(problem.unit).sum()
    return probabilities, log_density, samples


def _traits(problem: Problem, traits: Any) -> tuple[Array, Sequence[str], Study | None]:
    wanted = list(problem.trait_names)
    if isinstance(traits, Study):
        absent = [name for name in wanted if name not in traits.trait_names]
        if absent:
            raise InputError(
                f"predict: the study lacks the trait {absent[0]!r}; it has {', '.join(traits.trait_names)}"
            )
        values = traits.dataset[names.TRAITS].sel(trait=wanted).values
        return np.asarray(values, dtype=float), list(traits.sample_ids), traits
    if isinstance(traits, pd.DataFrame):
        absent = [name for name in wanted if name not in traits.columns]
        if absent:
            raise InputError(f"predict: traits lack the column {absent[0]!r}")
        return traits[wanted].to_numpy(dtype=float), [str(i) for i in traits.index], None
    values = np.asarray(traits, dtype=float)
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or values.shape[1] != len(wanted):
        raise InputError(f"predict: traits have shape {np.shape(traits)}; expected (m, {len(wanted)})")
    return values, [str(i) for i in range(len(values))], None


def _predictors(problem: Problem, study: Study | None, predictors: Any, n_people: int) -> Array:
    wanted = list(problem.predictor_names)
    if not wanted:
        return np.zeros((n_people, 0))
    if predictors is None and study is not None:
        if problem.design is None:
            raise InputError(
                "predict: a fit read from a file no longer has its formula's coding; give predictors, with the columns "
                + ", ".join(wanted)
            )
        return problem.design.evaluate(study)
    if predictors is None:
        raise InputError(f"predict: the model has predictors; give predictors with the columns {', '.join(wanted)}")
    if isinstance(predictors, pd.DataFrame):
        absent = [name for name in wanted if name not in predictors.columns]
        if absent:
            raise InputError(f"predict: predictors lack the column {absent[0]!r}")
        predictors = predictors[wanted]
    rows = np.asarray(predictors, dtype=float)
    rows = rows[:, None] if rows.ndim == 1 else rows
    if rows.shape != (n_people, len(wanted)) or not np.isfinite(rows).all():
        raise InputError(
            f"predict: predictors have shape {rows.shape}; expected ({n_people}, {len(wanted)}), all finite"
        )
    return rows
