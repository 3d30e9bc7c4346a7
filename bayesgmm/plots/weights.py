"""Component weights by genotype, with intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bayesgmm import names
from bayesgmm.analysis.association import penetrance
from bayesgmm.errors import InputError
from bayesgmm.plots.style import canvas, colour, component_label, line, marker, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bayesgmm.inference.map_fit import MapFit
    from bayesgmm.inference.posterior import Posterior


def plot_penetrance(result: MapFit | Posterior, variant: str | None = None, *, ax: Axes | None = None) -> Figure:
    """Draw the average person's component weights at genotype 0, 1 and 2 of a variant, with 95% intervals.

    Parameters
    ----------
    result : MapFit or Posterior
    variant : str, optional
        Default: the first of the formula.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.figure.Figure
    """
    table = penetrance(result)
    variants = result.problem.variant_names
    variant = variants[0] if variant is None else variant
    if variant not in variants:
        raise InputError(f"variant = {variant!r}; the formula has {', '.join(variants)}")
    figure, ax = canvas(ax, width=4.8)
    n_components, labels = result.problem.n_components, result.problem.component_labels
    for k in range(n_components):
        rows = table[(table["variant"] == variant) & (table[names.COMPONENT].astype(str) == labels[k])]
        x = rows[names.GENOTYPE] + 0.08 * (k - (n_components - 1) / 2)
        error = [rows["estimate"] - rows["lower"], rows["upper"] - rows["estimate"]]
        ax.errorbar(
            x,
            rows["estimate"],
            yerr=error,
            color=colour(k),
            linestyle=line(k),
            marker=marker(k),
            markersize=7,
            capsize=3,
            label=component_label(result.problem, k),
        )
    ax.set_xticks(list(names.GENOTYPES))
    ax.set_ylim(0, 1)
    ax.set(
        xlabel=f"copies of the effect allele of {variant}",
        ylabel="probability of the component",
        title=f"Penetrance of {variant}",
    )
    ax.legend(frameon=False, fontsize="small")
    tidy(ax)
    return figure
