"""Quantities of interest: every parameter, one variable, or functions of the parameters, as columns of numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.special import expit, logit

from bayesgmm import names
from bayesgmm.errors import InputError, nearest
from bayesgmm.inference.map_fit import MapFit
from bayesgmm.inference.tidy import label_at, parameter_index

Array = NDArray[np.float64]
Quantity = Callable[[xr.Dataset], xr.DataArray]
Asked = str | Quantity | Mapping[str, Quantity] | None

IDENTITY, LOG, LOGIT = 0, 1, 2
_STEP = 1e-5  # of a standardised coordinate, for derivatives of a quantity


@dataclass(frozen=True, eq=False)
class Quantities:
    """What is asked of a set of parameters.

    Attributes
    ----------
    labels : list of str
        One a number, e.g. ``"effects[rs1, 1 vs 0]"``.
    scale : ndarray of int (m,)
        On which a number is nearly normal: variances on a logarithmic, weights on a logit scale.
    of : callable
        From draws (chain, draw, ...) to numbers (n_draws, m).
    held : ndarray of bool (m,)
        Effects that a prior holds at zero, which do not move.
    """

    labels: list[str]
    scale: NDArray[np.int64]
    of: Callable[[xr.Dataset], Array]
    held: NDArray[np.bool_]

    @classmethod
    def resolve(cls, params: xr.Dataset, asked: Asked, held_effects: NDArray[np.bool_] | None = None) -> Quantities:
        """What was asked for, checked against one set of parameters.

        Parameters
        ----------
        params : xarray.Dataset
            Of a fit.
        asked : None, str, callable or mapping
            None: every free parameter. A name of ``params``: those of that variable. A function, or several by name:
            each takes parameters with the dims ``chain`` and ``draw`` first and returns a DataArray with these dims.
        held_effects : ndarray of bool (P,), optional
            Predictors whose effects a prior holds.

        Raises
        ------
        InputError
            If there is no such variable, or a function returns something else.
        """
        if asked is None or isinstance(asked, str):
            return cls._of_parameters(params, asked, held_effects)
        if not callable(asked) and not isinstance(asked, Mapping):
            raise InputError(
                f"quantity is a {type(asked).__name__}; give a variable's name, a function, or some by name"
            )
        functions = {"quantity": asked} if callable(asked) else dict(asked)
        one = params.expand_dims({names.CHAIN: 1, names.DRAW: 1})
        labels: list[str] = []
        for name, function in functions.items():
            found = _checked(name, function(one))
            labels += _labels(name, found)

        def of(draws: xr.Dataset) -> Array:
            parts = [_flat(_checked(name, function(draws))) for name, function in functions.items()]
            return np.concatenate(parts, axis=1)

        if not labels:
            raise InputError("quantity returned nothing: no number is asked for")
        size = len(labels)
        return cls(labels, np.zeros(size, dtype=np.int64), of, np.zeros(size, dtype=bool))

    @classmethod
    def _of_parameters(
        cls, params: xr.Dataset, variable: str | None, held_effects: NDArray[np.bool_] | None
    ) -> Quantities:
        if variable is not None and variable not in names.PARAMETERS:
            raise InputError(
                f"quantity = {variable!r} is no variable of the parameters; {nearest(variable, names.PARAMETERS)}"
            )
        rows = [row for row in parameter_index(params) if variable in (None, row[1])]
        if not rows:
            raise InputError(f"quantity = {variable!r}; the model has none")
        one = params.sizes[names.COMPONENT] == 1
        scale, held = np.zeros(len(rows), dtype=np.int64), np.zeros(len(rows), dtype=bool)
        places: list[tuple[str, int]] = []
        for j, (_, name, where) in enumerate(rows):
            if name == names.WEIGHTS and not one:
                scale[j] = LOGIT
            if name == names.DF:
                scale[j] = LOG
            if name == names.COVARIANCES and where[names.TRAIT] == where[names.TRAIT_BIS]:
                scale[j] = LOG
            if name == names.EFFECTS and held_effects is not None:
                held[j] = held_effects[where[names.PREDICTOR]]
            sizes = [params.sizes[d] for d in where]
            places.append((name, int(np.ravel_multi_index(tuple(where.values()), sizes))))

        def of(draws: xr.Dataset) -> Array:
            flat = {name: _flat(draws[name].transpose(..., *params[name].dims)) for name in {n for n, _ in places}}
            return np.stack([flat[name][:, place] for name, place in places], axis=1)

        return cls([name for name, _, _ in rows], scale, of, held)

    def near_normal(self, values: Array) -> Array:
        """Numbers (..., m) on the scale on which they are nearly normal."""
        out = np.array(values, dtype=float)
        with np.errstate(divide="ignore"):
            out[..., self.scale == LOG] = np.log(out[..., self.scale == LOG])
            out[..., self.scale == LOGIT] = logit(out[..., self.scale == LOGIT])
        return out

    def back(self, values: Array) -> Array:
        """The inverse of :meth:`near_normal`."""
        out = np.array(values, dtype=float)
        out[..., self.scale == LOG] = np.exp(out[..., self.scale == LOG])
        out[..., self.scale == LOGIT] = expit(out[..., self.scale == LOGIT])
        return out


def _checked(name: str, array: Any) -> xr.DataArray:
    if not (isinstance(array, xr.DataArray) and {names.CHAIN, names.DRAW} <= set(array.dims)):
        raise InputError(
            f"{name} returned {type(array).__name__}; it must return a DataArray with the dims {names.CHAIN!r} and "
            f"{names.DRAW!r} of the parameters it is given"
        )
    return array


def _flat(array: xr.DataArray) -> Array:
    values = array.transpose(names.CHAIN, names.DRAW, ...).values
    return np.asarray(values.reshape(values.shape[0] * values.shape[1], -1), dtype=float)


def _labels(name: str, array: xr.DataArray) -> list[str]:
    dims = [str(d) for d in array.dims if d not in (names.CHAIN, names.DRAW)]
    if not dims:
        return [name]
    places = np.ndindex(*(array.sizes[d] for d in dims))
    return [f"{name}[{', '.join(label_at(array, d, i) for d, i in zip(dims, place, strict=True))}]" for place in places]


def jacobian(fit: MapFit, asked: Quantities) -> Array:
    """Derivatives of quantities in free standardised coordinates (n_free, m), by central differences."""
    flat = fit.problem.arrays.free(fit.parameters)
    steps = np.diag(_STEP * np.maximum(1.0, np.abs(flat)))
    ahead, behind = (asked.of(fit.problem.draws(at, fit.parameters)) for at in (flat + steps, flat - steps))
    result: Array = (ahead - behind) / (2.0 * np.diag(steps)[:, None])
    return result


def one_draw(fit: MapFit) -> xr.Dataset:
    """Parameters of a fit with the dims of draws."""
    return fit.params.expand_dims({names.CHAIN: 1, names.DRAW: 1})
