"""What the values of a trait say by themselves: codes for missing, few whole numbers, and how to state a point mass.

No model sees these: a mixture of normals is fitted to 99999 and to 0/1 as to anything else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from bayesgmm.problem import Problem

Array = NDArray[np.float64]

# what tables hold where nothing was measured: -1 and -7 to -9, and 9, 99, ..., 88, ..., 77, ... with either sign
_CODES = frozenset(
    [-1.0, -7.0, -8.0, 9.0, -9.0] + [s * int(d * n) for s in (1.0, -1.0) for d in "789" for n in range(2, 8)]
)
_MAD = 1.4826  # median absolute deviations of a normal in its sd
_APART = 2.0  # sds between a code and the nearest other value
_FAR = 5.0  # sds from the median of a repeated value
_OFTEN = 3  # people who have it
_ALONE = 50.0  # sds from the median, and twice as far as anybody else, of a value that is hardly of the same trait
_LOG_FAR = 6.0  # sds of the logarithms, if all are positive: a trait with a long tail may well have such values
_LEAST = 10  # people beside, below which nothing is called far
_STEPS = 20  # different whole numbers, up to which a trait is of counts or grades
_EACH = 5.0  # people a value, from which values are few
_SAME = 0.9  # of the people with a value of one trait who have the same of the others, from which it is one of all


@dataclass(frozen=True)
class FarValue:
    """A value of a trait far from all others that may be no measurement.

    Attributes
    ----------
    value, people : float
    sds : float
        From the median of the others, in sds of theirs (from the median absolute deviation).
    is_code : bool
        Whether tables use it for what is missing.
    """

    value: float
    people: float
    sds: float
    is_code: bool

    @property
    def repeated(self) -> bool:
        """Whether several people have it."""
        return self.people >= _OFTEN

    @property
    def asked(self) -> str:
        """What a person should ask of it."""
        if self.is_code:
            return "is this a code for missing?"
        if self.repeated:
            return "is this a code for missing, or a limit?"
        return "is this a code for missing, an error, or in another unit?"

    @property
    def told(self) -> str:
        """A sentence on it."""
        who = "1 person has" if self.people == 1 else f"{self.people:g} people have"
        sds = f"{self.sds:,.0f}" if self.sds >= _FAR else f"{self.sds:.1f}"
        return f"{who} {self.value:.6g}, {sds} sds from the middle of the others: {self.asked}"


def far_values(values: Array, weight: Array | None = None) -> list[FarValue]:
    """Values that may stand for missing ones, or be errors; the commonest first.

    A value is named where it is beyond all others and tables use it for missing, or several people have it, or nobody
    else is half as far out. Zero is never: it is what a spike is mostly of.

    Parameters
    ----------
    values : ndarray (n,)
        NaN where missing.
    weight : ndarray (n,), optional
        People whom each stands for.
    """
    each, people = _counted(values, weight)
    code = np.isin(each, list(_CODES))
    named: list[FarValue] = []
    inner = ~code
    while inner.sum() > 1 and people[inner].sum() >= _LEAST:
        middle, sd = _middle(each[inner], people[inner])
        if not sd > 0.0:
            return []
        found = _furthest(each, people, inner, middle, sd)
        if found is None:
            break
        named.append(FarValue(float(each[found]), float(people[found]), abs(float(each[found]) - middle) / sd, False))
        inner[found] = False
    else:
        return []
    # codes are held against what is no code, and those that lie among it are measurements
    rest = each[inner]
    for j in np.flatnonzero(code):
        gap = max(float(rest[0] - each[j]), float(each[j] - rest[-1])) / sd
        if gap >= _APART or (each[j] < 0.0 <= rest[0]):
            named.append(FarValue(float(each[j]), float(people[j]), abs(float(each[j]) - middle) / sd, True))
    return sorted(named, key=lambda far: -far.people)


def _furthest(each: Array, people: Array, inner: NDArray[np.bool_], middle: float, sd: float) -> int | None:
    """Position of an outermost value that is hardly of the same trait, None where both ends are."""
    at = np.flatnonzero(inner)
    if len(at) == 2:
        return None
    for outer, following in ((at[0], at[1]), (at[-1], at[-2])):
        away = abs(each[outer] - middle) / sd
        if each[outer] == 0.0 or away < _FAR:
            continue
        gap = abs(each[outer] - each[following]) / sd
        others = np.abs(each[at[at != outer]] - middle).max() / sd
        alone = away >= _ALONE and away >= 2.0 * others and _is_far_in_logs(each[at], people[at], float(each[outer]))
        if alone or (people[outer] >= _OFTEN and gap >= _APART):
            return int(outer)
    return None


def _is_far_in_logs(each: Array, people: Array, value: float) -> bool:
    """Whether a positive value is far from the others in the logarithm as well; true where not all are positive."""
    if each[0] <= 0.0:
        return True
    middle, sd = _middle(np.log(each), people)
    return abs(float(np.log(value)) - middle) >= _LOG_FAR * sd


def _counted(values: Array, weight: Array | None) -> tuple[Array, Array]:
    """Different values ascending, and the people who have each."""
    seen = ~np.isnan(values)
    each, place = np.unique(values[seen], return_inverse=True)
    return each, np.bincount(place, None if weight is None else weight[seen], len(each)).astype(float)


def _middle(each: Array, people: Array) -> tuple[float, float]:
    """Median, and the sd that the median absolute deviation stands for, or else the sd about it."""
    middle = _median(each, people)
    sd = _MAD * _median(np.abs(each - middle), people)
    if sd == 0.0:  # half of the people have one value
        sd = float(np.sqrt(np.average((each - middle) ** 2, weights=people)))
    return middle, sd


def _median(each: Array, people: Array) -> float:
    order = np.argsort(each, kind="stable")
    upto = np.cumsum(people[order])
    return float(each[order][np.searchsorted(upto, 0.5 * upto[-1])])


@dataclass(frozen=True)
class FewValues:
    """A trait of two values, or of few whole numbers: no measurement of which normals are a model.

    Attributes
    ----------
    values, people : ndarray (m,)
        The different values, ascending, and who has each.
    """

    values: Array
    people: Array

    @property
    def is_two(self) -> bool:
        """Whether there are two values: groups that are known, and not a trait that hides them."""
        return len(self.values) == 2

    @property
    def told(self) -> str:
        """What they are, in words."""
        low, high = self.values[0], self.values[-1]
        if self.is_two:
            return f"only two values, {low:.6g} and {high:.6g} ({self.people[0]:g} and {self.people[1]:g} people)"
        return f"whole numbers, {len(self.values)} different ones from {low:.6g} to {high:.6g}"


def few_values(values: Array, weight: Array | None = None) -> FewValues | None:
    """The different values where they are two, or few whole numbers; None where a trait looks measured."""
    each, people = _counted(values, weight)
    is_whole = len(each) <= _STEPS and bool((each == np.rint(each)).all())
    if len(each) < 2 or not (len(each) == 2 or is_whole) or people.sum() < _EACH * len(each):
        return None
    return FewValues(each, people)


def of_trait(problem: Problem, trait: int) -> tuple[FewValues | None, list[FarValue]]:
    """What the values of one trait of a problem are, without those at a spike; few beside what may be missing."""
    values, weight = problem.fixed.without_spike(problem.traits)[:, trait], problem.sample_weight
    far = far_values(values, weight)
    measured = np.where(np.isin(values, [each.value for each in far]), np.nan, values)
    return few_values(measured, weight), far


def spike_at(problem: Problem, trait: int, value: float) -> float | list[float] | None:
    """The value of ``Mixture(spike=)`` for people at a value of one trait; None where no spike is for them.

    A spike is of people who have its value in all of their traits, so that they must have the same in the others too.
    """
    if len(problem.trait_names) == 1:
        return value
    there = problem.traits[problem.traits[:, trait] == value]
    rows, counts = np.unique(there[~np.isnan(there).any(axis=1)], axis=0, return_counts=True)
    is_of_all = len(rows) > 0 and bool(counts.max() >= _SAME * len(there))
    return [float(each) for each in rows[counts.argmax()]] if is_of_all else None


def spike_advice(problem: Problem, trait: int, value: float, n_components: int) -> str:
    """How to say that a value of a trait is a point mass, so that it can be done as it is said."""
    spike = spike_at(problem, trait, value)
    if spike is None:
        others = [name for d, name in enumerate(problem.trait_names) if d != trait]
        return (
            "a spike is of people who have its value in every trait, and these differ in "
            f"{others[0] if len(others) == 1 else 'the others'}: fit {problem.trait_names[trait]} alone with "
            f"spike={value!r}, or make these values missing (NaN) if nothing was measured, or fit these people apart"
        )
    return f"for a point mass, give its value: Mixture({max(n_components, 1)}, spike={spike!r})"
