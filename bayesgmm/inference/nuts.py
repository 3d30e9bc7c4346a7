"""The full posterior by the No-U-Turn sampler (nutpie), started at the MAP and relabelled to it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from bayesgmm import __version__, names
from bayesgmm.core.gather import thinned
from bayesgmm.core.labels import best_permutation
from bayesgmm.core.objective import Parameters
from bayesgmm.errors import InputError, MissingExtraError
from bayesgmm.inference.density import FusedDensity, WhitenedDensity
from bayesgmm.inference.map_fit import MapFit
from bayesgmm.inference.posterior import Posterior
from bayesgmm.inference.search import fit_map, with_a_mode
from bayesgmm.inference.tidy import without_empty
from bayesgmm.problem import Problem
from bayesgmm.problem_storage import problem_to_dataset

Array = NDArray[np.float64]

_POINTWISE_LIMIT = 25_000_000  # numbers of pointwise log likelihood kept unless asked for: 200 MB
_PEOPLE_FOR_LABELS = 2_000  # people whose memberships decide the labels of a draw
_DRAWS_FOR_MEMBERSHIP = 400  # draws over which memberships are averaged
_FLAT = "x"


@dataclass
class _Draws:
    """Parameters of every draw, stacked (chain, draw, ...), in standardised coordinates."""

    pi: Array
    beta: Array
    means: Array
    roots: Array
    shifts: Array


def sample_posterior(
    problem: Problem,
    *,
    init: MapFit | None = None,
    draws: int = 1000,
    tune: int = 500,
    chains: int = 4,
    seed: int | None = None,
    cores: int | None = None,
    progress: bool = False,
    log_likelihood: bool | None = None,
    density: str = "fused",
) -> Posterior:
    """Sample; the arguments are those of :meth:`bayesgmm.Mixture.sample`."""
    for name, value, least in (("draws", draws, 4), ("tune", tune, 50), ("chains", chains, 1)):
        if value < least:
            raise InputError(f"{name} = {value}; it must be at least {least}")
    if density not in ("fused", "pymc"):
        raise InputError(f"density = {density!r}; it must be 'fused' or 'pymc'")
    try:
        import nutpie
    except ImportError as error:
        raise MissingExtraError(f"sampling needs the extra: pip install 'bayesgmm[sample]' ({error})") from error
    problem.priors.refuse_improper()
    problem.refuse_unsampled()
    seed = 0 if seed is None else seed
    fit = init if init is not None else fit_map(with_a_mode(problem), seed=seed)
    if any(
        getattr(fit.problem, name) != getattr(problem, name)
        for name in ("n_components", "predictor_names", "covariate_names", "family")
    ):
        raise InputError("init is a fit of another model: its components, predictors, covariates or family differ")
    if (fit.problem.sample_weight is None) != (problem.sample_weight is None):
        raise InputError(
            "init and this posterior differ in sample weights, which one of them lacks; give sample_weight to both or "
            "to neither"
        )
    began = time.perf_counter()
    target = _density(problem, fit, density)
    ready = time.perf_counter()
    raw = nutpie.sample(
        _as_nutpie(target),
        draws=draws,
        tune=tune,
        chains=chains,
        cores=min(chains, cores or os.cpu_count() or 1),
        seed=seed,
        progress_bar=progress,
        save_warmup=False,
    )
    sampled = time.perf_counter()
    stacked = _relabel(problem, fit, _parameters_of(target, raw["posterior"][_FLAT].values))
    keep = (
        chains * draws * int(problem.observed.sum()) <= _POINTWISE_LIMIT if log_likelihood is None else log_likelihood
    )
    tree = _assemble(problem, fit, stacked, raw, keep_pointwise=keep)
    tree.attrs = {
        "versions": _versions(),
        "priors": str(problem.priors),
        "seed": int(seed),
        "density": density,
        "tune": int(tune),
        "seconds_to_compile": ready - began,
        "seconds_to_sample": sampled - ready,
    }
    return Posterior(tree=tree, problem=problem, map=fit)


def _density(problem: Problem, fit: MapFit, source: str) -> WhitenedDensity:
    start = problem.parameters(fit.params)
    if source == "fused":
        return FusedDensity(problem.arrays, start)
    try:
        from bayesgmm.inference.graph_density import GraphDensity
    except ImportError as error:
        raise MissingExtraError(f"the PyMC model needs the extra: pip install 'bayesgmm[sample]' ({error})") from error
    return GraphDensity(problem.arrays, start)


def _as_nutpie(density: Any) -> Any:
    """Hand a compiled density to nutpie; chains start spread as the normal approximation at the mode is."""
    from nutpie.compiled_pyfunc import from_pyfunc

    def initial_point(seed: Any) -> Array:
        point: Array = np.random.default_rng(seed).standard_normal(density.size)
        return point

    def expand(x: Array, **_: Any) -> dict[str, Array]:
        return {_FLAT: x}

    return from_pyfunc(
        ndim=density.size,
        make_logp_fn=lambda: density,
        make_expand_fn=lambda *_: expand,
        expanded_dtypes=[np.dtype("float64")],
        expanded_shapes=[(density.size,)],
        expanded_names=[_FLAT],
        make_initial_point_fn=initial_point,
    )


def _parameters_of(density: Any, x: Array) -> _Draws:
    flat = x.reshape(-1, x.shape[-1])
    each = [density.parameters(np.ascontiguousarray(row)) for row in flat]
    lead = x.shape[:2]

    def stack(values: list[Array]) -> Array:
        array = np.stack(values)
        shaped: Array = array.reshape(*lead, *array.shape[1:])
        return shaped

    return _Draws(
        stack([np.exp(p.log_pi) for p in each]),
        stack([p.beta for p in each]),
        stack([p.means for p in each]),
        stack([p.roots for p in each]),
        stack([p.shifts for p in each]),
    )


def _one(stacked: _Draws, chain: int, draw: int) -> Parameters:
    log_pi = np.log(stacked.pi[chain, draw])
    return Parameters(
        log_pi[1:] - log_pi[0],
        stacked.beta[chain, draw],
        stacked.means[chain, draw],
        stacked.roots[chain, draw],
        stacked.shifts[chain, draw],
    )


def _relabel(problem: Problem, fit: MapFit, stacked: _Draws) -> _Draws:
    """Permute each draw's components to agree best with the MAP's memberships (pivotal reordering)."""
    if problem.n_components == 1:
        return stacked
    sample = thinned(problem.arrays.sample, _PEOPLE_FOR_LABELS)
    some = replace(problem.arrays, sample=sample)
    repeats = sample.repeats[:, None] if len(sample.repeats) else 1.0
    pivot = repeats * some.membership(problem.parameters(fit.params))[0]
    identity = np.arange(problem.n_components)
    for chain, draw in np.ndindex(stacked.pi.shape[:2]):
        parameters = _one(stacked, chain, draw)
        order = best_permutation(pivot, some.membership(parameters)[0])
        if (order != identity).any():
            moved = parameters.permuted(order)
            stacked.pi[chain, draw] = np.exp(moved.log_pi)
            stacked.beta[chain, draw] = moved.beta
            stacked.means[chain, draw] = moved.means
            stacked.roots[chain, draw] = moved.roots
    return stacked


def _assemble(problem: Problem, fit: MapFit, stacked: _Draws, raw: Any, *, keep_pointwise: bool) -> xr.DataTree:
    n_chains, n_draws = stacked.pi.shape[:2]
    posterior = problem.dataset(stacked.pi, stacked.means, stacked.roots, stacked.beta, stacked.shifts)
    stats = raw["sample_stats"].to_dataset()
    wanted = [n for n in ("diverging", "depth", "n_steps", "step_size", "energy", "logp") if n in stats]
    stats = stats[wanted].rename({"depth": "tree_depth", "logp": "lp"}) if "depth" in wanted else stats[wanted]
    log_prior = _log_prior(problem, stacked)
    total, pointwise, membership = _walk(problem, stacked, keep_pointwise)
    stats[names.LOG_LIKELIHOOD] = ((names.CHAIN, names.DRAW), total)
    prior_sum = sum(
        variable.sum([d for d in variable.dims if d not in (names.CHAIN, names.DRAW)]).values
        for variable in log_prior.values()
    )
    stats[names.LOG_POSTERIOR] = ((names.CHAIN, names.DRAW), total + prior_sum)
    index = {names.CHAIN: np.arange(n_chains), names.DRAW: np.arange(n_draws)}
    samples = {names.SAMPLE: np.asarray(problem.sample_ids)}
    observed = samples[names.SAMPLE][problem.people]
    groups: dict[str, xr.Dataset] = {
        "posterior": without_empty(posterior.assign_coords(index)),
        "sample_stats": stats.assign_coords(index),
        "log_prior": without_empty(log_prior.assign_coords(index)),
        "observed_data": xr.Dataset(
            {"traits": ((names.SAMPLE, names.TRAIT), problem.traits)},
            coords={**samples, names.TRAIT: list(problem.trait_names)},
        ),
        "constant_data": problem_to_dataset(problem),
        "membership": xr.Dataset(
            {names.RESPONSIBILITIES: ((names.SAMPLE, names.COMPONENT), membership)},
            coords={**samples, names.COMPONENT: np.arange(problem.n_components)},
        ),
        "map": fit.to_tree()["map"].to_dataset(),
    }
    if keep_pointwise:
        groups["log_likelihood"] = xr.Dataset(
            {"traits": ((names.CHAIN, names.DRAW, names.SAMPLE), pointwise)},
            coords={**index, names.SAMPLE: observed},
        )
    return xr.DataTree.from_dict(groups)


def _log_prior(problem: Problem, stacked: _Draws) -> xr.Dataset:
    """Log prior density of each block at every draw, in the natural parameters and the traits' units."""
    arrays, k = problem.arrays, problem.n_components
    lead = (names.CHAIN, names.DRAW)
    powers = arrays.niw_prior.unit_power(k) @ np.log(problem.unit)
    data: dict[str, Any] = {
        "components": (
            (*lead, names.COMPONENT),
            arrays.niw_prior.log_density(stacked.means, stacked.roots) - powers / k,
        )
    }
    coords: dict[str, Any] = {}
    if problem.covariate_names:
        scale = np.log(problem.unit[None, :] / problem.covariate_unit[:, None])
        precision = arrays.shift_precision
        normal = 0.5 * np.log(precision / (2.0 * np.pi)) - 0.5 * precision * stacked.shifts**2 - scale
        data[names.SHIFTS] = ((*lead, names.COVARIATE), normal.sum(axis=-1))
        coords[names.COVARIATE] = list(problem.covariate_names)
    if k > 1:
        data[names.WEIGHTS] = (lead, arrays.weights_prior.log_density_weights(np.log(stacked.pi)))
        if problem.predictor_names:
            data[names.EFFECTS] = (
                (*lead, names.PREDICTOR),
                arrays.weights_prior.log_density_effects(stacked.beta) + problem.log_effects_shift,
            )
    if names.EFFECTS in data:
        coords[names.PREDICTOR] = list(problem.predictor_names)
    return xr.Dataset(data, coords=coords)


