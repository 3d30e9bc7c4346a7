"""Does the mixture fit: quantile residuals with bands, chi-square, shape against replicates, repeated values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import chi2, poisson

from bayesgmm import names
from bayesgmm.analysis.fit_looks import SOME, Look, Plan, foretold, look
from bayesgmm.analysis.fit_verdict import joint_words, trait_words
from bayesgmm.core.envelope import adjusted, envelope, given_estimates, rank_p_values
from bayesgmm.core.objective import Parameters
from bayesgmm.core.shape import STATISTICS
from bayesgmm.core.ties import cells_of, chance_of_heaps
from bayesgmm.errors import InputError
from bayesgmm.inference.em import SingularComponentError
from bayesgmm.inference.flags import point_masses
from bayesgmm.inference.map_fit import MapFit
from bayesgmm.inference.margins import Margin, margins_of
from bayesgmm.inference.people import people_of
from bayesgmm.inference.simulated_problems import refit, refitted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bayesgmm.inference.posterior import Posterior
    from bayesgmm.problem import Problem

Array = NDArray[np.float64]
Long = NDArray[np.int64]

JOINT = "joint"
RESIDUALS, CHI_SQUARE, HEAPS = "residuals", "chi-square", "heaps"
LOG_DENSITY, CORRELATION = "log density", "correlation"

_INTERVAL = (0.025, 0.975)
_LEAST_DRAWS = 50
_HEAP_P = 1e-3  # for all values of a trait together; the cells are estimated, so the probability is not exact
_HEAP_PEOPLE = 4  # fewer are no heap
_HEAP_RATIO = 3.0  # times what is expected
_CANDIDATES = 20
_STREAM = 1996
_MODES = STATISTICS.index("modes")


@dataclass(frozen=True, eq=False)
class FitChecks:
    """Whether a mixture fits; from :func:`check_fit`.

    Attributes
    ----------
    table : pandas.DataFrame
        One row per trait and check (``residuals``, ``chi-square``, ``skewness``, ``kurtosis``, ``modes``,
        ``lower tail``, ``upper tail``, ``heaps``; for several traits, of trait ``joint``, ``log density`` of people and
        ``correlation`` of residuals):
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
        Words per trait, and ``joint`` for several traits.
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
    if draws < _LEAST_DRAWS:
        raise InputError(f"draws = {draws}; it must be at least {_LEAST_DRAWS}, to tell what is rare from what is not")
    if not 0.0 < level < 1.0:
        raise InputError(f"level = {level}; it must lie between 0 and 1")
    if people < SOME:
        raise InputError(f"people = {people}; it must be at least {SOME} (fewer than that are looked at anyway)")
    # not the stream of a user who drew the traits with the same seed
    rng = np.random.default_rng((0 if seed is None else seed, _STREAM))
    problem, rows = people_of(fit.problem, people, rng)
    parameters = _fitted_to(problem, fit.parameters, len(rows) == people)
    plans = [Plan.of(problem, d, rng) for d in range(len(problem.trait_names))]
    cells = [plan.cells for plan in plans]
    looks = [look(problem, parameters, plans, rng)]
    looks += [look(*pair, plans, rng) for pair in refitted(problem, parameters, draws, rng, cells)]
    foretold_shapes = None if posterior is None else foretold(posterior, rows, plans, draws, rng)
    margins = margins_of(problem, parameters)
    made = [_trait(problem, d, plan, margins[d], looks, foretold_shapes, level) for d, plan in enumerate(plans)]
    tables, chi_rows = [m.table for m in made], [m.chi_square for m in made]
    trait_names = list(problem.trait_names)
    verdict = {t: m.words for t, m in zip(trait_names, made, strict=True)}
    for mass in point_masses(fit):
        verdict[trait_names[mass.trait]] += f". But {mass.told(trait_names)}"
    if len(plans) > 1:
        joint_rows, verdict[JOINT] = _joint(looks, trait_names, level, problem.family_name)
        tables.append(pd.DataFrame(joint_rows))
    dims = (names.TRAIT, "statistic", names.DRAW)
    coords = {names.TRAIT: trait_names, "statistic": list(STATISTICS)}
    return FitChecks(
        table=pd.concat(tables, ignore_index=True),
        chi_square=pd.DataFrame(chi_rows),
        residuals=_all_residuals(fit, rng),
        heaps=pd.concat([m.heaps for m in made], ignore_index=True),
        bands=xr.Dataset(
            {key: ((names.TRAIT, "quantile"), np.stack([m.band[key] for m in made])) for key in made[0].band},
            coords={names.TRAIT: trait_names},
        ),
        replicates=xr.DataArray(np.stack([m.shapes[1:].T for m in made]), dims=dims, coords=coords),
        observed=xr.DataArray(np.stack([m.shapes[0] for m in made]), dims=dims[:2], coords=coords),
        verdict=verdict,
        fit=fit,
        posterior=posterior,
        n_people=len(rows),
        level=level,
    )


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
    return np.where(checks == HEAPS, min(_HEAP_P, level), level)


