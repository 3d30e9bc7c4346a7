"""Tests of effects in files: the table for other programs, or with all statistics to go on from."""

from __future__ import annotations

import json
from os import PathLike
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from bayesgmm import __version__
from bayesgmm.analysis.effect_tests_result import COLUMNS, EffectTests
from bayesgmm.inference.storage import open_tree, save_tree
from bayesgmm.io.atomic import write_table

_TEXT = ("predictors", "test", "advice", "smallest_component")


def save_effect_tests(tests: EffectTests, path: str | PathLike[str]) -> None:
    """Write tests; see :meth:`EffectTests.save`."""
    target = Path(path)
    if target.suffix == ".tsv":
        write_table(target, tests)
        return
    groups = {"tests": _stored(tests.astype({"recommended": int}), "row"), "facts": _stored(tests.facts, "effect")}
    replicates = xr.Dataset()
    for j, ((predictors, test), values) in enumerate(tests.replicates.items()):
        # each of its own length
        replicates[f"statistics_{j}"] = xr.DataArray(
            values, dims=f"draw_{j}", attrs={"predictors": predictors, "test": test}
        )
    tree = xr.DataTree.from_dict({**groups, "replicates": replicates})
    tree.attrs = {"versions": json.dumps({"bayesgmm": __version__})}
    save_tree(tree, target)


def read_effect_tests(path: str | PathLike[str]) -> EffectTests:
    """Read tests written by :meth:`EffectTests.save` to ``.nc`` or ``.zarr``.

    Raises
    ------
    InputError
        If the file is not of tests of effects.
    """
    tree = open_tree(path, needs=("tests", "facts", "replicates"))
    table = _read(tree["tests"].to_dataset())[list(COLUMNS)]
    table["recommended"] = table["recommended"].astype(bool)
    stored = tree["replicates"].to_dataset().data_vars.values()
    replicates = {(str(s.attrs["predictors"]), str(s.attrs["test"])): s.values for s in stored}
    return EffectTests.build(table, _read(tree["facts"].to_dataset()), replicates)


def _stored(table: pd.DataFrame, dim: str) -> xr.Dataset:
    columns = {str(n): c.to_numpy(dtype=str if n in _TEXT else None) for n, c in table.items()}
    return xr.Dataset({name: (dim, values) for name, values in columns.items()})


def _read(stored: xr.Dataset) -> pd.DataFrame:
    columns = {str(name): values.values for name, values in stored.data_vars.items()}
    return pd.DataFrame({n: _as_text(v) if n in _TEXT else v for n, v in columns.items()})


def _as_text(values: np.ndarray) -> list[str]:
    return [str(v) for v in values]
