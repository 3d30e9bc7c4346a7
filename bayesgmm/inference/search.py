"""From a problem to its MAP: starts, screening, and the climb of the most promising to the top."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from bayesgmm import names
from bayesgmm.core.objective import Parameters
from bayesgmm.core.starts import fitted_partition, kmeans_partition, quantile_partition, spread_partition
from bayesgmm.errors import FitWarning, InputError
from bayesgmm.inference.em import Climb, SingularComponentError, climb, start_from
from bayesgmm.inference.map_fit import MapFit
from bayesgmm.problem import Problem
from bayesgmm.progress import track

Array = NDArray[np.float64]

_SCREENING_STEPS = 15  # EM steps every start gets before the best go on
_SAME_HILL = 1e-3  # log posterior units after screening within which two starts climb the same hill
_FINISHERS = 4  # starts that are climbed to the top
_SAME_MODE = 1e-4  # log posterior units within which two starts reached the same mode


def fit_map(
    problem: Problem,
    *,
    seed: int | None = None,
    restarts: int = 10,
    init: MapFit | Array | None = None,
    max_iterations: int = 5000,
    tolerance: float = 1e-8,
    progress: bool = False,
) -> MapFit:
    """Fit by EM from several starts; the arguments are those of :meth:`bayesgmm.Mixture.fit`."""
    if restarts < 1:
        raise InputError(f"restarts = {restarts}; it must be at least 1")
    if max_iterations < 1:
        raise InputError(f"max_iterations = {max_iterations}; it must be at least 1")
    if not tolerance > 0:
        raise InputError(f"tolerance = {tolerance!r}; it must be above 0")
    seed = 0 if seed is None else seed
    starts = _explicit_start(problem, init) if init is not None else _starts(problem, restarts, seed)
    best, table = _climb_all(problem, starts, max_iterations, tolerance, progress)
    run = best
    shift = problem.log_likelihood_shift + problem.log_prior_shift
    fit = MapFit(
        problem=problem,
        params=problem.labelled(run.parameters.sorted()),
        history=xr.DataArray(np.array(run.history) + shift, dims=names.ITERATION, name=names.LOG_POSTERIOR),
        converged=run.converged,
        reason=run.reason,
        starts=table.assign(log_posterior=table["log_posterior"] + shift),
        seed=seed,
    )
    if not fit.converged:
        warnings.warn(
            f"the fit did not converge: {fit.reason}; raise max_iterations (now {max_iterations})",
            FitWarning,
            stacklevel=3,
        )
    return fit


def _explicit_start(problem: Problem, init: MapFit | Array) -> list[tuple[str, Parameters | Array]]:
    if isinstance(init, MapFit):
        if init.problem.n_components != problem.n_components or init.problem.trait_names != problem.trait_names:
            raise InputError("init is a fit of another number of components or of other traits")
        if init.problem.predictor_names == problem.predictor_names:
            return [("earlier fit", problem.parameters(init.params))]
        return [("earlier fit", init.responsibilities.sel(sample=list(problem.sample_ids)).values[problem.people])]
    given = np.asarray(init)
    if given.ndim == 1 and len(given) == problem.n_samples:
        labels, coded = np.unique(given, return_inverse=True)
        if len(labels) > problem.n_components:
            raise InputError(f"init has {len(labels)} labels for {problem.n_components} components")
        given = np.eye(problem.n_components)[coded]
    if given.shape != (problem.n_samples, problem.n_components):
        raise InputError(
            f"init has shape {np.asarray(init).shape}; it must be labels ({problem.n_samples},) or responsibilities "
            f"({problem.n_samples}, {problem.n_components})"
        )
    return [("given partition", np.asarray(given, dtype=float)[problem.people])]


def _starts(problem: Problem, restarts: int, seed: int) -> list[tuple[str, Parameters | Array]]:
    k, traits = problem.n_components, problem.arrays.traits
    if k == 1:
        return [("one component", np.ones((traits.shape[1], 1)))]
    rng = np.random.default_rng(seed)
    partitions = [("quantiles", quantile_partition(traits, k, d)) for d in range(min(len(traits), 2))]
    partitions.append(("spread", spread_partition(traits, k)))
    if problem.predictor_names:
        rows = problem.arrays.predictors[problem.arrays.pattern]
        partitions.append(("predictors", fitted_partition(traits, rows, k)))
    while len(partitions) < restarts:
        partitions.append(("k-means++", kmeans_partition(traits, k, rng)))
    return [(method, np.eye(k)[labels]) for method, labels in partitions[:restarts]]


def _climb_all(
    problem: Problem,
    starts: list[tuple[str, Parameters | Array]],
    max_iterations: int,
    tolerance: float,
    progress: bool,
) -> tuple[Climb, pd.DataFrame]:
    """Screen every start with a few EM steps, climb the best to the top, and tell of all."""
    arrays = problem.arrays
    runs: list[Climb | None] = []
    failures: list[str] = []
    for _, start in track(starts, "starts", enabled=progress):
        try:
            parameters = start if isinstance(start, Parameters) else start_from(arrays, start)
            steps = max_iterations if len(starts) == 1 else min(_SCREENING_STEPS, max_iterations)
            runs.append(climb(arrays, parameters, max_iterations=steps, tolerance=tolerance))
            failures.append("")
        except SingularComponentError as error:
            runs.append(None)
            failures.append(str(error))
    alive = [j for j, run in enumerate(runs) if run is not None]
    finished: list[int] = []
    for j in _most_promising(alive, runs):
        run = runs[j]
        if run is None:
            continue
        try:
            if not run.converged and len(run.history) < max_iterations:
                rest = climb(
                    arrays, run.parameters, max_iterations=max_iterations - len(run.history), tolerance=tolerance
                )
                rest.history = [*run.history, *(value for value in rest.history if value > run.history[-1])]
                runs[j] = rest
            finished.append(j)
        except SingularComponentError as error:
            runs[j], failures[j] = None, str(error)
    if not finished:
        raise InputError(
            f"no start reached a mode: {failures[0]}. The flat prior lets a component collapse; use the default "
            "priors, or fewer components"
        )
    best_index = max(finished, key=lambda j: _height(runs[j]))
    top = _height(runs[best_index])
    best = runs[best_index]
    assert best is not None
    rows = [
        {
            "start": j,
            "method": starts[j][0],
            names.LOG_POSTERIOR: _height(run),
            "iterations": 0 if run is None else len(run.history),
            "converged": run is not None and run.converged,
            "reached_best": run is not None and top - _height(run) < _SAME_MODE,
            "note": failures[j] or ("" if j in finished else "left after screening"),
        }
        for j, run in enumerate(runs)
    ]
    return best, pd.DataFrame(rows)


def _most_promising(alive: list[int], runs: list[Climb | None]) -> list[int]:
    """Starts to finish: the highest after screening, passing over those that climb the same hill as a higher one."""
    chosen: list[int] = []
    for j in sorted(alive, key=lambda j: -_height(runs[j])):
        if all(abs(_height(runs[j]) - _height(runs[other])) > _SAME_HILL for other in chosen):
            chosen.append(j)
    return chosen[:_FINISHERS]


def _height(run: Climb | None) -> float:
    return -np.inf if run is None or not run.history else run.history[-1]
