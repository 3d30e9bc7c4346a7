"""Credible sets of correlated predictors: the few variants of a locus among which the causal one is."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from bayesgmm.analysis.inclusion import slab_probabilities
from bayesgmm.analysis.predictor_selection import PredictorSelection
from bayesgmm.checks import check_share
from bayesgmm.errors import InputError

if TYPE_CHECKING:
    from bayesgmm.inference.posterior import Posterior
    from bayesgmm.problem import Problem

Array = NDArray[np.float64]
Index = NDArray[np.int64]

_MOST_SEARCHED = 12  # predictors of a cluster up to which every set is looked at; above, sets grow by the best


def credible_sets(
    result: PredictorSelection | Posterior, *, coverage: float = 0.95, purity: float = 0.5, least: float = 0.1
) -> pd.DataFrame:
    """Smallest sets of correlated predictors that hold an effect, if their cluster does, with this probability.

    Predictors whose genotypes are correlated stand in for each other: each may have a small probability of being in,
    and together be certain to hold an effect. Predictors are clustered by their correlation in the study (chains of
    pairs whose ``|r|`` is above ``purity``); of each cluster the set is the smallest that is in, with at least one
    predictor, with ``coverage`` of the probability that the cluster is.

    Parameters
    ----------
    result : PredictorSelection or Posterior
        From :func:`bayesgmm.select_predictors`, or draws under :class:`bayesgmm.LogOddsSpikeSlab`.
    coverage : float, default 0.95
    purity : float, default 0.5
        Least absolute correlation of two predictors that are put together.
    least : float, default 0.1
        Clusters less likely than that to hold an effect are left out.

    Returns
    -------
    pandas.DataFrame
        One row per cluster, the likeliest first: ``set``, ``predictors`` (of the set, the likeliest first),
        ``n_predictors``, ``lead`` (the likeliest), ``probability`` that the set holds an effect,
        ``cluster_probability`` that the cluster does, ``expected_effects`` (how many predictors of the cluster are in),
        ``purity`` (smallest ``|r|`` within the set; 1 for one predictor), ``is_pure`` (whether that is above
        ``purity``) and ``cluster`` (all its predictors). The set is a credible set of an effect in the sense of SuSiE
        where ``probability`` is itself at least ``coverage``.

    Raises
    ------
    InputError
        If an option is out of bounds or the result says nothing of inclusion.

    Notes
    -----
    Wang, Sarkar, Carbonetto and Stephens (2020, JRSS B 82:1273) define credible sets and purity; theirs are of single
    effects, these of at least one effect in a cluster.
    """
    for name, value, low in (("coverage", coverage, False), ("purity", purity, False), ("least", least, True)):
        if not (low and isinstance(value, int | float) and value == 0.0):
            check_share(name, value)
    labels, weights, inside = _inclusion_of(result)
    correlation = _correlation(result.problem, labels)
    n_clusters, cluster_of = connected_components(np.abs(correlation) > purity, directed=False)
    rows = []
    for c in range(n_clusters):
        members = np.flatnonzero(cluster_of == c)
        total = _any(weights, inside, members)
        if total < least:
            continue
        chosen = _smallest(weights, inside, members, coverage * total)
        alone = weights @ inside[:, chosen]
        chosen = chosen[np.argsort(-alone, kind="stable")]
        held = np.abs(correlation[np.ix_(chosen, chosen)]).min()
        rows.append(
            {
                "predictors": ", ".join(labels[p] for p in chosen),
                "n_predictors": len(chosen),
                "lead": labels[chosen[0]],
                "probability": _any(weights, inside, chosen),
                "cluster_probability": total,
                "expected_effects": float((weights @ inside[:, members]).sum()),
                "purity": float(held),
                "is_pure": bool(held > purity),
                "cluster": ", ".join(labels[p] for p in members),
            }
        )
    rows.sort(key=lambda row: -row["cluster_probability"])
    columns = ["set", "predictors", "n_predictors", "lead", "probability", "cluster_probability", "expected_effects"]
    columns += ["purity", "is_pure", "cluster"]
    return pd.DataFrame([{"set": j, **row} for j, row in enumerate(rows)], columns=columns)


def _inclusion_of(result: PredictorSelection | Posterior) -> tuple[list[str], Array, Array]:
    """Names, weights (n,) of models or draws, and probabilities (n, P) that each predictor is in, given which."""
    if isinstance(result, PredictorSelection):
        return list(result.predictors), result.models["probability"].to_numpy(), result.included.astype(float)
    if not hasattr(result, "posterior"):
        raise InputError(
            f"credible_sets: {type(result).__name__} has no inclusion probabilities; give what select_predictors "
            "returns, or a posterior under LogOddsSpikeSlab"
        )
    spiked, inside = slab_probabilities(result.problem, result.posterior)
    return [result.problem.predictor_names[p] for p in spiked], np.full(len(inside), 1.0 / len(inside)), inside


def _correlation(problem: Problem, labels: list[str]) -> Array:
    """Correlations of the predictors among the people with traits, sample weights counted."""
    index = [problem.predictor_names.index(name) for name in labels]
    rows = problem.predictors[problem.people][:, index] / problem.predictor_unit[index]
    weight = np.ones(len(rows)) if problem.sample_weight is None else problem.sample_weight[problem.people]
    correlation: Array = (rows * weight[:, None]).T @ rows / weight.sum()
    np.fill_diagonal(correlation, 1.0)
    return correlation


def _any(weights: Array, inside: Array, members: Index | tuple[int, ...]) -> float:
    """Probability that at least one of the members is in."""
    return float(weights @ (1.0 - np.prod(1.0 - inside[:, list(members)], axis=1)))


def _smallest(weights: Array, inside: Array, members: Index, target: float) -> Index:
    """Smallest set, of these the likeliest, that reaches the target."""
    target -= 1e-12
    if len(members) <= _MOST_SEARCHED:
        for size in range(1, len(members)):
            sets = list(combinations(members.tolist(), size))
            reached = [_any(weights, inside, s) for s in sets]
            best = int(np.argmax(reached))
            if reached[best] >= target:
                return np.array(sets[best])
        return members
    chosen: list[int] = []
    while not chosen or (_any(weights, inside, tuple(chosen)) < target and len(chosen) < len(members)):
        left = [int(p) for p in members if p not in chosen]
        chosen.append(max(left, key=lambda p: _any(weights, inside, (*chosen, p))))
    return np.array(chosen)
