"""Results in files: NetCDF or Zarr, written beside and then renamed, so that a file is whole or absent."""

from __future__ import annotations

import shutil
from os import PathLike
from pathlib import Path

import xarray as xr

from bayesgmm.errors import InputError, MissingExtraError


def save_tree(tree: xr.DataTree, path: str | PathLike[str]) -> None:
    """Write a tree to ``.nc`` (NetCDF) or ``.zarr``.

    Raises
    ------
    InputError
        If the name ends otherwise or the folder does not exist.
    """
    target = Path(path)
    _check_ending(target)
    if not target.parent.is_dir():
        raise InputError(f"cannot write {target}: the folder {target.parent} does not exist; make it first")
    beside = target.with_name(f".{target.name}.partial{target.suffix}")
    _remove(beside)
    try:
        if target.suffix == ".nc":
            tree.to_netcdf(beside, engine="h5netcdf")
        else:
            tree.to_zarr(_zarr_store(beside))
        _remove(target) if target.is_dir() else None
        beside.replace(target)
    finally:
        _remove(beside)


def save_dataset(dataset: xr.Dataset, path: str | PathLike[str]) -> None:
    """Write a dataset to ``.nc`` or ``.zarr`` as :func:`save_tree` does; ``xarray.load_dataset`` reads it."""
    save_tree(xr.DataTree(dataset), path)


def open_tree(path: str | PathLike[str], *, needs: tuple[str, ...]) -> xr.DataTree:
    """Read a tree into memory and check that it has the groups asked for.

    Raises
    ------
    InputError
        If the file is absent, of another format, or lacks a group.
    """
    source = Path(path)
    _check_ending(source)
    if not source.exists():
        raise InputError(f"cannot read {source}: there is no such file")
    try:
        if source.suffix == ".nc":
            lazy = xr.open_datatree(source, engine="h5netcdf")
        else:
            lazy = xr.open_datatree(_zarr_store(source), engine="zarr")
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"cannot read {source}: it is not a {source.suffix} file of this package ({error})") from error
    with lazy as opened:
        tree = opened.load().copy(deep=True)
    missing = [group for group in needs if group not in tree.children]
    if missing:
        raise InputError(
            f"{source} holds {', '.join(tree.children) or 'nothing'}, not {missing[0]!r}; is it the file you meant?"
        )
    return tree


def _check_ending(path: Path) -> None:
    if path.suffix not in (".nc", ".zarr"):
        raise InputError(f"{path}: results are kept in NetCDF (.nc) or Zarr (.zarr); end the name so")


def _zarr_store(path: Path) -> str:
    try:
        import zarr  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("Zarr files need the extra: pip install 'bayesgmm[zarr]'") from error
    return str(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
