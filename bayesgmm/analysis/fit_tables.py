"""Checks of one trait, and of the traits together, as rows of a table: the people beside their replicates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import chi2, poisson

from bayesgmm import names
from bayesgmm.analysis.fit_looks import Look, Plan
from bayesgmm.core.envelope import adjusted, envelope, given_estimates, rank_p_values
from bayesgmm.core.shape import STATISTICS
from bayesgmm.core.ties import chance_of_heaps
from bayesgmm.inference.margins import Margin

if TYPE_CHECKING:
    from bayesgmm.problem import Problem

Array = NDArray[np.float64]
Long = NDArray[np.int64]

JOINT = "joint"
RESIDUALS, CHI_SQUARE, HEAPS = "residuals", "chi-square", "heaps"
LOG_DENSITY, CORRELATION = "log density", "correlation"
HEAP_P = 1e-3  # for all values of a trait together; the cells are estimated, so the probability is not exact

_INTERVAL = (0.025, 0.975)
_HEAP_PEOPLE = 4  # fewer are no heap
_HEAP_RATIO = 3.0  # times what is expected
_CANDIDATES = 20
_MODES = STATISTICS.index("modes")


@dataclass(frozen=True)
class Curve:
    """Sorted residuals of a trait with the band that holds the whole of them.

    Attributes
    ----------
    observed, middle, lower, upper : ndarray (m,)
    distance : ndarray (1 + n_draws,)
        Of the people's curve and of every replicate's from the middle, in pointwise half widths.
    """

    observed: Array
    middle: Array
    lower: Array
    upper: Array
    distance: Array

    @classmethod
    def of(cls, curves: Array, level: float) -> Curve:
        """From curves (1 + n_draws, m), the people's first."""
        distance, lower, upper = envelope(curves, level)
        return cls(curves[0], np.median(curves, axis=0), lower, upper, distance)

    @property
    def outside(self) -> Long:
        """Where the people's curve is below (-1) or above (1) its band."""
        below, above = self.observed < self.lower, self.observed > self.upper
        return above.astype(np.int64) - below.astype(np.int64)

    def band(self, probability: Array) -> dict[str, Array]:
        """What is drawn of it, at the places of its residuals."""
        drawn = {name: getattr(self, name) for name in ("observed", "middle", "lower", "upper")}
        return {"probability": probability, "theoretical": ndtri(probability), **drawn}


@dataclass(frozen=True)
class TraitChecks:
    """Checks of one trait.

    Attributes
    ----------
    rows : list of dict
        Of the table, one a check.
    chi_square : dict
        Its row of the table of chi-squares.
    curve : Curve
        Of the sorted residuals.
    shapes : ndarray (1 + n_draws, n_statistics)
        Statistics of shape, given the estimates.
    heaps : pandas.DataFrame
    """

    rows: list[dict[str, Any]]
    chi_square: dict[str, Any]
    curve: Curve
    shapes: Array
    heaps: pd.DataFrame

    @property
    def by_check(self) -> dict[str, dict[str, Any]]:
        """Rows of the table by check."""
        return {str(row["check"]): row for row in self.rows}


