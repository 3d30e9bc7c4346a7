"""People, and the rows that stand for them: who counts how often, and the same problem of others of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bayesgmm.problem import Problem

Array = NDArray[np.float64]
Long = NDArray[np.int64]

# what makes standardised parameters of one problem those of another
_UNITS = ("_trait_moments", "unit", "covariate_unit", "predictor_unit", "_floor")
_MOST_PEOPLE = 10**8  # whom rows stand for, above which people are drawn from them with replacement


def is_whole(problem: Problem) -> bool:
    """Whether everybody stands for a whole number of people."""
    weight = problem.sample_weight
    return weight is None or bool((weight == np.rint(weight)).all())


def everybody(problem: Problem) -> Long:
    """Positions of the people with traits, each as often as it stands for whole people (else once)."""
    people = problem.people
    positions = np.arange(problem.n_samples) if isinstance(people, slice) else people
    if problem.sample_weight is None or not is_whole(problem):
        return positions
    return np.repeat(positions, np.rint(problem.sample_weight[positions]).astype(np.int64))


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
    return in_units_of(problem, other)


def in_units_of(problem: Problem, other: Problem) -> Problem:
    """The other problem, standardised as this one, so that parameters mean the same in both."""
    other.__dict__.update({name: getattr(problem, name) for name in _UNITS})
    return other
