"""Traces and ranks of relabelled draws, chain by chain."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.stats import gaussian_kde

from bayesgmm import names
from bayesgmm.core.envelope import envelope
from bayesgmm.errors import InputError
from bayesgmm.inference.summary import summarise_array
from bayesgmm.inference.tidy import parameter_index
from bayesgmm.plots.style import INK, colour, line, pyplot, tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bayesgmm.inference.posterior import Posterior

Array = NDArray[np.float64]

_MOST = 24  # parameters of one picture
_ACROSS = 4  # panels of ranks
_PLACES = 101
_LEVEL = 0.05  # with which one of the chains of a panel leaves its band though all are alike
_POINTS = 1000  # draws of a chain that its density is made of and its trace shows
_BRIDGES = 4000


def plot_trace(posterior: Posterior, variables: list[str] | None = None) -> Figure:
    """Draw densities and traces of the draws, a row a parameter and a line a chain.

    Parameters
    ----------
    posterior : Posterior
    variables : list of str, optional
        Default: weights, means and effects; at most the first 24 parameters are drawn.

    Returns
    -------
    matplotlib.figure.Figure
    """
    drawn = _draws(posterior, variables)
    rows = len(drawn)
    figure: Figure
    figure, axes = pyplot().subplots(
        rows, 2, figsize=(10.0, 1.15 * rows + 0.9), layout="constrained", squeeze=False, width_ratios=(1.0, 2.0)
    )
    for (name, values), (left, right) in zip(drawn.items(), axes, strict=True):
        every = slice(None, None, max(1, values.shape[1] // _POINTS))
        grid = np.linspace(values.min(), values.max(), 200)
        for c, chain in enumerate(values):
            own = chain[every]
            style = {"color": colour(c), "linewidth": 1.2}
            if np.ptp(own) > 0.0:
                left.plot(grid, gaussian_kde(own)(grid), linestyle=line(c), label=f"chain {c}", **style)
            right.plot(np.arange(len(chain))[every], own, color=colour(c), linewidth=0.5, alpha=0.7)
        left.set_yticks([])
        left.set_ylabel(name, rotation=0, ha="right", va="center", fontsize="small")
        for ax in (left, right):
            ax.tick_params(labelsize="small")
            tidy(ax)
        left.spines["left"].set_visible(False)
        right.margins(x=0.01)
    axes[0, 0].set_title("density of the draws", fontsize="medium")
    axes[0, 1].set_title("draws in their order", fontsize="medium")
    axes[-1, 1].set_xlabel("draw", fontsize="small")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=8, frameon=False, fontsize="small")
    return figure


def plot_rank(posterior: Posterior, variables: list[str] | None = None) -> Figure:
    """Draw ranks of the draws, chain by chain: lines within the band say that the chains agree.

    Of every chain the share of its draws among the lowest so many of all, less that share itself (Sailynoja, Burkner
    and Vehtari 2022, Statistics and Computing 32:32). The band holds all chains over their whole length 95% of the time
    if they are alike and have as many independent draws as the effective sample size says.

    Parameters and result as in :func:`plot_trace`.

    Raises
    ------
    InputError
        If there is one chain, which has none to agree with.
    """
    if posterior.tree["posterior"].sizes[names.CHAIN] < 2:
        raise InputError("plot_rank: the posterior has one chain; ranks compare chains, so sample two or more")
    drawn = _draws(posterior, variables)
    across = min(_ACROSS, len(drawn))
    down = -(-len(drawn) // across)
    figure: Figure
    figure, axes = pyplot().subplots(
        down, across, figsize=(2.6 * across, 1.9 * down + 0.8), layout="constrained", squeeze=False, sharex=True
    )
    at = np.linspace(0.0, 1.0, _PLACES)
    for ax, (name, values) in zip(axes.ravel(), drawn.items(), strict=False):
        n_chains = len(values)
        ranks = (values.ravel().argsort(kind="stable").argsort(kind="stable").reshape(values.shape) + 0.5) / values.size
        worth = float(np.clip(summarise_array(values)["ess_bulk"], 1.0, values.size)) / n_chains
        reach = _bridge_band(_LEVEL / n_chains) * np.sqrt((1.0 - 1.0 / n_chains) / worth)
        ax.fill_between(at, -reach, reach, color="#c9d7e6", linewidth=0, label="band of chains that agree")
        for c, own in enumerate(ranks):
            share = np.searchsorted(np.sort(own), at, side="right") / len(own) - at
            ax.plot(at, share, color=colour(c), linestyle=line(c), linewidth=1.1, label=f"chain {c}")
        ax.axhline(0.0, color=INK, linewidth=0.5)
        ax.set_title(name, fontsize="small")
        ax.tick_params(labelsize="x-small")
        tidy(ax)
    for ax in axes.ravel()[len(drawn) :]:
        ax.set_visible(False)
    # the last panel of every column has the ticks, also where the row below has none
    for ax in axes.ravel()[: len(drawn)][-across:]:
        ax.tick_params(labelbottom=True)
    figure.supxlabel("rank among all draws, as a share", fontsize="small")
    figure.supylabel("share of the chain's draws below, less that", fontsize="small")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=8, frameon=False, fontsize="small")
    return figure


@lru_cache(maxsize=16)
def _bridge_band(level: float) -> Array:
    """Half widths at ``_PLACES`` of the band that holds a whole Brownian bridge with probability ``1 - level``."""
    rng = np.random.default_rng(0)
    walk = np.cumsum(rng.standard_normal((_BRIDGES, _PLACES - 1)), axis=1) / np.sqrt(_PLACES - 1)
    walk = np.concatenate((np.zeros((_BRIDGES, 1)), walk), axis=1)
    bridge = walk - walk[:, -1:] * np.linspace(0.0, 1.0, _PLACES)
    _, lower, upper = envelope(np.concatenate((bridge, -bridge)), level)
    half: Array = 0.5 * (upper - lower)
    return half


def _draws(posterior: Posterior, variables: list[str] | None) -> dict[str, Array]:
    """Draws (chain, draw) of the parameters that are shown and vary, by name."""
    wanted = variables or (names.WEIGHTS, names.MEANS, names.EFFECTS)
    draws = posterior.posterior
    found = {}
    for name, variable, where in parameter_index(draws):
        if variable in wanted:
            values = draws[variable].isel(where).transpose(names.CHAIN, names.DRAW).values
            if np.ptp(values) > 0.0:
                found[name] = values
    if not found:
        raise InputError(f"variables = {list(wanted)}; the posterior has no such parameter that varies")
    return dict(list(found.items())[:_MOST])
