"""What an association is: odds ratios, penetrance, trait shifts, direction and Bayes factors, from any engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import norm

from bayesgmm import names
from bayesgmm.analysis.savage_dickey import BayesFactors, too_wide_for_bayes_factors
from bayesgmm.checks import check_fitted, check_share
from bayesgmm.errors import InputError, nearest
from bayesgmm.inference.map_fit import MapFit

if TYPE_CHECKING:
    from bayesgmm.analysis.bootstrap import Bootstrap
    from bayesgmm.inference.posterior import Posterior

Array = NDArray[np.float64]

_DRAWS = 4000  # draws of the normal approximation behind a MAP fit's derived intervals


def associations(
    result: MapFit | Posterior | Bootstrap, *, level: float = 0.95, contrasts: str = "reference"
) -> pd.DataFrame:
    """Association of every predictor with component membership.

    Parameters
    ----------
    result : MapFit, Posterior or Bootstrap
        From a MAP fit, intervals are normal, from the observed information; from a posterior they are equal-tailed;
        from a bootstrap they are percentiles of the replicates, and there is no Bayes factor (NaN).
    level : float, default 0.95
        Probability of the intervals.
    contrasts : {"reference", "all"}
        Components against the reference, or every pair.

    Returns
    -------
    pandas.DataFrame
        One row per predictor and contrast: ``predictor``, ``contrast``, ``log_odds_ratio`` (the MAP fit's, for a
        bootstrap too, or the posterior mean), ``sd``, ``lower``, ``upper``, ``odds_ratio``, ``or_lower``,
        ``or_upper``, ``probability_of_direction`` (that the effect has the sign of its median; 0.5 says nothing, above
        0.975 its 95% interval leaves out zero),
        ``log10_bayes_factor`` (for an effect against none; above 1 strong, below -1 strong evidence of none; NaN under
        a flat prior, and of no use under a very wide one, of which ``attrs["caution"]`` has a word) with
        ``bayes_factor_by``, what the posterior density at zero is from ("draws", "Laplace", "normal"; see the notes),
        ``shift_<trait>`` with ``_lower`` and ``_upper`` (change of the trait's mean per unit of the
        predictor for the average person; the same for every contrast) and ``engine``.

    Raises
    ------
    InputError
        If the model has no predictors or an option is out of bounds.

    Notes
    -----
    Savage-Dickey (Dickey 1971): the Bayes factor against no effect is the prior over the posterior density at zero.
    From draws that density is a kernel estimate within 2 sds of the mean; beyond, and from a MAP fit, it is Laplace's
    approximation of the marginal density at zero (Tierney and Kadane 1986); where that does not apply, the normal's.
    Where components overlap, or under sparse priors, a mode is a poor witness: take those of a posterior. Under a spike
    and slab the alternative is the whole prior, spike included; :func:`bayesgmm.inclusion` compares slab and spike. An
    effect that the MAP has exactly at the kink of a Laplace prior has no sd, interval or Bayes factor (NaN): sample the
    posterior.
    """
    check_fitted("associations", result)
    _check_level(level)
    problem = result.problem
    if not problem.predictor_names or problem.n_components < 2:
        raise InputError("associations: the model has no predictors of the weights or only one component")
    fit = result if isinstance(result, MapFit) else None
    draws = _draws(result)
    shifts = _trait_shifts(problem, draws)
    told = _estimate_of(result)
    centre = shifts.mean(axis=0) if told is None else _trait_shifts(problem, _as_one_draw(told))[0]
    factors = None
    if isinstance(result, MapFit):
        factors = BayesFactors(problem, result)
    elif result.engine != "bootstrap":
        factors = BayesFactors(problem, result.map)
    rows: list[dict[str, Any]] = []
    for p, predictor in enumerate(problem.predictor_names):
        for label, high, low in _pairs(problem, contrasts):
            values = _contrast(problem, draws[names.EFFECTS].values, high, low)[..., p].ravel()
            point = None if told is None else float(_contrast(problem, told.params[names.EFFECTS].values, high, low)[p])
            if fit is None or point is None:
                summary = _summarise_draws(values, level, point)
            else:
                summary = _summarise_normal(point, _standard_error(fit, p, high, low), level)
            row = {"predictor": predictor, names.CONTRAST: label, **summary}
            row["log10_bayes_factor"], row["bayes_factor_by"] = float("nan"), ""
            if factors is not None:
                row["log10_bayes_factor"], row["bayes_factor_by"] = factors.log10_by(
                    p, high, low, summary["log_odds_ratio"], summary["sd"], values if fit is None else None
                )
            for d, trait in enumerate(problem.trait_names):
                tails = np.quantile(shifts[:, p, d], [(1 - level) / 2, (1 + level) / 2])
                row[f"shift_{trait}"] = float(centre[p, d])
                row[f"shift_{trait}_lower"], row[f"shift_{trait}_upper"] = map(float, tails)
            row["engine"] = "map" if isinstance(result, MapFit) else result.engine
            rows.append(row)
    table = pd.DataFrame(rows)
    table.attrs["caution"] = "" if factors is None else too_wide_for_bayes_factors(problem)
    return table


def penetrance(
    result: MapFit | Posterior | Bootstrap, variants: str | Sequence[str] | None = None, *, level: float = 0.95
) -> pd.DataFrame:
    """Component weights of the average person at genotype 0, 1 and 2 of each variant.

    Other predictors are at their means; predictors that interact with the variant move with it.

    Parameters
    ----------
    result : MapFit, Posterior or Bootstrap
    variants : str or sequence of str, optional
        Default: every variant of the weights' formula.
    level : float, default 0.95

    Returns
    -------
    pandas.DataFrame
        ``variant``, ``genotype``, ``component``, ``estimate`` (the MAP fit's, for a bootstrap too, or the
        posterior mean), ``lower``, ``upper``.

    Raises
    ------
    InputError
        If the formula of the weights has no variant, or not one that is named.
    """
    check_fitted("penetrance", result)
    _check_level(level)
    problem = result.problem
    if not problem.variant_names:
        raise InputError("penetrance: the formula of the weights has no variant")
    chosen = [variants] if isinstance(variants, str) else list(problem.variant_names if variants is None else variants)
    for name in chosen:
        if name not in problem.variant_names:
            raise InputError(
                f"penetrance: the weights' formula has no variant {name!r}; {nearest(str(name), problem.variant_names)}"
            )
    draws = _draws(result)
    told = _estimate_of(result)
    tails = [(1 - level) / 2, (1 + level) / 2]
    rows = []
    for variant in chosen:
        v = list(problem.variant_names).index(variant)
        for g in names.GENOTYPES:
            weights = _weights_at(problem, draws, problem.profiles[v, g])
            centre = weights.mean(axis=0)
            if told is not None:
                centre = _weights_at(problem, _as_one_draw(told), problem.profiles[v, g])[0]
            lower, upper = np.quantile(weights, tails, axis=0)
            for k in range(problem.n_components):
                rows.append((variant, g, k, float(centre[k]), float(lower[k]), float(upper[k])))
    table = pd.DataFrame(rows, columns=["variant", names.GENOTYPE, names.COMPONENT, "estimate", "lower", "upper"])
    table[names.COMPONENT] = problem.component_names(table[names.COMPONENT])
    return table


def _estimate_of(result: MapFit | Posterior | Bootstrap) -> MapFit | None:
    """The fit whose estimates are told; None for a posterior, of which the mean is told.

    The mean of replicates would have the bootstrap's bias added to the fit's own.
    """
    if isinstance(result, MapFit):
        return result
    return result.map if result.engine == "bootstrap" else None


def _check_level(level: float) -> None:
    check_share("level", level)


def _draws(result: MapFit | Posterior | Bootstrap) -> xr.Dataset:
    return result.normal_draws(_DRAWS, seed=0) if isinstance(result, MapFit) else result.posterior


def _as_one_draw(fit: MapFit) -> xr.Dataset:
    return fit.params.expand_dims({names.CHAIN: 1, names.DRAW: 1})


def _pairs(problem: Any, contrasts: str) -> list[tuple[str, int, int]]:
    if contrasts == "reference":
        pairs = [(k, problem.reference) for k in range(problem.n_components) if k != problem.reference]
    elif contrasts == "all":
        pairs = [(k, j) for k in range(problem.n_components) for j in range(k)]
    else:
        raise InputError(f"contrasts = {contrasts!r}; it must be 'reference' or 'all'")
    labels = problem.component_labels
    return [(names.contrast_label(labels[high], labels[low]), high, low) for high, low in pairs]


def _contrast(problem: Any, effects: Array, high: int, low: int) -> Array:
    full = np.insert(effects, problem.reference, 0.0, axis=-1)
    result: Array = full[..., high] - full[..., low]
    return result


def _standard_error(fit: MapFit, p: int, high: int, low: int) -> float:
    """Standard error of one pairwise log odds ratio from the inverse observed information."""
    problem = fit.problem
    free = problem.n_components - 1
    weights = np.zeros((1 + len(problem.predictor_names), free))
    for component, sign in ((high, 1.0), (low, -1.0)):
        if component > 0:
            weights[1 + p, component - 1] += sign
    # only what it needs: effects that a prior holds have NaN
    own = np.flatnonzero(weights)
    block = fit.covariance_matrix[np.ix_(own, own)]
    return float(np.sqrt(weights.ravel()[own] @ block @ weights.ravel()[own]) / problem.predictor_unit[p])


def _summarise_normal(estimate: float, se: float, level: float) -> dict[str, float]:
    reach = float(norm.ppf((1 + level) / 2)) * se
    direction = float(norm.cdf(abs(estimate) / se)) if se > 0 else float("nan")
    return _with_odds(estimate, se, estimate - reach, estimate + reach, direction)


def _summarise_draws(values: Array, level: float, estimate: float | None) -> dict[str, float]:
    """Numbers of draws, about their mean where there is no estimate of another kind."""
    lower, upper = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    direction = float(max((values > 0).mean(), (values < 0).mean()))
    estimate = float(values.mean()) if estimate is None else estimate
    return _with_odds(estimate, float(values.std(ddof=1)), float(lower), float(upper), direction)


def _with_odds(estimate: float, sd: float, lower: float, upper: float, direction: float) -> dict[str, float]:
    with np.errstate(over="ignore"):
        odds = np.exp([estimate, lower, upper])
    return {
        "log_odds_ratio": estimate,
        "sd": sd,
        "lower": lower,
        "upper": upper,
        "odds_ratio": float(odds[0]),
        "or_lower": float(odds[1]),
        "or_upper": float(odds[2]),
        "probability_of_direction": direction,
    }


def _weights_at(problem: Any, draws: xr.Dataset, row: Array) -> Array:
    """Mixing weights (n_draws, K) at one centred row of predictors."""
    log_pi = np.log(draws[names.WEIGHTS].values.reshape(-1, problem.n_components))
    effects = np.insert(draws[names.EFFECTS].values, problem.reference, 0.0, axis=-1)
    logits = log_pi + np.einsum("p,npk->nk", row, effects.reshape(len(log_pi), len(row), -1))
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: Array = weights / weights.sum(axis=1, keepdims=True)
    return result


def _trait_shifts(problem: Any, draws: xr.Dataset) -> Array:
    """Change of each trait's mean per unit of each predictor at the average person, (n_draws, P, D).

    ``d/dx sum_k w_k mu_k = sum_k w_k (B_k - Bbar) mu_k`` with ``Bbar = sum_k w_k B_k``.
    """
    weights = draws[names.WEIGHTS].values.reshape(-1, problem.n_components)
    means = draws[names.MEANS].values.reshape(len(weights), problem.n_components, -1)
    effects = np.insert(draws[names.EFFECTS].values, problem.reference, 0.0, axis=-1)
    effects = effects.reshape(len(weights), -1, problem.n_components)
    centred = effects - np.einsum("npk,nk->np", effects, weights)[:, :, None]
    result: Array = np.einsum("nk,npk,nkd->npd", weights, centred, means)
    return result
