"""Reverse Bayes: the prior under which an association's interval first includes no effect; Bayes factor curves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import norm

from bayesgmm import names
from bayesgmm.analysis.answers import SampledStudy, laplace_answer, sampled_posterior
from bayesgmm.analysis.sensitivity import (
    ENGINES,
    base_of,
    highest_mode,
    refuse_without_mode,
    sensitivity,
    sensitivity_table,
)
from bayesgmm.analysis.summaries import of_draws, of_modes
from bayesgmm.checks import check_share, seed_or_zero
from bayesgmm.core.effect_density import NORMAL, Pairwise
from bayesgmm.errors import InputError
from bayesgmm.inference.search import fit_map, with_a_mode
from bayesgmm.model import Mixture
from bayesgmm.priors.effects import LogOddsSpikeSlab
from bayesgmm.priors.scales import LogOddsGroups, LogOddsHorseshoe
from bayesgmm.progress import track

if TYPE_CHECKING:
    from bayesgmm.inference.map_fit import MapFit
    from bayesgmm.inference.posterior import Posterior
    from bayesgmm.problem import Problem

Array = NDArray[np.float64]

_SCALES = np.geomspace(100.0, 1e-3, 26)  # of a log odds ratio: beyond, an odds ratio has no meaning
_MEANS = np.linspace(0.0, 5.0, 16)  # prior means of a log odds ratio that are tried, from the model's own
_AROUND = np.array([1.6, 1.2, 1.0 / 1.2, 1.0 / 1.6])  # of the mode's tipping point: where draws look first
_BESIDE = 0.1 * np.array([-4.0, -1.0, 1.0, 4.0])  # the same of a prior mean
_TOLERANCE = {"map": 1e-4, "laplace": 1e-3, "nuts": 1e-2}  # of a tipping point; draws know no more
_WIDE = 100.0  # sd of the prior that stands for none in the sceptical limit


def scale_argument(model: Mixture) -> str:
    """Name of the argument that is the scale of the effects' prior.

    Raises
    ------
    InputError
        If that prior has no scale, or learns it.
    """
    if not isinstance(model, Mixture):
        raise InputError(f"model is a {type(model).__name__}; give a bayesgmm.Mixture, and then the study")
    prior = model.priors.effects
    if isinstance(prior, LogOddsGroups | LogOddsHorseshoe):
        raise InputError(
            f"the effects' prior {type(prior).__name__} learns its scales, so that none can be asked for; give one "
            "with a scale of its own, such as bg.LogOddsNormal(sd=1)"
        )
    for argument in ("sd", "scale"):
        if hasattr(prior, argument):
            return argument
    raise InputError(
        f"the effects' prior {type(prior).__name__} has no scale; give one that has, such as bg.LogOddsNormal(sd=1)"
    )


def tipping_points(
    model: Mixture,
    study: Any,
    *,
    engine: str = "map",
    level: float = 0.95,
    seed: int | None = None,
    draws: int | None = None,
    base: MapFit | Posterior | None = None,
    predictors: Sequence[str] | None = None,
    progress: bool = False,
    sample_weight: Any = None,
    **sampler: Any,
) -> pd.DataFrame:
    """Find the prior scale and the prior mean at which each association's interval first includes no effect.

    Parameters
    ----------
    model : Mixture
        Its own priors are where the search sets out; one predictor's prior is moved, the others stay.
    study : Study, DataFrame or ndarray
    engine : {"map", "laplace", "nuts"}
        As in :func:`bayesgmm.sensitivity`.
    level : float, default 0.95
        Probability of the intervals.
    seed, draws, base, sample_weight, **sampler
        As in :func:`bayesgmm.sensitivity`.
    predictors : sequence of str, optional
        Those to look at; all when not given.
    progress : bool, default False

    Returns
    -------
    pandas.DataFrame
        One row per predictor and contrast: ``log_odds_ratio``, ``lower``, ``upper`` and ``excludes_none`` under the
        model's own prior; ``tipping_scale``: the prior scale below which the interval includes no effect (NaN where it
        does at every scale, or at none; with a prior mean other than zero it may be the other way about, and
        ``verdict`` says so); ``tipping_mean``: the prior mean, of all the predictor's contrasts together and at the
        model's own scale, at which it starts to include, or to leave out, no effect (NaN: none within 5 of the model's
        own); ``sceptical_limit``: the
        odds ratio up to which a sceptic's prior interval, centred at no effect, must reach for the data to convince
        them, in closed form from the likelihood; ``sceptical_sd``: the same as a prior sd; and ``verdict`` in words.

    Raises
    ------
    InputError
        If the model has no predictors, their prior has no scale, or there is no mode to climb to.

    Notes
    -----
    The sceptical limit is ``(U - L)^2 / (4 sqrt(U L))`` for the likelihood's interval ``(L, U)`` of a log odds ratio
    (Matthews 2001, J. Stat. Plan. Inference 94:43; Held 2019, J. R. Stat. Soc. A 182:431), normal likelihood and
    prior supposed; the tipping scale supposes neither. Likelihood here means a prior of sd 100. With draws the search
    is around the modes' tipping point; where modes have none, none is looked for.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> from bayesgmm.demo import demo_study
    >>> table = bg.tipping_points(bg.Mixture(2, weights="rs101"), demo_study())
    >>> bool(table.loc[0, "tipping_scale"] < 0.1)
    True
    """
    if engine not in ENGINES:
        raise InputError(f"engine = {engine!r}; it must be one of {', '.join(ENGINES)}")
    check_share("level", level)
    scale_argument(model)
    refuse_spike(model)
    seed = seed_or_zero(seed)
    own, posterior = base_of(model, study, base, seed, sample_weight)
    problem = own.problem.with_priors(model.priors)
    if not problem.predictor_names or problem.n_components < 2:
        raise InputError("tipping_points: the model has no predictors of the weights or only one component")
    if engine != "nuts":
        refuse_without_mode([problem])
    chosen = _chosen(predictors, problem.predictor_names)
    quick = _answerer(model, own, None, "map", level, seed, draws, {})
    answer = quick if engine == "map" else _answerer(model, own, posterior, engine, level, seed, draws, sampler)
    search = _Search(own, problem, engine, level, answer, quick, answer(problem))
    return pd.DataFrame([row for p in track(chosen, "tipping points", enabled=progress) for row in search.rows(p)])


@dataclass(frozen=True)
class _Search:
    """The search for tipping points: the base, and functions from a problem to its effects, of modes and of draws."""

    own: MapFit
    problem: Problem
    engine: str
    level: float
    answer: Callable[[Problem], Array]
    quick: Callable[[Problem], Array]
    at_base: Array

    def rows(self, predictor: str) -> list[dict[str, Any]]:
        """Rows of the table, one per contrast."""
        p = self.problem.predictor_names.index(predictor)
        wide = unopposed_effects(self.own, predictor, self.level)
        labels = enumerate(self.problem.contrasts)
        return [{"predictor": predictor, names.CONTRAST: label, **self._row(p, c, wide[p, c])} for c, label in labels]

    def _row(self, p: int, c: int, wide: Array) -> dict[str, Any]:
        estimate, _, lower, upper = self.at_base[p, c]
        excludes = bool(lower > 0.0 or upper < 0.0)
        # the side of no effect on which the interval is, else that to which the data pull it
        side = 1.0 if (estimate if excludes else wide[0]) > 0.0 else -1.0
        prior = self.problem.priors
        scale, mean = float(prior.effect_sd[p]), float(prior.effect_mean[p, c])
        means = mean + (-side if excludes else side) * _MEANS
        limit = _sceptical(wide[2], wide[3])
        row = {
            "log_odds_ratio": float(estimate),
            "lower": float(lower),
            "upper": float(upper),
            "excludes_none": excludes,
            "prior_scale": scale,
            "prior_mean": mean,
            "tipping_scale": self._tipping(p, c, side, self._with_scale, _SCALES, lambda s: s * _AROUND),
            "tipping_mean": self._tipping(p, c, side, self._with_mean, means, lambda m: m + _BESIDE),
            "sceptical_limit": float(np.exp(limit)),
            "sceptical_sd": float(limit / norm.ppf(0.5 * (1.0 + self.level))),
        }
        pairwise = prior.pairwise_effect(p)
        assert isinstance(pairwise, Pairwise)  # its scale is given
        return row | {"verdict": _verdict(row, replace(pairwise, scale=1.0).reach(0.95))}

    def _tipping(
        self,
        p: int,
        c: int,
        side: float,
        changed: Callable[[int, float], Problem],
        ladder: Array,
        around: Callable[[float], Array],
    ) -> float:
        def nearer_end(by: Callable[[Problem], Array], value: float) -> float:
            """End of the interval on the side of no effect; above 0 where the interval leaves it out."""
            found, _, low, high = by(changed(p, value))[p, c]
            if found == 0.0 and np.isnan(low):
                # exactly at none, where a Laplace prior holds it: there is no interval to leave none out
                return -_TOLERANCE["map"]
            return float(low if side > 0.0 else -high)

        at_modes = _crossing(lambda v: nearer_end(self.quick, v), ladder, _TOLERANCE["map"])
        if self.engine == "map" or np.isnan(at_modes):
            return at_modes
        return _crossing(lambda v: nearer_end(self.answer, v), around(at_modes), _TOLERANCE[self.engine])

    def _with_scale(self, p: int, value: float) -> Problem:
        scales = self.problem.priors.effect_sd.copy()
        scales[p] = value
        return self.problem.with_resolved(replace(self.problem.priors, effect_sd=scales))

    def _with_mean(self, p: int, value: float) -> Problem:
        means = self.problem.priors.effect_mean.copy()
        means[p] = value
        return self.problem.with_resolved(replace(self.problem.priors, effect_mean=means))


def _answerer(
    model: Mixture,
    own: MapFit,
    posterior: Posterior | None,
    engine: str,
    level: float,
    seed: int,
    draws: int | None,
    sampler: dict[str, Any],
) -> Callable[[Problem], Array]:
    """Function from a problem to its effects' estimate, sd and interval (predictor, contrast, 4).

    Each fit starts where the last one ended, and from the model's own, so that one search does not lead astray another.
    """
    last = own
    sampled: SampledStudy | None = None
    if engine != "map":
        own.problem.priors.refuse_improper()
        own.problem.refuse_unsampled()
    if engine == "nuts":
        options = {"draws": 1000 if draws is None else draws, "seed": seed, **sampler}
        if posterior is None:
            posterior = sampled_posterior(own.problem.with_priors(model.priors), own, options)
        sampled = SampledStudy(posterior, options)

    def answer(problem: Problem) -> Array:
        nonlocal last
        last = highest_mode(with_a_mode(problem), [last] if last is own else [last, own])
        if engine == "map":
            return of_modes(problem, [last], level, {}, seed)[0][names.EFFECTS][1]
        if sampled is None:
            found = laplace_answer(last, 2000 if draws is None else draws, seed)
        else:
            found = sampled.answer(problem, last, "a prior nearby")
        return of_draws(problem, found.draws, found.weights, level, {})[names.EFFECTS][1]

    return answer


def unopposed_effects(own: MapFit, predictor: str, level: float = 0.95) -> Array:
    """Effects (predictor, contrast, 4), as of :func:`of_modes`, where one predictor's prior says next to nothing.

    That predictor has a normal prior of sd 100 whatever its family was (a spike would still hold it, however wide its
    slab); scales that are learned stay where the fit has them.
    """
    priors = own.problem.priors
    chosen = np.array([name == predictor for name in own.problem.predictor_names])
    wide = replace(
        priors,
        effect_sd=np.where(chosen, _WIDE, priors.effect_sd),
        effect_kind=np.where(chosen, NORMAL, priors.effect_kind),
        scales=None,
        scales_at=None,
    )
    fit = fit_map(with_a_mode(own.problem.with_resolved(wide)), init=own)
    return of_modes(own.problem, [fit], level, {}, 0)[0][names.EFFECTS][1]


def _chosen(predictors: Sequence[str] | str | None, known: Sequence[str]) -> list[str]:
    """Predictors asked for: all, one by its name, or several."""
    if predictors is None:
        return list(known)
    chosen = [predictors] if isinstance(predictors, str) else list(predictors)
    unknown = [p for p in chosen if p not in known]
    if unknown:
        raise InputError(f"predictors: {unknown[0]!r} is not one; the predictors are {', '.join(known) or '(none)'}")
    return chosen


def refuse_spike(model: Mixture) -> None:
    """Raise where no search over the scale is to be trusted.

    Raises
    ------
    InputError
        Under a spike and slab.
    """
    if isinstance(model.priors.effects, LogOddsSpikeSlab):
        raise InputError(
            "the posterior under a spike and slab has many modes, among which a search over its scale would jump; ask "
            "bg.inclusion for the probability of an effect, or give another prior"
        )


def _crossing(function: Callable[[float], float], ladder: Array, tolerance: float) -> float:
    """Where a function first changes sign along a ladder; NaN where it does not."""
    before = function(float(ladder[0]))
    for low, high in pairwise(ladder):
        after = function(float(high))
        if np.isfinite(before) and np.isfinite(after) and (before > 0.0) != (after > 0.0):
            # each fit starts where the last one ended, and with several modes an end may not answer twice alike
            ends = {float(low): before, float(high): after}
            return float(brentq(lambda v: ends[v] if v in ends else function(v), low, high, xtol=tolerance))  # noqa: B023
        before = after
    return float("nan")


def _sceptical(lower: float, upper: float) -> float:
    """Sceptical limit of a likelihood's interval on the log scale; NaN where that includes no effect."""
    if not lower * upper > 0.0:
        return float("nan")
    return float((upper - lower) ** 2 / (4.0 * np.sqrt(upper * lower)))


