"""How the answer depends on the prior: the same question under many settings of the hyperparameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy.special import logsumexp

from bayesgmm import names
from bayesgmm.analysis.summaries import SUMMARY, Summaries, of_draws, of_modes
from bayesgmm.core.objective import Stacked
from bayesgmm.errors import InputError
from bayesgmm.inference.draws import log_prior_of, mean_membership, summed
from bayesgmm.inference.laplace import GOOD_K, USABLE_K, LaplaceRun
from bayesgmm.inference.map_fit import MapFit
from bayesgmm.inference.search import fit_map
from bayesgmm.progress import track

if TYPE_CHECKING:
    from bayesgmm.inference.posterior import Posterior
    from bayesgmm.model import Mixture
    from bayesgmm.problem import Problem

Array = NDArray[np.float64]
Quantity = Callable[[xr.Dataset], xr.DataArray]

ENGINES = ("map", "laplace", "nuts")
SETTING = "setting"

_LEAST_ESS = 0.25  # of the draws that must be effective after reweighting: fewer, and the ends of an interval are rough
_MEMBERSHIPS = 50  # draws over which memberships of one setting are averaged
_SWEEPS = 3  # times that settings are held against their neighbours' modes
_HIGHER = 1e-4  # log posterior units by which a neighbour's mode must be higher to be climbed from
_DF = 5.0  # of the Laplace engine's proposal


@dataclass(frozen=True)
class Settings:
    """Settings of the hyperparameters, and how they are laid out.

    Attributes
    ----------
    paths : tuple of str
        Hyperparameters that are varied.
    values : list of dict
        One a setting: path to value.
    dims : tuple of str
        The paths themselves for a grid, ``("setting",)`` for a list.
    shape : tuple of int
    coords : dict
    """

    paths: tuple[str, ...]
    values: list[dict[str, Any]]
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    coords: dict[str, Any]

    @classmethod
    def of(cls, grid: Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Any]] | pd.DataFrame) -> Settings:
        """Read a grid (every combination), or a list or table of settings.

        Raises
        ------
        InputError
            If there is nothing to vary.
        """
        if isinstance(grid, Mapping):
            if not grid or any(np.ndim(v) == 0 or len(v) == 0 for v in grid.values()):
                raise InputError(
                    f"grid = {grid!r}; it must name hyperparameters and the values of each, as "
                    "{'effects.sd': [0.1, 1.0]}"
                )
            axes = {str(path): list(values) for path, values in grid.items()}
            values = [dict(zip(axes, combination, strict=True)) for combination in product(*axes.values())]
            coords: dict[str, Any] = {path: _coordinate(v) for path, v in axes.items()}
            return cls(tuple(axes), values, tuple(axes), tuple(len(v) for v in axes.values()), coords)
        rows = grid.to_dict("records") if isinstance(grid, pd.DataFrame) else list(grid)
        if not rows or not all(isinstance(row, Mapping) and set(row) == set(rows[0]) and row for row in rows):
            raise InputError(
                "grid: a list of settings must hold mappings that name the same hyperparameters, as "
                "[{'effects.sd': 0.1}, {'effects.sd': 1.0}]"
            )
        design = [{str(k): v for k, v in row.items()} for row in rows]
        paths = tuple(design[0])
        coords = {path: (SETTING, _coordinate([row[path] for row in design])) for path in paths}
        coords[SETTING] = np.arange(len(design))
        return cls(paths, design, (SETTING,), (len(design),), coords)

    def neighbours(self, j: int) -> list[int]:
        """Settings next to one: a step along one axis."""
        here = np.unravel_index(j, self.shape)
        found = []
        for axis, size in enumerate(self.shape):
            for step in (-1, 1):
                there = list(here)
                there[axis] += step
                if 0 <= there[axis] < size:
                    found.append(int(np.ravel_multi_index(there, self.shape)))
        return found


def _coordinate(values: Sequence[Any]) -> NDArray[Any]:
    """Labels of an axis: numbers as they are, priors and lists in words."""
    if all(isinstance(v, int | float | np.number) and not isinstance(v, bool) for v in values):
        return np.array(values, dtype=float)
    return np.array([v if isinstance(v, str) else repr(v) for v in values], dtype=object)


@dataclass(frozen=True)
class _Answer:
    """What one setting was answered by."""

    draws: xr.Dataset
    weights: Array | None
    membership: Array
    how: str
    pareto_k: float = np.nan
    ess: float = np.nan
    log_evidence: float = np.nan
    log_evidence_error: float = np.nan


def sensitivity(
    model: Mixture,
    study: Any,
    grid: Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Any]] | pd.DataFrame,
    *,
    engine: str = "map",
    quantities: Mapping[str, Quantity] | None = None,
    level: float = 0.95,
    seed: int | None = None,
    draws: int | None = None,
    base: MapFit | Posterior | None = None,
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
    reweight : bool, default True
        With "nuts": reweight draws to neighbouring settings where k-hat is at most 0.5 and a quarter of them is still
        effective. False: sample every setting.
    progress : bool, default False
    sample_weight
        As in :meth:`bayesgmm.Mixture.fit`.
    **sampler
        Further arguments of :meth:`bayesgmm.Mixture.sample`.

    Returns
    -------
    xarray.Dataset
        Dims: the hyperparameters' paths (or ``setting``), those of the parameters, and ``summary`` (estimate, sd,
        lower, upper). Variables ``effects``, ``odds_ratios``, ``weights``, ``means``, ``covariances``, ``shifts`` and
        your quantities; ``log10_bayes_factor`` and ``probability_of_direction`` (predictor, contrast);
        ``classification``: share of people assigned as under the model's own priors; ``log_posterior`` and
        ``log_likelihood`` at the mode, ``converged``; ``log_evidence`` and its error ("laplace"), ``pareto_k``,
        ``ess`` and ``how`` each setting was answered. Attributes: ``engine``, ``level``, ``n_fits``, ``n_sampled``.

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
    if not 0.0 < level < 1.0:
        raise InputError(f"level = {level!r}; it must be between 0 and 1")
    if sampler and engine != "nuts":
        raise InputError(f"{next(iter(sampler))} is an argument of the sampler; engine = {engine!r} has no use for it")
    seed = 0 if seed is None else seed
    settings = Settings.of(grid)
    own, posterior = _base_of(model, study, base, seed, sample_weight)
    problems = [own.problem.with_priors(_changed(model, setting)) for setting in settings.values]
    if engine != "map":
        for problem in (own.problem, *problems):
            problem.priors.refuse_improper()
        own.problem.refuse_unsampled()
    fits = climb_settings(own, problems, settings, progress=progress)
    if engine == "map":
        values = of_modes(own.problem, fits, level, quantities or {}, seed)
        members = [fit.problem.responsibilities(fit.parameters) for fit in fits]
        own_members, how = own.responsibilities.values, ["MAP"] * len(fits)
        numbers: dict[str, list[float]] = {}
        n_sampled = 0
    else:
        if engine == "laplace":
            n_draws = 2000 if draws is None else draws
            answers = [
                _laplace_answer(fit, n_draws, seed) for fit in track(fits, "Laplace at each setting", enabled=progress)
            ]
            own_members, n_sampled = own.responsibilities.values, len(answers)
        else:
            options = {"draws": 1000 if draws is None else draws, "seed": seed, **sampler}
            if posterior is None:
                posterior = _sampled(own, options)
            answers, n_sampled = _nuts_answers(own, posterior, fits, settings, options, reweight, progress)
            own_members = posterior.responsibilities.values
        values = [
            of_draws(fit.problem, a.draws, a.weights, level, quantities or {})
            for fit, a in zip(fits, answers, strict=True)
        ]
        members, how = [a.membership for a in answers], [a.how for a in answers]
        kept = ("pareto_k", "ess") + (("log_evidence", "log_evidence_error") if engine == "laplace" else ())
        numbers = {name: [getattr(a, name) for a in answers] for name in kept}
    numbers |= {
        "classification": [_agreement(own.problem, own_members, m) for m in members],
        names.LOG_POSTERIOR: [fit.log_posterior for fit in fits],
        names.LOG_LIKELIHOOD: [fit.log_likelihood for fit in fits],
        "converged": [fit.converged for fit in fits],
    }
    result = _laid_out(values, settings, own.problem)
    for name, column in numbers.items():
        result[name] = (settings.dims, np.array(column).reshape(settings.shape))
    result["how"] = (settings.dims, np.array(how, dtype=object).reshape(settings.shape))
    result.attrs = {
        "engine": engine,
        "level": level,
        "seed": seed,
        "n_fits": len(fits) + 1,
        "n_sampled": n_sampled + (engine == "nuts"),
        "base": "; ".join(f"{path} = {_told(model, path)}" for path in settings.paths),
    }
    return result


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
        wide = wide.assign({n: found[n] for n in ("log10_bayes_factor", "probability_of_direction")})
    wide = wide.assign(how=found["how"])
    order = [str(d) for d in array.dims if d != names.SUMMARY]
    table = wide.to_dataframe(dim_order=order).reset_index()
    return table.drop(columns=[SETTING] if SETTING in table else [])


def climb_settings(own: MapFit, problems: list[Problem], settings: Settings, *, progress: bool = False) -> list[MapFit]:
    """Fit every setting from the mode of one already fitted, and again from a neighbour's where that is higher.

    A mode of one prior is nearly one of the next, so a fit takes a few of Newton's steps.
    """
    fits: list[MapFit] = []
    for j, problem in enumerate(track(problems, "MAP at each setting", enabled=progress)):
        before = [i for i in settings.neighbours(j) if i < j]
        fits.append(_climbed(problem, fits[before[-1]] if before else own))
    for _ in range(_SWEEPS):
        moved = False
        for j, fit in enumerate(fits):
            shift = fit.problem.log_prior_shift + fit.problem.log_likelihood_shift
            heights = {i: _height(fit.problem, fits[i]) + shift for i in settings.neighbours(j)}
            best = max(heights, key=lambda i: heights[i], default=j)
            if best != j and heights[best] > float(fit.log_posteriors[-1]) + _HIGHER:
                fits[j], moved = _climbed(fit.problem, fits[best]), True
        if not moved:
            break
    return fits


def _climbed(problem: Problem, start: MapFit) -> MapFit:
    return fit_map(problem, init=start)


def _height(problem: Problem, other: MapFit) -> float:
    """Log posterior, standardised, at another setting's mode."""
    return problem.arrays.expectation(other.parameters).log_likelihood + problem.arrays.log_prior(other.parameters)


