"""Enrichment of a genotype in each component, with and without the uncertainty of membership."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import chi2_contingency, norm

from bayesgmm import names
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
    variants: list[str] | None = None,
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
    variants : list of str, optional
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
    chosen = study.variant_names if variants is None else variants
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
    rng = np.random.default_rng(seed)
    rows: list[dict[str, object]] = []
    for variant in chosen:
        dosage = columns.sel(variant=variant).values
        present = ~np.isnan(dosage)
        rows += _one_variant(variant, dosage[present], membership[present], level, draws, rng)
    return pd.DataFrame(rows)


def _one_variant(
    variant: str, dosage: Array, membership: Array, level: float, draws: int, rng: np.random.Generator
) -> list[dict[str, object]]:
    n_components = membership.shape[1]
    chi_square, hard_p = hard_chi_square(dosage, membership)
    alleles = np.empty((draws, n_components))
    people = np.empty((draws, n_components))
    slopes, variances = np.empty((draws, n_components)), np.empty((draws, n_components))
    cumulative = membership.cumsum(axis=1)[:, :-1]
    for m in range(draws):
        component = (rng.random(len(dosage))[:, None] > cumulative).sum(axis=1)
        alleles[m] = np.bincount(component, dosage, n_components)
        people[m] = np.bincount(component, minlength=n_components)
        slopes[m], variances[m] = _difference(alleles[m], people[m], dosage)
    frequency = rng.beta(1.0 + alleles, 1.0 + np.maximum(2.0 * people - alleles, 0.0))
    others = rng.beta(
        1.0 + dosage.sum() - alleles,
        1.0 + np.maximum(2.0 * (len(dosage) - people) - (dosage.sum() - alleles), 0.0),
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
            "expected_people": float(membership[:, k].sum()),
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


def _difference(alleles: Array, people: Array, dosage: Array) -> tuple[Array, Array]:
    """Mean dosage in each component less that of the others, and its variance, for one imputation."""
    n, spread = len(dosage), dosage.var()
    inside, outside = np.maximum(people, 1.0), np.maximum(n - people, 1.0)
    return alleles / inside - (dosage.sum() - alleles) / outside, spread * (1.0 / inside + 1.0 / outside)


def hard_chi_square(dosage: Array, membership: Array) -> tuple[float, float]:
    """Chi-square test of genotype by likeliest component, as tutorials do it; NaN when a margin is empty.

    Parameters
    ----------
    dosage : ndarray (n_samples,)
        Rounded to the nearest genotype.
    membership : ndarray (n_samples, n_components)

    Returns
    -------
    chi_square, p_value : float
    """
    table = pd.crosstab(np.rint(dosage), membership.argmax(axis=1))
    if table.shape[0] < 2 or table.shape[1] < 2:
        return float("nan"), float("nan")
    test = chi2_contingency(table, correction=False)
    return float(test.statistic), float(test.pvalue)