def _all_residuals(fit: MapFit, rng: np.random.Generator) -> xr.DataArray:
    problem = fit.problem
    residuals = np.full(problem.traits.shape, np.nan)
    for d, margin in enumerate(margins_of(problem, fit.parameters)):
        seen = np.flatnonzero(~np.isnan(problem.traits[:, d]))
        values = problem.traits[seen, d]
        residuals[seen, d] = margin.residuals(values, seen, cells_of(values), rng)
    coords = {names.SAMPLE: np.asarray(problem.sample_ids), names.TRAIT: list(problem.trait_names)}
    return xr.DataArray(residuals, dims=(names.SAMPLE, names.TRAIT), coords=coords, name="quantile_residuals")


# -- one trait --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _OfTrait:
    table: pd.DataFrame
    chi_square: dict[str, Any]
    band: dict[str, Array]
    shapes: Array
    heaps: pd.DataFrame
    words: str


def _trait(
    problem: Problem,
    d: int,
    plan: Plan,
    margin: Margin,
    looks: list[Look],
    foretold_shapes: Array | None,
    level: float,
) -> _OfTrait:
    trait = problem.trait_names[d]
    curves = np.stack([seen.sorted_residuals[d] for seen in looks])
    chi = np.array([seen.chi_square[d] for seen in looks])
    shapes = np.stack([seen.shape[d] for seen in looks])
    distance, lower, upper = envelope(curves, level)
    given = given_estimates(shapes, np.stack([seen.features[d] for seen in looks]))
    # a count is not freed of anything by a regression, and ties of the others are not broken by rounding
    given[:, _MODES] = shapes[:, _MODES]
    given = np.round(given, 9)
    p_values = np.column_stack(
        [
            rank_p_values(distance, two_sided=False),
            rank_p_values(chi, two_sided=False),
            rank_p_values(given),
        ]
    )
    p_adjusted = adjusted(p_values)
    heaps = _heaps(trait, plan, margin)
    rows = [
        _row(trait, RESIDUALS, distance, p_values[0, 0], p_adjusted[0]),
        _row(trait, CHI_SQUARE, chi, p_values[0, 1], p_adjusted[1]),
    ]
    predictive = shapes if foretold_shapes is None else np.concatenate((shapes[:1], foretold_shapes[:, d]))
    p_predictive = rank_p_values(predictive)[0]
    for j, statistic in enumerate(STATISTICS):
        row = _row(trait, statistic, given[:, j], p_values[0, 2 + j], p_adjusted[2 + j])
        row["predictive_lower"], row["predictive_upper"] = np.quantile(predictive[1:, j], _INTERVAL)
        row["p_predictive"] = p_predictive[j]
        rows.append(row)
    rows.append(_heap_row(trait, heaps))
    table = pd.DataFrame(rows)
    expected_tails = np.mean([seen.tails[d] for seen in looks[1:]], axis=0)
    outside = (curves[0] < lower).astype(int) * -1 + (curves[0] > upper).astype(int)
    words = trait_words(
        problem,
        d,
        {str(row["check"]): row for row in rows},
        heaps,
        n=plan.n,
        level=level,
        heap_level=min(_HEAP_P, level),
        outside=outside,
        probability=plan.probability,
        tails=(looks[0].tails[d], expected_tails),
    )
    band = {
        "probability": plan.probability,
        "theoretical": ndtri(plan.probability),
        "observed": curves[0],
        "middle": np.median(curves, axis=0),
        "lower": lower,
        "upper": upper,
    }
    free = _parameters_of(problem)
    chi_row = {
        names.TRAIT: trait,
        "statistic": chi[0],
        "n_bins": plan.n_bins,
        "n_parameters": free,
        "p_low": float(chi2.sf(chi[0], plan.n_bins - 1 - free)) if plan.n_bins - 1 > free else float("nan"),
        "p_high": float(chi2.sf(chi[0], plan.n_bins - 1)),
        "p_value": p_values[0, 1],
    }
    return _OfTrait(table, chi_row, band, given, heaps, words)