def _base_of(
    model: Mixture, study: Any, base: MapFit | Posterior | None, seed: int, sample_weight: Any
) -> tuple[MapFit, Posterior | None]:
    """The model's own fit, and its posterior where one was given."""
    if base is None:
        return model.fit(study, seed=seed, sample_weight=sample_weight), None
    fit = base if isinstance(base, MapFit) else base.map
    problem = model.problem(study, sample_weight)
    theirs = base.problem
    for name in ("family", "n_components", "predictor_names", "covariate_names"):
        if getattr(problem, name) != getattr(theirs, name):
            raise InputError("base is of another model: its components, family, predictors or covariates differ")
    same_people = list(theirs.sample_ids) == list(problem.sample_ids)
    if not (same_people and theirs.priors.table().equals(problem.priors.table())):
        raise InputError("base is of other priors or people than the model's own; fit the model first, or leave it out")
    return fit, None if isinstance(base, MapFit) else base


def _changed(model: Mixture, setting: Mapping[str, Any]) -> Any:
    priors = model.priors
    for path, value in setting.items():
        priors = priors.with_value(path, value)
    return priors


def _told(model: Mixture, path: str) -> str:
    section, *rest = path.split(".", 2)
    prior = getattr(model.priors, section)
    return repr(getattr(prior, rest[0], prior) if rest else prior)


