"""Forest of odds ratios: the MAP beside the posterior."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bayesgmm import names
from bayesgmm.analysis.association import associations
from bayesgmm.errors import InputError
from bayesgmm.plots.style import INK, MAP_COLOUR, PALETTE, canvas, legend_below, rows_height, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bayesgmm.inference.map_fit import MapFit
    from bayesgmm.inference.posterior import Posterior

_TWO_BETWEEN, _ONE_BETWEEN = 2.0, 3.2  # decades up to which two values, or one, are written between powers of ten
_WIDEST = 1e4  # odds ratios beyond are cut at the edge of the picture


def plot_forest(fit: MapFit | None = None, posterior: Posterior | None = None, *, ax: Axes | None = None) -> Figure:
    """Draw odds ratios per predictor and contrast on a logarithmic axis.

    The MAP with its 95% normal interval (square), the posterior mean with 50% (thick) and 95% (thin) intervals (dot).

    Parameters
    ----------
    fit : MapFit, optional
    posterior : Posterior, optional
        At least one of the two.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.figure.Figure
    """
    if fit is None and posterior is None:
        raise InputError("plot_forest: give a fit, a posterior or both")
    table = associations(posterior if fit is None else fit)  # type: ignore[arg-type]
    figure, ax = canvas(ax, height=1.7 + rows_height(len(table), 0.55))
    y = np.arange(len(table))[::-1].astype(float)
    apart = 0.14 if fit is not None and posterior is not None else 0.0
    ax.axvline(1.0, color=INK, linewidth=0.8)
    if posterior is not None:
        wide, half = associations(posterior), associations(posterior, level=0.5)
        ax.hlines(y + apart, wide["or_lower"], wide["or_upper"], color=PALETTE[0], linewidth=1.5)
        ax.hlines(y + apart, half["or_lower"], half["or_upper"], color=PALETTE[0], linewidth=4.5)
        ax.plot(
            wide["odds_ratio"], y + apart, "o", color=PALETTE[0], markersize=7, label="posterior: mean, 50% and 95%"
        )
    if fit is not None:
        ax.hlines(y - apart, table["or_lower"], table["or_upper"], color=MAP_COLOUR, linewidth=1.5, linestyle="--")
        ax.plot(
            table["odds_ratio"],
            y - apart,
            "s",
            color=MAP_COLOUR,
            markersize=6,
            markerfacecolor="white",
            label="MAP: mode and 95% normal",
        )
    ax.set_xscale("log")
    low, high = ax.get_xlim()
    ax.set_xlim(max(low, 1.0 / _WIDEST), min(high, _WIDEST))
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    low, high = ax.get_xlim()
    # with room for them only, lest they overlap
    told = {True: "25", False: "3"}[np.log10(high / low) < _TWO_BETWEEN] if np.log10(high / low) < _ONE_BETWEEN else ""
    ax.xaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:.0e}"[0] in told else "")
    ax.tick_params(axis="x", which="minor", labelsize="small")
    ax.set_yticks(y, [f"{p}, {c}" for p, c in zip(table["predictor"], table[names.CONTRAST], strict=True)])
    ax.set_ylim(-0.6, len(table) - 0.4)
    ax.set(xlabel="odds ratio per allele (or per unit)", title="Association with the component")
    legend_below(figure, ax)
    tidy(ax)
    return figure
