"""From a problem to its MAP: starts, screening, and the climb of the most promising to the top."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesgmm import names
from bayesgmm.checks import check_above_zero, check_whole, seed_or_zero
from bayesgmm.core.gather import thinned
from bayesgmm.core.objective import MixtureArrays, Parameters
from bayesgmm.core.sample import at_spike, has_noise
from bayesgmm.core.starts import (
    fitted_partition,
    hierarchical_partition,
    kmeans_partition,
    quantile_partition,
    random_partition,
    spike_partition,
    spread_over,
    spread_partition,
    start_from,
    whitened,
)
from bayesgmm.errors import FitWarning, InputError, warn
from bayesgmm.inference.boundary import Survivors, refuse_labelled_effects, survivors_from
from bayesgmm.inference.em import Climb, SingularComponentError, climb, polish
from bayesgmm.inference.given_start import by_row, explicit_start
from bayesgmm.inference.map_fit import Emptied, MapFit
from bayesgmm.inference.scale_search import with_fitted_scales
from bayesgmm.problem import Problem
from bayesgmm.progress import track

Array = NDArray[np.float64]
Labels = NDArray[np.int64]

_SCREENING_STEPS = 15  # EM steps every start gets before the best go on
SCREENING_ROWS = 10_000  # rows on which they are taken; more would cost time and change little
_NEAR = 1e-4  # distance to the limit at which the subset's top is near enough
_SAME_HILL = 1e-3  # log posterior units after screening within which two starts climb the same hill
_FINISHERS = 4  # starts that are climbed to the top, at least
_SHARE_FINISHED = 3  # one in so many is climbed to the top when many are asked for
_WHOLE = 2  # starts that are climbed to the top of the whole when they were screened on a subset, at least
_REORDERINGS = 3  # climbs from reordered components before a mode out of order is accepted
_SAME_MODE = 1e-4  # log posterior units within which two starts reached the same mode
_CHANCE = 5.0  # standard errors by which a subset's top must be lower to be left
_LOWER = "left: lower on a subset by more than chance"
_COLLAPSED = "a component collapsed on too few people and its covariance is singular"


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
    check_whole("restarts", restarts, 1)
    check_whole("max_iterations", max_iterations, 1)
    check_above_zero("tolerance", tolerance)
    seed = seed_or_zero(seed)
    if problem.priors.weights_jeffreys:
        raise InputError(
            "weights prior: under Jeffreys' prior of the weights there is no MAP fit: the density has no bound as the "
            "weight of a component with the widest tails vanishes. Sample the posterior (Mixture.sample), or fit under "
            "Dirichlet(0.5) or Dirichlet(1)"
        )
    emptied = None
    if problem.n_components > 1 and float(problem.priors.concentration.min()) < 1.0:
        problem, run, table, emptied = _climb_to_the_boundary(
            problem, restarts, seed, init, max_iterations, tolerance, progress
        )
    elif init is not None:
        run, table = _climb_from(problem, *explicit_start(problem, init), max_iterations, tolerance)
    else:
        run, table = _climb_all(problem, restarts, seed, max_iterations, tolerance, progress)
    fit = fit_of_climb(problem, run, table, seed, max_iterations, tolerance, emptied)
    if problem.priors.scales is not None:

        def climbed(other: Problem, start: MapFit) -> MapFit:
            return fit_map(other, seed=seed, init=start, max_iterations=max_iterations, tolerance=tolerance)

        fit = with_fitted_scales(fit, climbed)
    if not fit.converged:
        warn(
            f"the fit did not converge: {fit.reason}"
            + (f"; raise max_iterations (now {max_iterations})" if fit.reason.startswith("out of steps") else ""),
            FitWarning,
        )
    if problem.priors.components_jeffreys and problem.priors.why_improper(problem.n_complete):
        warn(_improper_told(fit), FitWarning)
    return fit


def fit_of_climb(
    problem: Problem,
    run: Climb,
    table: list[dict[str, Any]],
    seed: int,
    max_iterations: int,
    tolerance: float,
    emptied: Emptied | None = None,
) -> MapFit:
    """The result of the highest climb; the log posteriors of its table of starts go back to the traits' units."""
    run = _in_order(problem, run, max_iterations, tolerance)
    _, gradient = problem.arrays.log_posterior_and_gradient(run.parameters)
    shift = problem.log_likelihood_shift + problem.log_prior_shift
    for row in table:
        row[names.LOG_POSTERIOR] += shift
    return MapFit(
        problem=problem,
        parameters=run.parameters,
        converged=run.converged,
        reason=run.reason,
        gap=run.gap,
        strict=run.strict,
        gradient_norm=float(np.abs(gradient).max(initial=0.0)),
        seed=seed,
        log_posteriors=np.array(run.history) + shift,
        start_rows=table,
        emptied=emptied,
        information=run.curvature[1] if run.curvature is not None and run.curvature[0] is run.parameters else None,
    )


