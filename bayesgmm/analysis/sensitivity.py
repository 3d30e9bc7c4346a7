"""How the answer depends on the prior: the same question under many settings of the hyperparameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from bayesgmm import names
from bayesgmm.analysis.answers import Answer, SampledStudy, laplace_answer, sampled_posterior
from bayesgmm.analysis.compare import same_weights
from bayesgmm.analysis.savage_dickey import BayesFactors
from bayesgmm.analysis.settings import SETTING, Grid, Settings, in_words
from bayesgmm.analysis.summaries import SUMMARY, Summaries, Z, of_draws, of_modes
from bayesgmm.checks import check_seed, check_share, check_whole, seed_or_zero
from bayesgmm.core.effect_density import NORMAL
from bayesgmm.errors import InputError
from bayesgmm.inference.map_fit import MapFit
from bayesgmm.inference.posterior import Posterior
from bayesgmm.inference.search import fit_map, with_a_mode
from bayesgmm.inference.tidy import label_at
from bayesgmm.inference.variational_posterior import VariationalPosterior
from bayesgmm.model import Mixture, check_model
from bayesgmm.progress import track

if TYPE_CHECKING:
    from bayesgmm.priors import Priors
    from bayesgmm.problem import Problem

Array = NDArray[np.float64]
Quantity = Callable[[xr.Dataset], xr.DataArray]

ENGINES = ("map", "laplace", "nuts")

_SWEEPS = 10  # times that settings are held against their neighbours' modes
_HIGHER = 1e-4  # log posterior units by which a neighbour's mode must be higher to be climbed from


def sensitivity(
    model: Mixture,
    study: Any,
    grid: Grid,
    *,
    engine: str = "map",
    quantities: Mapping[str, Quantity] | None = None,
    level: float = 0.95,
    seed: int | None = None,
    draws: int | None = None,
    base: MapFit | Posterior | None = None,
    bayes_factors: bool | None = None,
    reweight: bool = True,
    progress: bool = False,
    sample_weight: Any = None,
    **sampler: Any,
) -> xr.Dataset:
    """Answer the same question under many priors.

    Parameters
    ----------
    model : Mixture
        Its own priors are the base, to which a setting is a change.
    study : Study, DataFrame or ndarray
    grid : mapping, or sequence of mappings, or DataFrame
        Hyperparameters by their path (see :meth:`bayesgmm.Priors.with_value`) and their values: every combination of
        ``{"effects.sd": [0.1, 1.0], "weights.concentration": [1, 2]}``; or a list of settings, one mapping (or row)
        each. A whole prior can be a value: ``{"effects": [bg.LogOddsNormal(1), ...]}``.
    engine : {"map", "laplace", "nuts"}
        Posterior modes with normal intervals, each climbed to from its neighbour's; the Laplace engine at each mode;
        or the sampler, once for the base and again only where its draws cannot be reweighted to a setting.
    quantities : mapping of str to callable, optional
        Quantities of your own: a function of a Dataset of parameters with leading dims (chain, draw) that returns a
        DataArray with the same.
    level : float, default 0.95
        Probability of the intervals.
    seed : int, optional
        None: 0. Every setting uses the same, so that differences are the prior's and not noise.
    draws : int, optional
        Draws of each setting's Laplace posterior (2,000), or of each chain (1,000).
    base : MapFit or Posterior, optional
        An earlier answer under the model's own priors, to save doing it again.
    bayes_factors : bool, optional
        Whether to find the Bayes factor of every effect against none. None: with draws; by modes they take several
        times the study itself.
    reweight : bool, default True
        With "nuts": reweight draws to neighbouring settings where k-hat is at most 0.5 and a quarter of them is still
        effective. False, and where scales of the effects are learned: sample every setting.
    progress : bool, default False
    sample_weight
        As in :meth:`bayesgmm.Mixture.fit`.
    **sampler
        Further arguments of :meth:`bayesgmm.Mixture.sample`.

    Returns
    -------
    xarray.Dataset
        Dims: the hyperparameters' paths (``effects_prior`` for a whole prior; ``setting`` for a list), those of the
        parameters, and ``summary`` (estimate, sd, lower, upper). Variables: ``effects``, ``odds_ratios``, ``weights``,
        ``means``, ``covariances``, ``shifts`` and your quantities; ``probability_of_direction`` and, where asked for,
        ``log10_bayes_factor`` (predictor, contrast); ``effects_density``: density of (effect - estimate) / sd at ``z``;
        ``classification``: share of people assigned as under the model's own priors; ``log_posterior`` and
        ``log_likelihood`` at the mode, ``converged``; ``log_evidence`` and its error ("laplace"), ``pareto_k``,
        ``ess``; and ``how`` each setting was answered. Attributes: ``engine``, ``level``, ``n_fits``, ``n_sampled``.

    Raises
    ------
    InputError
        If a hyperparameter does not exist, a value is out of bounds, or the model cannot carry the engine.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> from bayesgmm.demo import demo_study
    >>> study = demo_study()
    >>> found = bg.sensitivity(bg.Mixture(2, weights="rs101"), study, {"effects.sd": [0.1, 1.0]})
    >>> found["odds_ratios"].sel(predictor="rs101", contrast="1 vs 0", summary="estimate").values.round(1).tolist()
    [2.2, 2.7]
    """
    if engine not in ENGINES:
        raise InputError(f"engine = {engine!r}; it must be one of {', '.join(ENGINES)}")
    check_share("level", level)
    if sampler and engine != "nuts":
        raise InputError(f"{next(iter(sampler))} is an argument of the sampler; engine = {engine!r} has no use for it")
    seed = seed_or_zero(seed)
    least = {"laplace": 100, "nuts": 4}.get(engine, 0)
    if draws is not None:
        check_whole("draws", draws, least, f" with engine = {engine!r}")
    settings = Settings.of(grid)
    own, posterior = base_of(model, study, base, seed, sample_weight)
    if own.problem.n_components == 1 or not own.problem.predictor_names:
        about_effects = [path for path in settings.paths if path.split(".")[0] == names.EFFECTS]
        if about_effects:
            raise InputError(
                f"{about_effects[0]!r}: the model has no effects (no predictors of the weights, or one component), so "
                "their prior changes nothing"
            )
    problems = [own.problem.with_priors(_changed(model, s, own.problem.predictor_names)) for s in settings.values]
    if engine != "nuts":
        refuse_without_mode(problems)
    if engine != "map":
        for problem in (own.problem, *problems):
            problem.priors.refuse_improper()
        own.problem.refuse_unsampled()
    starts = [with_a_mode(problem) for problem in problems] if engine == "nuts" else problems
    fits = climb_settings(own, starts, settings, progress=progress)
    if engine == "map":
        found = _Found(
            of_modes(own.problem, fits, level, quantities or {}, seed, bayes_factors=bool(bayes_factors)),
            own.responsibilities.values,
            [fit.problem.responsibilities(fit.parameters) for fit in fits],
            ["MAP"] * len(fits),
        )
    else:
        if engine == "laplace":
            watched = track(fits, "Laplace at each setting", enabled=progress)
            answers = [laplace_answer(fit, 2000 if draws is None else draws, seed) for fit in watched]
            own_members, n_sampled = own.responsibilities.values, len(answers)
        else:
            options = {"draws": 1000 if draws is None else draws, "seed": seed, **sampler}
            if posterior is None:
                posterior = sampled_posterior(own.problem.with_priors(model.priors), own, options)
            sampled = SampledStudy(posterior, options, reweight=reweight)
            answers = _sampled_answers(sampled, problems, fits, settings, progress=progress)
            own_members, n_sampled = posterior.responsibilities.values, sampled.n_sampled + 1
        wanted = bayes_factors is None or bayes_factors
        factors = [BayesFactors(p, fit) if wanted else None for p, fit in zip(problems, fits, strict=True)]
        found = _of_answers(problems, answers, own_members, n_sampled, level, quantities or {}, engine, factors)
    result = _laid_out(found.values, settings, own.problem)
    columns = found.numbers | {
        "classification": [_agreement(own.problem, found.own_members, m) for m in found.members],
        names.LOG_POSTERIOR: [fit.log_posterior for fit in fits],
        names.LOG_LIKELIHOOD: [fit.log_likelihood for fit in fits],
        "converged": [fit.converged for fit in fits],
        "how": found.how,
    }
    for name, column in columns.items():
        values = np.array(column, dtype=object if name == "how" else None).reshape(settings.shape)
        result[name] = (settings.dims, values)
    base_told = "; ".join(f"{path} = {_told(model, path)}" for path in settings.paths)
    about = {"engine": engine, "level": level, "seed": seed, "n_fits": len(fits) + 1, "n_sampled": found.n_sampled}
    return result.assign_attrs(**about, base=base_told)


def _sampled_answers(
    sampled: SampledStudy, problems: list[Problem], fits: list[MapFit], settings: Settings, *, progress: bool
) -> list[Answer]:
    """Answers of the settings in turn; draws of one may serve those to come."""
    told = [_named(setting) for setting in settings.values]
    watched = track(fits, "NUTS at each setting", enabled=progress)
    return [sampled.answer(*each) for each in zip(problems, watched, told, strict=True)]


@dataclass(frozen=True)
class _Found:
    """What an engine found at every setting, and how it was found."""

    values: list[Summaries]
    own_members: Array
    members: list[Array]
    how: list[str]
    numbers: dict[str, list[float]] = field(default_factory=dict)
    n_sampled: int = 0


def _of_answers(
    problems: list[Problem],
    answers: list[Answer],
    own_members: Array,
    n_sampled: int,
    level: float,
    quantities: Mapping[str, Quantity],
    engine: str,
    factors: list[BayesFactors | None],
) -> _Found:
    kept = ("pareto_k", "ess") + (("log_evidence", "log_evidence_error") if engine == "laplace" else ())
    return _Found(
        [
            of_draws(p, a.draws, a.weights, level, quantities, f)
            for p, a, f in zip(problems, answers, factors, strict=True)
        ],
        own_members,
        [a.membership for a in answers],
        [a.how for a in answers],
        {name: [getattr(a, name) for a in answers] for name in kept},
        n_sampled,
    )


def sensitivity_table(found: xr.Dataset, variable: str = names.EFFECTS) -> pd.DataFrame:
    """A sensitivity study as a tidy table: one row per setting and parameter.

    Parameters
    ----------
    found : xarray.Dataset
        From :func:`sensitivity`.
    variable : str, default "effects"
        One of its variables with estimates and intervals.

    Returns
    -------
    pandas.DataFrame
        The hyperparameters, the variable's dims, ``estimate``, ``sd``, ``lower``, ``upper``; for effects also
        ``log10_bayes_factor`` and ``probability_of_direction``; and ``how``.

    Raises
    ------
    InputError
        If there is no such variable.
    """
    known = [str(v) for v in found.data_vars if names.SUMMARY in found[v].dims]
    if variable not in known:
        raise InputError(f"variable = {variable!r}; this study has {', '.join(known)}")
    array = found[variable]
    wide = array.to_dataset(dim=names.SUMMARY)
    if variable in (names.EFFECTS, names.ODDS_RATIOS):
        wide = wide.assign({n: found[n] for n in (names.BAYES_FACTOR, "probability_of_direction") if n in found})
    wide = wide.assign(how=found["how"])
    order = [str(d) for d in array.dims if d != names.SUMMARY]
    if names.KIND in wide.coords:
        labels = [label_at(wide, names.COMPONENT, i) for i in range(wide.sizes[names.COMPONENT])]
        named = np.array([int(label) if label.isdigit() else label for label in labels], dtype=object)
        wide = wide.drop_vars(names.KIND).assign_coords({names.COMPONENT: named})
    table = wide.to_dataframe(dim_order=order).reset_index()
    return table.drop(columns=[SETTING] if SETTING in table else [])


def climb_settings(own: MapFit, problems: list[Problem], settings: Settings, *, progress: bool = False) -> list[MapFit]:
    """Highest modes that are found at every setting.

    A mode of one prior is nearly one of the next, so a fit that starts there takes a few of Newton's steps. But another
    mode may be the higher one under another prior: the first and the last setting are fitted afresh as well, and every
    setting is held against its neighbours' modes and the model's own, and climbed from those that are higher there.
    """
    fits: list[MapFit] = []
    for j, problem in enumerate(track(problems, "MAP at each setting", enabled=progress)):
        before = [fits[i] for i in settings.neighbours(j) if i < j][-1:]
        fits.append(highest_mode(problem, before or [own]))
        if j in (0, len(problems) - 1):
            fits[j] = _higher(fits[j], fit_map(problem, seed=own.seed))
    for _ in range(_SWEEPS):
        moved = False
        for j, fit in enumerate(fits):
            shift = fit.problem.log_prior_shift + fit.problem.log_likelihood_shift
            others = [own, *(fits[i] for i in settings.neighbours(j))]
            heights = [fit.problem.arrays.log_posterior(other.parameters) + shift for other in others]
            best = int(np.argmax(heights))
            if heights[best] > float(fit.log_posteriors[-1]) + _HIGHER:
                fits[j], moved = highest_mode(fit.problem, [others[best]]), True
        if not moved:
            break
    return fits


def highest_mode(problem: Problem, starts: Sequence[MapFit]) -> MapFit:
    """The highest mode reached from the starts; under heavy tails or a kink also from effects at their prior means.

    Such a prior may have two modes of one effect: near its mean, and where the data have it.
    """
    if (problem.priors.effect_kind != NORMAL).any() and problem.n_components > 1:
        at_mean = replace(starts[0].parameters, beta=problem.arrays.weights_prior.effect_mean)
        starts = [*starts, replace(starts[0], parameters=at_mean, information=None)]
    best = fit_map(problem, init=starts[0])
    for start in starts[1:]:
        best = _higher(best, fit_map(problem, init=start))
    return best


def _higher(one: MapFit, other: MapFit) -> MapFit:
    return other if float(other.log_posteriors[-1]) > float(one.log_posteriors[-1]) + _HIGHER else one


def refuse_without_mode(problems: Sequence[Problem]) -> None:
    """Raise where a setting's density has no highest point.

    Raises
    ------
    InputError
        If a concentration is below 1.
    """
    least = min(float(problem.priors.concentration.min()) for problem in problems)
    if least < 1.0 and problems[0].n_components > 1:
        raise InputError(
            f"weights.concentration = {least:g}: below 1 the density is infinite where a component is empty, so there "
            "is no mode to climb to; use engine = 'nuts', or concentrations of at least 1"
        )


def base_of(
    model: Mixture, study: Any, base: MapFit | Posterior | None, seed: int, sample_weight: Any
) -> tuple[MapFit, Posterior | None]:
    """The model's own fit, and its posterior where one was given."""
    check_model(model)
    if base is not None and not isinstance(base, MapFit | Posterior):
        raise InputError(f"base is a {type(base).__name__}; give a fit or a posterior of the model")
    if isinstance(base, VariationalPosterior):
        raise InputError(
            "base is a variational posterior, whose draws are not the posterior's; give its fit (base.map)"
        )
    check_seed(seed)
    if base is None:
        return fit_map(with_a_mode(model.problem(study, sample_weight)), seed=seed), None
    fit = base if isinstance(base, MapFit) else base.map
    problem = model.problem(study, sample_weight)
    theirs = base.problem
    for name in ("family", "n_components", "predictor_names", "covariate_names"):
        if getattr(problem, name) != getattr(theirs, name):
            raise InputError(
                "base is of another model: its components, family, predictors or covariates differ (a fit under a "
                "concentration below 1 has fewer components than were asked for: leave base out)"
            )
    if list(theirs.sample_ids) != list(problem.sample_ids) or not same_weights(theirs, problem):
        raise InputError(
            "base is of other people or sample weights; give the study and the sample_weight that it was fitted with, "
            "or leave it out"
        )
    own_tables = (problem.priors.table(), with_a_mode(problem).priors.table())
    if not any(theirs.priors.table().equals(table) for table in own_tables):
        raise InputError("base is of other priors than the model's own; fit the model first, or leave it out")
    return fit, None if isinstance(base, MapFit) else base


