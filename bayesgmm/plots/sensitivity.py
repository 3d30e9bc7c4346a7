"""How associations depend on the prior: intervals over a scale, heat maps, densities, Bayes factors, ridges."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import gaussian_kde, norm

from bayesgmm import names
from bayesgmm.errors import InputError
from bayesgmm.inference.map_fit import MapFit
from bayesgmm.plots.style import (
    INK,
    LINES,
    MAP_COLOUR,
    PALETTE,
    canvas,
    colour,
    legend_below,
    pyplot,
    rows_height,
    tidy,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bayesgmm.inference.posterior import Posterior

Array = NDArray[np.float64]

_MOST_PANELS = 6
_FINE = (1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0)  # round odds ratios of a decade
_FEWEST_TICKS, _MOST_TICKS = 3, 8
_LONGEST = 40  # letters of a setting's label
_WIDEST = 1e4  # odds ratios beyond are cut at the edge of the picture


def plot_sensitivity(
    found: xr.Dataset,
    *,
    over: str | None = None,
    at: Mapping[str, Any] | None = None,
    predictors: Sequence[str] | None = None,
) -> Figure:
    """Draw each odds ratio with its interval over one hyperparameter, and where the interval comes to include 1.

    Parameters
    ----------
    found : xarray.Dataset
        From :func:`bayesgmm.sensitivity`, over a grid.
    over : str, optional
        Hyperparameter of the horizontal axis; the first with numbers when not given.
    at : mapping, optional
        Where the other hyperparameters are held, by the nearest value; their middle value when not given.
    predictors : sequence of str, optional
        Those to draw; the first six when not given.

    Returns
    -------
    matplotlib.figure.Figure
    """
    line, over = _along(found, over, at)
    chosen = _predictors(line, predictors)
    columns = min(3, len(chosen))
    rows = -(-len(chosen) // columns)
    figure, axes = pyplot().subplots(
        rows, columns, figsize=(3.6 * columns + 0.6, 3.0 * rows + 0.5), layout="constrained", squeeze=False, sharex=True
    )
    x = line[over].values.astype(float)
    for ax, predictor in zip(axes.ravel(), chosen, strict=False):
        for c, contrast in enumerate(line[names.CONTRAST].values):
            odds = line[names.ODDS_RATIOS].sel(predictor=predictor, contrast=contrast)
            lower, upper, middle = (odds.sel(summary=s).values for s in ("lower", "upper", "estimate"))
            ax.fill_between(x, lower, upper, color=colour(c), alpha=0.18, linewidth=0)
            ax.plot(x, lower, color=colour(c), linewidth=0.8)
            ax.plot(x, upper, color=colour(c), linewidth=0.8)
            ax.plot(x, middle, color=colour(c), linestyle=LINES[c % len(LINES)], label=str(contrast))
            if len(x) == 1:
                ax.errorbar(x, middle, [middle - lower, upper - middle], color=colour(c), marker="o", capsize=3)
            for point in _crossings(x, lower, upper):
                ax.axvline(point, color=MAP_COLOUR, linestyle=":", linewidth=1.5)
                ax.annotate(
                    f"tips at {point:.2g}",
                    (point, 1.0),
                    xycoords=("data", "axes fraction"),
                    xytext=(3, -2),
                    textcoords="offset points",
                    va="top",
                    color=MAP_COLOUR,
                    fontsize="small",
                )
        ax.axhline(1.0, color=INK, linewidth=0.8)
        _scale_axis(ax, x)
        ax.set_yscale("log")
        low, high = ax.get_ylim()
        ax.set_ylim(max(low, 1.0 / _WIDEST), min(high, _WIDEST))
        _odds_ticks(ax)
        ax.set_title(str(predictor), fontsize="medium")
        tidy(ax)
    for ax in axes.ravel()[len(chosen) :]:
        ax.set_visible(False)
    level = f"{100 * float(found.attrs.get('level', 0.95)):g}%"
    figure.supxlabel(f"prior: {over}{_held_told(line, found, over)}", fontsize="medium")
    figure.supylabel(f"odds ratio, {level} interval", fontsize="medium")
    if line.sizes[names.CONTRAST] > 1:
        legend_below(figure, axes[0, 0], whole=True)
    drawn: Figure = figure
    return drawn


def plot_sensitivity_heatmap(
    found: xr.Dataset,
    predictor: str | None = None,
    contrast: str | None = None,
    *,
    quantity: str = "estimate",
    over: tuple[str, str] | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draw an odds ratio over two hyperparameters; a cross where its interval includes no effect.

    Parameters
    ----------
    found : xarray.Dataset
        From :func:`bayesgmm.sensitivity`, over a grid of two hyperparameters or more (others are held at the middle).
    predictor, contrast : str, optional
        The first when not given.
    quantity : {"estimate", "lower", "upper", "log10_bayes_factor"}
    over : tuple of str, optional
        Hyperparameters of the horizontal and the vertical axis.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.figure.Figure
    """
    dims = _grid_dims(found)
    if len(dims) < 2:
        raise InputError(f"plot_sensitivity_heatmap: the study varies {', '.join(dims)}; it needs two hyperparameters")
    across, up = over or (dims[0], dims[1])
    for dim in (across, up):
        if dim not in dims:
            raise InputError(f"over names {dim!r}; the study varies {', '.join(dims)}")
    plane = _held(found, [d for d in dims if d not in (across, up)], None)
    predictor = _predictors(plane, None if predictor is None else [predictor])[0]
    contrast = _contrast(plane[names.CONTRAST].values, contrast)
    cell = plane.sel(predictor=predictor, contrast=contrast).transpose(up, across, ...)
    odds = cell[names.ODDS_RATIOS]
    if quantity == names.BAYES_FACTOR and quantity not in cell:
        raise InputError("the study has no Bayes factors; run bg.sensitivity(..., bayes_factors=True)")
    if quantity == names.BAYES_FACTOR:
        values, label = cell[quantity].values, "log10 Bayes factor against no effect"
    elif quantity in ("estimate", "lower", "upper"):
        values, label = odds.sel(summary=quantity).values, f"odds ratio ({quantity})"
    else:
        raise InputError(f"quantity = {quantity!r}; it must be 'estimate', 'lower', 'upper' or 'log10_bayes_factor'")
    figure, ax = canvas(ax, width=max(4.8, 1.8 + 0.62 * values.shape[1]), height=max(2.8, 1.4 + 0.42 * values.shape[0]))
    image = ax.imshow(values, origin="lower", aspect="auto", cmap="cividis")
    includes = (odds.sel(summary="lower").values <= 1.0) & (odds.sel(summary="upper").values >= 1.0)
    middle = 0.5 * (np.nanmin(values) + np.nanmax(values))
    for i, j in np.ndindex(values.shape):
        mark = f"{values[i, j]:.2g}" + ("\n×" if includes[i, j] else "")
        ink = "white" if values[i, j] < middle else "black"
        ax.text(j, i, mark, ha="center", va="center", fontsize="x-small", color=ink)
    ax.set_xticks(range(values.shape[1]), [_short(v) for v in cell[across].values], rotation=45, ha="right")
    ax.set_yticks(range(values.shape[0]), [_short(v) for v in cell[up].values])
    note = " (×: interval includes no effect)" if includes.any() else ""
    held = _held_told(cell, found, across, up)
    ax.set(xlabel=f"prior: {across}{held}", ylabel=f"prior: {up}")
    ax.set_title(f"{predictor}, {contrast}{note}", fontsize="medium", loc="left")
    figure.colorbar(image, ax=ax, label=label)
    return figure


