"""Pictures of many fits: how many problems chose what, and some of them with their densities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesgmm import names
from bayesgmm.core.mixture_cdf import Located
from bayesgmm.errors import InputError
from bayesgmm.plots.style import INK, MARKERS, canvas, colour, line, pyplot, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bayesgmm.inference.many_fits import ManyFits

_ACROSS = 3  # pictures in a row
_MOST = 24  # pictures in a figure
_RING = 2.0  # standard deviations at which a component of two traits is drawn


def plot_many(fits: ManyFits, problems: Sequence[Any] | None = None) -> Figure:
    """Draw some of many problems with their fitted components: histograms of one trait, people of two.

    Parameters
    ----------
    fits : ManyFits
        Of :func:`bayesgmm.fit_many`; not read from a file, which does not have the data.
    problems : sequence of names, optional
        By default the six of :meth:`ManyFits.most_bimodal`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    if fits.data is None:
        raise InputError("fits read from a file do not know their data, which a picture is of; fit the matrix again")
    chosen = list(fits.most_bimodal(6).index if problems is None else problems)
    if not 0 < len(chosen) <= _MOST:
        raise InputError(f"problems has {len(chosen)} names; a figure takes 1 to {_MOST} of them")
    across = min(_ACROSS, len(chosen))
    down = -(-len(chosen) // across)
    figure: Figure
    figure, axes = pyplot().subplots(
        down, across, figsize=(3.4 * across, 2.7 * down), layout="constrained", squeeze=False
    )
    for ax, problem in zip(axes.flat, chosen, strict=False):
        (_histogram if fits.data.n_traits == 1 else _people)(fits, problem, ax)
        tidy(ax)
    for ax in axes.flat[len(chosen) :]:
        ax.set_visible(False)
    return figure


def plot_many_choices(fits: ManyFits, *, ax: Axes | None = None) -> Figure:
    """Draw how many problems chose each number of components, family on family."""
    figure, ax = canvas(ax, width=5.2, height=3.2)
    counts = fits.choices()
    below = np.zeros(len(counts))
    places = np.arange(len(counts))
    for j, family in enumerate(counts.columns):
        ax.bar(places, counts[family], bottom=below, color=colour(j), width=0.7, label=family)
        below += counts[family].to_numpy()
    for place, total in zip(places, below, strict=True):
        ax.annotate(f"{total:,.0f}", (place, total), (0, 2), textcoords="offset points", ha="center", fontsize="small")
    ax.set_xticks(places, [str(k) for k in counts.index])
    ax.set(xlabel="components", ylabel="problems", title=f"What {fits.criterion.upper()} chooses")
    ax.set_ylim(0, 1.12 * below.max())
    if len(counts.columns) > 1:
        ax.legend(frameon=False, fontsize="small", title="covariance")
    tidy(ax)
    return figure


def _told(fits: ManyFits, problem: Any) -> str:
    gain = fits.gain.sel({names.PROBLEM: problem}).item()
    k = int(fits.params[names.N_COMPONENTS].sel({names.PROBLEM: problem}))
    told = f"{problem}: {k} component{'s' if k != 1 else ''}"
    return told if np.isnan(gain) else f"{told}, {fits.criterion.upper()} lower by {gain:.0f}"


def _histogram(fits: ManyFits, problem: Any, ax: Axes) -> None:
    assert fits.data is not None  # what plot_many refuses
    values = fits.data.traits(fits.position(problem))[:, 0]
    values = values[~np.isnan(values)]
    # numpy's own choice is for one hump: two that are apart would have few bars each
    edges = np.histogram_bin_edges(
        values, max(len(np.histogram_bin_edges(values, "auto")) - 1, min(30, len(values) // 6))
    )
    heights = np.histogram(values, edges, density=True)[0]
    ax.stairs(heights, edges, fill=True, color="#d9d9d9", edgecolor="white")
    reach = np.ptp(values)
    grid = np.linspace(values.min() - 0.05 * reach, values.max() + 0.05 * reach, 400)
    p = fits.params.sel({names.PROBLEM: problem})
    total, k = np.zeros(len(grid)), int(p[names.N_COMPONENTS])
    for j in range(k):
        sd = float(np.sqrt(p[names.COVARIANCES].values[j, 0, 0]))
        height = float(p[names.WEIGHTS][j]) * Located(float(p[names.MEANS][j, 0]), sd, None).density(grid)
        total += height
        ax.plot(grid, height, color=colour(j), linestyle=line(j), linewidth=1.6)
    ax.plot(grid, total, color=INK, linewidth=1.0)
    # a spike's density has no bound that says anything
    ax.set_ylim(0, min(1.15 * max(heights.max(), total.max()), 2.0 * heights.max()))
    ax.set_title(_told(fits, problem), fontsize="small")
    ax.set_yticks([])


def _people(fits: ManyFits, problem: Any, ax: Axes) -> None:
    assert fits.data is not None  # what plot_many refuses
    traits = fits.data.traits(fits.position(problem))
    labels = fits.predict(problems=[problem]).values[0]
    p = fits.params.sel({names.PROBLEM: problem})
    angle = np.linspace(0.0, 2.0 * np.pi, 120)
    circle = np.stack([np.cos(angle), np.sin(angle)])
    for j in range(int(p[names.N_COMPONENTS])):
        mine = labels == j
        first, second = traits[mine].T
        ax.scatter(first, second, s=9, color=colour(j), marker=MARKERS[j % len(MARKERS)], alpha=0.7, linewidths=0)
        ring = _RING * np.linalg.cholesky(p[names.COVARIANCES].values[j]) @ circle
        ax.plot(*(p[names.MEANS].values[j][:, None] + ring), color=colour(j), linestyle=line(j), linewidth=1.4)
    ax.set_title(_told(fits, problem), fontsize="small")
    rows = [str(p[name].item()) if name in p else name for name in ("first", "second")]
    ax.set_xlabel(rows[0], fontsize="small")
    ax.set_ylabel(rows[1], fontsize="small")
