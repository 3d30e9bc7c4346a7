"""Estimate, spread and interval of every parameter, from weighted draws or from modes: what many settings keep."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import norm

from bayesgmm import names
from bayesgmm.analysis.savage_dickey import BayesFactors, kernel_of
from bayesgmm.errors import InputError

if TYPE_CHECKING:
    from bayesgmm.inference.map_fit import MapFit
    from bayesgmm.problem import Problem

Array = NDArray[np.float64]
Quantity = Callable[[xr.Dataset], xr.DataArray]

SUMMARY = ("estimate", "sd", "lower", "upper")
Z = np.linspace(-4.0, 4.0, 41)  # sds from the estimate at which the density of an effect is kept

_DRAWS = 1000  # draws of the normal approximation behind the interval of a quantity of the user's own


def weighted_quantiles(values: Array, weights: Array | None, levels: Array) -> Array:
    """Quantiles (n_levels, ...) of draws along the first axis; ``weights`` (n_draws,) sum to one."""
    if weights is None:
        result: Array = np.quantile(values, levels, axis=0)
        return result
    flat = values.reshape(len(values), -1)
    out = np.empty((len(levels), flat.shape[1]))
    order = flat.argsort(axis=0)
    for j in range(flat.shape[1]):
        w = weights[order[:, j]]
        # each draw stands in the middle of its share
        out[:, j] = np.interp(levels, np.cumsum(w) - 0.5 * w, flat[order[:, j], j])
    return out.reshape(len(levels), *values.shape[1:])


Summaries = dict[str, tuple[tuple[str, ...], Array]]


def of_draws(
    problem: Problem,
    draws: xr.Dataset,
    weights: Array | None,
    level: float,
    quantities: Mapping[str, Quantity],
    factors: BayesFactors | None = None,
) -> Summaries:
    """Summaries of the parameters, odds ratios and quantities of one set of draws.

    Parameters
    ----------
    problem : Problem
        Whose prior the draws are under.
    draws : xarray.Dataset
        (chain, draw, ...)
    weights : ndarray (chains x draws,), optional
        Importance weights that sum to one.
    level : float
        Of the intervals.
    quantities : mapping
        Further functions of the draws.
    factors : BayesFactors, optional
        Without them there are none among the summaries.

    Returns
    -------
    dict
        Dims and values of each variable.
    """
    tails = np.array([0.5 * (1.0 - level), 0.5 * (1.0 + level)])
    arrays = {name: draws[name] for name in names.PARAMETERS if name in draws and draws[name].size}
    _refuse_taken(quantities)
    for name, function in quantities.items():
        arrays[name] = _checked(name, function(draws))
    data: Summaries = {}
    for name, array in arrays.items():
        flat, dims = _flat(array)
        mean = np.asarray(np.average(flat, axis=0, weights=weights))
        sd = np.sqrt(np.average((flat - mean) ** 2, axis=0, weights=weights))
        lower, upper = weighted_quantiles(flat, weights, tails)
        data[name] = ((*dims, names.SUMMARY), np.stack((mean, sd, lower, upper), axis=-1))
        if name == names.EFFECTS:
            data |= _of_effects(problem, data[name], flat, weights, factors)
    return data


def of_modes(
    problem: Problem,
    fits: list[MapFit],
    level: float,
    quantities: Mapping[str, Quantity],
    seed: int,
    *,
    bayes_factors: bool = False,
) -> list[Summaries]:
    """The same from posterior modes, by the delta method; all fits are of the data of ``problem``.

    Weights have intervals on the logit scale, variances on the log scale, the rest on their own.
    """
    _refuse_taken(quantities)
    n_free, n_points = problem.arrays.n_free, 1 + 2 * problem.arrays.n_free
    reach = float(norm.ppf(0.5 * (1.0 + level)))
    points, steps = [], []
    for fit in fits:
        free = problem.arrays.free(fit.parameters)
        step = 1e-5 * np.maximum(1.0, np.abs(free))
        points.append(np.concatenate((free[None], free + np.diag(step), free - np.diag(step))))
        steps.append(step)
    # a curved family's coordinates are around each fit's own point
    if problem.family.linear:
        around = problem.draws(np.concatenate(points), fits[0].parameters)
    else:
        each = [problem.draws(p, fit.parameters) for p, fit in zip(points, fits, strict=True)]
        around = xr.concat(each, names.DRAW)
    known = {name: _flat(around[name]) for name in names.PARAMETERS if name in around and around[name].size}
    results = []
    for j, (fit, step) in enumerate(zip(fits, steps, strict=True)):
        data: Summaries = {}
        for name, (values, dims) in known.items():
            mine = values[j * n_points : (j + 1) * n_points]
            value = mine[0]
            jacobian = (mine[1 : 1 + n_free] - mine[1 + n_free :]).reshape(n_free, value.size) / (2.0 * step[:, None])
            covariance = fit.conditional_covariance
            variance = ((covariance @ jacobian) * jacobian).sum(axis=0)
            sd = np.sqrt(np.maximum(variance, 0.0)).reshape(value.shape)  # what does not vary may round below zero
            if name == names.EFFECTS:
                sd[fit.held_effects] = np.nan
            lower, upper = _interval(name, value, reach * sd)
            data[name] = ((*dims, names.SUMMARY), np.stack((value, sd, lower, upper), axis=-1))
            if name == names.EFFECTS:
                factors = BayesFactors(fit.problem, fit) if bayes_factors else None
                data |= _of_effects(fit.problem, data[name], None, None, factors)
        if quantities:
            data |= _quantities_of_mode(fit, quantities, level, seed)
        results.append(data)
    return results


def _interval(name: str, value: Array, reach: Array) -> tuple[Array, Array]:
    if name == names.WEIGHTS:
        with np.errstate(divide="ignore", invalid="ignore"):
            middle, width = logit(value), reach / (value * (1.0 - value))
            ends = expit(middle - width), expit(middle + width)
        # the weight of a single component is known
        return np.where(reach == 0.0, value, ends[0]), np.where(reach == 0.0, value, ends[1])
    if name == names.COVARIANCES:
        on_diagonal = np.broadcast_to(np.eye(value.shape[-1], dtype=bool), value.shape).copy()
        on_diagonal &= value > 0.0  # a spike has no width
        factor = np.exp(np.where(on_diagonal, reach / np.where(on_diagonal, value, 1.0), 0.0))
        lower, upper = np.where(on_diagonal, value / factor, value - reach), value + reach
        return lower, np.where(on_diagonal, value * factor, upper)
    return value - reach, value + reach


def _quantities_of_mode(fit: MapFit, quantities: Mapping[str, Quantity], level: float, seed: int) -> Summaries:
    at_mode = fit.params.expand_dims({names.CHAIN: 1, names.DRAW: 1})
    around = fit.normal_draws(_DRAWS, seed)
    tails = [0.5 * (1.0 - level), 0.5 * (1.0 + level)]
    found: Summaries = {}
    for name, function in quantities.items():
        value, dims = _flat(_checked(name, function(at_mode)))
        flat, _ = _flat(_checked(name, function(around)))
        parts = (value[0], flat.std(axis=0), *np.quantile(flat, tails, axis=0))
        found[name] = ((*dims, names.SUMMARY), np.stack(parts, axis=-1))
    return found


def _refuse_taken(quantities: Mapping[str, Quantity]) -> None:
    taken = [name for name in quantities if name in (*names.PARAMETERS, names.ODDS_RATIOS)]
    if taken:
        raise InputError(f"quantities names {taken[0]!r}, which a study has already; call it otherwise")


def _checked(name: str, array: object) -> xr.DataArray:
    if not (isinstance(array, xr.DataArray) and {names.CHAIN, names.DRAW} <= set(array.dims)):
        raise InputError(
            f"quantities[{name!r}] returned {type(array).__name__}; it must return a DataArray with the dims "
            f"{names.CHAIN!r} and {names.DRAW!r} of the parameters it is given"
        )
    return array


def _flat(array: xr.DataArray) -> tuple[Array, tuple[str, ...]]:
    """Draws in a row (n_draws, ...), and the dims of one."""
    dims = tuple(str(d) for d in array.dims if d not in (names.CHAIN, names.DRAW))
    values = array.transpose(names.CHAIN, names.DRAW, *dims).values
    return values.reshape(-1, *values.shape[2:]), dims


def _of_effects(
    problem: Problem,
    effects: tuple[tuple[str, ...], Array],
    flat: Array | None,
    weights: Array | None,
    factors: BayesFactors | None,
) -> Summaries:
    """Odds ratios, densities, probabilities of direction and, where asked for, Bayes factors.

    The odds ratios' estimate and interval are exponentiated; their sd is by the delta method.
    """
    dims, summary = effects
    mean, sd = summary[..., 0], summary[..., 1]
    with np.errstate(over="ignore"):
        odds = np.exp(summary)
        odds[..., 1] = odds[..., 0] * sd
    with np.errstate(invalid="ignore", divide="ignore"):
        direction = np.asarray(norm.cdf(np.abs(mean) / sd))
    density = np.broadcast_to(norm.pdf(Z), (*mean.shape, len(Z))).copy()
    if flat is not None:
        above = np.average(flat > 0.0, axis=0, weights=weights)
        direction = np.maximum(above, 1.0 - above)
        for place in np.ndindex(mean.shape):
            kernel = kernel_of(flat[(slice(None), *place)], weights)
            if kernel is not None:
                density[place] = sd[place] * kernel(mean[place] + Z * sd[place])
    found: Summaries = {
        "effects_density": ((*dims[:-1], "z"), density),
        names.ODDS_RATIOS: (dims, odds),
        "probability_of_direction": (dims[:-1], direction),
    }
    if factors is not None:
        others = [k for k in range(problem.n_components) if k != problem.reference]
        log10 = np.empty(mean.shape)
        for p, c in np.ndindex(mean.shape):
            draws = None if flat is None else flat[:, p, c]
            at = (p, others[c], problem.reference, float(mean[p, c]), float(sd[p, c]))
            log10[p, c] = factors.log10(*at, draws, weights)
        found[names.BAYES_FACTOR] = (dims[:-1], log10)
    return found
