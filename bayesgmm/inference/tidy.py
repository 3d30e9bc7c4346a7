"""From labelled parameters to tidy rows, one per free parameter, and back to files that dislike empty dims."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
import xarray as xr

from bayesgmm import names


def parameter_index(params: xr.Dataset, further: tuple[str, ...] = ()) -> Iterator[tuple[str, str, dict[str, int]]]:
    """Name, variable and position of every free parameter, and of every number of ``further`` variables.

    Yields
    ------
    name : str
        E.g. ``"effects[rs1, 1 vs 0]"``; noise and a spike by name, ``"weights[noise]"``.
    variable : str
    position : dict
        Dims to positions; only the lower triangle of a covariance matrix is walked.
    """
    kinds = params.coords.get(names.KIND)
    for variable in (*names.PARAMETERS, *further):
        if variable not in params:
            continue
        array = params[variable]
        dims = [str(d) for d in array.dims if d not in (names.CHAIN, names.DRAW)]
        sizes = [array.sizes[d] for d in dims]
        for position in _positions(sizes):
            where = dict(zip(dims, position, strict=True))
            own = variable in (names.MEANS, names.COVARIANCES)
            if own and kinds is not None and kinds.values[where[names.COMPONENT]] in names.FIXED_KINDS:
                continue  # nothing changes it
            if variable == names.COVARIANCES:
                row, column = where[names.TRAIT], where[names.TRAIT_BIS]
                # a diagonal family has no covariances
                if column > row or (column < row and not array.isel(where).values.any()):
                    continue
            labels = ", ".join(label_at(array, d, i) for d, i in where.items())
            yield f"{variable}[{labels}]" if labels else variable, variable, where


def label_at(array: xr.DataArray | xr.Dataset, dim: str, i: int) -> str:
    """What one place along a dim is called: its coordinate, and noise and a spike by name."""
    if dim == names.COMPONENT and names.KIND in array.coords:
        kind = str(array[names.KIND].values[i])
        if kind in names.FIXED_KINDS:
            return kind
    return str(array[dim].values[i])


def _positions(sizes: list[int]) -> Iterator[tuple[int, ...]]:
    if not sizes:
        yield ()
        return
    for first in range(sizes[0]):
        for rest in _positions(sizes[1:]):
            yield (first, *rest)


def parameter_rows(params: xr.Dataset) -> pd.DataFrame:
    """One row per free parameter: ``parameter``, ``variable``, ``value``."""
    rows = [
        (name, variable, float(params[variable].isel(where).item()))
        for name, variable, where in parameter_index(params)
    ]
    return pd.DataFrame(rows, columns=["parameter", "variable", "value"])


def without_empty(dataset: xr.Dataset) -> xr.Dataset:
    """Drop variables and coords of length zero, which NetCDF and Zarr readers stumble over."""
    empty = [str(d) for d, size in dataset.sizes.items() if size == 0]
    return dataset.drop_dims(empty)
