"""Does the mixture fit: quantile residuals with bands, chi-square, shape against replicates, repeated values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from bayesgmm import names
from bayesgmm.analysis.fit_looks import SOME, Look, Plan, foretold, look
from bayesgmm.analysis.fit_remedies import TAILS, Remedies, remedies_of
from bayesgmm.analysis.fit_tables import HEAP_P, HEAPS, JOINT, JointChecks, TraitChecks, checks_of_all, checks_of_trait
from bayesgmm.analysis.fit_verdict import Said, blamed, is_heaped, joint_words, tails_of, trait_words
from bayesgmm.analysis.noise_need import noise_to_spare
from bayesgmm.checks import check_share, check_whole, seed_or_zero
from bayesgmm.core.objective import Parameters
from bayesgmm.core.shape import STATISTICS
from bayesgmm.core.ties import cells_of
from bayesgmm.errors import InputError
from bayesgmm.inference.em import SingularComponentError
from bayesgmm.inference.flags import point_masses
from bayesgmm.inference.map_fit import MapFit
from bayesgmm.inference.margins import Margin, margins_of
from bayesgmm.inference.people import people_of
from bayesgmm.inference.simulated_problems import refit, refitted
from bayesgmm.inference.trait_values import of_trait, spike_advice, spike_at

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bayesgmm.inference.posterior import Posterior
    from bayesgmm.problem import Problem

Array = NDArray[np.float64]
Long = NDArray[np.int64]

_LEAST_DRAWS = 50
_STREAM = 1996


@dataclass(frozen=True, eq=False)
class FitChecks:
    """Whether a mixture fits; from :func:`check_fit`.

    Attributes
    ----------
    table : pandas.DataFrame
        One row per trait and check (``residuals``, ``chi-square``, ``skewness``, ``kurtosis``, ``modes``,
        ``far below`` and ``far above``, shares of people beyond three median absolute deviations from the median;
        ``heaps``; for several traits, of trait ``joint``, ``log density`` of people and ``correlation`` of residuals):
        ``observed``, ``expected``, ``lower`` and ``upper`` (what is observed 95% of the time, given the estimates, if
        the mixture is right), ``p_value``, ``p_adjusted`` (for the trait's other checks), and from replicated data
        without a refit ``predictive_lower``, ``predictive_upper`` and ``p_predictive``. ``residuals`` is the largest
        distance of the sorted residuals from their middle, in pointwise half widths; those of ``joint`` likewise.
    chi_square : pandas.DataFrame
        One row per trait: ``statistic``, ``n_bins`` (of equal probability under the fit), ``n_parameters`` of the
        trait, ``p_low`` and ``p_high``, those of chi-square with ``n_bins - 1 - n_parameters`` and ``n_bins - 1``
        degrees of freedom, between which the truth is in large samples (Chernoff and Lehmann 1954, Annals of
        Mathematical Statistics 25:579; NaN where there are not so many bins), and ``p_value`` from refitted replicates.
    residuals : xarray.DataArray (sample, trait)
        Quantile residuals of all people: standard normal where the mixture is right. NaN where the trait is missing.
    heaps : pandas.DataFrame
        Values that hold more people than they should: ``trait``, ``value``, ``people``, ``expected`` by the mixture,
        ``beside`` (people who have the next value, above or below), ``p_value``.
    bands : xarray.Dataset (trait, quantile)
        ``probability``, ``theoretical``, ``observed`` (sorted residuals at these places), ``middle``, ``lower``,
        ``upper``: the band that holds all of the sorted residuals at once, with probability ``1 - level``.
    replicates : xarray.DataArray (trait, statistic, draw)
        Statistics of shape of the replicated data, given the estimates.
    observed : xarray.DataArray (trait, statistic)
    verdict : dict
        Words per trait, and ``joint`` for several traits. Its tails are the mixture's: the people whom it expects to be
        1 in 20, 100 or 1,000 on that side.
    remedies : pandas.DataFrame
        Of every trait that is found otherwise than the mixture: ``trait``, ``remedy``, ``change`` (of
        :class:`bayesgmm.Mixture`), ``words``, ``bic`` and ``gain``, how much lower BIC is than that of the mixture as
        it is; the best first. Fitted to the trait alone (``joint``: to all traits), under the default priors.
        Empty where something comes first (codes for missing, counts); transforms are in the words only.
    notes : list of str
        What else is worth knowing of the mixture, whether it fits or not: noise that does not pay.
    fits : bool
        Whether no trait, nor the traits jointly, is found to be otherwise than the mixture.
    fit : MapFit
        What was checked.
    posterior : Posterior or None
    n_people : int
        People looked at (``people`` of :func:`check_fit`).
    level : float
    """

    table: pd.DataFrame
    chi_square: pd.DataFrame
    residuals: xr.DataArray
    heaps: pd.DataFrame
    bands: xr.Dataset
    replicates: xr.DataArray
    observed: xr.DataArray
    verdict: Mapping[str, str]
    remedies: pd.DataFrame
    notes: list[str]
    fit: MapFit
    posterior: Posterior | None
    n_people: int
    level: float

    @property
    def fits(self) -> bool:
        """Whether nothing was found."""
        return not bool((self.table["p_adjusted"] <= _level_of(self.table["check"], self.level)).any())

    def plot(self, trait: str | None = None) -> Figure:
        """Histogram with the mixture, residuals with their band, and the statistics of shape; of one trait."""
        from bayesgmm.plots.fit_checks import plot_fit_checks

        return plot_fit_checks(self, trait)

    def __repr__(self) -> str:
        lines = [f"Does the mixture fit ({self.fit.problem.components_told}, {self.n_people} people looked at)"]
        lines += [f"  {trait}: {words}" for trait, words in self.verdict.items()]
        lines += [f"  note: {words}" for words in self.notes]
        shown = self.table.drop(columns=["predictive_lower", "predictive_upper"])
        return "\n".join([*lines, shown.round(4).to_string(index=False)])


def check_fit(
    result: MapFit | Posterior,
    *,
    draws: int = 500,
    people: int = 20_000,
    level: float = 0.05,
    seed: int | None = None,
) -> FitChecks:
    """Check whether a mixture fits, trait by trait, with a verdict in words.

    Every check is calibrated by a parametric bootstrap: the people's traits are drawn anew from the fit, with their
    predictors, what is missing and how values are rounded, the mixture is fitted again, and the check is made of that.
    So what parameters take up is allowed for, and a mixture that is right is blamed in a share ``level`` of studies per
    trait (measured in ``docs/fit-checks.md``).

    Parameters
    ----------
    result : MapFit or Posterior
        Of a posterior the mode is checked (``posterior.map``); its draws give the predictive intervals.
    draws : int, default 500
        Replicated data sets.
    people : int, default 20,000
        Where there are more people, so many are drawn from them at random, and the mixture fitted to these is checked;
        nothing that matters hides from that many. ``residuals`` are of all.
    level : float, default 0.05
        Probability with which a right mixture may be blamed, for each trait.
    seed : int, optional
        None: 0.

    Returns
    -------
    FitChecks

    Raises
    ------
    InputError
        If an argument is out of bounds, fewer than ten people have some trait, or replicates cannot be fitted.

    Examples
    --------
    >>> import numpy as np, bayesgmm as bg
    >>> y = np.random.default_rng(1).standard_t(3, size=500)
    >>> found = bg.check_fit(bg.Mixture(1).fit(y), seed=1)
    >>> found.fits
    False
    """
    fit, posterior = _given(result)
    _refuse(draws, people, level)
    # not the stream of a user who drew the traits with the same seed
    rng = np.random.default_rng((seed_or_zero(seed), _STREAM))
    seen = _Seen.of(fit, posterior, draws, people, rng)
    made = [_checks(seen, d, level) for d in range(len(seen.plans))]
    joint = checks_of_all(seen.looks, list(seen.problem.trait_names), level) if len(made) > 1 else None
    said = [_said(seen, made, d, level) for d in range(len(made))]
    remedies = _tried(seen, made, said, joint, level)
    return FitChecks(
        table=pd.DataFrame([row for checks in made for row in checks.rows] + ([] if joint is None else joint.rows)),
        chi_square=pd.DataFrame([checks.chi_square for checks in made]),
        residuals=_all_residuals(fit, rng),
        heaps=pd.concat([checks.heaps for checks in made], ignore_index=True),
        verdict=_words(seen, made, said, joint, remedies, level),
        remedies=_listed(remedies),
        notes=[words for words in (noise_to_spare(seen.problem),) if words],
        fit=fit,
        posterior=posterior,
        n_people=len(seen.rows),
        level=level,
        **_curves(seen, made),
    )


# -- in steps ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Seen:
    """What is looked at: the people and their replicates under their fits, the people first."""

    fit: MapFit
    problem: Problem
    rows: Long
    plans: list[Plan]
    margins: list[Margin]
    looks: list[Look]
    foretold: Array | None

    @classmethod
    def of(cls, fit: MapFit, posterior: Posterior | None, draws: int, people: int, rng: np.random.Generator) -> _Seen:
        problem, rows = people_of(fit.problem, people, rng)
        parameters = _fitted_to(problem, fit.parameters, len(rows) == people)
        plans = [Plan.of(problem, d, rng) for d in range(len(problem.trait_names))]
        looks = [look(problem, parameters, plans, rng)]
        replicates = refitted(problem, parameters, draws, rng, [plan.cells for plan in plans])
        looks += [look(*pair, plans, rng) for pair in replicates]
        shapes = None if posterior is None else foretold(posterior, rows, plans, draws, rng)
        return cls(fit, problem, rows, plans, margins_of(problem, parameters), looks, shapes)


def _checks(seen: _Seen, d: int, level: float) -> TraitChecks:
    return checks_of_trait(seen.problem, d, seen.plans[d], seen.margins[d], seen.looks, seen.foretold, level)


def _said(seen: _Seen, made: list[TraitChecks], d: int, level: float) -> Said:
    """What the values of a trait say by themselves, of all people and without those at a given spike."""
    checks, problem, plan = made[d], seen.fit.problem, seen.plans[d]
    few, far = of_trait(problem, d)
    if not blamed(checks.by_check, level):  # the mixture knows how to live with one that is only far
        far = [each for each in far if each.is_code or each.repeated]
    expected = np.mean([other.tails[d] for other in seen.looks[1:]], axis=0)
    spike = ""
    if len(checks.heaps):
        value = float(checks.heaps["value"].iloc[0])
        at = spike_at(problem, d, value)
        spike = f"a spike (point mass) component at {at!r} would serve"
        if at is None:
            spike = spike_advice(problem, d, value, problem.n_located)
    return Said(
        trait_names=tuple(problem.trait_names),
        few=few,
        far=far,
        masses=[mass for mass in point_masses(seen.fit) if mass.trait == d],
        spike=spike,
        tails=tails_of(checks, plan.probability, (seen.looks[0].tails[d], expected), plan.n, level),
    )


def _tried(
    seen: _Seen, made: list[TraitChecks], said: list[Said], joint: JointChecks | None, level: float
) -> dict[str, Remedies]:
    """What serves every trait that is blamed, and the traits together; repeated values are told without.

    Nothing is tried where something else has to be seen to first: of a trait that is not measured, of what may be
    missing, and of a component that is a spike.
    """
    problem, found = seen.problem, {}
    values, spike = problem.traits.copy(), problem.fixed.spike
    moved = ~problem.fixed.at_spike(values)
    for d, margin in enumerate(seen.margins):
        values[moved, d] -= np.broadcast_to(margin.shifted, len(values))[moved]
    for d, (trait, checks) in enumerate(zip(problem.trait_names, made, strict=True)):
        heaped, only = is_heaped(checks, seen.plans[d].n, level)
        others = blamed(checks.by_check, level)
        if only or not others or said[d].is_first or said[d].masses:
            continue
        at = None if spike is None else spike[[d]]
        alone = heaped and at is None and len(checks.heaps) == 1
        if alone:  # what serves besides a spike there, if anything: the other checks may be its echo
            at = checks.heaps["value"].to_numpy()
        skewness = checks.by_check["skewness"]
        away = float(skewness["observed"] - skewness["expected"])
        skewed = 0.0 if skewness["lower"] <= skewness["observed"] <= skewness["upper"] else away
        tried = remedies_of(problem, values[:, [d]], at, skewed)
        if said[d].is_only_lighter(
            checks, level
        ):  # heavier tails may gain by a peak, but are no answer to lighter ones
            tried = tried.without(TAILS)
        if not alone or tried.best is not None:
            found[trait] = tried
    if joint is not None and float(joint.p_adjusted.min()) <= level and not any(each.is_first for each in said):
        found[JOINT] = remedies_of(problem, values, spike)
    return found


def _words(
    seen: _Seen,
    made: list[TraitChecks],
    said: list[Said],
    joint: JointChecks | None,
    remedies: Mapping[str, Remedies],
    level: float,
) -> dict[str, str]:
    """The verdict, trait by trait."""
    told = {}
    for d, (trait, checks) in enumerate(zip(seen.problem.trait_names, made, strict=True)):
        tried = remedies.get(trait, Remedies())
        told[trait] = trait_words(checks, said[d], n=seen.plans[d].n, level=level, remedies=tried)
    if joint is not None:
        first = [trait for trait, each in zip(seen.problem.trait_names, said, strict=True) if each.is_first]
        told[JOINT] = joint_words(joint, level, remedies.get(JOINT, Remedies()), first)
    return told


def _listed(remedies: Mapping[str, Remedies]) -> pd.DataFrame:
    """All remedies as one table."""
    tables = [each.table.assign(**{names.TRAIT: trait}) for trait, each in remedies.items() if len(each.table)]
    columns = [names.TRAIT, *Remedies().table.columns]
    return pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns)


def _curves(seen: _Seen, made: list[TraitChecks]) -> dict[str, Any]:
    """Bands of the residuals and statistics of shape, labelled."""
    trait_names = list(seen.problem.trait_names)
    bands = [checks.curve.band(plan.probability) for checks, plan in zip(made, seen.plans, strict=True)]
    coords = {names.TRAIT: trait_names, "statistic": list(STATISTICS)}
    dims = (names.TRAIT, "statistic", names.DRAW)
    return {
        "bands": xr.Dataset(
            {key: ((names.TRAIT, "quantile"), np.stack([band[key] for band in bands])) for key in bands[0]},
            coords={names.TRAIT: trait_names},
        ),
        "replicates": xr.DataArray(np.stack([checks.shapes[1:].T for checks in made]), dims=dims, coords=coords),
        "observed": xr.DataArray(np.stack([checks.shapes[0] for checks in made]), dims=dims[:2], coords=coords),
    }


def _refuse(draws: int, people: int, level: float) -> None:
    check_whole("draws", draws, _LEAST_DRAWS, ", to tell what is rare from what is not")
    check_share("level", level)
    check_whole("people", people, SOME, " (fewer than that are looked at anyway)")


def _given(result: MapFit | Posterior) -> tuple[MapFit, Posterior | None]:
    if isinstance(result, MapFit):
        return result, None
    if hasattr(result, "tree") and isinstance(getattr(result, "map", None), MapFit):
        return result.map, result
    raise InputError(f"check_fit: given a {type(result).__name__}; give a fit or a posterior")


def _fitted_to(problem: Problem, parameters: Parameters, is_part: bool) -> Parameters:
    """The parameters, or where the problem has only a part of the people those of the part."""
    if not is_part:
        return parameters
    try:
        return refit(problem, parameters)
    except SingularComponentError:
        raise InputError(
            f"people = {problem.n_samples}: a component collapsed when the mixture was fitted to so many; raise "
            "people, or use a proper prior of the components"
        ) from None


def _level_of(checks: pd.Series[str], level: float) -> Array:
    return np.where(checks == HEAPS, min(HEAP_P, level), level)


def _all_residuals(fit: MapFit, rng: np.random.Generator) -> xr.DataArray:
    problem = fit.problem
    residuals = np.full(problem.traits.shape, np.nan)
    for d, margin in enumerate(margins_of(problem, fit.parameters)):
        seen = np.flatnonzero(~np.isnan(problem.traits[:, d]))
        values = problem.traits[seen, d]
        residuals[seen, d] = margin.residuals(values, seen, cells_of(values), rng)
    coords = {names.SAMPLE: np.asarray(problem.sample_ids), names.TRAIT: list(problem.trait_names)}
    return xr.DataArray(residuals, dims=(names.SAMPLE, names.TRAIT), coords=coords, name="quantile_residuals")