def plot_prior_posterior(
    result: MapFit | Posterior,
    predictor: str | None = None,
    contrast: str | None = None,
    *,
    ax: Axes | None = None,
) -> Figure:
    """Draw prior, likelihood and posterior of one log odds ratio over one another.

    Parameters
    ----------
    result : MapFit or Posterior
        A fit is drawn as its normal approximation; as a line alone where the mode is held at the kink of a Laplace
        prior, which has no standard error.
    predictor, contrast : str, optional
        The first when not given.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.figure.Figure

    Notes
    -----
    The likelihood is the normal approximation where the prior of the predictor's effects says next to nothing (sd 100),
    scaled to a density.
    """
    from bayesgmm.analysis.tipping import unopposed_effects

    problem = result.problem
    if not problem.predictor_names or problem.n_components < 2:
        raise InputError("plot_prior_posterior: the model has no predictors of the weights or only one component")
    predictor = problem.predictor_names[0] if predictor is None else predictor
    if predictor not in problem.predictor_names:
        raise InputError(f"predictor = {predictor!r}; the predictors are {', '.join(problem.predictor_names)}")
    contrast = _contrast(problem.contrasts, contrast)
    p, c = problem.predictor_names.index(predictor), problem.contrasts.index(contrast)
    fit = result if isinstance(result, MapFit) else result.map
    estimate, se = unopposed_effects(fit, predictor)[p, c, :2]
    draws = None
    if isinstance(result, MapFit):
        mean, sd = (float(x[names.EFFECTS].values[p, c]) for x in (fit.params, fit.standard_errors))
    else:
        draws = result.posterior[names.EFFECTS].isel(predictor=p, contrast=c).values.ravel()
        mean, sd = float(draws.mean()), float(draws.std())
    figure, ax = canvas(ax)
    centres = [estimate, mean, problem.priors.effect_mean[p, c], 0.0]
    reach = 3.5 * float(np.nanmax([se, sd]))
    x = np.linspace(min(centres) - reach, max(centres) + reach, 400)
    ax.plot(x, prior_density(problem, p, c, x), color=PALETTE[1], linestyle="--", label="prior")
    ax.plot(x, norm.pdf(x, estimate, se), color=PALETTE[2], linestyle="-.", label="likelihood")
    after = norm.pdf(x, mean, sd) if draws is None else gaussian_kde(draws)(x)
    if np.isfinite(sd):
        ax.plot(x, after, color=PALETTE[0], label="posterior")
        ax.fill_between(x, 0.0, after, color=PALETTE[0], alpha=0.15, linewidth=0)
    else:
        ax.axvline(mean, color=PALETTE[0], linewidth=2.5, label="posterior: mode held at the prior's kink")
    ax.axvline(0.0, color=INK, linewidth=0.8)
    ax.set_ylim(bottom=0.0)
    ax.set(xlabel="log odds ratio per allele (or per unit)", ylabel="density", title=f"{predictor}, {contrast}")
    legend_below(figure, ax)
    tidy(ax)
    return figure


