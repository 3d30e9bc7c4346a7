"""Memberships and densities of new people under a fit, and new people drawn from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesgmm import names
from bayesgmm.core.gather import Uncertain, gather
from bayesgmm.core.known_labels import with_own_weights
from bayesgmm.core.moments import expectation, pass_for
from bayesgmm.core.objective import Parameters, writable
from bayesgmm.core.sample import Sample
from bayesgmm.errors import InputError, first_few
from bayesgmm.inference.prior_draws import draw_traits
from bayesgmm.io.tables import numbered
from bayesgmm.problem import Problem
from bayesgmm.study import Study

Array = NDArray[np.float64]


def score(
    problem: Problem,
    parameters: Parameters,
    traits: Any,
    predictors: Any = None,
    covariates: Any = None,
    log_weights_of: Callable[[Array, Uncertain, Array], tuple[Array, Array]] | None = None,
    pass_of: Callable[[Sample, Array, Array, Array], None] | None = None,
) -> tuple[Array, Array, Sequence[str]]:
    """Membership probabilities (m, K), log densities (m,) and sample ids of new people.

    A person without some traits is judged by the others; without any, by the mixing weights of their predictors, with
    log density 0.

    ``log_weights_of`` gives other log weights than those at the parameters, from centred predictors, what they may be
    and standardised covariates: of people with traits, and of people without (m, K). ``pass_of`` takes the place of the
    fused pass: from a sample and log weights it writes responsibilities and log densities of every row.

    Raises
    ------
    InputError
        If traits or predictors do not fit the problem.
    """
    values, samples, study = _finite_traits(problem, traits)
    index = traits.index if isinstance(traits, pd.DataFrame) else None
    predictors = _in_order("predictors", predictors, index)
    covariates = _in_order("covariates", covariates, index)
    rows, uncertain = _predictors(problem, study, predictors, len(values))
    shifted = _covariates(problem, study, covariates, len(values)) / problem.covariate_unit
    if log_weights_of is None:
        log_weights = alone = problem.log_weights_at(rows, parameters, uncertain)
    else:
        log_weights, alone = log_weights_of(rows, uncertain, shifted)
    return *_weighed(problem, parameters, values, shifted, log_weights, alone, pass_of), samples


def component_log_densities(problem: Problem, parameters: Parameters, traits: Any, covariates: Any = None) -> Array:
    """Log density of new people's traits under each component that has a mean (m, L); of a person without traits, 0.

    Raises
    ------
    InputError
        If traits or covariates do not fit the problem.
    """
    values, _, study = _finite_traits(problem, traits)
    index = traits.index if isinstance(traits, pd.DataFrame) else None
    covariates = _in_order("covariates", covariates, index)
    shifted = _covariates(problem, study, covariates, len(values)) / problem.covariate_unit
    out = np.empty((len(values), len(parameters.means)))
    for j in range(out.shape[1]):
        held = np.tile(np.where(np.arange(problem.n_components) == j, 0.0, -np.inf), (len(values), 1))
        out[:, j] = _weighed(problem, parameters, values, shifted, held, held)[1]
    return out


def _weighed(
    problem: Problem,
    parameters: Parameters,
    values: Array,
    shifted: Array,
    log_weights: Array,
    alone: Array,
    pass_of: Callable[[Sample, Array, Array, Array], None] | None = None,
) -> tuple[Array, Array]:
    """Membership probabilities (m, K) and log densities (m,) of people who have log weights of their own.

    ``alone`` (m, K) are those of people without traits, of whom nothing else is known.
    """
    probabilities, log_density = np.exp(alone), np.zeros(len(values))
    observed = ~np.isnan(values).all(axis=1)
    if observed.any():
        seen = values[observed]
        # every person a pattern of their own, whose log weights are at hand: gathered without predictors, then given
        nothing = np.zeros((int(observed.sum()), 0))
        sample, row_of = gather(
            seen,
            nothing,
            shifted[observed],
            None,
            Uncertain.nobody(0),
            centre=problem.centre,
            scale=1.0 / problem.unit,
            compress=False,
            fixed=problem.fixed,
        )
        own = np.empty((len(seen), log_weights.shape[1]))
        own[row_of] = log_weights[observed]
        sample = with_own_weights(sample)
        located, n_both = len(parameters.means), len(problem.unit) + len(problem.covariate_names)
        inside, pointwise = np.empty_like(own), np.empty(len(seen))
        if pass_of is not None:
            pass_of(sample, own, inside, pointwise)
        else:
            expectation.compiled(
                sample,
                pass_for(sample),
                own,
                *(writable(x) for x in (parameters.means, parameters.roots, parameters.shifts, parameters.df)),
                np.empty(own.shape[1] + 2 * len(parameters.df)),
                np.empty((located, n_both)),
                np.empty((located, n_both, n_both)),
                inside,
                pointwise,
            )
        probabilities[observed] = inside[row_of]
        densities = ~np.isnan(problem.fixed.without_spike(seen))
        log_density[observed] = pointwise[row_of] - densities @ np.log(problem.unit)
    return probabilities, log_density


def _finite_traits(problem: Problem, traits: Any) -> tuple[Array, Any, Study | None]:
    values, samples, study = _traits(problem, traits)
    if np.isinf(values).any():
        where = np.flatnonzero(np.isinf(values).any(axis=1))
        raise InputError(f"predict: traits are infinite in rows {first_few(where)}")
    return values, samples, study


def _traits(problem: Problem, traits: Any) -> tuple[Array, Any, Study | None]:
    wanted = list(problem.trait_names)
    if isinstance(traits, Study):
        absent = [name for name in wanted if name not in traits.trait_names]
        if absent:
            raise InputError(
                f"predict: the study lacks the trait {absent[0]!r}; it has {', '.join(traits.trait_names)}"
            )
        values = traits.dataset[names.TRAITS].sel(trait=wanted).values
        return np.asarray(values, dtype=float), traits.dataset[names.SAMPLE].values, traits
    if isinstance(traits, pd.DataFrame):
        absent = [name for name in wanted if name not in traits.columns]
        if absent:
            raise InputError(f"predict: traits lack the column {absent[0]!r}")
        return traits[wanted].to_numpy(dtype=float), [str(i) for i in traits.index], None
    try:
        values = np.asarray(traits, dtype=float)
    except (TypeError, ValueError) as error:
        raise InputError(f"predict: traits are not numeric: {error}") from error
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or values.shape[1] != len(wanted):
        raise InputError(f"predict: traits have shape {np.shape(traits)}; expected (m, {len(wanted)})")
    return values, [str(i) for i in range(len(values))], None


def _predictors(problem: Problem, study: Study | None, predictors: Any, n_people: int) -> tuple[Array, Uncertain]:
    """Centred predictors of the weights of new people, and what they may be where a genotype is not certain."""
    if not problem.predictor_names:
        return np.zeros((n_people, 0)), Uncertain.nobody(0)
    if predictors is None and study is not None and problem.design is not None:
        rows, uncertain = problem.design.evaluate(study)
        centred = Uncertain(uncertain.person, uncertain.probability, uncertain.rows - problem.predictor_centers)
        return rows - problem.predictor_centers, centred
    rows = _columns("predictors", problem.predictor_names, study, predictors, n_people)
    return rows - problem.predictor_centers, Uncertain.nobody(rows.shape[1])


def _covariates(problem: Problem, study: Study | None, covariates: Any, n_people: int) -> Array:
    """Centred covariates of the means of new people."""
    if not problem.covariate_names:
        return np.zeros((n_people, 0))
    if covariates is None and study is not None and problem.means_design is not None:
        return problem.means_design.evaluate(study)[0] - problem.covariate_centers
    return _columns("covariates", problem.covariate_names, study, covariates, n_people) - problem.covariate_centers


def _in_order(what: str, given: Any, index: pd.Index[Any] | None) -> Any:
    """Rows of a frame in the order of the traits' frame, matched by id; row numbers are no ids."""
    if index is None or not isinstance(given, pd.DataFrame | pd.Series) or numbered(given):
        return given
    by_id = given.set_axis(given.index.astype(str))
    wanted = [str(i) for i in index]
    absent = [s for s in wanted if s not in by_id.index]
    if absent or by_id.index.has_duplicates:
        raise InputError(f"predict: {what} lack or repeat the samples {first_few(absent or wanted)}")
    return by_id.loc[wanted]


