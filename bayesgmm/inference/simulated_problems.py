"""Whole problems drawn from a fit, and fitted again: the same people and what is missing of them, with other traits.

Unlike the samples of :mod:`bayesgmm.inference.replicates` they have people, cells of rounded values, and noise over a
box of their own, as a study has.
"""

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
from bayesgmm.inference.people import in_units_of
from bayesgmm.inference.prior_draws import simulate_traits
from bayesgmm.problem import Problem

Array = NDArray[np.float64]
Long = NDArray[np.int64]

_CLOSE = 1e-3  # log posterior units to the top: a thousandth of what estimates vary by
_MOST_STEPS = 500
_PATIENCE = 3  # times as many replicates as are asked for, since some may not be fitted


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
        other = in_units_of(problem, replace(other, fixed=_fixed_to(other)))
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