def _verdict(row: dict[str, Any], reach: float) -> str:
    """A tipping point in words; ``reach`` is how far, in scales, 95% of log odds ratios lie from the prior's mean."""
    scale, own_scale, own_mean = row["tipping_scale"], row["prior_scale"], row["prior_mean"]
    excludes, now = row["excludes_none"], f"now {own_scale:.3g}"
    told = f"the interval {'excludes' if excludes else 'includes'} an odds ratio of 1"
    if np.isnan(row["lower"]):
        return "exactly at an odds ratio of 1 under this prior, where there is no interval"
    if np.isnan(scale):
        told += f" at every prior scale looked at ({_SCALES.min():g} to {_SCALES.max():g})"
    elif excludes and scale <= own_scale and own_mean != 0.0:
        told += (
            f" down to a prior scale of {scale:.3g} ({now}), where it comes to include 1; narrower priors pull it to "
            f"their own mean, an odds ratio of {np.exp(own_mean):.3g}"
        )
    elif excludes and scale <= own_scale:
        with np.errstate(over="ignore"):
            high = np.exp(reach * scale)
        told += (
            f" unless 95% of odds ratios are believed within 1/{high:.2f} and {high:.2f} beforehand (a prior scale of "
            f"{scale:.3g}, {now})"
        )
    elif excludes:
        told += f" because of the prior: above a scale of {scale:.3g} ({now}) it includes 1"
    elif scale >= own_scale:
        told += f" because the prior is narrow: above a scale of {scale:.3g} ({now}) it excludes 1"
    else:
        told += f"; below a prior scale of {scale:.3g} ({now}) it excludes 1"
    if np.isfinite(row["tipping_mean"]):
        change = "include" if excludes else "exclude"
        told += f"; with a prior centred at an odds ratio of {np.exp(row['tipping_mean']):.3g} it would {change} 1"
    return told


