"""Whether the mixture fits: histogram and density, residuals with their band, shape against replicates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bayesgmm import names
from bayesgmm.core.shape import STATISTICS
from bayesgmm.plots.density import plot_density
from bayesgmm.plots.style import INK, MAP_COLOUR, PALETTE, pyplot, tidy, trait_index

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bayesgmm.analysis.fit_checks import FitChecks

_BAND = "#c9d7e6"
_REPLICATES = "#bdbdbd"
_LABELS = {
    "kurtosis": "excess kurtosis",
    "modes": "modes",
    "far below": "share far below",
    "far above": "share far above",
}


def plot_fit_checks(checks: FitChecks, trait: str | None = None, *, density: bool = True) -> Figure:
    """Draw the checks of one trait.

    Above, the histogram with the fitted components, and the worm plot (van Buuren and Fredriks 2001, Statistics in
    Medicine 20:1259): sorted quantile residuals less what is expected of them, with the band that holds the whole worm.
    A worm that leaves the band upwards on the right, or downwards on the left, says that this tail is heavier than the
    mixture's. Below, statistics of shape of the people (line) and of data sets drawn from the mixture, given the
    estimates (bars).

    Parameters
    ----------
    checks : FitChecks
        From :func:`bayesgmm.check_fit`.
    trait : str, optional
        Default: the first.
    density : bool, default True
        Whether the histogram with the fitted components is drawn too.

    Returns
    -------
    matplotlib.figure.Figure
    """
    _, trait = trait_index(checks.fit.problem, trait)
    plt = pyplot()
    figure = plt.figure(figsize=(10.0, 5.8 if density else 4.6), layout="constrained")
    grid = figure.add_gridspec(2, 10, height_ratios=(2.0, 1.0))
    if density:
        plot_density(checks.fit, checks.posterior, trait=trait, ax=figure.add_subplot(grid[0, :5]))
    _worm(checks, trait, figure.add_subplot(grid[0, 5 if density else 0 :]))
    rows = checks.table[checks.table[names.TRAIT] == trait]
    p_values = dict(zip(rows["check"], rows["p_value"].astype(float), strict=True))
    for j, statistic in enumerate(STATISTICS):
        ax = figure.add_subplot(grid[1, 2 * j : 2 * j + 2])
        _statistic(checks, trait, statistic, p_values[statistic], ax)
    drawn: Figure = figure
    return drawn


def _worm(checks: FitChecks, trait: str, ax: Axes) -> None:
    band = checks.bands.sel({names.TRAIT: trait})
    at = band["theoretical"].values
    observed, lower, upper = (band[name].values - at for name in ("observed", "lower", "upper"))
    held = f"band of {100 * (1.0 - checks.level):g}% of whole curves"
    ax.fill_between(at, lower, upper, color=_BAND, linewidth=0, label=held)
    ax.axhline(0.0, color="#888888", linewidth=0.8)
    ax.plot(at, observed, color=PALETTE[0], linewidth=1.4, label="people")
    outside = (observed < lower) | (observed > upper)
    if outside.any():
        ax.plot(at[outside], observed[outside], "o", color=MAP_COLOUR, markersize=4, label="outside the band")
    reach = 1.1 * max(np.abs(lower).max(), np.abs(upper).max())
    tall = max(reach, min(1.05 * np.abs(observed).max(), 3.0 * reach))
    ax.set_ylim(-tall, tall)
    ax.set(
        xlabel="expected residual (sd)",
        ylabel="sorted residual less expected (sd)",
        title=f"{trait}: quantile residuals",
    )
    ax.legend(frameon=False, fontsize="small")
    tidy(ax)


def _statistic(checks: FitChecks, trait: str, statistic: str, p_value: float, ax: Axes) -> None:
    where = {names.TRAIT: trait, "statistic": statistic}
    replicated, observed = checks.replicates.sel(where).values, float(checks.observed.sel(where))
    if statistic == "modes":
        found, counts = np.unique(np.rint(replicated), return_counts=True)
        ax.bar(found, counts, width=0.6, color=_REPLICATES)
        shown = np.unique([*found, observed])
        ax.set_xticks(shown)
        ax.set_xlim(shown[0] - 1.0, shown[-1] + 1.0)
    else:
        ax.hist(replicated, bins=25, color=_REPLICATES)
    ax.axvline(observed, color=INK if p_value > checks.level else MAP_COLOUR, linewidth=2)
    ax.set_yticks([])
    ax.tick_params(labelsize="small")
    if np.ptp([*replicated, observed]) == 0.0:
        ax.set_xticks([observed])
    ax.set_title(f"p = {p_value:.2g}", fontsize="small")
    ax.set_xlabel(_LABELS.get(statistic, statistic), fontsize="small")
    ax.spines["left"].set_visible(False)
    tidy(ax)
