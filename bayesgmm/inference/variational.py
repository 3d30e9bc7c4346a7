"""Variational Bayes: a mean-field posterior with a lower bound on the evidence, in about the time of a fit."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesgmm.checks import check_above_zero, check_whole, seed_or_zero
from bayesgmm.core.families import EQUAL, SAMPLED
from bayesgmm.core.labels import best_order
from bayesgmm.core.mean_field import Ascent, Factors, MeanField
from bayesgmm.core.objective import Parameters
from bayesgmm.core.starts import start_from
from bayesgmm.errors import FitWarning, InputError, warn
from bayesgmm.inference.given_start import by_row, explicit_start
from bayesgmm.inference.map_fit import MapFit
from bayesgmm.inference.search import fit_map, screened, with_a_mode
from bayesgmm.inference.variational_posterior import VariationalPosterior, VariationalRun, mean_field_of
from bayesgmm.problem import Problem
from bayesgmm.progress import track

Array = NDArray[np.float64]

_SAME_BOUND = 1e-4  # units of the bound within which two starts reached the same posterior


def fit_variational(
    problem: Problem,
    *,
    init: MapFit | Array | None = None,
    seed: int | None = None,
    restarts: int = 10,
    max_iterations: int = 5000,
    tolerance: float = 1e-8,
    progress: bool = False,
) -> VariationalPosterior:
    """Raise the bound from several starts; the arguments are those of :meth:`bayesgmm.Mixture.variational`."""
    for name, value in (("restarts", restarts), ("max_iterations", max_iterations)):
        check_whole(name, value, 1)
    check_above_zero("tolerance", tolerance)
    refuse_not_conjugate(problem)
    seed = seed_or_zero(seed)
    began = time.perf_counter()
    pivot, starts = _starts(problem, init, seed, restarts, progress)
    field = mean_field_of(problem)
    runs: list[tuple[str, Ascent]] = []
    theta = _scales_to_start(problem, pivot)
    for method, parameters in track(starts, "starts", enabled=progress):
        factors = field.start(parameters, theta)
        runs.append((method, field.ascend(factors, max_iterations=max_iterations, tolerance=tolerance)))
    best = max((run for _, run in runs), key=lambda run: run.bound)
    shift = problem.log_likelihood_shift
    made = VariationalRun(
        problem=problem,
        pivot=pivot,
        factors=_in_the_order_of(field, best.factors, pivot),
        bounds=np.array(best.bounds) + shift,
        converged=best.converged,
        gap=best.gap,
        seed=seed,
        start_rows=[
            {
                "start": j,
                "method": method,
                "elbo": run.bound + shift,
                "iterations": len(run.bounds),
                "converged": run.converged,
                "reached_best": best.bound - run.bound < _SAME_BOUND,
            }
            for j, (method, run) in enumerate(runs)
        ],
        seconds=time.perf_counter() - began,
    )
    if not best.converged:
        warn(
            f"the variational posterior did not converge: the last step gained {best.gap:.2g}; raise max_iterations "
            f"(now {max_iterations})",
            FitWarning,
        )
    return VariationalPosterior.of_run(made)


def refuse_not_conjugate(problem: Problem) -> None:
    """Raise where the prior has no mean-field posterior of its own form, or no evidence to bound.

    Raises
    ------
    InputError, PropernessError
        Saying why and what to use.
    """
    family = problem.family
    # of one component the families that share a part are all of VVV or VVI, and so is their prior
    if not family.sampled and problem.n_located > 1:
        parts = zip(("volume", "shape", "orientation"), (family.volume, family.shape, family.orientation), strict=True)
        shared = " and ".join(part for part, letter in parts if letter == EQUAL)
        raise InputError(
            f"variational: covariance = {family.name!r} has no conjugate prior for several components, because they "
            f"share their {shared} only: the prior is the density of {'VVI' if family.on_axes else 'VVV'} restricted "
            f"to the family, which has no known constant, and no factor of what is shared keeps its form; use "
            f"{', '.join(SAMPLED)} (or E, V), or the MAP fit"
        )
    if problem.priors.weights_jeffreys:
        raise InputError(
            "variational: Jeffreys' prior of the weights is not conjugate (it depends on the components through an "
            "integral that has no closed form); use Dirichlet(0.5), or sample the posterior "
            "(Mixture.sample)"
        )
    tails = problem.priors.tails
    if tails.n_free and not tails.rate > 0.0:
        raise InputError(
            "variational: the prior of the degrees of freedom is flat, so there is no evidence to bound; give one "
            "(bg.DfGamma), or the degrees of freedom (df=4)"
        )
    problem.priors.refuse_improper()


def _scales_to_start(problem: Problem, pivot: MapFit) -> Array | None:
    """Coordinates of learned scales at those a fit was given, if it knows these scales."""
    scales, theirs, at = problem.priors.scales, pivot.problem.priors.scales, pivot.problem.priors.scales_at
    known = scales is not None and theirs is not None and scales.to_dict().keys() == theirs.to_dict().keys()
    return at if known and at is not None and scales is not None and len(at) == scales.n_scales else None


def _starts(
    problem: Problem, init: Any, seed: int, restarts: int, progress: bool
) -> tuple[MapFit, list[tuple[str, Parameters]]]:
    """The fit whose labels are used, and where to start: at the fit, and at the tops of a screening."""
    smooth = with_a_mode(problem)
    if init is not None:
        method, given = explicit_start(problem, init)
        if not isinstance(given, Parameters):
            found = start_from(problem.arrays, problem.start_points(), by_row(problem, given))
            if found is None:
                raise InputError("init: a component has too few people for a covariance; give it more")
            given = found
        # a fit with heavy tails, or with noise where this has none, has other components than these
        alike = isinstance(init, MapFit) and (init.problem.component_labels, init.problem.df) == (
            problem.component_labels,
            problem.df,
        )
        pivot = init if alike else fit_map(smooth, seed=seed, init=init)
        return pivot, [(method, given)]
    pivot = fit_map(smooth, seed=seed, restarts=restarts, progress=progress)
    starts: list[tuple[str, Parameters]] = [("MAP", pivot.parameters)]
    if restarts > 1 and problem.n_located > 1:
        for method, parameters in screened(smooth, restarts, seed, 10**6, progress):
            if parameters is not None:
                # what a prior that tells components apart says of one is meant of that place in the order of means
                starts.append((method, parameters.sorted()))
    return pivot, starts


def _in_the_order_of(field: MeanField, factors: Factors, pivot: MapFit) -> Factors:
    """The factors with components in the order in which memberships agree best with those of a fit.

    Where the prior tells components apart they stay as they are.
    """
    problem, arrays = pivot.problem, field.arrays
    if not problem.priors.label_invariant or problem.n_located == 1:
        return factors
    own = np.empty((arrays.n_rows, arrays.n_components))
    field.expectation(factors, own)
    theirs = problem.arrays.membership(pivot.parameters)[0]
    repeats = arrays.sample.repeats
    agreement = (theirs * repeats[:, None] if len(repeats) else theirs).T @ own
    return factors.permuted(best_order(agreement, len(problem.fixed)))
