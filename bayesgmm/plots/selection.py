"""Criteria against the number of components, a line a family; entropy against the number of clusters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bayesgmm import names
from bayesgmm.analysis.combine import elbow
from bayesgmm.analysis.selection_table import CRITERIA, by_kind, column_of, differs, model_in_words
from bayesgmm.errors import InputError
from bayesgmm.plots.style import INK, LINES, MAP_COLOUR, MARKERS, PALETTE, canvas, legend_below, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bayesgmm.analysis.combine import Combination
    from bayesgmm.analysis.selection import Selection

_LABELS = {
    "bic": "BIC",
    "icl": "ICL",
    "aic": "AIC",
    "nec": "normalised entropy",
    "loo": "leave-one-out, -2 elpd",
    "evidence": "-2 log evidence",
    "blrt": "p-value, one more component",
}
_DRAWN = 6  # lines with a colour and a name; the others are grey
_RANGE = 1.3  # of the picture, in units of what the named lines span below their worst point


def plot_selection(found: Selection, criterion: str | None = None, *, ax: Axes | None = None) -> Figure:
    """Draw a criterion against the number of components, a line for every family and formula; smaller is better.

    The families that come lowest have colours and names, the others are grey; the chosen model is ringed.

    Parameters
    ----------
    found : Selection
    criterion : str, optional
        Any that is in the table; default: the one that chose.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.figure.Figure
    """
    criterion = found.criterion if criterion is None else criterion
    column = column_of(criterion)
    if criterion not in CRITERIA or column not in found.table:
        known = ", ".join(c for c in CRITERIA if column_of(c) in found.table)
        raise InputError(f"criterion = {criterion!r}; this selection has {known}")
    table = found.table[found.table[column].notna()]
    figure, ax = canvas(ax, width=6.4, height=4.4)
    # lowest first, for the legend to be read from the best; of the test the order does not matter
    lines = sorted(by_kind(table), key=lambda pair: float(pair[1][column].min()))
    for j, (_, rows) in enumerate(lines):
        label = model_in_words(table, rows.iloc[-1])
        named = j < _DRAWN
        ax.plot(
            rows[names.N_COMPONENTS],
            rows[column],
            color=PALETTE[j % len(PALETTE)] if named else "#c9c9c9",
            linestyle=LINES[j % len(LINES)] if named else "-",
            marker=MARKERS[j % len(MARKERS)] if named else None,
            markersize=4.5,
            linewidth=1.4 if named else 0.9,
            zorder=3 if named else 1,
            label=label if named else None,
        )
        error = f"{column}_se"
        if named and error in rows and column in ("loo", "evidence"):
            ax.errorbar(
                rows[names.N_COMPONENTS], rows[column], yerr=rows[error], fmt="none", ecolor=INK, alpha=0.35, capsize=2
            )
    if criterion == "blrt":
        ax.axhline(found.level, color=MAP_COLOUR, linewidth=0.9, linestyle="--")
    elif criterion == found.criterion:
        best = found.table.loc[found.best_row]
        ax.scatter(
            best[names.N_COMPONENTS],
            best[column],
            s=130,
            facecolors="none",
            edgecolors=MAP_COLOUR,
            zorder=5,
            linewidth=1.6,
        )
    sizes = sorted(int(k) for k in table[names.N_COMPONENTS].unique())
    if criterion not in ("blrt", "nec"):
        _focus(ax, [rows[column].to_numpy(dtype=float) for _, rows in lines[:_DRAWN]])
        _mark_beyond(ax, {k: table.loc[table[names.N_COMPONENTS] == k, column].astype(float) for k in sizes})
    ax.set_xticks(sizes)
    ax.set(
        xlabel=f"components{_beside(found)}",
        ylabel=f"{_LABELS[criterion]}" + ("" if criterion == "blrt" else " (smaller is better)"),
        title=f"How many {_of_all(found)}components"
        + (", and which family" if table["covariance"].nunique() > 1 else ""),
    )
    tidy(ax)
    if len(lines) > 1:
        legend_below(figure, ax)
    return figure


def _focus(ax: Axes, lines: list[np.ndarray]) -> None:
    """Show where the choice is made: a single component far above would press the rest together."""
    low = min(float(line.min()) for line in lines)
    tops = [float(line[1:].max()) if len(line) > 2 else float(line.max()) for line in lines]
    high = low + _RANGE * (float(np.median(tops)) - low)
    if np.isfinite(high) and high > low:
        ax.set_ylim(low - 0.06 * (high - low), high)


def _mark_beyond(ax: Axes, values: dict[int, Any]) -> None:
    """Mark numbers of components whose models are all above the picture, with the lowest value of each."""
    top = ax.get_ylim()[1]
    for k, each in values.items():
        if each.min() > top:
            ax.annotate(
                f"{each.min():.4g}",
                (k, 1.0),
                (k, 0.93),
                xycoords=ax.get_xaxis_transform(),
                ha="center",
                va="top",
                fontsize="small",
                arrowprops={"arrowstyle": "->", "color": INK},
                zorder=6,
            )


def _beside(found: Selection) -> str:
    """What every model has beside its components."""
    kinds = found.best.problem.fixed.kinds
    kept = [kind for kind in kinds if kind != names.NOISE or not differs(found.table, "noise")]
    return f" beside {' and '.join(kept)}" if kept else ""


def _of_all(found: Selection) -> str:
    """Of what tails every model is, where they are not Gaussian."""
    return "" if found.best.problem.df is None or differs(found.table, "df") else "Student-t "


def plot_combination(found: Combination, *, ax: Axes | None = None) -> Figure:
    """Draw the entropy of the memberships against the number of clusters, with the lines of the suggestion.

    Parameters
    ----------
    found : Combination
        From :func:`bayesgmm.combine`.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, ax = canvas(ax, width=5.2, height=3.8)
    entropy = found.table["entropy"].to_numpy()[::-1]
    x = np.arange(1, len(entropy) + 1)
    ax.plot(x, entropy, color=PALETTE[0], marker="o", markersize=5, linewidth=1.2)
    if len(entropy) > 2:
        k, (below, above) = elbow(entropy)
        for line, part in ((below, x[:k]), (above, x[k - 1 :])):
            ax.plot(part, np.polyval(line, part), color=MAP_COLOUR, linewidth=0.9, linestyle="--")
    ax.axvline(found.suggested, color=INK, linewidth=0.7, linestyle=":")
    ax.set_xticks(x)
    ax.set(xlabel="clusters", ylabel="entropy of the memberships (nats)", title="Which components make one cluster")
    tidy(ax)
    return figure
