"""What checks of a fit amount to, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesgmm.analysis.fit_remedies import Remedies
from bayesgmm.analysis.fit_tables import CHI_SQUARE, HEAP_P, HEAPS, RESIDUALS, JointChecks, TraitChecks
from bayesgmm.inference.flags import PointMass
from bayesgmm.inference.trait_values import FarValue, FewValues

Array = NDArray[np.float64]
Checks = Mapping[str, Mapping[str, Any]]

_FEW = 100.0  # people among whom only gross misfits show
_END = 0.05  # probability within which a place is of a tail
_SHOWN = 3  # heaps named
_MANY = 0.1  # of the people in heaps, from which the other checks only echo them
_BESIDE = 0.1  # of a heap's people, with the value next to it, from which a heap may be a narrow component
_WORTH = 0.5  # people expected in a tail before a share is worth telling

JOINTLY_FITS = "the traits go together as in the mixture"


def blamed(checks: Checks, level: float) -> list[str]:
    """Checks of a trait by which it is found otherwise than the mixture; heaps are told apart from these."""
    return [check for check, row in checks.items() if check != HEAPS and row["p_adjusted"] <= level]


def is_heaped(found: TraitChecks, n: float, level: float) -> tuple[bool, bool]:
    """Whether values repeat too often, and whether that is all there is to tell, the other checks being its echo."""
    heaps = found.heaps
    heaped = len(heaps) > 0 and found.by_check[HEAPS]["p_adjusted"] <= min(HEAP_P, level)
    return heaped, heaped and (not blamed(found.by_check, level) or bool(heaps["people"].sum() > _MANY * n))


@dataclass(frozen=True)
class Tail:
    """A tail in which the people are otherwise than the mixture: ``share`` says by how much."""

    name: str
    is_heavier: bool
    share: str

    @property
    def word(self) -> str:
        """Heavier or lighter."""
        return "heavier" if self.is_heavier else "lighter"


@dataclass(frozen=True)
class Said:
    """What is said of a trait before its checks are: of its values, of spikes, and of its tails.

    Attributes
    ----------
    trait_names : tuple of str
    few : FewValues or None
    far : list of FarValue
    masses : list of PointMass
        Components that are a spike of this trait.
    spike : str
        What to do about a value that far too many people have.
    tails : list of Tail
    """

    trait_names: tuple[str, ...]
    few: FewValues | None
    far: list[FarValue]
    masses: list[PointMass]
    spike: str
    tails: list[Tail]

    @property
    def is_coded(self) -> bool:
        """Whether so many people have what may be a code for missing that nothing else can be told beside it."""
        return any(far.repeated for far in self.far)

    @property
    def is_first(self) -> bool:
        """Whether this has to be seen to before anything is fitted."""
        return self.few is not None or self.is_coded

    def is_only_lighter(self, found: TraitChecks, level: float) -> bool:
        """Whether the people's tails are said to be lighter or shorter than the mixture's, and none heavier."""
        kurtosis = found.by_check["kurtosis"]
        is_flatter = kurtosis["p_adjusted"] <= level and kurtosis["observed"] < kurtosis["expected"]
        return not any(tail.is_heavier for tail in self.tails) and bool(self.tails or is_flatter)


def trait_words(found: TraitChecks, said: Said, *, n: float, level: float, remedies: Remedies) -> str:
    """Verdict on one trait.

    Parameters
    ----------
    found : TraitChecks
    said : Said
    n : float
        People who have the trait.
    level : float
        Adjusted p-values up to which something is found.
    remedies : Remedies
        What was tried where something is found.
    """
    asked = _asked(said)
    if said.few is not None:
        return asked + _of_few_values(found, said.few, n, level)
    checks, heaps = found.by_check, found.heaps
    others = blamed(checks, level)
    heaped, only = is_heaped(found, n, level)
    codes = [far.value for far in said.far]
    masses = [mass for mass in said.masses if mass.value not in codes]
    if heaped and bool(heaps["value"].isin(codes).all()):
        heap = f"if that was measured, {said.spike}"
    else:
        heap = _heaped(heaps, n, said.spike, masses) if heaped else ""
    told_of = [mass for mass in masses if not (heaped and mass.value in heaps["value"].to_list())]
    but = "".join(f". But {mass.told(said.trait_names)}" for mass in told_of)
    if only or (heaped and not len(remedies.table)):
        return asked + (_sentence(heap) if asked else heap) + but
    if not others:
        return asked + (_sentence(_fitting(checks, n)) if asked else _fitting(checks, n)) + but
    told = _tails_told(said.tails)
    told += _shape_told(checks, others, tails=bool(told))
    if not told:
        told = ["between the tails the distribution has another shape than the mixture"]
    words = f"{'; '.join(told)} ({_p_told(checks, others)})"
    if told_of:  # a spike beside which everything else may be an echo
        first = ". ".join(_sentence(mass.told(said.trait_names)) for mass in told_of)
        return f"{asked}{first if asked else first[0].lower() + first[1:]}. Besides, {words}, which may come of that"
    before = f"{_sentence(heap) if asked else heap}. Besides, " if heap else ""
    words = before + (_sentence(words) if asked and not before else words)
    if said.is_coded:
        return f"{asked}{words}, which may come of that"
    return f"{asked}{words}. {_sentence(remedies.told())}"


def _asked(said: Said) -> str:
    """What to ask of values that may be no measurements, before anything else is believed."""
    if not said.far:
        return ""
    told = "; ".join(far.told for far in said.far[:_SHOWN])
    more = f" And so of {len(said.far) - _SHOWN} more values." if len(said.far) > _SHOWN else ""
    return f"{told}{more} If so, make it missing (NaN), fit and check again. "


def _of_few_values(found: TraitChecks, few: FewValues, n: float, level: float) -> str:
    """The verdict on a trait that is not measured: that, and no remedy."""
    if few.is_two:
        return (
            f"the trait has {few.told}: groups that are known, and not a measured trait in which a mixture could find "
            "them. Ask what goes with the groups by logistic regression, or make the trait a covariate"
        )
    checks = found.by_check
    others = blamed(checks, level)
    heaped, _ = is_heaped(found, n, level)
    if not (others or heaped):
        return (
            f"{_fitting(checks, n)}. But these are {few.told}: it fits as a measurement that was rounded to them; a "
            "mixture of normals is of a measured trait, and counts or grades are none"
        )
    why = _p_told(checks, others) if others else _heaps_told(found.heaps, n)
    return (
        f"these are {few.told}, and they are otherwise than the mixture ({why}). A mixture of normals is of a measured "
        "trait: of counts or grades more components only follow the steps, one a value. Counts ask for a model of "
        "counts (Poisson, negative binomial), grades for an ordinal one; large counts are nearly normal by square roots"
    )


def _fitting(checks: Checks, n: float) -> str:
    least = _least(checks, [check for check in checks if check != HEAPS])
    few = "; with so few people only gross misfits would show" if n < _FEW else ""
    return f"the mixture fits: nothing tells these {n:.0f} people from people drawn from it (p = {least:.2f}){few}"


def _p_told(checks: Checks, others: list[str]) -> str:
    """The smallest p-value, and the numbers that it is of."""
    check = min(others, key=lambda name: float(checks[name]["p_adjusted"]))
    row = checks[check]
    told = {
        RESIDUALS: "sorted residuals {observed:.2g} half widths off where up to {upper:.2g} is usual",
        CHI_SQUARE: "chi-square {observed:,.0f} where up to {upper:,.0f} is usual",
        "far below": "{observed:.2%} far below where {lower:.2%} to {upper:.2%} is usual",
        "far above": "{observed:.2%} far above where {lower:.2%} to {upper:.2%} is usual",
    }.get(check, "{check} {observed:.3g} where {lower:.3g} to {upper:.3g} is usual")
    return f"p = {float(row['p_adjusted']):.2g}: {told.format(**row)}"


def _sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}"


def _shape_told(checks: Checks, others: list[str], *, tails: bool) -> list[str]:
    """Sentences on the shape: modes, and where nothing is said of tails skewness and kurtosis."""
    told: list[str] = []
    for check, more, less in (
        ("skewness", "skewed further to the right", "skewed further to the left"),
        ("kurtosis", "more peaked, with longer tails,", "flatter, with shorter tails,"),
    ):
        if check in others and not (tails or told):
            high = checks[check]["observed"] > checks[check]["expected"]
            told.append(f"the people are {more if high else less} than the mixture")
    if "modes" in others:
        modes, wanted = round(checks["modes"]["observed"]), round(checks["modes"]["expected"])
        told.append(f"{modes} mode{'s' * (modes != 1)} where data from the mixture have {wanted}")
    return told


def _least(checks: Checks, some: list[str]) -> float:
    return min(float(checks[check]["p_adjusted"]) for check in some)


def _heaps_told(heaps: pd.DataFrame, n: float) -> str:
    shown = [
        f"{row['people']:g} of {n:.0f} people have {row['value']:.6g} where {row['expected']:.2g} are expected"
        for row in heaps.head(_SHOWN).to_dict("records")
    ]
    more = f", and {len(heaps) - _SHOWN} more values" if len(heaps) > _SHOWN else ""
    return f"{', '.join(shown)}{more}"


def _heaped(heaps: pd.DataFrame, n: float, spike: str, masses: list[PointMass]) -> str:
    """The verdict where values repeat too often, which the other checks feel too."""
    there = [mass for mass in masses if mass.value in heaps["value"].to_list()]
    if there:  # the fit has made a component of them
        advice = "; ".join(
            f"component {mass.component} is a spike of {mass.value:.6g}: {mass.advice}" for mass in there
        )
    elif len(heaps) == 1:
        beside = bool(heaps["beside"].iloc[0] > _BESIDE * heaps["people"].iloc[0])
        advice = f"{spike}{'; or a narrow component around it' if beside else ''}"
    else:
        advice = "a spike (point mass) component would serve where one is real, such as a limit; none is needed for "
        advice += "digits that observers prefer"
    return f"values are heaped: {_heaps_told(heaps, n)}; {advice}"


def tails_of(found: TraitChecks, probability: Array, ends: tuple[Array, Array], n: float, level: float) -> list[Tail]:
    """The mixture's own tails in which the people are otherwise.

    Parameters
    ----------
    found : TraitChecks
    probability : ndarray (m,)
        Places of the sorted residuals.
    ends : tuple of ndarray
        Shares of people in left, then in right tails of the mixture, as observed and as expected.
    n : float
        People who have the trait.
    level : float
    """
    checks, curve = found.by_check, found.curve
    others = blamed(checks, level)
    observed, expected = ends
    half = len(observed) // 2
    told: list[Tail] = []
    for side, name, places, check in (
        (slice(0, half), "left", np.flatnonzero(probability <= _END), "far below"),
        (slice(half, None), "right", np.flatnonzero(probability >= 1.0 - _END)[::-1], "far above"),
    ):
        if not others:
            break
        # of the mixture's tails, the one in which the people stray furthest
        seen, wanted = observed[side], np.maximum(expected[side], 1e-12)
        strayed = np.where(n * wanted >= _WORTH, (seen - wanted) / np.sqrt(wanted), 0.0)
        j = int(np.argmax(np.abs(strayed)))
        more = bool(seen[j] > wanted[j])
        further_out = bool(checks[check]["observed"] > checks[check]["expected"])
        # a tail is heavy where its sorted residuals lie further out than the band, and the outermost decide
        strays = curve.outside[places] * (-1 if name == "left" else 1)
        outermost = places[strays != 0][:1]
        if len(outermost):
            heavier = bool(strays[strays != 0][0] > 0)
            if not heavier and further_out:
                continue  # a shoulder, with more people further out
        elif check in others and more == further_out:
            heavier = more
        else:
            continue
        sign = 1.0 if heavier else -1.0
        j = int(np.argmax(sign * strayed))
        if sign * strayed[j] > 0.0:
            beyond = "below" if name == "left" else "above"
            share = f"{100 * seen[j]:.2g}% of people {beyond} where {100 * wanted[j]:.2g}% should be"
        elif len(outermost):
            i = int(outermost[0])
            bound = curve.lower[i] if curve.observed[i] < curve.lower[i] else curve.upper[i]
            share = f"a residual of {curve.observed[i]:.2f} on the {name} where the band ends at {bound:.2f}"
        else:
            share = ""
        told.append(Tail(name, heavier, share))
    return told


def _tails_told(tails: list[Tail]) -> list[str]:
    """Sentences on the mixture's own tails."""
    if len(tails) > 1 and len({tail.word for tail in tails}) == 1:
        shares = " and ".join(tail.share for tail in tails if tail.share)
        return [f"both tails are {tails[0].word} than the mixture's{': ' if shares else ''}{shares}"]
    return [
        f"the {tail.name} tail is {tail.word} than the mixture's{': ' if tail.share else ''}{tail.share}"
        for tail in tails
    ]


def joint_words(found: JointChecks, level: float, remedies: Remedies, before: Sequence[str]) -> str:
    """Verdict on the traits together.

    Parameters
    ----------
    found : JointChecks
    level : float
        Adjusted p-values up to which something is found.
    remedies : Remedies
        What was tried where something is found.
    before : sequence of str
        Traits of which something has to be seen to first.
    """
    p_adjusted = found.p_adjusted
    least = float(p_adjusted.min())
    if least > level:
        return f"{JOINTLY_FITS} (p = {least:.2f})"
    told = []
    if p_adjusted[1] <= level:
        first, second, observed, expected = found.pair
        told.append(
            f"residuals of {first} and {second} have a correlation of {observed:.2f} where {expected:.2f} is expected"
        )
    if p_adjusted[0] <= level:
        where = "some people lie where the mixture is thin" if found.thin else "people crowd where the mixture is dense"
        both = found.thin and found.dense
        told.append("log densities of people are spread further than the mixture's" if both else where)
    words = f"the traits go together otherwise than in the mixture: {' and '.join(told)} (p = {least:.2g})"
    return f"{words}. {_sentence(f'see first to {_and(before)}' if before else remedies.told())}"


def _and(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
