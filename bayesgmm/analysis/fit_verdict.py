"""What checks of a fit amount to, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

if TYPE_CHECKING:
    from bayesgmm.problem import Problem

Array = NDArray[np.float64]
Checks = Mapping[str, Mapping[str, Any]]

_FEW = 100.0  # people among whom only gross misfits show
_END = 0.05  # probability within which a place is of a tail
_SHOWN = 3  # heaps named
_MANY = 0.1  # of the people in heaps, from which the other checks only echo them
_BESIDE = 0.1  # of a heap's people, with the value next to it, from which a heap may be a narrow component
_WORTH = 0.5  # people expected in a tail before a share is worth telling

JOINTLY_FITS = "the traits go together as in the mixture"


def trait_words(
    problem: Problem,
    d: int,
    checks: Checks,
    heaps: pd.DataFrame,
    *,
    n: float,
    level: float,
    heap_level: float,
    outside: NDArray[np.int64],
    probability: Array,
    tails: tuple[Array, Array],
) -> str:
    """Verdict on one trait.

    Parameters
    ----------
    problem : Problem
    d : int
        The trait.
    checks : dict
        Rows of its table, by check.
    heaps : pandas.DataFrame
    n : float
        People who have the trait.
    level, heap_level : float
        Adjusted p-values up to which something is found.
    outside : ndarray of int (m,)
        Sorted residuals below (-1) or above (1) their band.
    probability : ndarray (m,)
        Places of the sorted residuals.
    tails : tuple of ndarray
        Shares of people in lower, then in upper tails of the mixture, as observed and as expected.
    """
    others = [check for check, row in checks.items() if check != "heaps" and row["p_adjusted"] <= level]
    heaped = len(heaps) > 0 and checks["heaps"]["p_adjusted"] <= heap_level
    if heaped and (not others or heaps["people"].sum() > _MANY * n):
        return _heaped(problem, d, heaps, n)
    if not others:
        least = _least(checks, [check for check in checks if check != "heaps"])
        few = "; with so few people only gross misfits would show" if n < _FEW else ""
        return f"the mixture fits: nothing tells these {n:.0f} people from people drawn from it (p = {least:.2f}){few}"
    told, advice = _tails_told(outside, probability, tails, n, checks, others, is_t=len(problem.priors.tails.df) > 0)
    for check, more, less in (
        ("skewness", "skewed further to the right", "skewed further to the left"),
        ("kurtosis", "more peaked, with longer tails,", "flatter, with shorter tails,"),
    ):
        if check in others and not told:
            high = checks[check]["observed"] > checks[check]["expected"]
            told.append(f"the people are {more if high else less} than the mixture")
    if "modes" in others:
        modes, wanted = round(checks["modes"]["observed"]), round(checks["modes"]["expected"])
        told.append(f"{modes} modes where data from the mixture have {wanted}")
        if modes > wanted:
            advice.append("one more component")
    if not told:
        told.append("between the tails the distribution has another shape than the mixture")
    if not advice:
        advice.append("one more component")
        if problem.family.equal_volume and problem.n_components > 1:
            advice.append("components with variances of their own (V, VVV)")
    before = f"{_heaped(problem, d, heaps, n)}. Besides, " if heaped else ""
    remedy = " or ".join(dict.fromkeys(advice))
    return f"{before}{'; '.join(told)}; {remedy} would serve (p = {_least(checks, others):.2g})"


def _least(checks: Checks, some: list[str]) -> float:
    return min(float(checks[check]["p_adjusted"]) for check in some)


def _heaped(problem: Problem, d: int, heaps: pd.DataFrame, n: float) -> str:
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
    *,
    is_t: bool,
) -> tuple[list[str], list[str]]:
    """Sentences on the tails and what to do about them."""
    observed, expected = tails
    half = len(observed) // 2
    told: list[str] = []
    heavy: list[bool] = []
    for side, name, ends, check in (
        (slice(0, half), "left", probability <= _END, "lower tail"),
        (slice(half, None), "right", probability >= 1.0 - _END, "upper tail"),
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
        told.append(f"the {name} tail is {word} than the mixture's{share if more == heavier else ''}")
        heavy.append(heavier)
    advice: list[str] = []
    long = all(checks[c]["observed"] > checks[c]["expected"] for c in ("kurtosis", "lower tail", "upper tail"))
    if (len(heavy) == 2 and all(heavy)) or (long and any(heavy)):
        advice = ["one more component" if is_t else "a Student-t component", "noise" if is_t else "one more component"]
    elif any(heavy):
        advice = ["one more component", "a transform of the trait"]
    return told, advice


def joint_words(
    p_adjusted: Array,
    level: float,
    outside: tuple[NDArray[np.bool_], NDArray[np.bool_]],
    pair: tuple[str, str, float, float],
    family: str,
) -> str:
    """Verdict on the traits together.

    Parameters
    ----------
    p_adjusted : ndarray (2,)
        Of the log densities of people, and of the correlations of residuals.
    level : float
    outside : tuple of ndarray
        Sorted log densities that are below and above their band.
    pair : tuple
        The two traits whose residuals' correlation strays furthest, and it, as observed and as expected.
    family : str
        Covariance family of the mixture.
    """
    least = float(p_adjusted.min())
    if least > level:
        return f"{JOINTLY_FITS} (p = {least:.2f})"
    told = []
    freer = "" if family == "VVV" else "a covariance family with more freedom (VVV) or "
    if p_adjusted[1] <= level:
        first, second, observed, expected = pair
        told.append(
            f"residuals of {first} and {second} have a correlation of {observed:.2f} where {expected:.2f} is expected"
        )
    if p_adjusted[0] <= level:
        low, high = (bool(side.any()) for side in outside)
        where = "some people lie where the mixture is thin" if low else "people crowd where the mixture is dense"
        told.append("log densities of people are spread further than the mixture's" if low and high else where)
    return (
        f"the traits go together otherwise than in the mixture: {' and '.join(told)}; {freer}one more component would "
        f"serve (p = {least:.2g})"
    )
