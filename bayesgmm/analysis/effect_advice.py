"""Which test of an effect to believe: the numbers that decide it, and the advice in words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayesgmm.analysis.effect_hypotheses import Hypotheses
from bayesgmm.inference.people import is_whole
from bayesgmm.problem import Problem

_FEW_PEOPLE = 30.0  # expected people in the smallest component below which its parameters are not nearly normal
FEW_CARRIERS = 10.0  # people with, or without, the rarer genotypes below whom little is nearly normal
_LITTLE_KNOWN = 0.3  # share of the memberships' information that the traits have
_HIGHER = 0.01  # log units by which another mode is higher


def carriers_of(problem: Problem, p: int, count: NDArray[np.float64]) -> float:
    """People with the rarer values of a predictor, or without them if these are fewer.

    Parameters
    ----------
    problem : Problem
    p : int
        The predictor's position.
    count : ndarray (n_samples,)
        How many people each row stands for.

    Returns
    -------
    float
        Infinite where a predictor has more than three values and is of no variant.
    """
    column = problem.predictors[:, p]
    of_variants = {name for columns in problem.variant_columns.values() for name in columns}
    if len(np.unique(np.round(column, 6))) > 3 and problem.predictor_names[p] not in of_variants:
        return float("inf")
    # a value that somebody has: half way between two values everybody would be rare
    common = np.quantile(column, 0.5, method="lower")
    rare = np.abs(column - common) > 0.25 * np.ptp(column)
    inside = float(count @ rare)
    return min(inside, float(count.sum()) - inside)


def people_in_rows(problem: Problem) -> NDArray[np.float64]:
    """How many people with traits each row stands for (n_samples,)."""
    return np.where(problem.observed, 1.0 if problem.sample_weight is None else problem.sample_weight, 0.0)


@dataclass(frozen=True)
class Facts:
    """What decides which test to believe.

    ``people``: expected in the smallest component, ``component``. ``carriers``: the fewest people expected there of
    either kind where a tested predictor has two values or is a dosage. ``known``: share of the information of known
    memberships that the traits have, of that component.
    """

    component: str
    people: float
    carriers: float
    known: float
    others: bool
    whole: bool
    higher: float

    @classmethod
    def of(cls, hypotheses: Hypotheses) -> Facts:
        """The numbers of a null fit."""
        null = hypotheses.null
        responsibilities = null.responsibilities(hypotheses.parameters)
        weights = np.exp(null.log_weights(hypotheses.parameters))
        count = people_in_rows(null)
        sizes = count @ responsibilities
        k = int(sizes.argmin())
        spread = count @ (weights[:, k] * (1.0 - weights[:, k]))
        known = count @ (responsibilities[:, k] - weights[:, k]) ** 2 / max(float(spread), 1e-300)
        carriers = np.inf
        for p in hypotheses.tested:
            carriers = min(carriers, carriers_of(hypotheses.full, p, count * responsibilities[:, k]))
        return cls(
            null.component_labels[k],
            float(sizes[k]),
            carriers,
            # by chance the sum may be a little above that of known memberships
            min(float(known), 1.0),
            bool(hypotheses.kept),
            is_whole(null),
            hypotheses.higher,
        )

    @property
    def numbers(self) -> dict[str, float]:
        """What the recommendations rest on."""
        return {"people": self.people, "carriers": self.carriers, "known": self.known}

    @property
    def weak(self) -> str:
        """Why the mixture's likelihood ratio is not near to chi-square; empty where nothing speaks against it."""
        told = []
        if self.people < _FEW_PEOPLE:
            told.append(f"about {self.people:.0f} people in component {self.component}")
        if self.carriers < FEW_CARRIERS:
            told.append(f"about {self.carriers:.1f} of the rarer genotype expected there")
        if self.known < _LITTLE_KNOWN:
            told.append(f"the traits tell {100 * self.known:.0f}% of what known memberships would")
        return ", ".join(told)

    def of_ratio(self) -> tuple[bool, str]:
        """Whether the likelihood ratio against chi-square is recommended, and why."""
        if self.higher > _HIGHER:
            more = f"; with the effect another mode is higher by {self.higher:.2g} log units: see the fit with it"
        else:
            more = ""
        if self.weak:
            return False, f"chi-square is not its reference here ({self.weak}): trust permutation or bootstrap{more}"
        return True, f"enough people in every component for chi-square{more}"

    def of_score(self) -> tuple[bool, str]:
        """Whether the score test against chi-square is recommended, and why."""
        if self.carriers < FEW_CARRIERS:
            return False, f"too discrete for chi-square ({self.carriers:.1f} carriers expected): trust permutation"
        if self.others:
            return True, "holds if the variant's regression on the other predictors is linear, whatever the mixture"
        return True, "holds whatever the mixture"

    def of_permutation(self) -> tuple[bool, str]:
        """Whether the permutation test is recommended, and why."""
        if not self.whole:
            return False, "people of unequal weight are not exchangeable: trust score or bootstrap"
        if self.others:
            return True, "nearly exact: what the other predictors leave of the variant is permuted"
        return True, "exact, whatever the mixture and the number of people"

    def of_bootstrap(self, failed: int) -> tuple[bool, str]:
        """Whether the parametric bootstrap is recommended, and why."""
        told = "" if not failed else f"; {failed} studies could not be fitted and are counted as larger"
        return True, f"right where the mixture is, also where a component is small{told}"
