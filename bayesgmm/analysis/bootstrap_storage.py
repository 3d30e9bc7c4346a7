"""A bootstrap in files: the table for other programs, or fit, replicates and their alignment to go on from."""

from __future__ import annotations

import json
from os import PathLike
from pathlib import Path

import pandas as pd
import xarray as xr

from bayesgmm import __version__, names
from bayesgmm.analysis.bootstrap import Bootstrap
from bayesgmm.inference.fit_storage import map_from_tree, tree_of_map
from bayesgmm.inference.storage import open_tree, save_tree
from bayesgmm.inference.tidy import without_empty
from bayesgmm.io.atomic import write_table

_REPLICATE = "replicate"  # of the alignment, which has those that failed too
_TEXT = ("flag", "failure")


def save_bootstrap(found: Bootstrap, path: str | PathLike[str]) -> None:
    """Write a bootstrap; see :meth:`Bootstrap.save`."""
    target = Path(path)
    if target.suffix == ".tsv":
        write_table(target, found.table())
        return
    alignment = {
        str(name): (_REPLICATE, column.to_numpy(dtype=str if name in _TEXT else None))
        for name, column in found.alignment.astype({"converged": int}).items()
    }
    tree = tree_of_map(found.map)
    tree["replicates"] = xr.DataTree(without_empty(found.posterior))
    tree["alignment"] = xr.DataTree(xr.Dataset(alignment))
    options = {"kind": found.kind, "seed": found.seed, "level": found.level, "method": found.method}
    tree.attrs = {**options, "versions": json.dumps({"bayesgmm": __version__})}
    save_tree(tree, target)


def read_bootstrap(path: str | PathLike[str]) -> Bootstrap:
    """Read a bootstrap written by :meth:`Bootstrap.save` to ``.nc`` or ``.zarr``.

    Raises
    ------
    InputError
        If the file is not a bootstrap.
    """
    tree = open_tree(path, needs=("replicates", "alignment", "map", "constant_data"))
    stored = tree["alignment"].to_dataset()
    columns = {str(name): stored[name].values for name in stored.data_vars}
    alignment = pd.DataFrame({name: v.astype(object) if name in _TEXT else v for name, v in columns.items()})
    alignment["converged"] = alignment["converged"].astype(bool)
    fit, replicates = map_from_tree(tree), tree["replicates"].to_dataset()
    # what the model has none of is not in the file
    coords = {name: replicates[name] for name in (names.CHAIN, names.DRAW)}
    absent = {str(n): v.expand_dims(coords) for n, v in fit.params.items() if n not in replicates}
    return Bootstrap(
        map=fit,
        kind=str(tree.attrs["kind"]),
        posterior=replicates.assign(absent),
        alignment=alignment,
        seed=int(tree.attrs["seed"]),
        level=float(tree.attrs["level"]),
        method=str(tree.attrs["method"]),
    )