def _columns(what: str, wanted: Sequence[str], study: Study | None, given: Any, n_people: int) -> Array:
    """Columns handed in as an array or a frame."""
    if given is None and study is not None:
        raise InputError(
            f"predict: a fit read from a file no longer has its formula's coding; give {what}, with the columns "
            + ", ".join(wanted)
        )
    if given is None:
        raise InputError(f"predict: the model has {what}; give {what} with the columns {', '.join(wanted)}")
    if isinstance(given, pd.DataFrame):
        absent = [name for name in wanted if name not in given.columns]
        if absent:
            raise InputError(f"predict: {what} lack the column {absent[0]!r}")
        given = given[list(wanted)]
    rows = np.asarray(given, dtype=float)
    rows = rows[:, None] if rows.ndim == 1 else rows
    if rows.shape != (n_people, len(wanted)):
        raise InputError(f"predict: {what} have shape {rows.shape}; expected ({n_people}, {len(wanted)})")
    if not np.isfinite(rows).all():
        where = np.flatnonzero(~np.isfinite(rows).all(axis=1))
        raise InputError(f"predict: {what} are missing or infinite in rows {first_few(where)}")
    return rows


def simulate(problem: Problem, parameters: Parameters, n: int, rng: np.random.Generator) -> pd.DataFrame:
    """New people; see :meth:`bayesgmm.MapFit.simulate`."""
    if problem.sample_weight is None:
        chosen = rng.integers(problem.n_samples, size=n)
    else:
        chosen = rng.choice(problem.n_samples, size=n, p=problem.sample_weight / problem.sample_weight.sum())
    cumulative = np.exp(problem.log_weights(parameters)[chosen]).cumsum(axis=1)
    component = (rng.random(n)[:, None] > cumulative[:, :-1]).sum(axis=1)
    covariates = problem.covariates[chosen] / problem.covariate_unit
    traits = draw_traits(problem, parameters, component, covariates, rng)
    frame = pd.DataFrame(traits, columns=list(problem.trait_names))
    frame.insert(0, names.COMPONENT, problem.component_names(component))
    frame[list(problem.predictor_names)] = problem.predictors[chosen] + problem.predictor_centers
    extra = [c for c in problem.covariate_names if c not in problem.predictor_names]
    columns = problem.covariates[chosen] + problem.covariate_centers
    for name in extra:
        frame[name] = columns[:, problem.covariate_names.index(name)]
    return frame
