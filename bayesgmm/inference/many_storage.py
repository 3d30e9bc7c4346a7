"""Many fits in a file: NetCDF or Zarr, whole or absent."""

from __future__ import annotations

import json
from os import PathLike

import numpy as np
import xarray as xr

from bayesgmm import __version__, names
from bayesgmm.inference.many_fits import ManyFits
from bayesgmm.inference.storage import open_tree, save_tree


def save_many(fits: ManyFits, path: str | PathLike[str]) -> None:
    """Write groups ``params`` and ``scores``; the data are left out."""
    params, scores = fits.params.copy(), fits.scores.copy()
    rows = fits._rows
    params.attrs = {
        "criterion": fits.criterion,
        "two_arrays": int(rows.n_dims == 3),
        "versions": json.dumps({"bayesgmm": __version__}),
    }
    if rows.rows is not None:
        params["rows"] = ((names.PROBLEM, names.TRAIT), rows.rows)
        params = params.assign_coords({"row": rows.row_names})
    for name in ("converged", "strict"):
        scores[name] = scores[name].astype(np.int8)
    save_tree(xr.DataTree.from_dict({"params": _as_text(params), "scores": _as_text(scores)}), path)


def read_many(path: str | PathLike[str]) -> ManyFits:
    """Read fits written by :meth:`ManyFits.save`; they predict for a matrix that is given.

    Raises
    ------
    InputError
        If the file is of something else.
    """
    tree = open_tree(path, needs=("params", "scores"))
    params, scores = tree["params"].to_dataset(), tree["scores"].to_dataset()
    for name in ("converged", "strict"):
        scores[name] = scores[name].astype(bool)
    return ManyFits(params=params, scores=scores, criterion=str(params.attrs["criterion"]))


def _as_text(dataset: xr.Dataset) -> xr.Dataset:
    """The dataset with names as text, which files know."""
    out = dataset.copy()
    for name, values in dataset.variables.items():
        if values.dtype.kind not in "iufb":
            text = np.array([str(x) for x in values.values.ravel()], dtype=object).reshape(values.shape)
            out[name] = (values.dims, text)
    return out
