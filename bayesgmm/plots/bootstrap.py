"""Histograms of bootstrap replicates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import norm

from bayesgmm.analysis.quantities import Asked, Quantities
from bayesgmm.plots.style import INK, MAP_COLOUR, PALETTE, pyplot, tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bayesgmm.analysis.bootstrap import Bootstrap

_MOST = 24  # panels of one picture
_ACROSS = 4


def plot_bootstrap(
    bootstrap: Bootstrap, quantity: Asked = None, *, level: float | None = None, method: str | None = None
) -> Figure:
    """Draw the replicates of each quantity, the estimate (line), its interval (bar) and the normal of the same sd.

    A histogram that is far from the normal says that a standard error alone is not enough; two humps, that replicates
    end at two modes or that components have changed places.

    Parameters
    ----------
    bootstrap : Bootstrap
    quantity, level, method
        As for :meth:`Bootstrap.table`; at most the first 24 numbers are drawn.

    Returns
    -------
    matplotlib.figure.Figure
    """
    table = bootstrap.table(quantity, level=level, method=method)
    values = Quantities.resolve(bootstrap.map.params, quantity).of(bootstrap.posterior)
    shown = min(len(table), _MOST)
    across = min(_ACROSS, shown)
    down = -(-shown // across)
    figure: Figure
    figure, axes = pyplot().subplots(
        down, across, figsize=(2.6 * across, 2.1 * down + 0.6), layout="constrained", squeeze=False
    )
    for j, ax in enumerate(axes.ravel()):
        if j >= shown:
            ax.set_visible(False)
            continue
        row, own = table.iloc[j], values[:, j]
        ax.hist(own, bins=min(40, max(10, len(own) // 25)), density=True, color=PALETTE[5])
        if own.std() > 0.0:
            grid = np.linspace(own.min(), own.max(), 200)
            ax.plot(grid, norm.pdf(grid, own.mean(), own.std()), color=PALETTE[0], linewidth=1.2)
        ax.axvline(row["estimate"], color=MAP_COLOUR, linewidth=1.5)
        ax.plot(
            [row["lower"], row["upper"]], [0.0, 0.0], color=INK, linewidth=4.0, solid_capstyle="butt", clip_on=False
        )
        ax.set_yticks([])
        ax.set_title(row["quantity"], fontsize="small")
        ax.tick_params(labelsize="small")
        tidy(ax)
    said = [
        f"{bootstrap.kind} bootstrap",
        f"{len(values)} replicates",
        f"{level or bootstrap.level:.0%} {method or bootstrap.method} intervals",
    ]
    figure.suptitle((",\n" if across < 3 else ", ").join(said), fontsize="medium" if across < 3 else None)
    return figure