def _changed(model: Mixture, setting: Mapping[str, Any], predictors: Sequence[str]) -> Priors:
    priors = model.priors
    for path, value in setting.items():
        priors = _by_name(priors, path, predictors).with_value(path, value)
    return priors


def _by_name(priors: Priors, path: str, predictors: Sequence[str]) -> Priors:
    """The same priors; where a path names one predictor, what they give as a sequence is given by name instead."""
    section, *rest = path.split(".", 2)
    given = getattr(priors.effects, rest[0], 0.0) if section == names.EFFECTS and len(rest) == 2 else 0.0
    if not isinstance(given, Sequence | np.ndarray) or isinstance(given, str) or len(given) != len(predictors):
        return priors
    return priors.with_value(f"{section}.{rest[0]}", dict(zip(predictors, map(float, given), strict=True)))


def _told(model: Mixture, path: str) -> str:
    section, *rest = path.split(".", 2)
    prior = getattr(model.priors, section)
    return in_words(getattr(prior, rest[0], prior) if rest else prior)


def _named(setting: Mapping[str, Any]) -> str:
    shown = {k: f"{v:g}" if isinstance(v, int | float) else in_words(v) for k, v in setting.items()}
    return ", ".join(f"{path} = {value}" for path, value in shown.items())


def _agreement(problem: Problem, own: Array, other: Array) -> float:
    """Share of the people with traits whom two answers assign to the same component."""
    people, weight = problem.people, problem.sample_weight
    same = own[people].argmax(axis=1) == other[people].argmax(axis=1)
    return float(np.average(same, weights=None if weight is None else weight[people]))


def _laid_out(values: list[Summaries], settings: Settings, problem: Problem) -> xr.Dataset:
    """Summaries of the settings in one dataset, with the dims of the grid."""
    data: dict[str, Any] = {}
    for name, (dims, first) in values[0].items():
        stack = np.stack([v[name][1] for v in values])
        data[name] = ((*settings.dims, *dims), stack.reshape(*settings.shape, *first.shape))
    used = {d for dims, _ in data.values() for d in dims}
    used |= {names.KIND} if names.COMPONENT in used else set()
    coords = {n: c for n, c in {**problem.coords, "z": Z}.items() if n in used}
    return xr.Dataset(data, coords={**coords, names.SUMMARY: list(SUMMARY), **settings.coords})
