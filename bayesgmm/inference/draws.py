"""Draws of a mixture's parameters, from any engine, as the groups of a DataTree."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from bayesgmm import __version__, names
from bayesgmm.core.objective import Stacked
from bayesgmm.core.passes import pass_over
from bayesgmm.inference.learned_density import log_density_given_scales, scales_of
from bayesgmm.inference.thinning import log_jeffreys_ratio
from bayesgmm.inference.tidy import without_empty
from bayesgmm.problem_storage import problem_to_dataset

if TYPE_CHECKING:
    from bayesgmm.inference.map_fit import MapFit
    from bayesgmm.problem import Problem

Array = NDArray[np.float64]

_LEAD = (names.CHAIN, names.DRAW)


def log_prior_of(problem: Problem, stacked: Stacked, theta: Array | None = None) -> xr.Dataset:
    """Log prior density of each block at every draw (chain, draw), in the natural parameters and the traits' units.

    ``theta`` (chain, draw, n_scales) are the scales of the effects where they are learned: the effects' density is then
    given them, and ``scales`` that of the scales themselves.
    """
    arrays, k = problem.arrays, problem.n_components
    located = problem.n_located
    powers = arrays.niw_prior.unit_power(located) @ np.log(problem.unit)
    data: dict[str, Any] = {
        "components": (
            (*_LEAD, names.LOCATED if len(problem.fixed) else names.COMPONENT),
            arrays.niw_prior.log_density(stacked.means, stacked.roots) - powers / located,
        )
    }
    coords: dict[str, Any] = {}
    if problem.covariate_names:
        scale = np.log(problem.unit[None, :] / problem.covariate_unit[:, None])
        precision = arrays.shift_precision
        # a flat prior adds nothing
        proper = precision > 0.0
        constant = np.where(proper, 0.5 * np.log(np.where(proper, precision, 1.0) / (2.0 * np.pi)) - scale, 0.0)
        normal = constant - 0.5 * precision * stacked.shifts**2
        data[names.SHIFTS] = ((*_LEAD, names.COVARIATE), normal.sum(axis=-1))
        coords[names.COVARIATE] = list(problem.covariate_names)
    if arrays.tails.n_free:
        data[names.DF] = (_LEAD, arrays.tails.log_density(stacked.df))
    if k > 1:
        of_weights = arrays.weights_prior.log_density_weights(np.log(stacked.pi))
        if problem.priors.weights_jeffreys:
            # the constant is that of the Dirichlet which bounds it, for want of its own
            of_weights = of_weights + log_jeffreys_ratio(stacked.pi, stacked.means, stacked.roots)[0]
        data[names.WEIGHTS] = (_LEAD, of_weights)
        if problem.predictor_names:
            if theta is None:
                effects = arrays.weights_prior.log_density_effects(stacked.beta)
            else:
                effects, scales = log_density_given_scales(problem, stacked.beta, theta), scales_of(problem)
                data["scales"] = (_LEAD, scales.log_density(theta) - scales.log_jacobian(theta))
            data[names.EFFECTS] = ((*_LEAD, names.PREDICTOR), effects + problem.log_effects_shift)
    if names.EFFECTS in data:
        coords[names.PREDICTOR] = list(problem.predictor_names)
    return xr.Dataset(data, coords=coords)


def summed(log_prior: xr.Dataset) -> Array:
    """Log prior density of every draw: its blocks added up (chain, draw)."""
    total = sum(v.sum([d for d in v.dims if d not in _LEAD]).values for v in log_prior.values())
    return np.asarray(total, dtype=float)


def log_likelihood_of(problem: Problem, stacked: Stacked) -> Array:
    """Log likelihood of all the traits, in their units, at every draw (chain, draw)."""
    found = pass_over(problem.arrays.sample, stacked.flat())
    return found.log_likelihood.reshape(stacked.pi.shape[:-1]) + problem.log_likelihood_shift


def mean_membership(problem: Problem, stacked: Stacked, most: int, threads: int | None = None) -> Array:
    """Membership probabilities of every person (n_samples, K), averaged over at most so many of the draws."""
    flat = stacked.flat()
    n = len(flat.pi)
    chosen = np.unique(np.linspace(0, n - 1, min(n, most)).astype(int))
    some = Stacked(*(x[chosen] for x in flat))
    # per row and not per person: repeated rows are averaged once
    by_row = pass_over(problem.arrays.sample, some, membership=True, threads=threads).membership
    absent = np.flatnonzero(~problem.observed)
    by_weights = np.zeros((len(absent), problem.n_components))
    if len(absent):
        for j in range(len(chosen)):
            by_weights += np.exp(problem.log_weights(some.at(j))[absent])
    membership = np.empty((problem.n_samples, problem.n_components))
    membership[problem.people] = by_row[problem.row_of] / len(chosen)
    membership[absent] = by_weights / len(chosen)
    return membership


def tree_of_draws(
    fit: MapFit,
    stacked: Stacked,
    stats: xr.Dataset,
    membership: Array,
    *,
    problem: Problem | None = None,
    log_likelihood: Array | None = None,
    pointwise: Array | None = None,
    theta: Array | None = None,
) -> xr.DataTree:
    """Every group of a :class:`bayesgmm.Posterior`'s tree.

    Parameters
    ----------
    fit : MapFit
        Pivot of the labels.
    stacked : Stacked
        Parameters (chain, draw, ...), relabelled.
    stats : xarray.Dataset
        Of the sampler (chain, draw).
    membership : ndarray (n_samples, K)
    problem : Problem, optional
        Of which these are draws, where its priors are not those of the fit.
    log_likelihood : ndarray (chain, draw), optional
        Of all the traits, in their units.
    pointwise : ndarray (chain, draw, people with traits), optional
        Of every person.
    theta : ndarray (chain, draw, n_scales), optional
        Scales of the effects, where they are learned.
    """
    problem = fit.problem if problem is None else problem
    n_chains, n_draws = stacked.pi.shape[:2]
    index = {names.CHAIN: np.arange(n_chains), names.DRAW: np.arange(n_draws)}
    samples = {names.SAMPLE: np.asarray(problem.sample_ids)}
    log_prior = log_prior_of(problem, stacked, theta)
    if log_likelihood is not None:
        stats = stats.assign(
            {
                names.LOG_LIKELIHOOD: (_LEAD, log_likelihood),
                names.LOG_POSTERIOR: (_LEAD, log_likelihood + summed(log_prior)),
            }
        )
    posterior = problem.dataset(stacked)
    if theta is not None:
        posterior = with_scales(problem, posterior, theta)
    components: Any = np.arange(problem.n_components)
    if len(problem.fixed):
        # for ArviZ, which names numbers by their coordinate and does not take a second one of the same dim
        components = list(problem.component_labels)
        posterior = posterior.drop_vars(names.KIND).assign_coords({names.COMPONENT: components})
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
            coords={**samples, names.COMPONENT: components},
        ),
        "map": fit.to_tree()["map"].to_dataset(),
    }
    if pointwise is not None:
        groups["log_likelihood"] = xr.Dataset(
            {"traits": ((*_LEAD, names.SAMPLE), pointwise)},
            coords={**index, names.SAMPLE: samples[names.SAMPLE][problem.people]},
        )
    return xr.DataTree.from_dict(groups)


def with_scales(problem: Problem, draws: xr.Dataset, theta: Array) -> xr.Dataset:
    """Draws with the learned scales of the effects (chain, draw, n_scales) and what is derived from them."""
    scales = scales_of(problem)
    found = {name: ((*_LEAD, *dims), values) for name, (dims, values) in scales.variables(theta).items()}
    return draws.assign(found).assign_coords(scales.coords)


def versions(*packages: str) -> str:
    """Versions of this package and of those named that are installed."""
    told = [f"bayesgmm {__version__}"]
    for name in packages:
        try:
            told.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(told)
