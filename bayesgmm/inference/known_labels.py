"""A mixture whose components are classes: fitted to people whose class is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayesgmm.core.known_labels import fit_known_labels
from bayesgmm.core.objective import Parameters
from bayesgmm.errors import InputError
from bayesgmm.problem import Problem

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LabelledFit:
    """One Gaussian a class, with what the covariance family has them share.

    Attributes
    ----------
    problem : Problem
        Component ``k`` is class ``k``.
    parameters : Parameters
        Standardised; weights are the classes' shares of the people with traits.
    log_density : float
        Sum over people of the log density of their traits given their class, in the traits' units.
    converged : bool
    """

    problem: Problem
    parameters: Parameters
    log_density: float
    converged: bool

    @property
    def n_parameters(self) -> int:
        """Free parameters of means and covariances."""
        return self.problem.arrays.n_free - (self.problem.n_components - 1)

    @property
    def bic(self) -> float:
        """``-2 log L + p log n`` of the traits given the classes; smaller is better."""
        return -2.0 * self.log_density + self.n_parameters * float(np.log(self.problem.n_effective))


def fit_classes(
    problem: Problem, labels: NDArray[np.int64], *, max_iterations: int = 5000, tolerance: float = 1e-8
) -> LabelledFit:
    """Fit the components of a problem to the people who are known to be theirs.

    Parameters
    ----------
    problem : Problem
        Without predictors or covariates, and with one row a person (``compress=False``).
    labels : ndarray of int (n_samples,)
        Component of every person; each has somebody with traits.
    max_iterations : int
    tolerance : float
        Stop when the log posterior is estimated to be this close to its limit; matters where traits are missing.

    Raises
    ------
    InputError
        If a covariance would be singular, or nobody with traits is of some component.
    """
    of_people = labels[problem.people]
    people = np.bincount(of_people, minlength=problem.n_components)
    if not people.all():
        raise InputError(f"component {int(people.argmin())} has nobody with traits; leave it out")
    by_row = np.empty_like(of_people)
    by_row[problem.row_of] = of_people
    found = fit_known_labels(problem.arrays, by_row, max_iterations=max_iterations, tolerance=tolerance)
    if found is None:
        raise InputError(
            f"a covariance of family {problem.family_name} is singular: the smallest class has {people.min()} "
            f"people for {len(problem.trait_names)} trait(s). Use a proper prior of the components, or a family that "
            "classes share more of (EEE, EEI, EII)"
        )
    log_density = found.log_density + problem.log_likelihood_shift
    return LabelledFit(problem, found.parameters, log_density, found.converged)
