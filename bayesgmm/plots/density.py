"""The trait's histogram under the fitted components, with the posterior's band."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from bayesgmm import names
from bayesgmm.plots.style import INK, canvas, colour, line, tidy, trait_index, trait_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bayesgmm.inference.map_fit import MapFit
    from bayesgmm.inference.posterior import Posterior

_BAND_DRAWS = 200


def plot_density(
    fit: MapFit,
    posterior: Posterior | None = None,
    *,
    trait: str | None = None,
    bins: int | str = "auto",
    ax: Axes | None = None,
) -> Figure:
    """Draw a trait's histogram with the fitted components, their sum and the posterior's 89% band.

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
    values = values[~np.isnan(values)]
    ax.hist(values, bins=bins, density=True, color="#d9d9d9", edgecolor="white", label="people")
    reach = np.ptp(values)
    grid = np.linspace(values.min() - 0.05 * reach, values.max() + 0.05 * reach, 400)
    each = component_densities(
        grid,
        fit.responsibilities.values[problem.observed].mean(axis=0),
        fit.params[names.MEANS].values[:, d],
        fit.params[names.COVARIANCES].values[:, d, d],
    )
    if posterior is not None:
        low, high = _band(posterior, grid, d)
        ax.fill_between(grid, low, high, color="#999999", alpha=0.6, linewidth=0, label="89% band of the posterior")
    for k, height in enumerate(each):
        ax.plot(grid, height, color=colour(k), linestyle=line(k), linewidth=2, label=f"component {k}")
    ax.plot(grid, each.sum(axis=0), color=INK, linewidth=1.2, label="sum")
    peak = np.histogram(values, bins=bins, density=True)[0].max()
    ax.set_ylim(0, min(1.15 * max(peak, each.sum(axis=0).max()), 3.0 * peak))
    ax.set(xlabel=trait_label(problem, trait), ylabel="density", title=f"{trait}: {problem.n_components} components")
    ax.legend(frameon=False, fontsize="small")
    tidy(ax)
    return figure


def component_densities(
    grid: NDArray[np.float64], weights: NDArray[np.float64], means: NDArray[np.float64], variances: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Weighted normal densities, (n_components, len(grid))."""
    result: NDArray[np.float64] = weights[:, None] * norm.pdf(grid, means[:, None], np.sqrt(variances)[:, None])
    return result


def _band(posterior: Posterior, grid: NDArray[np.float64], d: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    kept = posterior.posterior
    lead = (kept.sizes[names.CHAIN] * kept.sizes[names.DRAW],)
    every = slice(None, None, max(1, lead[0] // _BAND_DRAWS))
    draws = {v: kept[v].values.reshape(lead + kept[v].shape[2:])[every] for v in names.PARAMETERS}
    problem = posterior.problem
    predictors = problem.predictors[problem.observed]
    some = predictors[:: max(1, len(predictors) // 500)]
    effects = np.insert(draws[names.EFFECTS], problem.reference, 0.0, axis=-1)
    logits = np.log(draws[names.WEIGHTS])[:, None, :] + np.einsum("ip,npk->nik", some, effects)
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    weights = (weights / weights.sum(axis=-1, keepdims=True)).mean(axis=1)
    heights = [
        component_densities(grid, w, m, v).sum(axis=0)
        for w, m, v in zip(
            weights,
            draws[names.MEANS][:, :, d],
            draws[names.COVARIANCES][:, :, d, d],
            strict=True,
        )
    ]
    low, high = np.percentile(heights, [5.5, 94.5], axis=0)
    return low, high