def plot_bayes_factor(curve: pd.DataFrame, *, ax: Axes | None = None) -> Figure:
    """Draw Bayes factors over the prior scale, their maxima marked.

    Parameters
    ----------
    curve : pandas.DataFrame
        From :func:`bayesgmm.bayes_factor_curve`.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, ax = canvas(ax)
    several = len(set(curve[names.CONTRAST])) > 1
    for j, ((predictor, contrast), part) in enumerate(curve.groupby(["predictor", names.CONTRAST], sort=False)):
        label = f"{predictor}, {contrast}" if several else str(predictor)
        ax.plot(part["scale"], part["log10_bayes_factor"], color=colour(j), linestyle=LINES[j % 6], label=label)
        top = part[part["is_maximum"]]
        ax.plot(top["scale"], top["log10_bayes_factor"], "o", color=colour(j), markersize=6)
    ax.axhline(0.0, color=INK, linewidth=0.8)
    low, high = ax.get_ylim()
    for height, words in ((1.0, "strong for an effect"), (-1.0, "strong for none")):
        if low < height < high:
            ax.axhline(height, color="#999999", linewidth=0.6, linestyle=":")
            place: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "ha": "right", "va": "bottom"}
            ax.annotate(words, (1.0, height), fontsize="x-small", **place)
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.set(
        xlabel="prior scale of the log odds ratio",
        ylabel="log10 Bayes factor, effect against none",
        title="dot: the most that any scale says",
    )
    legend_below(figure, ax)
    tidy(ax)
    return figure


def plot_ridges(
    found: xr.Dataset,
    predictor: str | None = None,
    contrast: str | None = None,
    *,
    over: str | None = None,
    at: Mapping[str, Any] | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draw the posterior density of one log odds ratio under every setting, one above the other.

    Parameters
    ----------
    found : xarray.Dataset
        From :func:`bayesgmm.sensitivity`.
    predictor, contrast : str, optional
        The first when not given.
    over, at
        As in :func:`plot_sensitivity`; settings of a list are drawn in its order.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.figure.Figure
    """
    dims = _grid_dims(found)
    if over is None:
        over = dims[0]
    if over not in dims:
        raise InputError(f"over = {over!r}; the study varies {', '.join(dims)}")
    line = _held(found, [d for d in dims if d != over], at)
    predictor = _predictors(line, None if predictor is None else [predictor])[0]
    contrast = _contrast(line[names.CONTRAST].values, contrast)
    cell = line.sel(predictor=predictor, contrast=contrast)
    n = cell.sizes[over]
    figure, ax = canvas(ax, height=1.6 + rows_height(n, 0.34))
    z = cell["z"].values
    estimate, sd = (cell[names.EFFECTS].sel(summary=s).values for s in ("estimate", "sd"))
    heights = cell["effects_density"].transpose(over, "z").values / np.where(sd > 0.0, sd, np.nan)[:, None]
    shown = np.isfinite(heights).all(axis=1)
    heights = 1.8 * heights / (heights[shown].max() if shown.any() else 1.0)
    for j in reversed(range(n)):
        if not shown[j]:  # a mode held at the kink of a Laplace prior
            ax.plot(estimate[j], j, "o", color=PALETTE[0], markersize=5, zorder=n - j)
            continue
        x = estimate[j] + z * sd[j]
        ax.fill_between(x, j, j + heights[j], color=PALETTE[0], alpha=0.35, linewidth=0, zorder=n - j)
        ax.plot(x, j + heights[j], color=PALETTE[0], linewidth=1.0, zorder=n - j)
    ax.axvline(0.0, color=INK, linewidth=0.8, zorder=n + 1)
    ax.set_yticks(range(n), [_short(v) for v in cell[over].values])
    ax.set(xlabel="log odds ratio per allele (or per unit)", ylabel=f"prior: {over}", title=f"{predictor}, {contrast}")
    tidy(ax)
    return figure


