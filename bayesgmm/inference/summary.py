"""Draws of one number summarised: moments, intervals, effective sample sizes, R-hat (arviz-stats)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from bayesgmm import names
from bayesgmm.inference.tidy import parameter_index

Array = NDArray[np.float64]

INTERVALS = (0.89, 0.95)


def summarise_draws(draws: xr.Dataset, summarised: Callable[[Array], dict[str, float]]) -> pd.DataFrame:
    """One row per free parameter: mean, sd, median, intervals, ESS and R-hat; draws (chain, draw, ...).

    Learned scales of the effects are among them. ``summarised`` makes a row of one number's draws, as
    :func:`summarise_array` does.
    """
    rows = []
    scales = tuple(name for name in names.SCALES if name in draws)
    for name, variable, where in parameter_index(draws, scales):
        values = draws[variable].isel(where).transpose(names.CHAIN, names.DRAW).values
        rows.append({"parameter": name, "variable": variable, **summarised(values)})
    return pd.DataFrame(rows)


def summarise_array(values: Array) -> dict[str, float]:
    """Summary of the draws (chain, draw) of one number; equal-tailed intervals."""
    from arviz_stats.base import array_stats

    flat = values.ravel()
    row: dict[str, float] = {
        "mean": float(flat.mean()),
        "sd": float(flat.std(ddof=1)),
        "median": float(np.median(flat)),
    }
    for level in INTERVALS:
        tail = 50.0 * (1.0 - level)
        low, high = np.percentile(flat, [tail, 100.0 - tail])
        row[f"eti{round(100 * level)}_lb"], row[f"eti{round(100 * level)}_ub"] = low, high
    if np.ptp(flat) == 0.0:
        row |= {"ess_bulk": float(values.size), "ess_tail": float(values.size), "r_hat": 1.0}
        return row
    row["ess_bulk"] = float(array_stats.ess(values, chain_axis=0, draw_axis=1, method="bulk"))
    row["ess_tail"] = float(array_stats.ess(values, chain_axis=0, draw_axis=1, method="tail", prob=0.95))
    row["r_hat"] = float(array_stats.rhat(values, chain_axis=0, draw_axis=1)) if len(values) > 1 else float("nan")
    return row
