"""A selection in files: the table for other programs, or table and chosen fit to go on from."""

from __future__ import annotations

import json
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import xarray as xr

from bayesgmm import __version__
from bayesgmm.analysis.selection import Selection
from bayesgmm.analysis.selection_table import KIND
from bayesgmm.analysis.selection_words import Stability
from bayesgmm.inference.fit_storage import map_from_tree, tree_of_map
from bayesgmm.inference.storage import open_tree, save_tree
from bayesgmm.io.atomic import write_table

if TYPE_CHECKING:
    from bayesgmm.inference.map_fit import MapFit


def save_selection(found: Selection, path: str | PathLike[str]) -> None:
    """Write a selection; see :meth:`Selection.save`."""
    target = Path(path)
    if target.suffix == ".tsv":
        write_table(target, found.table)
        return
    tree = tree_of_map(found.best)
    stored = xr.Dataset({name: ("model", _storable(column)) for name, column in found.table.items()})
    stored.attrs = {
        "criterion": found.criterion,
        "level": found.level,
        "seconds": found.seconds,
        "best_row": found.best_row,
        "stability": "" if found.stability is None else json.dumps(asdict(found.stability)),
        "versions": json.dumps({"bayesgmm": __version__}),
    }
    tree["selection"] = xr.DataTree(stored)
    save_tree(tree, target)


def read_selection(path: str | PathLike[str]) -> Selection:
    """Read a selection written by :meth:`Selection.save` to ``.nc`` or ``.zarr``: the table and the chosen fit.

    The other fits are not in the file; fit them anew with :meth:`bayesgmm.Mixture.fit`.

    Raises
    ------
    InputError
        If the file is not a selection.
    """
    tree = open_tree(path, needs=("selection", "map", "constant_data"))
    stored = tree["selection"].to_dataset()
    columns = {str(name): stored[name].values for name in stored.data_vars}
    table = pd.DataFrame({name: _read(values) for name, values in columns.items()})
    table["converged"] = table["converged"] == 1.0
    if "smallest" not in table:
        table["smallest"] = np.nan
    for name in set(KIND) - set(table):
        # of an earlier version, which compared none
        table[name] = ""
    attrs = stored.attrs
    best: MapFit = map_from_tree(tree)
    row = int(attrs["best_row"])
    stability = Stability(**json.loads(attrs["stability"])) if attrs["stability"] else None
    return Selection(
        table=table,
        criterion=str(attrs["criterion"]),
        level=float(attrs["level"]),
        seconds=float(attrs["seconds"]),
        best_row=row,
        fits={row: best},
        stability=stability,
    )


def _storable(column: pd.Series) -> np.ndarray:
    """Numbers or text, as files know them."""
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        return column.to_numpy()
    if column.name == "converged":
        return column.eq(True).to_numpy(dtype=float)
    return column.astype(str).to_numpy(dtype=str)


def _read(values: np.ndarray) -> np.ndarray:
    return values.astype(object) if values.dtype.kind in "US" else values
