r"""Simulation-based calibration: whether the engines' posteriors are those of the model and its priors.

Parameters are drawn from the prior, traits from the parameters, and an engine's draws from the posterior given the
traits. Then any function of the parameters and the traits has, at the true parameters, a rank among its values at the
draws that is uniform (Talts, Betancourt, Simpson, Vehtari and Gelman 2018, arXiv:1804.06788; functions of the traits
too: Modrak et al. 2023, Bayesian Analysis). The posterior is the same whichever way components are labelled, so
parameters of a component are ranked after the truth and every draw have been put in the order of their means on the
first trait, which is a function of the parameters like any other.

Run as ``python -m benchmarks.calibration FOLDER [--simulations 300] [cases]``; the page of what was found is made from
the folder by ``python -m benchmarks.calibration_page FOLDER``. A run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
import warnings
import zlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

import bayesgmm as bg
from bayesgmm import names
from bayesgmm.core.objective import Stacked
from bayesgmm.inference.draws import log_likelihood_of, log_prior_of, summed, with_scales
from bayesgmm.inference.laplace import USABLE_K
from bayesgmm.inference.map_fit import MapFit
from bayesgmm.inference.nuts import sample_posterior
from bayesgmm.inference.prior_draws import draw_prior, simulate_traits
from bayesgmm.inference.search import fit_map, with_a_mode
from bayesgmm.priors import Priors
from bayesgmm.problem import Problem
from benchmarks.calibration_cases import CASES, Case
from benchmarks.uniformity import p_value

Array = NDArray[np.float64]

RANKED = 99  # draws among which the truth is ranked
_CHAINS = 2
# draws and warm-up of a chain: longer where the draws before are worth less than as many independent ones as are ranked
_LENGTHS = ((200, 150), (800, 500), (3200, 500))
_LAPLACE_DRAWS = 2000
_CHUNK = 20
_POINTS = (-1.0, 1.0)  # of every trait, at which the density is looked at


# -- quantities ------------------------------------------------------------------------------------


def quantities(problem: Problem, draws: xr.Dataset) -> dict[str, Array]:
    """Functions of the parameters (and of the problem's traits) at every draw (chain, draw)."""
    stacked = problem.stacked(draws)
    log_likelihood = log_likelihood_of(problem, stacked)
    scales, theta = problem.priors.scales, None
    if scales is not None:
        theta = scales.theta({name: draws[name].values for name in draws.data_vars})
    blocks = log_prior_of(problem, stacked, theta)
    log_prior = summed(blocks)
    found = {
        "log likelihood": log_likelihood,
        "log prior": log_prior,
        "log posterior": log_likelihood + log_prior,
    }
    if len(blocks.data_vars) > 1:
        found |= {f"log prior of {name}": summed(blocks[[name]]) for name in map(str, blocks.data_vars)}
    weights, means, covariances = (draws[v].values for v in (names.WEIGHTS, names.MEANS, names.COVARIANCES))
    effects = np.insert(draws[names.EFFECTS].values, 0, 0.0, axis=-1)
    found |= _of_the_mixture(problem, weights, means, covariances, effects)
    if scales is not None:
        for name, (_, values) in scales.variables(theta).items():
            columns = values.reshape(*values.shape[:2], -1)
            found |= {f"{name} {j}": columns[..., j] for j in range(columns.shape[-1])}
    for q, covariate in enumerate(problem.covariate_names):
        for d, trait in enumerate(problem.trait_names):
            found[f"shift of {trait} by {covariate}"] = draws[names.SHIFTS].values[..., q, d]
    if names.DF in draws:
        # of one for all; those of each go with their components below
        values = draws[names.DF].values
        found |= {"df, all together": np.log(values).sum(axis=-1)}
    order = means[..., : problem.n_located, 0].argsort(axis=-1)
    others = np.arange(problem.n_located, problem.n_components)
    order = np.concatenate((order, np.broadcast_to(others, (*order.shape[:-1], len(others)))), axis=-1)
    return found | _of_components(
        problem,
        np.take_along_axis(weights, order, -1),
        np.take_along_axis(means, order[..., None], -2),
        np.take_along_axis(covariances, order[..., None, None], -3),
        np.take_along_axis(effects, order[..., None, :], -1),
    )


def _of_the_mixture(
    problem: Problem, weights: Array, means: Array, covariances: Array, effects: Array
) -> dict[str, Array]:
    """What does not depend on labels: moments, densities, sizes of effects, shifts of the trait's mean."""
    found: dict[str, Array] = {}
    k = problem.n_components
    if k > 1:
        average = np.einsum("...k,...kd->...d", weights, means)
        offset = means - average[..., None, :]
        total = np.einsum("...k,...kde->...de", weights, covariances + offset[..., :, None] * offset[..., None, :])
        for d, trait in enumerate(problem.trait_names):
            found[f"mean of {trait}"] = average[..., d]
            found[f"variance of {trait}"] = total[..., d, d]
        for point in _POINTS if not len(problem.fixed) and not len(problem.priors.tails.df) else ():
            found[f"density at {point:g}"] = _density(point, weights, means, covariances)
    for p, predictor in enumerate(problem.predictor_names):
        effect = effects[..., p, :]
        # sum over pairs of components of squared differences
        found[f"size of {predictor}"] = k * (effect**2).sum(-1) - effect.sum(-1) ** 2
        moved = weights * np.exp(effect - effect.max(-1, keepdims=True))
        moved = moved / moved.sum(-1, keepdims=True)
        found[f"mean shift by {predictor}"] = ((moved - weights) * means[..., 0]).sum(-1)
    return found


def _density(point: float, weights: Array, means: Array, covariances: Array) -> Array:
    away = point - means
    squared = (away[..., None, :] @ np.linalg.solve(covariances, away[..., None]))[..., 0, 0]
    _, log_det = np.linalg.slogdet(2.0 * np.pi * covariances)
    density: Array = (weights * np.exp(-0.5 * (squared + log_det))).sum(-1)
    return density


def _of_components(
    problem: Problem, weights: Array, means: Array, covariances: Array, effects: Array
) -> dict[str, Array]:
    """Parameters of components that are in the order of their means."""
    found: dict[str, Array] = {}
    k, traits = problem.n_components, problem.trait_names
    for j in range(k):
        if j < k - 1:
            found[f"weight {j}"] = weights[..., j]
        for d, trait in enumerate(traits if j < problem.n_located else ()):
            found[f"mean {j} of {trait}"] = means[..., j, d]
            if j == 0 or not problem.family.shared:
                found[f"variance {j} of {trait}"] = covariances[..., j, d, d]
        if len(traits) == 2 and not problem.family.on_axes and (j == 0 or not problem.family.shared):
            correlation = covariances[..., j, 0, 1] / np.sqrt(covariances[..., j, 0, 0] * covariances[..., j, 1, 1])
            found[f"correlation {j}"] = correlation
        if j:
            for p, predictor in enumerate(problem.predictor_names):
                found[f"effect of {predictor}, {j} vs 0"] = effects[..., p, j] - effects[..., p, 0]
    return found


# -- simulations -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Simulation:
    """What one simulation gave for one engine.

    Attributes
    ----------
    ranks : dict
        Draws, of :data:`RANKED`, below the truth, by quantity.
    pareto_k : float
        Of Laplace; not a number for NUTS.
    ess : float
        Smallest effective number of draws of a quantity.
    divergences : int
    """

    ranks: dict[str, int]
    pareto_k: float
    ess: float
    divergences: int


def simulate(
    case: Case, template: Problem, seed: int, number: int, believed: Priors | None = None
) -> dict[str, Simulation]:
    """One truth, its traits, and its ranks by engine.

    Parameters
    ----------
    case : Case
    template : Problem
        Of the case.
    seed, number : int
        Of all simulations and of this one.
    believed : Priors, optional
        What the engines are told in place of the priors that the truth is drawn from: a mistake to be found.
    """
    rng = np.random.default_rng([seed, number])
    truth, labelled = _truth(template, rng)
    traits = simulate_traits(template, truth, rng)[0][0]
    resolved = template.priors if believed is None else template.with_priors(believed).priors
    # the numbers of the priors are the template's, and not found anew from the simulated traits
    problem = replace(template, traits=traits, priors=resolved)
    at_truth = {name: float(value[0, 0]) for name, value in quantities(problem, labelled).items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bg.FitWarning)
        fit = fit_map(with_a_mode(problem), seed=number)
    return {engine: _ENGINES[engine](problem, fit, at_truth, number, rng) for engine in case.engines}


def _truth(problem: Problem, rng: np.random.Generator) -> tuple[Stacked, xr.Dataset]:
    """Parameters from the prior, standardised and labelled."""
    truth = draw_prior(problem, 1, rng)
    scales = problem.priors.scales
    if scales is None:
        return truth, problem.draws_of(truth)
    theta = scales.quantiles(rng.random((1, scales.n_scales)))
    sds = scales.sds(theta) * problem.predictor_unit
    truth = truth._replace(beta=problem.arrays.weights_prior.draw_effects(1, rng, sds))
    return truth, with_scales(problem, problem.draws_of(truth), theta[None])


def _nuts(problem: Problem, fit: MapFit, truth: dict[str, float], seed: int, rng: np.random.Generator) -> Simulation:
    from arviz_stats.base import array_stats

    for draws, tune in _LENGTHS:
        try:
            posterior = sample_posterior(
                problem, init=fit, draws=draws, tune=tune, chains=_CHAINS, cores=1, seed=seed, log_likelihood=False
            )
        except bg.InputError:
            # a prior by which draws are thinned may leave too few
            if draws == _LENGTHS[-1][0]:
                raise
            continue
        values = quantities(problem, posterior.posterior)
        ess = min(float(array_stats.ess(v, chain_axis=0, draw_axis=1, method="bulk")) for v in values.values())
        if ess >= RANKED:
            break
    n_draws = next(iter(values.values())).size
    chosen = np.linspace(0, n_draws - 1, RANKED).round().astype(int)
    return Simulation(_ranks(values, truth, chosen, rng), np.nan, ess, posterior.n_divergences)


def _laplace(problem: Problem, fit: MapFit, truth: dict[str, float], seed: int, rng: np.random.Generator) -> Simulation:
    posterior = fit.laplace(draws=_LAPLACE_DRAWS, seed=seed)
    # resampled draws are in random order
    values = quantities(problem, posterior.posterior.isel({names.DRAW: slice(RANKED)}))
    return Simulation(_ranks(values, truth, np.arange(RANKED), rng), posterior.pareto_k, posterior.ess, 0)


_ENGINES = {"nuts": _nuts, "laplace": _laplace}


def _ranks(
    values: dict[str, Array], truth: dict[str, float], chosen: NDArray[np.int64], rng: np.random.Generator
) -> dict[str, int]:
    """Rank of the truth among the chosen draws; ties are broken by chance."""
    ranks = {}
    for name, value in values.items():
        draws = value.ravel()[chosen]
        below, same = int((draws < truth[name]).sum()), int((draws == truth[name]).sum())
        ranks[name] = below + int(rng.integers(0, same + 1))
    return ranks


def _chunk(case: Case, seed: int, numbers: Sequence[int], believed: Priors | None) -> list[dict[str, Simulation]]:
    template = case.problem()
    return [simulate(case, template, seed, number, believed) for number in numbers]


def seed_of(name: str) -> int:
    """Seed of a case, from its name."""
    return zlib.crc32(name.encode())


def run(
    case: Case,
    seed: int,
    numbers: Iterable[int],
    *,
    believed: Priors | None = None,
    processes: int = 2,
    progress: str | None = None,
) -> dict[str, pd.DataFrame]:
    """Simulate in several processes.

    Returns
    -------
    dict of DataFrame
        By engine: one row a simulation, a column of ranks for each quantity, and ``pareto_k``, ``ess``,
        ``divergences``, ``number``.
    """
    numbers = list(numbers)
    parts = [numbers[i : i + _CHUNK] for i in range(0, len(numbers), _CHUNK)]
    rows: dict[str, list[dict[str, float]]] = {engine: [] for engine in case.engines}
    began = time.perf_counter()
    # fresh processes: a fork would copy the threads' locks of whoever calls
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        waiting = {pool.submit(_chunk, case, seed, part, believed): part for part in parts}
        for done, future in enumerate(as_completed(waiting)):
            for number, simulation in zip(waiting[future], future.result(), strict=True):
                for engine, one in simulation.items():
                    told = {"pareto_k": one.pareto_k, "ess": one.ess, "divergences": one.divergences, "number": number}
                    rows[engine].append(one.ranks | told)
            if progress:
                print(f"{progress}: {done + 1} of {len(parts)} parts, {time.perf_counter() - began:.0f} s", flush=True)
    return {engine: pd.DataFrame(found).sort_values("number", ignore_index=True) for engine, found in rows.items()}


TOLD = ("pareto_k", "ess", "divergences", "number")


def p_values(table: pd.DataFrame, *, usable: bool = False) -> pd.Series[float]:
    """P-value of each quantity's ranks; ``usable`` leaves out simulations whose k-hat says to use NUTS.

    That they may be left out is because k-hat is a function of the traits, given which ranks are uniform too.
    """
    if usable:
        table = table[~(table["pareto_k"] > USABLE_K)]
    return pd.Series({name: p_value(table[name].to_numpy(), RANKED) for name in table.columns if name not in TOLD})


def main() -> None:
    """Run cases and keep their ranks in a folder, one file a case and engine."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("cases", nargs="*", default=list(CASES))
    parser.add_argument("--simulations", type=int, default=300)
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_intermixed_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    for name in given.cases:
        case = CASES[name]
        files = {engine: given.folder / f"{name}.{engine}.csv" for engine in case.engines}
        old = {engine: pd.read_csv(file) for engine, file in files.items() if file.exists()}
        first = min((len(table) for table in old.values()), default=0) if len(old) == len(files) else 0
        if first >= given.simulations:
            continue
        began = time.perf_counter()
        numbers = range(first, given.simulations)
        found = run(case, seed_of(name), numbers, processes=given.processes, progress=name)
        for engine, table in found.items():
            pd.concat([old.get(engine, table[:0])[:first], table]).to_csv(files[engine], index=False)
        seconds = time.perf_counter() - began
        least = {engine: round(float(p_values(table).min()), 4) for engine, table in found.items()}
        print(json.dumps({"case": name, "simulations": given.simulations, "seconds": seconds, "least p": least}))


if __name__ == "__main__":
    main()
