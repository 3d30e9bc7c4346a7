"""Settings of hyperparameters: a grid or a list of them, and who is next to whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesgmm.errors import InputError

SETTING = "setting"
OWN = "as in the model"  # the value of a hyperparameter that a setting of a list does not name

Grid = Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Any]] | pd.DataFrame


@dataclass(frozen=True)
class Settings:
    """Settings of the hyperparameters, and how they are laid out.

    Attributes
    ----------
    paths : tuple of str
        Hyperparameters that are varied.
    values : list of dict
        One a setting: path to value; a list's settings may name different ones, the others are as in the model.
    dims : tuple of str
        The paths themselves for a grid (``effects_prior`` for a whole prior), ``("setting",)`` for a list.
    shape : tuple of int
    coords : dict
    """

    paths: tuple[str, ...]
    values: list[dict[str, Any]]
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    coords: dict[str, Any]

    @classmethod
    def of(cls, grid: Grid) -> Settings:
        """Read a grid (every combination), or a list or table of settings.

        Raises
        ------
        InputError
            If there is nothing to vary.
        """
        if isinstance(grid, Mapping):
            if not grid or not all(_is_axis(values) for values in grid.values()):
                raise InputError(
                    f"grid = {grid!r}; it must name hyperparameters and the values of each, as "
                    "{'effects.sd': [0.1, 1.0]}"
                )
            axes = {str(path): list(values) for path, values in grid.items()}
            values = [dict(zip(axes, combination, strict=True)) for combination in product(*axes.values())]
            coords: dict[str, Any] = {_dim(path): _coordinate(v) for path, v in axes.items()}
            return cls(tuple(axes), values, tuple(coords), tuple(len(v) for v in axes.values()), coords)
        rows = grid.to_dict("records") if isinstance(grid, pd.DataFrame) else list(grid)
        if not rows or not all(isinstance(row, Mapping) and row for row in rows):
            raise InputError(
                "grid: a list of settings must hold mappings of hyperparameters to values, as "
                "[{'effects.sd': 0.1}, {'effects.sd': 1.0, 'weights.concentration': 5}]"
            )
        design = [{str(k): v for k, v in row.items()} for row in rows]
        paths = tuple(dict.fromkeys(path for row in design for path in row))
        coords = {_dim(path): (SETTING, _coordinate([row.get(path, OWN) for row in design])) for path in paths}
        coords[SETTING] = np.arange(len(design))
        return cls(paths, design, (SETTING,), (len(design),), coords)

    def neighbours(self, j: int) -> list[int]:
        """Settings next to one: a step along one axis."""
        here = np.unravel_index(j, self.shape)
        found = []
        for axis, size in enumerate(self.shape):
            for step in (-1, 1):
                there = list(here)
                there[axis] += step
                if 0 <= there[axis] < size:
                    found.append(int(np.ravel_multi_index(there, self.shape)))
        return found


def _is_axis(values: Any) -> bool:
    """Whether there are values in a row, each of which may itself be a list or a prior."""
    if isinstance(values, np.ndarray):
        return values.ndim > 0 and values.size > 0
    return isinstance(values, Sequence | pd.Series) and not isinstance(values, str) and len(values) > 0


def _dim(path: str) -> str:
    """Name of a hyperparameter's axis; a whole prior's is kept apart from the parameter that it is of."""
    return path if "." in path else f"{path}_prior"


def _coordinate(values: Sequence[Any]) -> NDArray[Any]:
    """Labels of an axis: numbers as they are, priors and lists in words."""
    if all(isinstance(v, int | float | np.number) and not isinstance(v, bool) for v in values):
        return np.array(values, dtype=float)
    if OWN in values and all(isinstance(v, int | float | np.number) or v is OWN for v in values):
        return np.array([f"{v:g}" if v is not OWN else OWN for v in values], dtype=object)
    return np.array([v if isinstance(v, str) else in_words(v) for v in values], dtype=object)


def in_words(value: Any) -> str:
    """A prior by what differs from its defaults; anything else as it prints."""
    if not is_dataclass(value) or isinstance(value, type):
        return repr(value)
    told = []
    for f in fields(value):
        given = getattr(value, f.name)
        default = f.default if f.default_factory is MISSING else f.default_factory()
        if (f.default is MISSING and f.default_factory is MISSING) or not _same(given, default):
            told.append(f"{f.name}={given!r}")
    return f"{type(value).__name__}({', '.join(told)})"


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(np.all(one == other))
