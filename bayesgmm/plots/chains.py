"""Trace and rank plots of relabelled draws (arviz-plots)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from bayesgmm import names
from bayesgmm.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bayesgmm.inference.posterior import Posterior


def plot_trace(posterior: Posterior, variables: list[str] | None = None) -> Figure:
    """Draw densities and traces of the draws, chain by chain.

    Parameters
    ----------
    posterior : Posterior
    variables : list of str, optional
        Default: weights, means and effects.

    Returns
    -------
    matplotlib.figure.Figure
    """
    plots = _arviz_plots()
    collection = plots.plot_trace_dist(
        _that_vary(posterior),
        var_names=_variables(posterior, variables),
        backend="matplotlib",
        figure_kwargs={"figsize": (10, 6)},
    )
    return _figure(collection)


def plot_rank(posterior: Posterior, variables: list[str] | None = None) -> Figure:
    """Draw ranks of the draws, chain by chain: lines within the band say that the chains agree.

    Parameters and result as in :func:`plot_trace`.

    Raises
    ------
    InputError
        If there is one chain, which has none to agree with.
    """
    if posterior.tree["posterior"].sizes[names.CHAIN] < 2:
        raise InputError("plot_rank: the posterior has one chain; ranks compare chains, so sample two or more")
    plots = _arviz_plots()
    chosen = _variables(posterior, variables)
    varying = _that_vary(posterior)
    draws = varying["posterior"].to_dataset()
    panels = sum(draws[v].isel(chain=0, draw=0).size for v in chosen)
    height = 2.4 * -(-panels // 4)
    collection = plots.plot_rank(
        varying, var_names=chosen, backend="matplotlib", figure_kwargs={"figsize": (12, max(height, 2.8))}
    )
    return _figure(collection)


def _that_vary(posterior: Posterior) -> xr.DataTree:
    """The draws without the means and covariances of noise and a spike, which never change."""
    draws = posterior.tree["posterior"].to_dataset()
    if not len(posterior.problem.fixed):
        return posterior.tree
    located = np.arange(posterior.problem.n_located)
    own = (names.MEANS, names.COVARIANCES)
    moved = {v: draws[v].isel({names.COMPONENT: located}).rename({names.COMPONENT: names.LOCATED}) for v in own}
    kept = draws.drop_vars([*own, names.LOCATED], errors="ignore").drop_vars(names.DF, errors="ignore")
    others = {name: group for name, group in posterior.tree.children.items() if name != "posterior"}
    return xr.DataTree.from_dict(
        {"posterior": kept.assign(moved), **{name: group.to_dataset() for name, group in others.items()}}
    )


def _variables(posterior: Posterior, variables: list[str] | None) -> list[str]:
    present = posterior.tree["posterior"].data_vars
    return [v for v in variables or (names.WEIGHTS, names.MEANS, names.EFFECTS) if v in present]


def _arviz_plots() -> Any:
    try:
        import arviz_plots
    except ImportError as error:
        raise MissingExtraError("trace and rank plots need the extra: pip install 'bayesgmm[plot]'") from error
    return arviz_plots


def _figure(collection: Any) -> Figure:
    figure: Figure = collection.viz["figure"].item()
    return figure
