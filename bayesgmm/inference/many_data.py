"""The data of many problems: a matrix of rows, and which rows each problem is of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesgmm.errors import InputError, first_few

Array = NDArray[np.float64]
Long = NDArray[np.int64]

_LARGEST = 1e140  # squares above it overflow
_CHECKED = 4096  # rows that are checked at a time


@dataclass(frozen=True, eq=False)
class ManyData:
    """Rows, and the problems made of them.

    Attributes
    ----------
    values : ndarray
        (n_rows, n_samples), or (n_problems, n_samples, 2) of two traits that are not shared between problems.
    rows : ndarray of int64 (n_problems, n_traits), optional
        Rows of each problem; None where problem ``i`` is row ``i``.
    row_names, samples : ndarray
        Names; numbers where the data came as an array.
    problems : ndarray (n_problems,)
    """

    values: NDArray[Any]
    rows: Long | None
    row_names: NDArray[Any]
    samples: NDArray[Any]
    problems: NDArray[Any]

    @property
    def n_problems(self) -> int:
        """Number of problems."""
        return len(self.problems)

    @property
    def n_traits(self) -> int:
        """Traits of a problem, one or two."""
        return 1 if self.rows is None and self.values.ndim == 2 else 2

    def block(self, start: int, stop: int) -> tuple[Array, Long, Long]:
        """Matrix and rows of the first and second trait of the problems ``start`` to ``stop``."""
        return self.block_of(slice(start, stop))

    def block_of(self, problems: slice | Long) -> tuple[Array, Long, Long]:
        """The same of any problems, as the compiled code takes them."""
        nothing = np.empty(0, dtype=np.int64)
        if self.rows is not None:
            first, second = (np.ascontiguousarray(self.rows[problems, d]) for d in range(2))
            return self.values, first, second
        values = np.asarray(self.values[problems], dtype=float)
        if values.ndim == 2:
            return _owned(values), np.arange(len(values)), nothing
        alone = np.ascontiguousarray(values.transpose(0, 2, 1)).reshape(2 * len(values), -1)
        return alone, np.arange(0, len(alone), 2), np.arange(1, len(alone), 2)

    def traits(self, problem: int) -> Array:
        """Traits of one problem (n_samples, n_traits)."""
        if self.rows is not None:
            return np.array(self.values[self.rows[problem]].T, dtype=float)
        values = np.array(self.values[problem], dtype=float)
        return values if values.ndim == 2 else values[:, None]

    def new(self, matrix: Any) -> ManyData:
        """New samples of the same problems; a frame is brought into order by the names of its rows.

        Raises
        ------
        InputError
            If rows are lacking or there are more than there were.
        """
        if isinstance(matrix, pd.DataFrame):
            given, names_of = matrix.copy(deep=False), [str(name) for name in self.row_names]
            given.index = given.index.astype(str)
            absent = [name for name in names_of if name not in given.index]
            if absent:
                raise InputError(f"predict: the matrix lacks the rows {first_few(absent)}")
            matrix = given.loc[names_of]
        other = gathered(matrix, None)
        if other.values.shape[0] != self.n_rows or other.values.ndim != self.n_dims:
            raise InputError(
                f"predict: the matrix has shape {other.values.shape}; the fits are of {self.n_rows} rows"
                + (" of two traits" if self.n_dims == 3 else "")
            )
        return ManyData(
            other.values if self.rows is None else _owned(other.values),
            self.rows,
            self.row_names,
            other.samples,
            self.problems,
        )

    @property
    def n_rows(self) -> int:
        """Rows of the matrix."""
        return len(self.row_names)

    @property
    def n_dims(self) -> int:
        """Dimensions of the array of values."""
        return self.values.ndim


def gathered(matrix: Any, pairs: Any) -> ManyData:
    """Bring what is handed in into one form, without a copy where none is needed.

    Raises
    ------
    InputError
        If it is not numeric, has infinite values, or pairs name rows that are not there.
    """
    row_names: NDArray[Any]
    samples: NDArray[Any]
    if isinstance(matrix, pd.DataFrame):
        text = [str(c) for c, kind in matrix.dtypes.items() if not pd.api.types.is_numeric_dtype(kind)]
        if text:
            raise InputError(
                f"matrix: the columns {first_few(text)} are not numbers; rows are problems and columns are samples"
            )
        for what, index in (("rows", matrix.index), ("columns", matrix.columns)):
            if index.has_duplicates:
                raise InputError(f"matrix: duplicated {what} {first_few(index[index.duplicated()].unique())}")
        row_names, samples = matrix.index.to_numpy(), matrix.columns.to_numpy()
        values = matrix.to_numpy(dtype=float, na_value=np.nan)
    else:
        values = np.asarray(matrix)
        if values.dtype.kind not in "fiub":
            raise InputError(f"matrix has elements of type {values.dtype}; it must be numeric, NaN where missing")
        if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[-1] != 2):
            raise InputError(
                f"matrix has shape {values.shape}; it must be (problems, samples), or (problems, samples, 2) for "
                "mixtures of two traits"
            )
        row_names, samples = np.arange(len(values)), np.arange(values.shape[1])
    if values.size == 0:
        raise InputError(f"matrix has shape {values.shape}; it needs at least one problem and one sample")
    _refuse_infinite(values, row_names, samples)
    if pairs is None:
        return ManyData(values, None, row_names, samples, row_names)
    if values.ndim == 3:
        raise InputError("pairs are of the rows of a matrix (rows, samples), and the matrix has two traits already")
    rows, problems = _rows_of(pairs, row_names, isinstance(matrix, pd.DataFrame))
    return ManyData(_owned(values), rows, row_names, samples, problems)


def _owned(values: NDArray[Any]) -> Array:
    """Contiguous numbers that may be written: for others the kernel would be compiled again."""
    return np.require(values, dtype=float, requirements=["C", "W"])


def _refuse_infinite(values: NDArray[Any], row_names: NDArray[Any], samples: NDArray[Any]) -> None:
    for start in range(0, len(values), _CHECKED):
        some = values[start : start + _CHECKED]
        with np.errstate(invalid="ignore"):
            bad = np.abs(some) > _LARGEST
        if bad.any():
            row, column = (int(index[0]) for index in np.nonzero(bad)[:2])
            raise InputError(
                f"matrix: row {str(row_names[start + row])!r} has {some[row, column]} for sample "
                f"{str(samples[column])!r}; values must be finite and below {_LARGEST:g} (NaN where missing)"
            )


def _rows_of(pairs: Any, row_names: NDArray[Any], named: bool) -> tuple[Long, NDArray[Any]]:
    """Rows of every pair (n_pairs, 2), and what the pairs are called."""
    given: NDArray[Any] = pairs.to_numpy() if isinstance(pairs, pd.DataFrame) else np.asarray(pairs)
    if given.ndim != 2 or given.shape[1] != 2 or not len(given):
        raise InputError(f"pairs has shape {given.shape}; it must be (n_pairs, 2): two rows of the matrix each")
    # whole numbers are numbers of rows, but where the rows' names are whole numbers themselves
    if named and not (given.dtype.kind in "iu" and row_names.dtype.kind not in "iu"):
        place = pd.Index(row_names.astype(str)).get_indexer(given.ravel().astype(str)).reshape(given.shape)
        if (place < 0).any():
            raise InputError(f"pairs: the matrix has no rows {first_few(pd.unique(given[place < 0].astype(str)))}")
    else:
        if given.dtype.kind not in "iu":
            raise InputError("pairs by name need a DataFrame whose index names the rows; give numbers of rows")
        outside = (given < 0) | (given >= len(row_names))
        if outside.any():
            raise InputError(f"pairs: rows {first_few(given[outside])} are not among the 0 to {len(row_names) - 1}")
        place = given
    rows = np.ascontiguousarray(place, dtype=np.int64)
    if isinstance(pairs, pd.DataFrame) and not isinstance(pairs.index, pd.RangeIndex):
        if pairs.index.has_duplicates:
            raise InputError(f"pairs: duplicated names {first_few(pairs.index[pairs.index.duplicated()].unique())}")
        return rows, pairs.index.to_numpy()
    return rows, np.arange(len(rows))
