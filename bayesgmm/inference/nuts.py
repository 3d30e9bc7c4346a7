"""The full posterior by the No-U-Turn sampler (nutpie), started at the MAP and relabelled to it."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from bayesgmm import names
from bayesgmm.checks import check_share, check_whole, check_workers, seed_or_zero
from bayesgmm.core.gather import thinned
from bayesgmm.core.labels import best_order
from bayesgmm.core.objective import Stacked
from bayesgmm.core.passes import pass_over
from bayesgmm.errors import InputError, MissingExtraError
from bayesgmm.inference.density import WhitenedDensity
from bayesgmm.inference.draws import mean_membership, tree_of_draws, versions
from bayesgmm.inference.learned_density import LearnedDensity, posterior_density
from bayesgmm.inference.map_fit import MapFit
from bayesgmm.inference.nutpie_model import FLAT, hand_over
from bayesgmm.inference.posterior import Posterior
from bayesgmm.inference.search import fit_map, with_a_mode
from bayesgmm.inference.thinning import thin
from bayesgmm.problem import Problem

Array = NDArray[np.float64]

_POINTWISE_LIMIT = 25_000_000  # numbers of pointwise log likelihood kept unless asked for: 200 MB
_USUAL = 0.8  # target acceptance of the sampler, its own default
_CAREFUL = 0.9  # acceptance aimed at where scales are learned: longer steps would diverge near scales of zero
_PEOPLE_FOR_LABELS = 2_000  # people whose memberships decide the labels of a draw
_DRAWS_FOR_MEMBERSHIP = 400  # draws over which memberships are averaged


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
    target_accept: float | None = None,
) -> Posterior:
    """Sample; the arguments are those of :meth:`bayesgmm.Mixture.sample`."""
    for name, value, least in (("draws", draws, 4), ("tune", tune, 50), ("chains", chains, 1)):
        check_whole(name, value, least)
    check_workers("cores", cores)
    seed = seed_or_zero(seed)
    if target_accept is not None:
        check_share("target_accept", target_accept)
    if density not in ("fused", "pymc"):
        raise InputError(f"density = {density!r}; it must be 'fused' or 'pymc'")
    try:
        import nutpie
    except ImportError as error:
        raise MissingExtraError(f"sampling needs the extra: pip install 'bayesgmm[sample]' ({error})") from error
    if density == "pymc":
        # its priors are distributions, and an improper one is none
        problem.priors.refuse_improper()
    problem.priors.refuse_improper(problem.n_complete)
    problem.refuse_unsampled()
    fit = init if init is not None else fit_map(with_a_mode(problem), seed=seed)
    _refuse_other(fit, problem)
    began = time.perf_counter()
    target = _density(problem, fit, density)
    model, compiled_calls = hand_over(target)
    ready = time.perf_counter()
    threads = cores or os.cpu_count() or 1
    raw = nutpie.sample(
        model,
        draws=draws,
        tune=tune,
        chains=chains,
        cores=min(chains, threads),
        seed=seed,
        progress_bar=progress,
        save_warmup=False,
        target_accept=target_accept or (_CAREFUL if isinstance(target, LearnedDensity) else _USUAL),
    )
    sampled = time.perf_counter()
    points = raw["posterior"][FLAT].values
    stacked = target.stacked(points.reshape(-1, target.size))
    stacked = Stacked(*(x.reshape(*points.shape[:2], *x.shape[1:]) for x in stacked))
    # under a small concentration a weight can be too small for a number
    stacked = stacked._replace(pi=np.maximum(stacked.pi, np.finfo(float).tiny))
    stats = _stats(raw)
    told: dict[str, Any] = {}
    if problem.priors.weights_jeffreys:
        stacked, stats, told = _under_jeffreys(problem, stacked, stats, seed)
    stacked = _relabel(problem, fit, stacked, threads)
    keep = (
        stacked.pi[..., 0].size * int(problem.observed.sum()) <= _POINTWISE_LIMIT
        if log_likelihood is None
        else log_likelihood
    )
    total, pointwise = _likelihood(problem, stacked, keep, threads)
    membership = mean_membership(problem, stacked, _DRAWS_FOR_MEMBERSHIP, threads)
    tree = tree_of_draws(
        fit,
        stacked,
        stats,
        membership,
        problem=problem,
        log_likelihood=total,
        pointwise=pointwise,
        # scales are the same whichever way components are labelled
        theta=target.theta(points) if isinstance(target, LearnedDensity) else None,
    )
    tree.attrs = {
        "versions": versions("numpy", "numba", "pymc", "pytensor", "nutpie", "arviz"),
        "priors": str(problem.priors),
        "seed": int(seed),
        "density": density,
        "called_as": "C function" if compiled_calls else "Python function",
        "tune": int(tune),
        "seconds_to_compile": ready - began,
        "seconds_to_sample": sampled - ready,
        **told,
    }
    return Posterior(tree=tree, problem=problem, map=fit)


def _refuse_other(fit: MapFit, problem: Problem) -> None:
    """Raise where chains of a problem cannot be started and relabelled by this fit."""
    if fit.n_emptied:
        raise InputError(
            f"init is a fit of {fit.problem.n_components} components, {fit.n_emptied} others being empty; leave init "
            "out to sample all of them, or sample a Mixture of as many as are left"
        )
    same = ("component_labels", "df", "trait_names", "predictor_names", "covariate_names", "family", "reference")
    other = next((name for name in same if getattr(fit.problem, name) != getattr(problem, name)), None)
    if other is not None:
        raise InputError(
            "init is a fit of another model: its components, degrees of freedom, traits, predictors, covariates, "
            f"family or reference differ ({other}); leave init out, or fit this model"
        )
    if (fit.problem.sample_weight is None) != (problem.sample_weight is None):
        raise InputError(
            "init and this posterior differ in sample weights, which one of them lacks; give sample_weight to both or "
            "to neither"
        )


def _density(problem: Problem, fit: MapFit, source: str) -> WhitenedDensity:
    start = problem.parameters(fit.params)
    if source == "fused":
        return posterior_density(problem, start)
    if problem.priors.scales is not None:
        raise InputError(
            "density = 'pymc' does not know scales that are learned; use density = 'fused', which is the same density, "
            "or Mixture.to_pymc and pymc.sample"
        )
    try:
        from bayesgmm.inference.graph_density import GraphDensity
    except ImportError as error:
        raise MissingExtraError(f"the PyMC model needs the extra: pip install 'bayesgmm[sample]' ({error})") from error
    return GraphDensity(problem.arrays, start)


def _under_jeffreys(
    problem: Problem, stacked: Stacked, stats: xr.Dataset, seed: int
) -> tuple[Stacked, xr.Dataset, dict[str, Any]]:
    """Draws under Dirichlet(1/2), and the sampler's statistics, thinned to Jeffreys' prior of the weights; and told."""
    found = thin(problem, stacked.pi, stacked.means, stacked.roots, seed)
    rows, lead = np.arange(len(found.keep))[:, None], (names.CHAIN, names.DRAW)
    kept = {
        name: (variable.dims, variable.values[rows, found.keep])
        for name, variable in stats.items()
        if variable.dims[:2] == lead
    }
    told = {
        "weights_prior": "Jeffreys, by thinning draws under Dirichlet(1/2)",
        "acceptance": found.acceptance,
        "acceptance_error": found.error,
        "draws_before_thinning": stacked.pi.shape[1],
    }
    return Stacked(*(x[rows, found.keep] for x in stacked)), xr.Dataset(kept), told


def _relabel(problem: Problem, fit: MapFit, stacked: Stacked, threads: int | None = None) -> Stacked:
    """Permute each draw's components to agree best with the MAP's memberships (pivotal reordering); in place."""
    if problem.n_components == 1:
        return stacked
    sample = thinned(problem.arrays.sample, _PEOPLE_FOR_LABELS)
    some = replace(problem.arrays, sample=sample)
    repeats = sample.repeats[:, None] if len(sample.repeats) else 1.0
    pivot = repeats * some.membership(problem.parameters(fit.params))[0]
    agreement = pass_over(sample, stacked.flat(), pivot=pivot, threads=threads).agreement
    agreement = agreement.reshape(*stacked.pi.shape, problem.n_components)
    # where every component agrees best with its own, no other order does better
    identity = np.arange(problem.n_components)
    for chain, draw in zip(*np.nonzero((agreement.argmax(axis=-1) != identity).any(axis=-1)), strict=True):
        order = best_order(agreement[chain, draw], len(problem.fixed))
        if (order != identity).any():
            moved = stacked.at((chain, draw)).permuted(order)
            stacked.pi[chain, draw] = stacked.pi[chain, draw][order]
            stacked.beta[chain, draw] = moved.beta
            stacked.means[chain, draw] = moved.means
            stacked.roots[chain, draw] = moved.roots
            stacked.df[chain, draw] = moved.df
    return stacked


def _likelihood(problem: Problem, stacked: Stacked, keep_pointwise: bool, threads: int) -> tuple[Array, Array | None]:
    """Total and pointwise log likelihood of every draw, in the traits' units."""
    n_chains, n_draws = stacked.pi.shape[:2]
    total = np.empty((n_chains, n_draws))
    pointwise = np.empty((n_chains, n_draws, int(problem.observed.sum()))) if keep_pointwise else None
    for chain in range(n_chains):
        draws = Stacked(*(x[chain] for x in stacked))
        found = pass_over(problem.arrays.sample, draws, pointwise=keep_pointwise, threads=threads)
        total[chain] = found.log_likelihood + problem.log_likelihood_shift
        if pointwise is not None:
            pointwise[chain] = problem.pointwise(found.pointwise)
    return total, pointwise


def _stats(raw: Any) -> xr.Dataset:
    """What is kept of the sampler's statistics, in ArviZ's names."""
    stats = raw["sample_stats"].to_dataset()
    names_of_nutpie = {"depth": "tree_depth", "logp": "lp"}
    wanted = [n for n in ("diverging", "depth", "n_steps", "step_size", "energy", "logp") if n in stats]
    kept: xr.Dataset = stats[wanted].rename({old: new for old, new in names_of_nutpie.items() if old in wanted})
    return kept