def _walk(problem: Problem, stacked: _Draws, keep_pointwise: bool) -> tuple[Array, Array, Array]:
    """One pass a draw: total and pointwise log likelihood, and memberships averaged over some of the draws."""
    n_chains, n_draws = stacked.pi.shape[:2]
    n_observed = int(problem.observed.sum())
    weight = None if problem.sample_weight is None else problem.sample_weight[problem.people]
    total = np.empty((n_chains, n_draws))
    pointwise = np.empty((n_chains, n_draws, n_observed) if keep_pointwise else (0, 0, 0))
    # per row and not per person: repeated rows are averaged once
    by_row = np.zeros((problem.arrays.n_rows, problem.n_components))
    absent = np.flatnonzero(~problem.observed)
    by_weights = np.zeros((len(absent), problem.n_components))
    every = max(1, n_chains * n_draws // _DRAWS_FOR_MEMBERSHIP)
    counted = 0
    for position, (chain, draw) in enumerate(np.ndindex(n_chains, n_draws)):
        parameters = _one(stacked, chain, draw)
        if keep_pointwise:
            values = problem.pointwise(problem.arrays.membership(parameters)[1])
            pointwise[chain, draw] = values
            total[chain, draw] = values.sum() if weight is None else values @ weight
        else:
            total[chain, draw] = problem.arrays.expectation(parameters).log_likelihood + problem.log_likelihood_shift
        if position % every == 0:
            by_row += problem.arrays.membership(parameters)[0]
            if len(absent):
                by_weights += np.exp(problem.log_weights(parameters)[absent])
            counted += 1
    membership = np.empty((problem.n_samples, problem.n_components))
    membership[problem.people] = by_row[problem.row_of] / counted
    membership[absent] = by_weights / counted
    return total, pointwise, membership


def _versions() -> str:
    packages = ("numpy", "numba", "pymc", "pytensor", "nutpie", "arviz")
    return ", ".join([f"bayesgmm {__version__}", *(f"{name} {version(name)}" for name in packages)])