def with_a_mode(problem: Problem) -> Problem:
    """The problem under a prior of the weights that has a mode, for a start: concentrations of at least 1."""
    concentration = np.maximum(problem.priors.concentration, 1.0)
    if np.array_equal(concentration, problem.priors.concentration):
        return problem
    return problem.with_resolved(replace(problem.priors, concentration=concentration, weights_jeffreys=False))


def _in_order(problem: Problem, run: Climb, max_iterations: int, tolerance: float) -> Climb:
    """The mode with components in the order of their means on the first trait.

    Where the prior tells components apart, what was known of a component is meant of the one in its place in that
    order: the climb goes on from the reordered parameters. Where it leads out of order again, it stays so.
    """
    if problem.priors.label_invariant:
        run.parameters = run.parameters.sorted()
        return run
    for _ in range(_REORDERINGS):
        ordered = run.parameters.sorted()
        if np.array_equal(ordered.means, run.parameters.means):
            return run
        again, _ = _try_climb(problem.arrays, ordered, max_iterations, tolerance)
        if again is None:
            return run
        run = polish(problem.arrays, again, max_iterations=max_iterations, tolerance=tolerance)
    return run


def _improper_told(fit: MapFit) -> str:
    """What a fit under Jeffreys' prior of the components is in danger of, and which component is nearest to it."""
    problem = fit.problem
    mass = problem.arrays.expectation(fit.parameters).mass
    k, size = int(mass.argmin()), len(problem.trait_names)
    return (
        "Jeffreys' prior of the components is improper, so this fit is a local mode: the density has no bound where a "
        f"component closes in on {size} or fewer people. Component {k} is nearest to that, with {mass[k]:.1f} people "
        f"in {size} trait(s); a mixture under this prior cannot be sampled (bayesgmm.propriety says why)"
    )


def _climb_to_the_boundary(
    problem: Problem,
    restarts: int,
    seed: int,
    init: MapFit | Array | None,
    max_iterations: int,
    tolerance: float,
    progress: bool,
) -> tuple[Problem, Climb, list[dict[str, Any]], Emptied]:
    """Fit what is left when components die, from the highest starts under a prior that lets none; and tell of all."""
    refuse_labelled_effects(problem)
    if init is not None:
        method, given = explicit_start(problem, init)
        parameters = given if isinstance(given, Parameters) else None
        if not isinstance(given, Parameters):
            parameters = start_from(problem.arrays, problem.start_points(), by_row(problem, given))
        starts = [(method, parameters)]
    else:
        starts = screened(with_a_mode(problem), restarts, seed, max_iterations, progress)
    ends: list[Survivors] = []
    rows: list[dict[str, Any]] = []
    failure = _COLLAPSED
    for j, (method, parameters) in enumerate(track(starts, "starts", enabled=progress)):
        if parameters is None:
            continue
        try:
            found = survivors_from(problem, parameters, max_iterations, tolerance, ends)
        except SingularComponentError as error:
            failure = str(error)
            continue
        ends += found
        top = max(found, key=lambda end: end.score)
        rows.append(
            {
                "start": j,
                "method": method,
                names.LOG_POSTERIOR: top.run.history[-1],
                "iterations": len(top.run.history),
                "converged": top.run.converged,
                "n_components": top.problem.n_components,
                "emptied_by_em": found[0].n_by_em,
                "score": top.score,
            }
        )
    if not ends:
        raise InputError(_no_start(problem, failure))
    best = max(ends, key=lambda end: end.score)
    scores = []
    for size in sorted({end.problem.n_components for end in ends}):
        end = max((e for e in ends if e.problem.n_components == size), key=lambda e: e.score)
        shift = problem.log_likelihood_shift + end.problem.log_prior_shift
        scores.append({"n_components": size, "score": end.score, names.LOG_POSTERIOR: end.run.history[-1] + shift})
    for row in rows:
        row["reached_best"] = best.score - row["score"] < _SAME_MODE
    return best.problem, best.run, rows, Emptied(problem.n_components, best.n_by_em, scores)


