"""What checks of a fit amount to, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesgmm.analysis.fit_remedies import COMPONENT, Remedies
from bayesgmm.analysis.fit_tables import HEAP_P, HEAPS, JointChecks, TraitChecks

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


def trait_words(
    found: TraitChecks,
    *,
    n: float,
    level: float,
    probability: Array,
    ends: tuple[Array, Array],
    remedies: Remedies,
) -> str:
    """Verdict on one trait.

    Parameters
    ----------
    found : TraitChecks
    n : float
        People who have the trait.
    level : float
        Adjusted p-values up to which something is found.
    probability : ndarray (m,)
        Places of the sorted residuals.
    ends : tuple of ndarray
        Shares of people in left, then in right tails of the mixture, as observed and as expected.
    remedies : Remedies
        What was tried where something is found.
    """
    checks, heaps = found.by_check, found.heaps
    others = blamed(checks, level)
    heaped, only = is_heaped(found, n, level)
    if only or (heaped and not len(remedies.table)):
        return _heaped(heaps, n)
    if not others:
        least = _least(checks, [check for check in checks if check != HEAPS])
        few = "; with so few people only gross misfits would show" if n < _FEW else ""
        return f"the mixture fits: nothing tells these {n:.0f} people from people drawn from it (p = {least:.2f}){few}"
    told = _tails_told(found.curve.outside, probability, ends, n, checks, others)
    told += _shape_told(checks, others, tails=bool(told))
    if not told:
        told = ["between the tails the distribution has another shape than the mixture"]
    before = f"{_heaped(heaps, n)}. Besides, " if heaped else ""
    # a component that only bends a skewed trait means nothing
    besides = "a transform of the trait" if "skewness" in others and remedies.best in (COMPONENT, None) else ""
    return f"{before}{'; '.join(told)} (p = {_least(checks, others):.2g}). {_sentence(remedies.told(besides))}"


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


def _heaped(heaps: pd.DataFrame, n: float) -> str:
    """The verdict where values repeat too often, which the other checks feel too."""
    shown = [
        f"{row['people']:g} of {n:.0f} people have {row['value']:.6g} where {row['expected']:.2g} are expected"
        for row in heaps.head(_SHOWN).to_dict("records")
    ]
    more = f", and {len(heaps) - _SHOWN} more values" if len(heaps) > _SHOWN else ""
    if len(heaps) == 1:
        beside = bool(heaps["beside"].iloc[0] > _BESIDE * heaps["people"].iloc[0])
        narrow = ", or a narrow component around it," if beside else ""
        at = float(heaps["value"].iloc[0])  # every digit: Mixture(spike=) takes this very value
        advice = f"a spike (point mass) component at {at!r}{narrow} would serve"
    else:
        advice = (
            "a spike (point mass) component would serve where one is real, such as a limit; none is needed for digits "
        )
        advice += "that observers prefer"
    return f"values are heaped: {', '.join(shown)}{more}; {advice}"


def _tails_told(
    outside: NDArray[np.int64],
    probability: Array,
    tails: tuple[Array, Array],
    n: float,
    checks: Checks,
    others: list[str],
) -> list[str]:
    """Sentences on the mixture's own tails."""
    observed, expected = tails
    half = len(observed) // 2
    told: list[tuple[str, str, str]] = []
    for side, name, ends, check in (
        (slice(0, half), "left", probability <= _END, "far below"),
        (slice(half, None), "right", probability >= 1.0 - _END, "far above"),
    ):
        # of the mixture's tails, the one in which the people stray furthest
        seen, wanted = observed[side], np.maximum(expected[side], 1e-12)
        j = int(np.argmax(np.where(n * wanted >= _WORTH, np.abs(seen - wanted) / np.sqrt(wanted), -1.0)))
        more = bool(seen[j] > wanted[j])
        # a tail is heavy where its sorted residuals lie further out than the band, and the outermost decide
        strays = outside[ends] * (-1 if name == "left" else 1)
        strays = strays[strays != 0]
        if len(strays):
            heavier = bool(strays[0 if name == "left" else -1] > 0)
            if not heavier and checks[check]["observed"] > checks[check]["expected"]:
                continue  # a shoulder, with more people further out
        elif check in others and more == (checks[check]["observed"] > checks[check]["expected"]):
            heavier = more
        else:
            continue
        word, beyond = ("heavier" if heavier else "lighter"), ("below" if name == "left" else "above")
        share = f": {100 * seen[j]:.2g}% of people {beyond} where {100 * wanted[j]:.2g}% should be"
        told.append((name, word, share if more == heavier else ""))
    if len({word for _, word, _ in told}) == 1 and len(told) > 1:
        shares = " and ".join(share.removeprefix(": ") for _, _, share in told if share)
        return [f"both tails are {told[0][1]} than the mixture's{': ' if shares else ''}{shares}"]
    return [f"the {name} tail is {word} than the mixture's{share}" for name, word, share in told]


def joint_words(found: JointChecks, level: float, remedies: Remedies) -> str:
    """Verdict on the traits together.

    Parameters
    ----------
    found : JointChecks
    level : float
        Adjusted p-values up to which something is found.
    remedies : Remedies
        What was tried where something is found.
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
    return (
        f"the traits go together otherwise than in the mixture: {' and '.join(told)} (p = {least:.2g}). "
        f"{_sentence(remedies.told())}"
    )
