"""The trait's histogram under the fitted components, with the posterior's band."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayesgmm import names
from bayesgmm.core.mixture_cdf import Located, Spread
from bayesgmm.plots.style import (
    INK,
    canvas,
    colour,
    component_label,
    legend_below,
    line,
    per_unit,
    tidy,
    trait_index,
    trait_label,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bayesgmm.inference.map_fit import MapFit
    from bayesgmm.inference.posterior import Posterior
    from bayesgmm.problem import Problem

Array = NDArray[np.float64]

_BAND_DRAWS = 200


def plot_density(
    fit: MapFit,
    posterior: Posterior | None = None,
    *,
    trait: str | None = None,
    bins: int | str = "auto",
    ax: Axes | None = None,
) -> Figure:
    """Draw a trait's histogram with the fitted components, their sum and the posterior's 95% band.

    Components are weighted by the mixing weights averaged over people, so that they add to the histogram.

    Parameters
    ----------
    fit : MapFit
    posterior : Posterior, optional
    trait : str, optional
        Default: the first.
    bins : int or str
        As for :func:`numpy.histogram_bin_edges`.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.figure.Figure
    """
    problem = fit.problem
    d, trait = trait_index(problem, trait)
    figure, ax = canvas(ax)
    values = problem.traits[:, d]
    there = problem.fixed.at_spike(problem.traits)
    known = ~np.isnan(values)
    share = float((known & ~there).sum() / known.sum())
    values = values[known & ~there]
    edges = np.histogram_bin_edges(values, bins)
    heights = share * np.histogram(values, edges, density=True)[0]
    ax.stairs(heights, edges, fill=True, color="#d9d9d9", edgecolor="white", label="people")
    reach = np.ptp(values)
    grid = np.linspace(values.min() - 0.05 * reach, values.max() + 0.05 * reach, 400)
    weights = fit.responsibilities.values[problem.observed].mean(axis=0)
    each = component_densities(
        problem,
        grid,
        d,
        weights,
        fit.params[names.MEANS].values[:, d],
        fit.params[names.COVARIANCES].values[:, d, d],
        fit.parameters.df,
    )
    if posterior is not None:
        low, high = _band(posterior, grid, d)
        ax.fill_between(grid, low, high, color="#999999", alpha=0.6, linewidth=0, label="95% band of the posterior")
    for k, height in enumerate(each):
        ax.plot(grid, height, color=colour(k), linestyle=line(k), linewidth=2, label=component_label(problem, k))
    ax.plot(grid, each.sum(axis=0), color=INK, linewidth=1.2, label="sum")
    top = min(1.15 * max(heights.max(), each.sum(axis=0).max()), 3.0 * heights.max())
    if problem.fixed.spike is not None:
        k = problem.n_components - 1
        label = f"spike at {problem.fixed.spike[d]:.4g}: {100 * weights[k]:.0f}% of people"
        ax.vlines(problem.fixed.spike[d], 0, top, color=colour(k), linewidth=3, label=label)
    ax.set_ylim(0, top)
    title = f"{trait}: {problem.components_told}"
    ax.set(xlabel=trait_label(problem, trait), ylabel=f"density{per_unit(problem, trait)}", title=title)
    # under the axes: within, it would lie on a curve or a spike in one study or the other
    legend_below(figure, ax)
    tidy(ax)
    return figure


def component_densities(
    problem: Problem, grid: Array, d: int, weights: Array, means: Array, variances: Array, df: Array
) -> Array:
    """Weighted densities of one trait on a grid, a spike's left out, (n_components or one less, len(grid))."""
    dfs = df.tolist() or [None] * problem.n_located
    each = [
        Located(mean, sd, nu).density(grid)
        for mean, sd, nu in zip(means[: problem.n_located], np.sqrt(variances[: problem.n_located]), dfs, strict=True)
    ]
    noise = problem.fixed.noise
    if noise is not None:
        each.append(Spread.of(float(noise.mean[d]), noise.axes[d] * (noise.high - noise.low)).density(grid))
    result: Array = weights[: len(each), None] * np.stack(each)
    return result


def _band(posterior: Posterior, grid: NDArray[np.float64], d: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    kept = posterior.posterior
    lead = (kept.sizes[names.CHAIN] * kept.sizes[names.DRAW],)
    every = slice(None, None, max(1, lead[0] // _BAND_DRAWS))
    draws = {v: kept[v].values.reshape(lead + kept[v].shape[2:])[every] for v in names.PARAMETERS if v in kept}
    problem = posterior.problem
    df = problem.stacked(kept).flat().df[every]
    predictors = problem.predictors[problem.observed]
    some = predictors[:: max(1, len(predictors) // 500)]
    effects = np.insert(draws[names.EFFECTS], problem.reference, 0.0, axis=-1)
    logits = np.log(draws[names.WEIGHTS])[:, None, :] + np.einsum("ip,npk->nik", some, effects)
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    weights = (weights / weights.sum(axis=-1, keepdims=True)).mean(axis=1)
    heights = [
        component_densities(problem, grid, d, w, m, v, nu).sum(axis=0)
        for w, m, v, nu in zip(
            weights,
            draws[names.MEANS][:, :, d],
            draws[names.COVARIANCES][:, :, d, d],
            df,
            strict=True,
        )
    ]
    low, high = np.percentile(heights, [2.5, 97.5], axis=0)
    return low, high