def _laplace_answer(fit: MapFit, draws: int, seed: int) -> _Answer:
    run = LaplaceRun.at(fit, draws, seed, _DF)
    w = run.weighted
    chosen = run.resampled(seed)
    stacked = Stacked(*(x[None] for x in run.density.stacked(w.points[chosen[: 4 * _MEMBERSHIPS]])))
    membership = mean_membership(fit.problem, stacked, _MEMBERSHIPS)
    how = "Laplace" if w.pareto_k <= USABLE_K else f"Laplace, not to be trusted (k-hat {w.pareto_k:.2f}): use NUTS"
    return _Answer(run.dataset, w.weights, membership, how, w.pareto_k, w.ess, w.log_evidence, w.log_evidence_error)


@dataclass(frozen=True)
class _Source:
    """A sampled posterior whose draws may serve other settings."""

    name: str
    posterior: Posterior
    stacked: Stacked
    log_prior: Array

    @classmethod
    def of(cls, name: str, posterior: Posterior) -> _Source:
        problem, draws = posterior.problem, posterior.posterior
        stacked = problem.stacked(draws)
        return cls(name, posterior, stacked, summed(log_prior_of(problem, stacked)))

    def reweighted(self, fit: MapFit) -> tuple[Array, float, float]:
        """Weights of the draws under another setting's prior, k-hat and effective draws left."""
        from arviz_stats.base import array_stats

        problem = fit.problem
        ratio = (summed(log_prior_of(problem, self.stacked)) - self.log_prior).ravel()
        ratio = np.maximum(ratio, ratio[np.isfinite(ratio)].max(initial=0.0) - 700.0)
        if float(np.ptp(ratio)) < 1e-12:
            return np.full(len(ratio), 1.0 / len(ratio)), -np.inf, float(len(ratio))
        smoothed, k = array_stats.psislw(-ratio)
        weights = np.exp(smoothed - logsumexp(smoothed))
        return weights, float(k), float(1.0 / (weights**2).sum())