def checks_of_trait(
    problem: Problem,
    d: int,
    plan: Plan,
    margin: Margin,
    looks: list[Look],
    foretold: Array | None,
    level: float,
) -> TraitChecks:
    """Hold a trait of the people, the first look, against the replicates.

    ``foretold`` are statistics of shape (n_draws, D, n_statistics) of data drawn from a posterior.
    """
    trait = problem.trait_names[d]
    curve = Curve.of(np.stack([seen.sorted_residuals[d] for seen in looks]), level)
    chi = np.array([seen.chi_square[d] for seen in looks])
    shapes = np.stack([seen.shape[d] for seen in looks])
    given = _given_estimates(shapes, np.stack([seen.features[d] for seen in looks]))
    p_values = np.column_stack(
        [
            rank_p_values(curve.distance, two_sided=False),
            rank_p_values(chi, two_sided=False),
            rank_p_values(given),
        ]
    )
    p, p_adjusted = p_values[0], adjusted(p_values)
    predictive = shapes if foretold is None else np.concatenate((shapes[:1], foretold[:, d]))
    p_predictive = rank_p_values(predictive)[0]
    heaps = _heaps(trait, plan, margin)
    rows = [
        _row(trait, RESIDUALS, curve.distance, p[0], p_adjusted[0]),
        _row(trait, CHI_SQUARE, chi, p[1], p_adjusted[1]),
    ]
    for j, statistic in enumerate(STATISTICS):
        low, high = np.quantile(predictive[1:, j], _INTERVAL)
        # freed of the estimates by a regression a share may leave its bounds a little; ranks are of what it was
        shown = np.clip(given[:, j], 0.0, 1.0) if statistic.startswith("far") else given[:, j]
        rows.append(
            _row(trait, statistic, shown, p[2 + j], p_adjusted[2 + j])
            | {"predictive_lower": low, "predictive_upper": high, "p_predictive": p_predictive[j]}
        )
    rows.append(_heap_row(trait, heaps))
    return TraitChecks(rows, _chi_square_row(problem, trait, plan, float(chi[0]), p[1]), curve, given, heaps)


def _given_estimates(shapes: Array, features: Array) -> Array:
    """Statistics of shape given the estimates, as far as a regression on the fitted distribution goes."""
    given = given_estimates(shapes, features)
    # a count is not freed of anything by a regression, and ties of the others are not broken by rounding
    given[:, _MODES] = shapes[:, _MODES]
    return np.round(given, 9)


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


def _chi_square_row(problem: Problem, trait: str, plan: Plan, statistic: float, p_value: float) -> dict[str, Any]:
    """Chi-square with the two p-values between which it lies in large samples."""
    free, most = _parameters_of(problem), plan.n_bins - 1
    return {
        names.TRAIT: trait,
        "statistic": statistic,
        "n_bins": plan.n_bins,
        "n_parameters": free,
        "p_low": float(chi2.sf(statistic, most - free)) if most > free else float("nan"),
        "p_high": float(chi2.sf(statistic, most)),
        "p_value": p_value,
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
    likely = np.flatnonzero((cells.counts * scale >= _HEAP_PEOPLE) & (chance * len(chance) <= HEAP_P))
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
    kept: pd.DataFrame = table[(p <= HEAP_P) & (people >= _HEAP_RATIO * expected)]
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


@dataclass(frozen=True)
class JointChecks:
    """How the traits go together: log densities of people, sorted, and correlations of residuals.

    Attributes
    ----------
    rows : list of dict
        Of the table.
    thin, dense : bool
        Whether sorted log densities are below their band somewhere, and above it.
    pair : tuple
        The two traits whose residuals' correlation strays furthest, and it, as observed and as expected.
    """

    rows: list[dict[str, Any]]
    thin: bool
    dense: bool
    pair: tuple[str, str, float, float]

    @property
    def p_adjusted(self) -> Array:
        """Of the log densities, and of the correlations."""
        return np.array([row["p_adjusted"] for row in self.rows])


def checks_of_all(looks: list[Look], traits: list[str], level: float) -> JointChecks:
    """Hold how the traits go together against the replicates under their own fits."""
    curve = Curve.of(np.stack([seen.log_density for seen in looks]), level)
    correlations = np.stack([seen.correlations for seen in looks])
    of_pairs, *_ = envelope(correlations, level)
    p_values = rank_p_values(np.column_stack((curve.distance, of_pairs)), two_sided=False)
    p_adjusted = adjusted(p_values)
    middle = np.median(correlations, axis=0)
    first, second = np.triu_indices(len(traits), 1)
    worst = int(np.argmax(np.abs(correlations[0] - middle) / np.maximum(correlations.std(axis=0), 1e-12)))
    rows = [
        _row(JOINT, LOG_DENSITY, curve.distance, p_values[0, 0], p_adjusted[0]),
        _row(JOINT, CORRELATION, of_pairs, p_values[0, 1], p_adjusted[1]),
    ]
    pair = (traits[first[worst]], traits[second[worst]], float(correlations[0, worst]), float(middle[worst]))
    return JointChecks(rows, bool((curve.outside < 0).any()), bool((curve.outside > 0).any()), pair)