def _row(trait: str, check: str, values: Array, p_value: float, p_adjusted: float) -> dict[str, Any]:
    low, middle, high = np.quantile(values[1:], [_INTERVAL[0], 0.5, _INTERVAL[1]])
    return {
        names.TRAIT: trait,
        "check": check,
        "observed": float(values[0]),
        "expected": float(middle),
        "lower": float(low),
        "upper": float(high),
        "p_value": float(p_value),
        "p_adjusted": float(p_adjusted),
        "predictive_lower": float("nan"),
        "predictive_upper": float("nan"),
        "p_predictive": float("nan"),
    }


def _parameters_of(problem: Problem) -> int:
    """Free parameters of the margin of one trait."""
    located, contrasts = problem.n_located, problem.n_components - 1
    spreads = problem.family.n_parameters(located, 1) if len(problem.trait_names) == 1 else located
    own = located + spreads + len(problem.covariate_names) + problem.priors.tails.n_free
    return contrasts * (1 + len(problem.predictor_names)) + own


def _heaps(trait: str, plan: Plan, margin: Margin) -> pd.DataFrame:
    """Values that hold more people than the mixture and their neighbours give reason for."""
    cells = plan.cells
    columns = [names.TRAIT, "value", "people", "expected", "beside", "p_value"]
    scale = plan.n / cells.counts.sum()
    chance = chance_of_heaps(cells, scale)
    likely = np.flatnonzero((cells.counts * scale >= _HEAP_PEOPLE) & (chance * len(chance) <= _HEAP_P))
    if not cells.repeated or not len(likely):
        return pd.DataFrame(columns=columns)
    likely = likely[np.argsort(-cells.counts[likely])][:_CANDIDATES]
    values, half = cells.values[likely], cells.half[likely]
    inside = margin.pooled(values + half, plan.some) - margin.pooled(values - half, plan.some)
    expected = np.maximum(plan.n * inside, 1e-300)
    people = cells.counts[likely] * scale
    p = np.minimum(1.0, np.maximum(chance[likely], poisson.sf(np.rint(people) - 1, expected)) * len(chance))
    around = np.concatenate(([0.0], cells.counts, [0.0]))
    table = pd.DataFrame(
        {
            names.TRAIT: trait,
            "value": values,
            "people": people / scale,
            "expected": expected / scale,
            "beside": np.maximum(around[likely], around[likely + 2]),
            "p_value": p,
        }
    )
    kept: pd.DataFrame = table[(p <= _HEAP_P) & (people >= _HEAP_RATIO * expected)]
    return kept.sort_values("people", ascending=False, ignore_index=True)


def _heap_row(trait: str, heaps: pd.DataFrame) -> dict[str, Any]:
    """The largest heap as a row of the table."""
    none = float("nan")
    found = len(heaps) > 0
    p = float(heaps["p_value"].iloc[0]) if found else 1.0
    return {
        names.TRAIT: trait,
        "check": HEAPS,
        "observed": float(heaps["people"].iloc[0]) if found else 0.0,
        "expected": float(heaps["expected"].iloc[0]) if found else 0.0,
        "lower": none,
        "upper": none,
        "p_value": p,
        "p_adjusted": p,
        "predictive_lower": none,
        "predictive_upper": none,
        "p_predictive": none,
    }


def _joint(looks: list[Look], traits: list[str], level: float, family: str) -> tuple[list[dict[str, Any]], str]:
    """Log densities of people, sorted, and correlations of residuals, against those of replicates under their fits."""
    densities = np.stack([seen.log_density for seen in looks])
    correlations = np.stack([seen.correlations for seen in looks])
    of_density, lower, upper = envelope(densities, level)
    of_pairs, *_ = envelope(correlations, level)
    p_values = rank_p_values(np.column_stack((of_density, of_pairs)), two_sided=False)
    p_adjusted = adjusted(p_values)
    middle = np.median(correlations, axis=0)
    first, second = np.triu_indices(len(traits), 1)
    worst = int(np.argmax(np.abs(correlations[0] - middle) / np.maximum(correlations.std(axis=0), 1e-12)))
    words = joint_words(
        p_adjusted,
        level,
        (densities[0] < lower, densities[0] > upper),
        (traits[first[worst]], traits[second[worst]], float(correlations[0, worst]), float(middle[worst])),
        family,
    )
    rows = [
        _row(JOINT, LOG_DENSITY, of_density, p_values[0, 0], p_adjusted[0]),
        _row(JOINT, CORRELATION, of_pairs, p_values[0, 1], p_adjusted[1]),
    ]
    return rows, words