def _sampled(fit: MapFit, options: Mapping[str, Any]) -> Posterior:
    from bayesgmm.inference.nuts import sample_posterior

    return sample_posterior(fit.problem, init=fit, log_likelihood=False, **options)


def _nuts_answers(
    own: MapFit,
    posterior: Posterior,
    fits: list[MapFit],
    settings: Settings,
    options: Mapping[str, Any],
    reweight: bool,
    progress: bool,
) -> tuple[list[_Answer], int]:
    """Answer every setting by draws: reweighted ones where they carry over, else new ones, which then serve others."""
    sources = [_Source.of("the model's own priors", posterior)]
    answers: list[_Answer] = []
    refits = 0
    for j, fit in enumerate(track(fits, "NUTS at each setting", enabled=progress)):
        tried = [(*source.reweighted(fit), source) for source in sources] if reweight else []
        good = [t for t in tried if t[1] <= GOOD_K and t[2] >= _LEAST_ESS * len(t[0])]
        if good:
            weights, k, ess, source = min(good, key=lambda t: -t[2])
            answers.append(
                _Answer(
                    source.posterior.posterior,
                    weights,
                    _reweighted_membership(fit.problem, source.stacked, weights),
                    f"reweighted from {source.name}",
                    max(k, 0.0) if np.isfinite(k) else 0.0,
                    ess,
                )
            )
            continue
        again = _sampled(fit, options)
        refits += 1
        name = ", ".join(f"{path} = {_label(v)}" for path, v in settings.values[j].items())
        sources.append(_Source.of(name, again))
        ess = float(again.summary()["ess_bulk"].min())
        answers.append(_Answer(again.posterior, None, again.responsibilities.values, "sampled", 0.0, ess))
    return answers, refits


def _label(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float) else repr(value)


def _reweighted_membership(problem: Problem, stacked: Stacked, weights: Array) -> Array:
    flat = stacked.flat()
    ladder = (0.5 + np.arange(_MEMBERSHIPS)) / _MEMBERSHIPS
    chosen = np.minimum(np.searchsorted(np.cumsum(weights), ladder), len(weights) - 1)
    return mean_membership(problem, Stacked(*(x[chosen][None] for x in flat)), _MEMBERSHIPS)


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
    coords = {n: c for n, c in problem.coords.items() if n in used}
    return xr.Dataset(data, coords={**coords, names.SUMMARY: list(SUMMARY), **settings.coords})
