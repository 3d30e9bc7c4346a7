"""The same problem again and again with other numbers: samples drawn anew, and refits of them.

What is drawn anew is how many people each row stands for (:class:`Reweighted`), everybody's traits (:class:`Simulated`)
or who has which predictors (:class:`Permuted`). Everything else stays that of the original problem: priors, already
numbers, the box of the noise, units and centres, so that parameters of one replicate are those of another. A sample is
what compiled code climbs on; :mod:`bayesgmm.inference.simulated_problems` makes whole problems, which is slower, for
what needs people and their traits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from bayesgmm.core.gather import Uncertain, gather
from bayesgmm.core.objective import MixtureArrays, Parameters
from bayesgmm.core.sample import Sample
from bayesgmm.errors import InputError
from bayesgmm.inference.em import Climb, SingularComponentError, climb
from bayesgmm.inference.people import everybody, is_whole
from bayesgmm.inference.prior_draws import draw_traits
from bayesgmm.problem import Problem

Array = NDArray[np.float64]
Long = NDArray[np.int64]


class Resampling(Protocol):
    """A way to draw the sample of a problem anew."""

    def sample(self, rng: np.random.Generator) -> Sample:
        """One sample."""
        ...


class Reweighted:
    """The same people, each as many times as chance says.

    People of whole weights (and of none) are that many people: a row of ``c`` of them gets a multinomial count, or a
    share of the total that is Gamma(c) before it is normalised. Where weights are not whole, a person keeps the own
    weight and it is the person who is drawn. People who are not drawn have weight zero.

    Parameters
    ----------
    problem : Problem
    scheme : {"multinomial", "dirichlet"}
        The nonparametric bootstrap (Efron 1979), or the Bayesian one of smooth weights (Rubin 1981), whose refits are
        the weighted likelihood bootstrap (Newton and Raftery 1994; of mixtures, O'Hagan, Murphy, Scrucca and Gormley
        2019).
    """

    def __init__(self, problem: Problem, scheme: Literal["multinomial", "dirichlet"]) -> None:
        self._sample = problem.arrays.sample
        self._scheme = scheme
        self._row_of: Long | None = None
        rows = len(self._sample.pattern)
        self._counts = self._sample.repeats if len(self._sample.repeats) else np.ones(rows)
        if not is_whole(problem):
            assert problem.sample_weight is not None
            self._own = problem.sample_weight[problem.people]
            row_of = problem.row_of
            self._row_of = np.arange(rows) if isinstance(row_of, slice) else row_of

    def sample(self, rng: np.random.Generator) -> Sample:
        """One sample."""
        if self._row_of is None:
            repeats = self._drawn(self._counts, rng)
        else:
            times = self._drawn(np.ones(len(self._own)), rng)
            repeats = np.bincount(self._row_of, self._own * times, len(self._counts))
            # the people drawn may weigh more or less together; how much is known stays the same
            repeats *= self._sample.total / repeats.sum()
        return self._sample._replace(repeats=repeats)

    def _drawn(self, counts: Array, rng: np.random.Generator) -> Array:
        total = counts.sum()
        if self._scheme == "multinomial":
            return rng.multinomial(round(total), counts / total).astype(float)
        shares = rng.standard_gamma(counts)
        drawn: Array = shares * (total / shares.sum())
        return drawn


class Simulated:
    """The same people with traits drawn from a fit; those that were missing are missing again.

    A person of whole weight ``c`` is ``c`` people, each with traits of their own. Where weights are not whole, all that
    a person stands for has the same traits.

    Parameters
    ----------
    problem : Problem
    parameters : Parameters
        From which the traits are drawn.
    """

    def __init__(self, problem: Problem, parameters: Parameters) -> None:
        self._people = everybody(problem)
        weight = None if is_whole(problem) else problem.sample_weight
        values = problem.traits[self._people]
        self._base, row_of = _gathered(problem, self._people, problem.predictors, problem.uncertain, weight)
        self._order: Long | slice = row_of if isinstance(row_of, slice) else np.argsort(row_of)
        self._missing = np.isnan(values)
        self._known = ~self._missing[self._order]
        self._problem, self._parameters, self._weight = problem, parameters, weight
        self._cumulative = np.exp(problem.log_weights(parameters)).cumsum(axis=1)[self._people, :-1]
        self._covariates = problem.covariates[self._people] / problem.covariate_unit

    def sample(self, rng: np.random.Generator) -> Sample:
        """One sample."""
        return self.sample_and_truth(rng)[0]

    def sample_and_truth(self, rng: np.random.Generator) -> tuple[Sample, Long]:
        """One sample, and the component that every row was drawn from."""
        problem = self._problem
        component = (rng.random(len(self._people))[:, None] > self._cumulative).sum(axis=1)
        traits = draw_traits(problem, self._parameters, component, self._covariates, rng)
        if problem.fixed.spike is not None:
            # others are at the spike now, and people are grouped by it
            traits[self._missing] = np.nan
            sample, row_of = _gathered(
                problem, self._people, problem.predictors, problem.uncertain, self._weight, traits=traits
            )
            return sample, component if isinstance(row_of, slice) else component[np.argsort(row_of)]
        values = np.ascontiguousarray(traits[self._order][self._known])
        return self._base._replace(values=values), component[self._order]


class Permuted:
    """The same traits with the predictors of the weights given to other people at random.

    Parameters
    ----------
    problem : Problem
    columns : sequence of int, optional
        Predictors that move, together; the others stay with their people. Default: all.

    Raises
    ------
    InputError
        If weights are not whole, or some predictors move of people whose genotype is not certain.
    """

    def __init__(self, problem: Problem, columns: Sequence[int] | None = None) -> None:
        if not is_whole(problem):
            raise InputError("sample_weight is not whole numbers; people of unequal weight cannot be permuted")
        if columns is not None and len(problem.uncertain.person):
            raise InputError(
                "some predictors cannot be permuted where genotypes are not certain; use missing_genotypes='mean'"
            )
        self._problem = problem
        self._columns = None if columns is None else list(columns)
        self._people = everybody(problem)

    def sample(self, rng: np.random.Generator) -> Sample:
        """One sample."""
        problem, people = self._problem, self._people
        moved = people[rng.permutation(len(people))]
        rows = problem.predictors[people]
        if self._columns is None:
            rows = problem.predictors[moved]
        else:
            rows[:, self._columns] = problem.predictors[np.ix_(moved, self._columns)]
        uncertain = problem.uncertain
        if len(uncertain.person):
            uncertain = uncertain.taken(moved)
        return _gathered(problem, people, rows, uncertain, None, numbered=True)[0]


def _gathered(
    problem: Problem,
    people: Long,
    predictors: Array,
    uncertain: Uncertain,
    weight: Array | None,
    *,
    numbered: bool = False,
    traits: Array | None = None,
) -> tuple[Sample, Long | slice]:
    """People as a sample, one row each; ``numbered`` where predictors are those of the people already.

    ``traits`` (n_people, n_traits) are theirs, where not their own.
    """
    if not numbered:
        predictors = predictors[people]
        uncertain = uncertain.taken(people) if len(uncertain.person) else uncertain
    return gather(
        problem.traits[people] if traits is None else traits,
        predictors / problem.predictor_unit,
        problem.covariates[people] / problem.covariate_unit,
        None if weight is None else weight[people],
        replace(uncertain, rows=uncertain.rows / problem.predictor_unit),
        centre=problem.centre,
        scale=1.0 / problem.unit,
        compress=False,
        fixed=problem.fixed,
    )


@dataclass(frozen=True)
class Refit:
    """Where the climb on one sample ended.

    Attributes
    ----------
    parameters : Parameters or None
        In the units of the original problem; None where every start failed.
    log_posterior, log_likelihood : float
        In standardised units; NaN where every start failed, and the likelihood where it was not asked for.
    converged : bool
    n_iterations : int
        Of the start that ended highest.
    failure : str
        Why there is no fit; empty where there is one.
    """

    parameters: Parameters | None
    log_posterior: float
    log_likelihood: float
    converged: bool
    n_iterations: int
    failure: str = ""

    def of(self, parameters: Parameters) -> Refit:
        """The same end with its components in another order."""
        return replace(self, parameters=parameters)


def refit(
    arrays: MixtureArrays,
    sample: Sample,
    starts: Sequence[Parameters],
    *,
    max_iterations: int = 2000,
    tolerance: float = 1e-7,
    polished: bool = False,
    likelihood: bool = True,
) -> Refit:
    """Climb on a sample from each start, on this thread alone, and keep the highest end.

    Parameters
    ----------
    arrays : MixtureArrays
        The problem; of another number of components than the sample was drawn from, if you will.
    sample : Sample
        Of the same people's traits, predictors and covariates in the units of the problem.
    starts : sequence of Parameters
        Near the mode a climb takes a few steps.
    max_iterations, tolerance, polished
        As for :func:`bayesgmm.inference.em.climb`; Newton's method takes over where EM is slow, polished or not.
    likelihood : bool
        Tell the log likelihood too; the log prior that it takes is a tenth of the time.

    Returns
    -------
    Refit
    """
    here = arrays.of_sample(sample)
    best: Climb | None = None
    failure = "no start was given"
    for start in starts:
        try:
            run = climb(here, start, max_iterations=max_iterations, tolerance=tolerance, polished=polished)
        except (SingularComponentError, np.linalg.LinAlgError) as error:
            failure = str(error)
            continue
        if not np.isfinite(run.history[-1]):
            failure = "the log posterior is not finite"
        elif best is None or run.history[-1] > best.history[-1]:
            best = run
    if best is None:
        return Refit(None, float("nan"), float("nan"), False, 0, failure)
    value = float(best.history[-1])
    told = value - arrays.log_prior(best.parameters) if likelihood else float("nan")
    return Refit(best.parameters, value, told, best.converged, len(best.history))
