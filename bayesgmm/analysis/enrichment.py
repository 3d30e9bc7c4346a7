"""Enrichment of a genotype in each component, with and without the uncertainty of membership."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import chi2_contingency, norm

from bayesgmm import names
from bayesgmm.checks import check_fitted, check_seed, check_share, check_whole
from bayesgmm.errors import InputError

if TYPE_CHECKING:
    from bayesgmm.inference.map_fit import MapFit
    from bayesgmm.inference.posterior import Posterior
    from bayesgmm.study import Study

Array = NDArray[np.float64]


def enrichment(
    result: MapFit | Posterior,
    study: Study,
    *,
    variants: str | list[str] | None = None,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Effect-allele frequency in each component, beside the chi-square test on hard assignments.

    Each of many imputations draws every person's component from the membership probabilities and, to carry the
    sampling of alleles, the frequency from its Beta posterior under a uniform prior. The chi-square test takes each
    person's likeliest component as known, which understates the uncertainty.

    Parameters
    ----------
    result : MapFit or Posterior
    study : Study
        With the genotypes; people are matched by id.
    variants : str or list of str, optional
        Default: every variant of the study.
    level : float, default 0.95
    draws : int, default 2000
        Imputations.
    seed : int, default 0

    Returns
    -------
    pandas.DataFrame
        One row per variant and component: ``allele_frequency`` with ``lower`` and ``upper``, ``difference`` from the
        rest of the people with ``difference_lower`` and ``difference_upper``, ``probability_of_direction``,
        ``expected_people``, and for the variant as a whole ``hard_chi_square``, ``hard_p_value`` (hard assignments by
        genotype 0, 1, 2) and ``pooled_p_value`` (trend of allele count over memberships, pooled over imputations by
        Rubin's rule).

    Raises
    ------
    InputError
        If the study has no genotypes, a variant is unknown, or no person is shared.
    """
    check_fitted("enrichment", result)
    check_share("level", level)
    check_whole("draws", draws, 1)
    check_seed(seed)
    if not hasattr(study, "variant_names"):
        raise InputError(f"enrichment: study is a {type(study).__name__}; give the bayesgmm.Study with the genotypes")
    chosen = [variants] if isinstance(variants, str) else study.variant_names if variants is None else variants
    unknown = [v for v in chosen if v not in study.variant_names]
    if unknown or not chosen:
        raise InputError(
            f"enrichment: the study has no variant {unknown[0]!r}"
            if unknown
            else "enrichment: the study has no genotypes"
        )
    problem = result.problem
    observed = [str(s) for s, seen in zip(problem.sample_ids, problem.observed, strict=True) if seen]
    known = set(study.sample_ids)
    people = [s for s in observed if s in known]
    if not people:
        raise InputError("enrichment: no person of the fit is in the study; check the sample ids")
    membership = result.responsibilities.sel(sample=people).values
    columns = study.dataset[names.DOSAGES].sel(sample=people)
    weight: Array = np.ones(len(people))
    if problem.sample_weight is not None:
        place = {str(s): i for i, s in enumerate(problem.sample_ids)}
        weight = problem.sample_weight[[place[s] for s in people]]
    rng = np.random.default_rng(seed)
    rows: list[dict[str, object]] = []
    for variant in chosen:
        dosage = columns.sel(variant=variant).values
        present = ~np.isnan(dosage)
        rows += _one_variant(variant, dosage[present], membership[present], weight[present], level, draws, rng)
    table = pd.DataFrame(rows)
    table[names.COMPONENT] = problem.component_names(table[names.COMPONENT])
    return table


def _one_variant(
    variant: str,
    dosage: Array,
    membership: Array,
    weight: Array,
    level: float,
    draws: int,
    rng: np.random.Generator,
) -> list[dict[str, object]]:
    n_components = membership.shape[1]
    chi_square, hard_p = hard_chi_square(dosage, membership, weight)
    n, all_alleles = float(weight.sum()), float(weight @ dosage)
    spread = float(weight @ (dosage - all_alleles / n) ** 2) / n
    alleles = np.empty((draws, n_components))
    people = np.empty((draws, n_components))
    slopes, variances = np.empty((draws, n_components)), np.empty((draws, n_components))
    for m in range(draws):
        counts = _drawn_counts(membership, weight, rng)
        alleles[m], people[m] = dosage @ counts, counts.sum(axis=0)
        inside, outside = np.maximum(people[m], 1.0), np.maximum(n - people[m], 1.0)
        slopes[m] = alleles[m] / inside - (all_alleles - alleles[m]) / outside
        variances[m] = spread * (1.0 / inside + 1.0 / outside)
    frequency = rng.beta(1.0 + alleles, 1.0 + np.maximum(2.0 * people - alleles, 0.0))
    others = rng.beta(
        1.0 + all_alleles - alleles,
        1.0 + np.maximum(2.0 * (n - people) - (all_alleles - alleles), 0.0),
    )
    difference = frequency - others
    tails = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile(frequency, tails, axis=0)
    d_low, d_high = np.quantile(difference, tails, axis=0)
    # Rubin 1987: within plus between imputation variance
    total = variances.mean(axis=0) + (1 + 1 / draws) * slopes.var(axis=0, ddof=1)
    pooled = 2 * norm.sf(np.abs(slopes.mean(axis=0)) / np.sqrt(np.maximum(total, 1e-300)))
    return [
        {
            "variant": variant,
            names.COMPONENT: k,
            "expected_people": float(weight @ membership[:, k]),
            "allele_frequency": float(frequency[:, k].mean()),
            "lower": float(low[k]),
            "upper": float(high[k]),
            "difference": float(difference[:, k].mean()),
            "difference_lower": float(d_low[k]),
            "difference_upper": float(d_high[k]),
            "probability_of_direction": float(max((difference[:, k] > 0).mean(), (difference[:, k] < 0).mean())),
            "pooled_p_value": float(pooled[k]),
            "hard_chi_square": chi_square,
            "hard_p_value": hard_p,
        }
        for k in range(n_components)
    ]


def _drawn_counts(membership: Array, weight: Array, rng: np.random.Generator) -> Array:
    """How many of the people that each row stands for fall into each component (n_samples, n_components), drawn."""
    cumulative = membership.cumsum(axis=1)[:, :-1]
    component = (rng.random(len(membership))[:, None] > cumulative).sum(axis=1)
    one = np.eye(membership.shape[1])[component]
    if (weight == 1.0).all():
        return one
    # whole people are drawn each for themselves, what is left of one together
    whole = np.floor(weight)
    shares = membership / membership.sum(axis=1, keepdims=True)
    counts: Array = rng.multinomial(whole.astype(np.int64), shares) + (weight - whole)[:, None] * one
    return counts


def hard_chi_square(dosage: Array, membership: Array, weight: Array | None = None) -> tuple[float, float]:
    """Chi-square test of genotype by likeliest component, as tutorials do it; NaN when a margin is empty.

    Parameters
    ----------
    dosage : ndarray (n_samples,)
        Rounded to the nearest genotype.
    membership : ndarray (n_samples, n_components)
    weight : ndarray (n_samples,), optional
        How many people each row stands for.

    Returns
    -------
    chi_square, p_value : float
    """
    counts = np.ones(len(dosage)) if weight is None else weight
    table = pd.crosstab(np.rint(dosage), membership.argmax(axis=1), counts, aggfunc="sum").fillna(0.0)
    if table.shape[0] < 2 or table.shape[1] < 2:
        return float("nan"), float("nan")
    test = chi2_contingency(table, correction=False)
    return float(test.statistic), float(test.pvalue)