def bayes_factor_curve(
    model: Mixture,
    study: Any,
    scales: Sequence[float] | Array | None = None,
    *,
    predictors: Sequence[str] | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Bayes factor of each effect against none as a function of its prior's scale.

    Parameters
    ----------
    model : Mixture
    study : Study, DataFrame or ndarray
    scales : array_like, optional
        Prior scales of the log odds ratio; 30 from 0.02 to 10 when not given.
    predictors : sequence of str, optional
        Those to look at, each with the others' priors as they are; all when not given.
    **options
        Of :func:`bayesgmm.sensitivity`: ``engine``, ``seed``, ``draws``, ...

    Returns
    -------
    pandas.DataFrame
        ``predictor``, ``contrast``, ``scale``, ``log10_bayes_factor`` and ``is_maximum``: the most that any prior of
        this kind says for an effect (Edwards, Lindman and Savage 1963).
    """
    argument = scale_argument(model)
    refuse_spike(model)
    try:
        scales = np.geomspace(0.02, 10.0, 30) if scales is None else np.atleast_1d(np.asarray(scales, dtype=float))
    except (TypeError, ValueError):
        raise InputError(f"scales = {scales!r}; they must be numbers above 0") from None
    problem = model.problem(study, options.get("sample_weight"))
    if not problem.predictor_names or problem.n_components < 2:
        raise InputError("bayes_factor_curve: the model has no predictors of the weights or only one component")
    parts = []
    for predictor in _chosen(predictors, problem.predictor_names):
        path = f"effects.{argument}.{predictor}"
        table = sensitivity_table(sensitivity(model, study, {path: scales.tolist()}, bayes_factors=True, **options))
        parts.append(table[table["predictor"] == predictor].rename(columns={path: "scale"}))
    found = pd.concat(parts, ignore_index=True)[["predictor", names.CONTRAST, "scale", "log10_bayes_factor"]]
    top = found.groupby(["predictor", names.CONTRAST])["log10_bayes_factor"].transform("max")
    return found.assign(is_maximum=found["log10_bayes_factor"] == top)
