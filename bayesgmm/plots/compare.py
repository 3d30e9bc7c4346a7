"""MAP and posterior intervals of every parameter, in units of the posterior's standard deviation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bayesgmm.plots.style import INK, MAP_COLOUR, PALETTE, canvas, legend_below, rows_height, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bayesgmm.analysis.compare import Comparison


def plot_compare(comparison: Comparison, *, ax: Axes | None = None) -> Figure:
    """Draw where the MAP falls in each parameter's posterior, with the verdict beside it.

    Parameters
    ----------
    comparison : Comparison
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.figure.Figure
    """
    table = comparison
    figure, ax = canvas(ax, width=7.2, height=1.2 + rows_height(len(table), 0.3))
    y = np.arange(len(table))[::-1]
    sd = table["sd"].where(table["sd"] > 0, 1.0)

    def scaled(column: str) -> np.ndarray:
        return ((table[column] - table["mean"]) / sd).to_numpy()

    ax.axvline(0.0, color="#bbbbbb", linewidth=0.8)
    ax.hlines(y, scaled("eti95_lb"), scaled("eti95_ub"), color=PALETTE[0], linewidth=1.2, label="posterior 95%")
    ax.hlines(y, scaled("eti89_lb"), scaled("eti89_ub"), color=PALETTE[0], linewidth=4, label="posterior 89%")
    ax.plot(scaled("map"), y, "s", color=MAP_COLOUR, markerfacecolor="white", markersize=6, label="MAP")
    reach = max(3.0, float(np.abs(np.r_[scaled("eti95_lb"), scaled("eti95_ub"), scaled("map")]).max()))
    for position, verdict in zip(y, table["verdict"], strict=True):
        weight = "normal" if verdict == "agree" else "bold"
        ax.text(1.08 * reach, position, verdict, va="center", fontsize="small", color=INK, fontweight=weight)
    ax.set_yticks(y, table["parameter"])
    ax.set_xlim(-1.05 * reach, 1.05 * reach)
    ax.set(xlabel="distance from the posterior mean (posterior sds)", title="MAP and posterior")
    legend_below(figure, ax)
    tidy(ax)
    return figure
