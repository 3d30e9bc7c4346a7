"""Trait by individual, coloured by the likeliest component."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bayesgmm.plots.style import canvas, colour, component_label, marker, tidy, trait_index, trait_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bayesgmm.inference.map_fit import MapFit
    from bayesgmm.inference.posterior import Posterior


def plot_membership(result: MapFit | Posterior, *, trait: str | None = None, ax: Axes | None = None) -> Figure:
    """Draw each person's trait, in order of the trait; shape and colour tell the component, paleness the doubt.

    Parameters
    ----------
    result : MapFit or Posterior
    trait : str, optional
        Default: the first.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.figure.Figure
    """
    problem = result.problem
    d, trait = trait_index(problem, trait)
    figure, ax = canvas(ax)
    known = ~np.isnan(problem.traits[:, d])
    values = problem.traits[known, d]
    probability = result.responsibilities.values[known]
    order = np.argsort(values, kind="stable")
    likeliest = probability.argmax(axis=1)[order]
    certainty = probability.max(axis=1)[order]
    rank = np.arange(1, len(values) + 1)
    floor = 1.0 / max(problem.n_components, 2)
    for k in range(problem.n_components):
        mine = likeliest == k
        alpha = 0.25 + 0.75 * np.clip((certainty[mine] - floor) / (1 - floor), 0, 1)
        ax.scatter(rank[mine], values[order][mine], s=16, marker=marker(k), color=colour(k), alpha=alpha, linewidth=0)
        ax.plot([], [], marker(k), color=colour(k), label=f"{component_label(problem, k)} ({int(mine.sum())} people)")
    ax.set(
        xlabel="people, in order of the trait",
        ylabel=trait_label(problem, trait),
        title=f"{trait}: likeliest component (pale: uncertain)",
    )
    ax.legend(frameon=False, fontsize="small")
    tidy(ax)
    return figure