def prior_density(problem: Any, p: int, c: int, x: Array) -> Array:
    """Prior density of a reported log odds ratio at ``x``."""
    priors = problem.priors
    density: Array = np.exp(priors.pairwise_effect(p).log_density(x - priors.effect_mean[p, c]))
    return density


def _grid_dims(found: xr.Dataset) -> list[str]:
    return [str(d) for d in found["how"].dims]


def _along(found: xr.Dataset, over: str | None, at: Mapping[str, Any] | None) -> tuple[xr.Dataset, str]:
    """The study along one axis of numbers, the others held."""
    dims = _grid_dims(found)
    numeric = [d for d in dims if np.issubdtype(found[d].dtype, np.number) and d != "setting"]
    if over is None and not numeric:
        raise InputError("plot_sensitivity: the study varies no number; draw plot_ridges, or read sensitivity_table")
    over = numeric[0] if over is None else over
    if over not in numeric:
        raise InputError(f"over = {over!r}; the numbers that the study varies are {', '.join(numeric) or 'none'}")
    return _held(found, [d for d in dims if d != over], at).sortby(over), over


def _held(found: xr.Dataset, dims: list[str], at: Mapping[str, Any] | None) -> xr.Dataset:
    """The study with hyperparameters held at given values, else at their middle one."""
    unknown = [d for d in at or {} if d not in dims]
    if unknown:
        raise InputError(f"at names {unknown[0]!r}; what can be held is {', '.join(dims) or 'nothing'}")
    for dim in dims:
        given = (at or {}).get(dim)
        if given is None:
            found = found.isel({dim: (found.sizes[dim] - 1) // 2})
        elif np.issubdtype(found[dim].dtype, np.number):
            found = found.isel({dim: int(np.abs(found[dim].values - given).argmin())})
        else:
            labels = [str(value) for value in found[dim].values]
            if str(given) not in labels:
                raise InputError(f"at: {dim} = {given!r} is not in the study; it has {', '.join(labels)}")
            found = found.isel({dim: labels.index(str(given))})
    return found


def _predictors(found: xr.Dataset, given: Sequence[str] | None) -> list[str]:
    if names.ODDS_RATIOS not in found:
        raise InputError("the study has no effects: its model has no predictors of the weights or only one component")
    known = [str(p) for p in found[names.PREDICTOR].values]
    unknown = [p for p in given or [] if p not in known]
    if unknown:
        raise InputError(f"predictor {unknown[0]!r} is not in the study; it has {', '.join(known)}")
    return known[:_MOST_PANELS] if given is None else list(given)


def _contrast(known: Iterable[Any], given: str | None) -> str:
    labels = [str(c) for c in known]
    if given is not None and given not in labels:
        raise InputError(f"contrast = {given!r}; the contrasts are {', '.join(labels)}")
    return labels[0] if given is None else given


def _crossings(x: Array, lower: Array, upper: Array) -> list[float]:
    """Where an interval of odds ratios comes to include 1, or to exclude it, between the points that are drawn.

    With the other hyperparameters as they are in the picture; :func:`bayesgmm.tipping_points` moves one predictor's
    prior alone.
    """
    found = []
    on_log = x.min() > 0.0
    at = np.log(x) if on_log else x
    for end in (np.log(lower), np.log(upper)):
        for i in np.flatnonzero((end[:-1] > 0.0) != (end[1:] > 0.0)):
            if np.isfinite(end[i : i + 2]).all():
                where = at[i] - end[i] * (at[i + 1] - at[i]) / (end[i + 1] - end[i])
                found.append(float(np.exp(where) if on_log else where))
    return found


def _held_told(line: xr.Dataset, found: xr.Dataset, *drawn: str) -> str:
    """At which values the hyperparameters that are not drawn are held."""
    held = [f"{d} = {_short(line[d].item())}" for d in _grid_dims(found) if d not in drawn and d in line.coords]
    return f"  (held: {', '.join(held)})" if held else ""


def _odds_ticks(ax: Axes) -> None:
    """Ticks at round odds ratios, as many as have room."""
    low, high = ax.get_ylim()
    for ladder in ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 5.0, 7.0), _FINE):
        decades = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1.0)
        ticks = np.outer(decades, ladder).ravel()
        ticks = ticks[(ticks >= low) & (ticks <= high)]
        if len(ticks) >= _FEWEST_TICKS:
            break
    if len(ticks) > _MOST_TICKS:
        ticks = ticks[:: -(-len(ticks) // _MOST_TICKS)]
    ax.set_yticks(ticks, [f"{t:g}" for t in ticks])
    ax.set_yticks([], minor=True)


def _scale_axis(ax: Axes, x: Array) -> None:
    if x.min() > 0.0 and x.max() > 5.0 * x.min():
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")


def _short(value: Any) -> str:
    """A setting as a label: numbers to three digits, long words cut."""
    if isinstance(value, float | int | np.number):
        return f"{value:.3g}"
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
