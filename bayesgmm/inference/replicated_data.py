"""Replicated data sets: the same people with their predictors, what is missing, other traits; and their fits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bayesgmm.core.fixed import Box, Fixed
from bayesgmm.core.objective import Parameters, Stacked
from bayesgmm.core.ties import Cells
from bayesgmm.errors import InputError
from bayesgmm.inference.em import SingularComponentError, climb
from bayesgmm.inference.prior_draws import simulate_traits
from bayesgmm.inference.replicates import is_whole
from bayesgmm.problem import Problem

Array = NDArray[np.float64]
Long = NDArray[np.int64]

# what makes standardised parameters of one problem those of another
_UNITS = ("_trait_moments", "unit", "covariate_unit", "predictor_unit", "_floor")
_CLOSE = 1e-3  # log posterior units to the top: a thousandth of what estimates vary by
_MOST_STEPS = 500
_MOST_PEOPLE = 10**8  # whom rows stand for, above which people are drawn from them with replacement
_PATIENCE = 3  # times as many replicates as are asked for, since some may not be fitted


def people_of(problem: Problem, most: int, rng: np.random.Generator) -> tuple[Problem, Long]:
    """A problem whose rows are the people with traits, each one person, at most so many, drawn at random; and the rows.

    Whole sample weights are people: a row of weight three is three people, with the row's traits and predictors. Others
    stay weights of their rows.
    """
    people = problem.people
    rows = np.arange(problem.n_samples) if isinstance(people, slice) else people
    weight = problem.sample_weight
    if weight is not None and is_whole(problem):
        rows, weight = _persons(rows, np.rint(weight[rows]).astype(np.int64), most, rng), None
    if len(rows) > most:
        rows = np.sort(rng.choice(rows, most, replace=False))
    return with_rows(problem, rows, None if weight is None else weight[rows]), rows


def _persons(rows: Long, counts: Long, most: int, rng: np.random.Generator) -> Long:
    total = int(counts.sum())
    if total > _MOST_PEOPLE:
        counts = rng.multinomial(most, counts / total)
    elif total > most:
        counts = rng.multivariate_hypergeometric(counts, most, method="marginals")
    return np.repeat(rows, counts)


def with_rows(problem: Problem, rows: Long, weight: Array | None) -> Problem:
    """The problem of some people, in this order, of whom some may be there more than once; in the same units."""
    other = replace(
        problem,
        traits=problem.traits[rows],
        predictors=problem.predictors[rows],
        covariates=problem.covariates[rows],
        ids=None,
        sample_weight=weight,
        uncertain=problem.uncertain.taken(rows),
        design=None,
        means_design=None,
    )
    return _in_units_of(problem, other)


def _in_units_of(problem: Problem, other: Problem) -> Problem:
    """The other problem, standardised as this one, so that parameters mean the same in both."""
    other.__dict__.update({name: getattr(problem, name) for name in _UNITS})
    return other


def refit(problem: Problem, start: Parameters) -> Parameters:
    """Parameters at the mode next to a start, near enough for what depends on them.

    Raises
    ------
    SingularComponentError
        If a component collapses.
    """
    return climb(problem.arrays, start, max_iterations=_MOST_STEPS, tolerance=_CLOSE, polished=False).parameters


def rounded_as(traits: Array, cells: Sequence[Cells]) -> Array:
    """Traits (n, D) rounded as those that the cells are of; changed in place."""
    for d, of_trait in enumerate(cells):
        if of_trait.repeated:
            seen = ~np.isnan(traits[:, d])
            traits[seen, d] = of_trait.rounded(traits[seen, d])
    return traits


def _fixed_to(problem: Problem) -> Fixed:
    """Noise over the box of the problem's own people, as it is of those of any study; a volume that was given stays."""
    fixed = problem.fixed
    if fixed.noise is None:
        return fixed
    box, there = fixed.noise, fixed.at_spike(problem.traits)
    given = box.volume if box.given else None
    return replace(fixed, noise=Box.around(problem.traits[~there], given))


def refitted(
    problem: Problem, parameters: Parameters, draws: int, rng: np.random.Generator, cells: Sequence[Cells] = ()
) -> Iterator[tuple[Problem, Parameters]]:
    """Data sets drawn from parameters, each with its own mode: a parametric bootstrap.

    The climb starts from the parameters, which are the truth of the data sets. One that cannot be fitted, which happens
    under flat priors only, is drawn again. Traits are rounded as the people's are, which ``cells`` say of each trait.

    Raises
    ------
    InputError
        If hardly any can be fitted.
    """
    stacked = Stacked.of([parameters])
    made = 0
    for _ in range(_PATIENCE * draws):
        other = replace(problem, traits=rounded_as(simulate_traits(problem, stacked, rng)[0][0], cells), compress=False)
        other = _in_units_of(problem, replace(other, fixed=_fixed_to(other)))
        try:
            found = refit(other, parameters)
        except SingularComponentError:
            continue
        yield other, found
        made += 1
        if made == draws:
            return
    raise InputError(
        f"only {made} of {_PATIENCE * draws} data sets drawn from the fit could be fitted; in the others a component "
        "collapsed on a few people. Use a proper prior of the components, or fewer of them"
    )
