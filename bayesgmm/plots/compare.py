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
    # of a variational posterior q's own widths beside those that are corrected
    corrected = "corrected_sd" in table
    lines = (
        (("corrected_eti95", "95%, corrected", 1.2), ("eti95", "95% of q", 4.0))
        if corrected
        else (("eti95", "posterior 95%", 3.0),)
    )
    sd = table["corrected_sd"].replace(np.inf, 0.0) if corrected else table["sd"]
    sd = sd.where(sd > 0, table["sd"].where(table["sd"] > 0, 1.0))

    def scaled(column: str) -> np.ndarray:
        return ((table[column] - table["mean"]) / sd).to_numpy()

    ax.axvline(0.0, color="#bbbbbb", linewidth=0.8)
    reach = max(3.0, float(np.abs(scaled("map")).max()))
    for name, label, width in lines:
        low, high = scaled(f"{name}_lb"), scaled(f"{name}_ub")
        ax.hlines(y, low, high, color=PALETTE[0], linewidth=width, label=label)
        reach = max(reach, float(np.abs(np.r_[low, high]).max()))
    if not corrected:
        ax.plot(scaled("median"), y, "|", color=INK, markersize=9, markeredgewidth=1.6, label="posterior median")
    ax.plot(scaled("map"), y, "s", color=MAP_COLOUR, markerfacecolor="white", markersize=6, label="MAP")
    for position, verdict in zip(y, table["verdict"], strict=True):
        weight = "normal" if verdict == "agree" else "bold"
        ax.text(1.08 * reach, position, verdict, va="center", fontsize="small", color=INK, fontweight=weight)
    ax.set_yticks(y, table["parameter"])
    ax.set_xlim(-1.05 * reach, 1.05 * reach)
    label, title = "distance from the posterior mean (posterior sds)", "MAP and posterior"
    if corrected:
        label, title = "distance from q's mean (corrected sds)", "MAP and variational approximation"
    ax.set(xlabel=label, title=title)
    legend_below(figure, ax)
    tidy(ax)
    return figure