def screened(
    problem: Problem, restarts: int, seed: int, max_iterations: int, progress: bool
) -> list[tuple[str, Parameters | None]]:
    """Starts after a few EM steps, on a subset where there are many people: the highest of every hill."""
    arrays = problem.arrays
    sample = thinned(arrays.sample, SCREENING_ROWS)
    some = arrays if sample is arrays.sample else replace(arrays, sample=sample)
    points = problem.start_points(sample)
    partitions = partitions_of(some, points, restarts, seed)
    runs: list[Climb | None] = []
    for j, (_, labels) in enumerate(track(partitions, "starts", enabled=progress)):
        parameters = start_from(some, points, spread_over(some, points, labels, j))
        runs.append(_try_climb(some, parameters, min(_SCREENING_STEPS, max_iterations), 1e-8, newton=False)[0])
    chosen, _ = _hills(runs)
    most = max(_FINISHERS, restarts // _SHARE_FINISHED)
    return [(partitions[j][0], _parameters(runs[j])) for j in chosen[:most]]


def _climb_from(
    problem: Problem, method: str, start: Parameters | Array, max_iterations: int, tolerance: float
) -> tuple[Climb, list[dict[str, Any]]]:
    """Climb from one start."""
    arrays = problem.arrays
    parameters: Parameters | None
    if isinstance(start, Parameters):
        parameters = start
    else:
        parameters = start_from(arrays, problem.start_points(), by_row(problem, start))
    if parameters is None:
        raise InputError(_no_start(problem, _COLLAPSED))
    try:
        run = climb(arrays, parameters, max_iterations=max_iterations, tolerance=tolerance)
    except SingularComponentError as error:
        raise InputError(_no_start(problem, str(error))) from error
    return run, _table([method], [run], [""], {0}, {})


def partitions_of(arrays: MixtureArrays, points: Array, restarts: int, seed: int) -> list[tuple[str, Labels]]:
    """Starting partitions of the rows: quantiles, equal values, widths, a hierarchy, predictors, then k-means++."""
    there = at_spike(arrays.sample)
    if there.any():
        return _without_spike(arrays, points, ~there, restarts, seed)
    k, repeats, n_rows = arrays.n_located, arrays.sample.repeats, points.shape[1]
    if k == 1:
        alone = ("one component", np.zeros(n_rows, dtype=np.int64))
        if not has_noise(arrays.sample):
            return [alone]
        # two starts see few people as noise, the next half of everybody: noise may be what a second component was
        starts = [alone] * min(restarts, 2)
        if restarts > 2:
            halves = kmeans_partition(whitened(points, repeats), repeats, 2, np.random.default_rng(seed))
            starts += [("half is noise", np.where(halves == half, 0, 1)) for half in range(min(restarts - 2, 2))]
        return starts
    rng = np.random.default_rng(seed)
    white = whitened(points, repeats) if restarts > 1 else points
    made: list[tuple[str, Labels]] = [("quantiles", quantile_partition(points, repeats, k))]
    if restarts > 1:
        spike = spike_partition(points, repeats, k)
        if spike is not None:
            made.append(("spike", spike))
    if restarts > 1 and len(made) < restarts:
        made.append(("hierarchy", hierarchical_partition(white, repeats, k, rng)))
    if restarts > 2 and len(made) < restarts:
        made.append(("spread", spread_partition(points, repeats, k)))
    if len(points) > 1 and restarts > 3 and len(made) < restarts:
        made.append(("quantiles", quantile_partition(points, repeats, k, 1)))
    if arrays.sample.predictors.shape[1] and len(made) < restarts and len(arrays.sample.mix_starts) == 0:
        rows = arrays.sample.predictors[arrays.sample.pattern]
        made.append(("predictors", fitted_partition(points, repeats, rows, k)))
    if len(made) < restarts - 1:
        made.append(("random", random_partition(n_rows, k, rng)))
    while len(made) < restarts:
        made.append(("k-means++", kmeans_partition(white, repeats, k, rng)))
    return made


def _without_spike(
    arrays: MixtureArrays, points: Array, elsewhere: NDArray[np.bool_], restarts: int, seed: int
) -> list[tuple[str, Labels]]:
    """Partitions of the rows that are not at the spike, in which those at the spike have label 0 and no part."""
    sample = arrays.sample
    # where genotypes are averaged over, rows have no predictors of their own
    rows = np.zeros((len(elsewhere), 0))
    if not len(sample.mix_starts):
        rows = sample.predictors if sample.own else sample.predictors[sample.pattern]
    others = sample._replace(
        repeats=sample.repeats[elsewhere] if len(sample.repeats) else sample.repeats,
        pattern=np.arange(int(elsewhere.sum()), dtype=np.int32),
        predictors=rows[elsewhere],
        observed=sample.observed[:0],
        n_observed=sample.n_observed[:0],
    )
    made = []
    for method, labels in partitions_of(replace(arrays, sample=others), points[:, elsewhere], restarts, seed):
        every = np.zeros(len(elsewhere), dtype=np.int64)
        every[elsewhere] = labels
        made.append((method, every))
    return made


def _climb_all(
    problem: Problem, restarts: int, seed: int, max_iterations: int, tolerance: float, progress: bool
) -> tuple[Climb, list[dict[str, Any]]]:
    """Screen every start with a few EM steps, climb the best to the top, and tell of all."""
    arrays = problem.arrays
    sample = thinned(arrays.sample, SCREENING_ROWS)
    fewer = sample is not arrays.sample
    some = replace(arrays, sample=sample) if fewer else arrays
    points = problem.start_points(sample)
    partitions = partitions_of(some, points, restarts, seed)
    steps = min(_SCREENING_STEPS, max_iterations)
    runs: list[Climb | None] = []
    failures: list[str] = []
    for j, (_, labels) in enumerate(track(partitions, "starts", enabled=progress)):
        parameters = start_from(some, points, spread_over(some, points, labels, j))
        run, failure = _try_climb(some, parameters, steps, tolerance, newton=False)
        runs.append(run)
        failures.append(failure)
    chosen, hill = _hills(runs)
    most = max(_FINISHERS, restarts // _SHARE_FINISHED)
    if fewer:
        # the way to the top of the subset is short, and its top is near that of the whole
        for j in chosen[:most]:
            near, _ = _try_climb(some, _parameters(runs[j]), max_iterations, _NEAR)
            runs[j] = near or runs[j]
        chosen, merged = _hills([run if j in chosen[:most] else None for j, run in enumerate(runs)])
        hill = {j: merged.get(c, c) for j, c in hill.items()} | merged
        lower = _clearly_lower(some, arrays.sample.total, [runs[j] for j in chosen])
        for j, below in zip(chosen, lower, strict=True):
            failures[j] = _LOWER if below else failures[j]
        chosen = [j for j, below in zip(chosen, lower, strict=True) if not below]
        most = max(_WHOLE, restarts // (2 * _SHARE_FINISHED))
    finished: set[int] = set()
    for j in chosen:
        # one that fails gives its place to the next
        if len(finished) == most:
            break
        run = runs[j]
        assert run is not None
        if fewer:
            runs[j], failures[j] = _try_climb(arrays, run.parameters, max_iterations, tolerance)
        else:
            left = max(max_iterations - steps, 1)
            rest, failures[j] = _try_climb(arrays, run.parameters, left, tolerance)
            if rest is not None:
                rest.history = [*run.history, *rest.history[1:]]
            runs[j] = rest
        if runs[j] is not None:
            finished.add(j)
    if not finished:
        raise InputError(_no_start(problem, next((f for f in failures if f), _COLLAPSED)))
    top = max(finished, key=lambda j: _height(runs[j]))
    best = runs[top]
    assert best is not None
    if best.converged:
        # Newton's method measures how far the limit is, and goes there
        left = max_iterations - len(best.history)
        best = runs[top] = polish(arrays, best, max_iterations=left, tolerance=tolerance)
    return best, _table([method for method, _ in partitions], runs, failures, finished, hill)


def _clearly_lower(some: MixtureArrays, total: float, runs: list[Climb | None]) -> list[bool]:
    """Whether each top of a subset would be lower than the first one's on the whole, chance allowed for.

    The sum over people of the difference in log likelihood is known from the subset up to its standard error (the
    sum that Vuong's test of 1989 is of); a top that is lower by many of them is not worth a climb.
    """
    known = [(some.membership(run.parameters)[1], some.log_prior(run.parameters)) for run in runs if run is not None]
    share = some.sample.repeats / some.sample.total if len(some.sample.repeats) else 1.0 / some.n_rows
    found = []
    for each, prior in known:
        ahead = known[0][0] - each
        mean = float((share * ahead).sum())
        error = np.sqrt(float((share * (ahead - mean) ** 2).sum()) / some.n_rows)
        found.append(total * (mean - _CHANCE * error) + known[0][1] - prior > 0.0)
    return found


def _try_climb(
    arrays: MixtureArrays, start: Parameters | None, steps: int, tolerance: float, *, newton: bool = True
) -> tuple[Climb | None, str]:
    """A climb, or why there is none; a start that fails never aborts the others."""
    if start is None:
        return None, _COLLAPSED
    try:
        return climb(arrays, start, max_iterations=steps, tolerance=tolerance, newton=newton, polished=False), ""
    except SingularComponentError as error:
        return None, str(error)


def _no_start(problem: Problem, failure: str) -> str:
    advice = (
        "The improper prior lets a component collapse; use the default priors, or fewer components"
        if problem.priors.components_flat or problem.priors.components_jeffreys
        else "Use fewer components"
    )
    return f"no start reached a mode: {failure}. {advice}"


def _table(
    methods: list[str], runs: list[Climb | None], failures: list[str], finished: set[int], hill: dict[int, int]
) -> list[dict[str, Any]]:
    """One row a start: how it was made, where it got, why it stopped; a start on another's hill shares its top."""
    top = max(_height(runs[j]) for j in finished)
    rows = []
    for j, run in enumerate(runs):
        climber = hill.get(j, j)
        reached = climber in finished
        note = "" if reached else "left after screening"
        if reached and climber != j:
            note = f"on the hill of start {climber}"
        rows.append(
            {
                "start": j,
                "method": methods[j],
                names.LOG_POSTERIOR: _height(runs[climber]) if reached else np.nan,
                "iterations": 0 if run is None else len(run.history),
                "converged": reached and bool(getattr(runs[climber], "converged", False)),
                "reached_best": reached and top - _height(runs[climber]) < _SAME_MODE,
                "note": failures[j] or note,
            }
        )
    return rows


def _parameters(run: Climb | None) -> Parameters | None:
    return None if run is None else run.parameters


def _hills(runs: list[Climb | None]) -> tuple[list[int], dict[int, int]]:
    """Starts one a hill, the highest first, and for the others the start that climbs their hill."""
    chosen: list[int] = []
    hill: dict[int, int] = {}
    for j in sorted((j for j, run in enumerate(runs) if run is not None), key=lambda j: -_height(runs[j])):
        same = next((c for c in chosen if abs(_height(runs[j]) - _height(runs[c])) <= _SAME_HILL), None)
        if same is None:
            chosen.append(j)
        else:
            hill[j] = same
    return chosen, hill


def _height(run: Climb | None) -> float:
    return -np.inf if run is None or not run.history else run.history[-1]
