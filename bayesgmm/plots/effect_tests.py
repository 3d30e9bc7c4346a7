"""Statistics of effect tests beside those that there would be without an effect."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from bayesgmm.plots.style import INK, MAP_COLOUR, PALETTE, pyplot, tidy

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bayesgmm.analysis.effect_tests_result import EffectTests

Array = NDArray[np.float64]

_MOST = 8  # effects of one picture
_LOWEST = 1e-12  # share that is drawn
# the statistic, the test by chi-square and the one by replicates, and what the replicates are
_KINDS = (
    ("score statistic", "score", "permutation", "permutations"),
    ("likelihood ratio", "lr", "bootstrap", "simulated studies"),
)


def plot_effect_tests(tests: EffectTests) -> Figure:
    """Draw how often each statistic is as large without an effect, by chi-square and by replicates.

    The heights at the observed statistic (dashed) are the p-values; where the steps of permutations or of simulated
    studies leave the curve of chi-square, it is not to be trusted.

    Parameters
    ----------
    tests : EffectTests
        From :func:`bayesgmm.test_effect`; at most the first eight effects are drawn.

    Returns
    -------
    matplotlib.figure.Figure
    """
    effects = tests.effects[:_MOST]
    kinds = [kind for kind in _KINDS if tests["test"].isin(kind[1:3]).any()]
    figure: Figure
    figure, axes = pyplot().subplots(
        len(effects),
        len(kinds),
        figsize=(3.9 * len(kinds) + 0.6, 2.2 * len(effects) + 0.7),
        layout="constrained",
        squeeze=False,
    )
    for row, effect in zip(axes, effects, strict=True):
        own = tests[tests["predictors"] == effect].set_index("test")
        for ax, (label, by_formula, by_replicates, what) in zip(row, kinds, strict=True):
            replicates = tests.replicates.get((effect, by_replicates))
            _draw(ax, own, replicates, (by_formula, by_replicates))
            ax.set_xlabel(label if replicates is None else f"{label}; {len(replicates)} {what}")
        row[0].set_ylabel(f"{effect}\nshare as large")
    handles = {
        text: handle for ax in axes.ravel() for handle, text in zip(*ax.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        list(handles.values()), list(handles), loc="outside lower center", ncols=4, frameon=False, fontsize="small"
    )
    return figure


def _draw(ax: Axes, own: pd.DataFrame, replicates: Array | None, kinds: tuple[str, str]) -> None:
    """One statistic of one effect, and its p-values above."""
    done = [kind for kind in kinds if kind in own.index]
    tidy(ax)
    if not done:
        ax.set_visible(False)
        return
    observed, df = float(own["statistic"][done[0]]), max(int(own["df"][done[0]]), 1)
    end = max(1.08 * observed, float(chi2.ppf(0.999, df)))
    grid = np.linspace(0.0, end, 400)
    tail = chi2.sf(grid, df)
    ax.plot(grid, tail, color=PALETTE[0], linewidth=1.4, label="chi-square")
    floor = float(tail[-1])
    if replicates is not None:
        # those without a fit are counted as larger than any
        sizes = np.sort(np.where(np.isnan(replicates), np.inf, replicates))
        share = 1.0 - np.arange(len(sizes)) / len(sizes)
        there = sizes <= end
        ax.step(sizes[there], share[there], where="pre", color=PALETTE[1], linewidth=1.4, label="replicates")
        floor = min(floor, 1.0 / len(sizes))
    ax.axvline(observed, color=MAP_COLOUR, linewidth=1.2, linestyle="--", label="observed")
    ax.set_yscale("log")
    ax.set_ylim(max(floor, _LOWEST), 1.0)
    ax.set_xlim(0.0, end)
    told = [f"{kind} p = {own['p_value'][kind]:.2g}" + _doubt(bool(own["recommended"][kind])) for kind in done]
    ax.set_title("\n".join(told), fontsize="small", color=INK, loc="left")


def _doubt(recommended: bool) -> str:
    return "" if recommended else " (not to be trusted)"
