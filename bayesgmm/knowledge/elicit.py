"""Priors of effects from what a person believes of odds ratios, and from how frequent the variants are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, overload

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm

from bayesgmm.errors import InputError, first_few
from bayesgmm.priors.effects import EffectsPrior, LogOddsNormal

if TYPE_CHECKING:
    from bayesgmm.study import Study

Array = NDArray[np.float64]


def sd_for_odds_ratio(odds_ratio: float, probability: float = 0.95) -> float:
    """Prior sd of a log odds ratio from the belief that most odds ratios lie within 1/OR and OR.

    ``sd = log(OR) / z`` with ``z`` the normal deviate of ``(1 + probability) / 2``.

    Parameters
    ----------
    odds_ratio : float
        The end of the interval, per allele; 1/1.5 says the same as 1.5.
    probability : float, default 0.95
        How much of the belief lies within.

    Returns
    -------
    float

    Raises
    ------
    InputError
        If an argument is out of bounds.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> round(bg.sd_for_odds_ratio(1.5), 3)
    0.207
    """
    if not (np.isfinite(odds_ratio) and odds_ratio > 0.0 and odds_ratio != 1.0):
        raise InputError(f"odds_ratio = {odds_ratio!r}; it must be above 0, finite and not 1")
    return float(abs(np.log(odds_ratio)) / _deviate(probability))


def normal_for_odds_ratios(low: float, high: float, probability: float = 0.95) -> LogOddsNormal:
    """Prior of a log odds ratio from the belief that the odds ratio lies within an interval.

    The mean is the middle of ``log(low)`` and ``log(high)``, the sd their half distance over the normal deviate.

    Parameters
    ----------
    low, high : float
        Ends of the equal-tailed interval of the odds ratio per allele.
    probability : float, default 0.95

    Returns
    -------
    LogOddsNormal
        Its ``mean`` and ``sd`` are numbers; for one predictor of many give them by name.

    Raises
    ------
    InputError
        If an argument is out of bounds.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> belief = bg.normal_for_odds_ratios(1.0, 2.25)
    >>> round(belief.mean, 3), round(belief.sd, 3)
    (0.405, 0.207)
    """
    if not (np.isfinite([low, high]).all() and 0.0 < low < high):
        raise InputError(f"low = {low!r}, high = {high!r}; they must be above 0, finite, and low below high")
    ends = np.log([low, high])
    return LogOddsNormal(mean=float(ends.mean()), sd=float(np.ptp(ends) / (2.0 * _deviate(probability))))


@overload
def sd_by_frequency(
    frequencies: Study | Mapping[str, float] | pd.Series[float],
    *,
    sd: float = ...,
    power: float = ...,
    at: float = ...,
    largest: float | None = ...,
) -> dict[str, float]: ...
@overload
def sd_by_frequency(
    frequencies: Sequence[float] | Array,
    *,
    sd: float = ...,
    power: float = ...,
    at: float = ...,
    largest: float | None = ...,
) -> Array: ...
def sd_by_frequency(
    frequencies: Study | Mapping[str, float] | pd.Series[float] | Sequence[float] | Array,
    *,
    sd: float = 1.0,
    power: float = -1.0,
    at: float = 0.5,
    largest: float | None = None,
) -> dict[str, float] | Array:
    """Prior sd of each variant's log odds ratio from its allele frequency, so that rare variants may do more.

    ``sd_f = sd * (f (1 - f) / (at (1 - at)))^(power / 2)``

    Parameters
    ----------
    frequencies : Study, mapping, Series or array
        Of the effect or the other allele, by variant; a study gives those of its variants.
    sd : float, default 1.0
        Of a variant with frequency ``at``.
    power : float, default -1.0
        Of the variance of a genotype. -1: the sd is proportional to ``1 / sqrt(2 f (1 - f))``, so every variant is
        expected to matter as much in the population; it is the prior implicit in ranking by p-values (Wakefield 2009)
        and in GCTA's relationship matrix. -0.38: the mean over 25 traits and diseases of UK Biobank (Schoech et al.
        2019), rare variants do more each and less together. 0: frequency does not matter.
    at : float, default 0.5
        Frequency at which the sd is ``sd``.
    largest : float, optional
        Bound of the sd: at power -1, a frequency of 0.001 makes it 16 times that of a frequency of 0.5.

    Returns
    -------
    dict or ndarray
        By variant, ready for ``LogOddsNormal(sd=...)``; an array for an array.

    Raises
    ------
    InputError
        If an argument is out of bounds or a frequency is not above 0 and below 1.

    References
    ----------
    Wakefield (2009), Genetic Epidemiology 33:79. Schoech et al. (2019), Nature Communications 10:790.
    """
    for what, value in (("sd", sd), ("largest", largest)):
        if value is not None and not (np.isfinite(value) and value > 0.0):
            raise InputError(f"{what} = {value!r}; it must be above 0 and finite")
    if not np.isfinite(power):
        raise InputError(f"power = {power!r}; it must be finite, usually from -1 to 0")
    if not 0.0 < at < 1.0:
        raise InputError(f"at = {at!r}; it must be a frequency above 0 and below 1")
    labels, values = _frequencies(frequencies)
    wrong = ~((values > 0.0) & (values < 1.0))
    if wrong.any():
        raise InputError(
            f"frequencies must be above 0 and below 1; they are not for {first_few(np.asarray(labels)[wrong])} "
            f"({first_few(values[wrong])})"
        )
    made: Array = sd * (values * (1.0 - values) / (at * (1.0 - at))) ** (power / 2.0)
    made = made if largest is None else np.minimum(made, largest)
    if isinstance(frequencies, Sequence | np.ndarray):
        return made
    return {label: float(value) for label, value in zip(labels, made, strict=True)}


def scale_of_predictors(study: Study, weights: str | None, prior: EffectsPrior, *, power: float) -> dict[str, float]:
    """Scale of each predictor of a formula: by frequency for what a single variant makes, as it is for the rest.

    Parameters
    ----------
    study : Study
    weights : str or None
        Formula of the weights; None: every variant.
    prior : EffectsPrior
        Its scale is that at a frequency of 0.5.
    power : float
        As in :func:`sd_by_frequency`.
    """
    columns = study.variant_names if weights is None else list(study.design(weights).columns)
    base = prior.resolve(columns).scale
    frequency = dict(zip(*_frequencies(study), strict=True))
    own = {c: v for v in frequency for c in (v, f"additive({v})") if c in columns}
    scale = sd_by_frequency({c: frequency[v] for c, v in own.items()}, power=power)
    return {c: float(s) * scale.get(c, 1.0) for c, s in zip(columns, base, strict=True)}


def _frequencies(
    given: Study | Mapping[str, float] | pd.Series[float] | Sequence[float] | Array,
) -> tuple[list[str], Array]:
    if isinstance(given, Mapping):
        given = pd.Series(dict(given), dtype=float)
    elif isinstance(given, Sequence | np.ndarray):
        given = pd.Series(np.ravel(given), dtype=float)
    if isinstance(given, pd.Series):
        return [str(label) for label in given.index], np.asarray(given.to_list(), dtype=np.float64)
    if not given.variant_names:
        raise InputError("frequencies: the study has no variants")
    known: Array = np.asarray(given.dataset["effect_allele_frequency"].values, dtype=np.float64)
    return given.variant_names, known


def _deviate(probability: float) -> float:
    if not 0.0 < probability < 1.0:
        raise InputError(f"probability = {probability!r}; it must be between 0 and 1")
    return float(norm.ppf((1.0 + probability) / 2.0))
