"""What the priors say, in the units of the data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import beta, invgamma, t

from bayesgmm.core.effect_density import LAPLACE, NORMAL, SPIKE_SLAB, STUDENT_T, Pairwise
from bayesgmm.core.scale_model import LEARNED, LearnedPairwise
from bayesgmm.plots.style import colour, line, pyplot, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bayesgmm.priors.resolved import ResolvedPriors

_SHOWN = 0.97  # share of a heavy-tailed prior of a log odds ratio that is drawn
_MOST_LINES = 6  # different priors of odds ratios; the table of priors has them all
_WIDEST = 8.0  # scales beyond which nothing is
_NAMES = {LEARNED: "learned, median", STUDENT_T: "Student-t", LAPLACE: "Laplace", SPIKE_SLAB: "spike and slab"}


def plot_priors(priors: ResolvedPriors) -> Figure:
    """Draw prior densities of the weights, of each trait's component means and sds, and of the odds ratios.

    Parameters
    ----------
    priors : ResolvedPriors

    Returns
    -------
    matplotlib.figure.Figure
    """
    n_traits = len(priors.trait_names)
    panels = 2 + 2 * n_traits
    columns = 2 if panels == 4 else 3
    rows = -(-panels // columns)
    figure, axes = pyplot().subplots(
        rows, columns, figsize=(3.2 * columns, 2.8 * rows), layout="constrained", squeeze=False
    )
    flat = list(axes.ravel())
    _weights(priors, flat[0])
    for d in range(n_traits):
        _mean(priors, d, flat[1 + 2 * d])
        _sd(priors, d, flat[2 + 2 * d])
    _odds(priors, flat[1 + 2 * n_traits])
    for ax in flat:
        tidy(ax)
        ax.set_yticks([])
        ax.set_ylabel("prior density", fontsize="small")
    for ax in flat[panels:]:
        ax.set_visible(False)
    drawn: Figure = figure
    return drawn


def _legend_above(ax: Axes) -> None:
    """A legend with room of its own over the curves."""
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + (0.1 + 0.12 * len(ax.get_legend_handles_labels()[1])) * (high - low))
    ax.legend(frameon=False, fontsize="small", loc="upper right")


def _note(ax: Axes, text: str) -> None:
    ax.text(0.5, 0.5, text, ha="center", va="center", transform=ax.transAxes)


def _weights(priors: ResolvedPriors, ax: Axes) -> None:
    ax.set(xlabel="weight of a component (share)", title="weights")
    if priors.weights_flat or priors.n_components == 1:
        _note(ax, "flat" if priors.weights_flat else "one component")
        return
    x = np.linspace(0.001, 0.999, 300)
    total = priors.concentration.sum()
    name = "at most Dirichlet" if priors.weights_jeffreys else "Dirichlet"
    for k, a in enumerate(dict.fromkeys(priors.concentration)):
        label = f"{name}, concentration {a:g}"
        ax.plot(x, beta.pdf(x, a, total - a), color=colour(k), linestyle=line(k), label=label)
    _legend_above(ax)


def _mean(priors: ResolvedPriors, d: int, ax: Axes) -> None:
    trait = priors.trait_names[d]
    ax.set(xlabel=trait, title=f"mean of {trait}")
    if priors.components_flat or priors.components_jeffreys:
        _note(ax, "flat (improper)" if priors.components_flat else "Jeffreys (improper)")
        return
    shape, rate = priors.variance_prior(d)
    dof = 2.0 * shape
    scale = np.sqrt(rate / (priors.strength * shape))
    x = np.linspace(priors.mean[d] - 4 * scale, priors.mean[d] + 4 * scale, 300)
    ax.plot(x, t.pdf(x, dof, priors.mean[d], scale), color=colour(0))


def _sd(priors: ResolvedPriors, d: int, ax: Axes) -> None:
    trait = priors.trait_names[d]
    ax.set(xlabel=f"sd of {trait}", title=f"sd of a component, {trait}")
    if priors.components_flat or priors.components_jeffreys:
        _note(ax, "flat (improper)" if priors.components_flat else "Jeffreys (improper)")
        return
    shape, rate = priors.variance_prior(d)
    x = np.linspace(1e-3, np.sqrt(invgamma.ppf(0.99, shape, scale=rate)), 300)
    ax.plot(x, 2 * x * invgamma.pdf(x**2, shape, scale=rate), color=colour(0))


def _odds(priors: ResolvedPriors, ax: Axes) -> None:
    ax.set(xlabel="odds ratio per allele (or unit)", title="odds ratios")
    if priors.n_components == 1:
        _note(ax, "one component")
        return
    finite = [(p, s) for p, s in zip(priors.predictor_names, priors.effect_sd, strict=True) if np.isfinite(s)]
    if not finite:
        _note(ax, "flat (improper)" if priors.predictor_names else "no predictors")
        return
    groups: dict[tuple[float, Pairwise | LearnedPairwise], list[str]] = {}
    for p, name in enumerate(priors.predictor_names):
        if np.isfinite(priors.effect_sd[p]):
            groups.setdefault((float(priors.effect_mean[p, 0]), priors.pairwise_effect(p)), []).append(name)
    for k, ((mean, prior), members) in enumerate(list(groups.items())[:_MOST_LINES]):
        reach = min(max(3.2 * prior.scale, prior.reach(_SHOWN)), _WIDEST * prior.scale)
        # finer in the middle, where a spike may be
        offset = reach * np.linspace(-1.0, 1.0, 601) ** 3
        label = members[0] if len(members) == 1 else f"{len(members)} predictors"
        what = "sd" if prior.kind == NORMAL else f"{_NAMES[prior.kind]}, scale"
        # density of the log odds ratio over a logarithmic axis; where a scale is learned it is infinite at the mean
        density = np.exp(prior.log_density(offset))
        ax.plot(
            np.exp(mean + offset),
            np.where(np.isfinite(density), density, np.nan),
            color=colour(k),
            linestyle=line(k),
            label=f"{label}, {what} {prior.scale:.3g}",
        )
    ax.axvline(1.0, color="#888888", linewidth=0.8)
    ax.set_xscale("log")
    if len(groups) > _MOST_LINES:
        ax.set_title(f"odds ratios: {_MOST_LINES} of {len(groups)} different priors", fontsize="medium")
    _legend_above(ax)
