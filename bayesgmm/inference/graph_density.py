"""The PyMC model as a density for the sampler: compiled once per shape of model and kept on disk by PyTensor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pytensor
import pytensor.tensor as pt
from numpy.typing import NDArray
from pytensor.link.numba.dispatch.basic import numba_njit

from bayesgmm import names
from bayesgmm.core.effect_density import N_SHAPES
from bayesgmm.core.families import Family
from bayesgmm.core.objective import MixtureArrays, Parameters
from bayesgmm.core.sample import complete_sample
from bayesgmm.core.tails import Tails
from bayesgmm.inference.density import FusedDensity, WhitenedDensity
from bayesgmm.inference.pymc_model import CHI_SQUARED, DF_FREE, build_core_model, data_of, natural_values

Array = NDArray[np.float64]

_STEP = 1e-5  # of central differences in coordinates of order one


@dataclass(frozen=True)
class CompiledShape:
    """Compiled density of every mixture of one shape; data and hyperparameters are arguments."""

    evaluate: Callable[..., Any]
    argument_names: tuple[str, ...]
    variables: tuple[tuple[str, tuple[int, ...]], ...]


class Shape(NamedTuple):
    """What a compiled graph is of; data and hyperparameters are its arguments."""

    family: Family
    kinds: tuple[int, ...]
    n_components: int
    n_located: int
    n_traits: int
    n_predictors: int
    n_covariates: int
    tailed: bool
    n_df: int


@lru_cache(maxsize=32)
def _compiled(shape: Shape) -> CompiledShape:
    arrays = _template(shape)
    model, parameters = build_core_model(arrays)
    log_density = model.logp()
    gradients = pytensor.grad(log_density, model.value_vars)
    outputs = [log_density, pt.concatenate([g.ravel() for g in gradients])]
    outputs += model.replace_rvs_by_values(
        [parameters[key] for key in ("weights", "beta", "means", "roots", "shifts", "df")]
    )
    values = natural_values(arrays, _template_parameters(shape))
    variables = tuple((rv.name, _value_shape(rv.name, values[rv.name].shape)) for rv in model.free_RVs)
    x, centre, scale = pt.dvector("x"), pt.dvector("centre"), pt.dmatrix("scale")
    flat = centre + pt.dot(scale, x)
    replacements, position = {}, 0
    for value_var, (_, own_shape) in zip(model.value_vars, variables, strict=True):
        length = int(np.prod(own_shape))
        piece = flat[position : position + length].reshape(own_shape)
        replacements[value_var] = pt.specify_shape(piece, own_shape)
        position += length
    outputs = pytensor.graph.graph_replace(outputs, replacements, strict=False)
    outputs[1] = pt.dot(scale.T, outputs[1])
    function = pytensor.function([x, centre, scale], outputs, mode="NUMBA")
    # The same compiled function as PyTensor's, kept on disk likewise, but chains may run it at the same time.
    evaluate = numba_njit(function.vm.jit_fn.py_func, final_function=True, cache=True, nogil=True)
    return CompiledShape(evaluate, tuple(shared.name for shared in function.get_shared()), variables)


def _value_shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[0] - 1,) if name == names.WEIGHTS else shape


def _template_parameters(shape: Shape) -> Parameters:
    contrasts, size = shape.n_components - 1, shape.n_traits
    return Parameters(
        np.zeros(contrasts),
        np.zeros((shape.n_predictors, contrasts)),
        np.zeros((shape.n_located, size)),
        np.tile(np.eye(size), (shape.n_located, 1, 1)),
        np.zeros((shape.n_covariates, size)),
        np.ones(shape.n_located if shape.tailed else 0),
        shape.n_df,
    )


def _template(shape: Shape) -> MixtureArrays:
    from bayesgmm.core.gaussian import NiwPrior
    from bayesgmm.core.weights import WeightsPrior

    size, n_predictors, n_covariates = shape.n_traits, shape.n_predictors, shape.n_covariates
    sample = complete_sample(
        np.zeros((2, size)), predictors=np.zeros((1, n_predictors)), covariates=np.zeros((n_covariates, 2))
    )
    return MixtureArrays(
        sample=sample._replace(fixed=np.zeros((1, shape.n_components - shape.n_located))),
        weights_prior=WeightsPrior(
            np.full(shape.n_components, 2.0),
            np.zeros((n_predictors, shape.n_components - 1)),
            np.ones(n_predictors),
            np.array(shape.kinds, dtype=np.int64),
            np.full((n_predictors, N_SHAPES), 0.5),
        ),
        niw_prior=NiwPrior(np.zeros(size), 0.01, size + 2.0, np.eye(size), shape.family),
        shift_precision=np.ones((n_covariates, size)),
        floor=np.zeros(size),
        tails=Tails(np.ones(shape.n_located if shape.tailed else 0), shape.n_df, 2.0, 0.1),
    )


class GraphDensity(WhitenedDensity):
    """The PyMC model's log density: the same as :class:`bayesgmm.inference.density.FusedDensity`, by another road.

    Parameters
    ----------
    arrays : MixtureArrays
    start : Parameters
        Where to begin the search for the mode: the MAP.
    """

    def __init__(self, arrays: MixtureArrays, start: Parameters) -> None:
        kinds = tuple(arrays.weights_prior.effect_kind.tolist())
        tails = arrays.tails
        shape = _compiled(Shape(arrays.family, kinds, *start.sizes, len(tails.df) > 0, tails.n_free))
        data = data_of(arrays)
        self._evaluate = shape.evaluate
        self._data = tuple(np.asarray(data[name], order="C") for name in shape.argument_names)
        self._arrays, self._start = arrays, start
        self._variables = tuple(name for name, _ in shape.variables)
        super().__init__(self._flat(start))

    def _flat(self, parameters: Parameters) -> Array:
        """Unconstrained values of the model's variables (size,) at parameters of the mixture."""
        values = natural_values(self._arrays, parameters)
        return np.concatenate([_unconstrain(name, values[name]).ravel() for name in self._variables])

    def _whiten(self) -> None:
        if self._arrays.weights_prior.is_smooth:
            super()._whiten()
            return
        # a graph is compiled with its kinks and spikes: the coordinates are those of the other density, carried over
        other = FusedDensity(self._arrays, self._start)
        self.centre = self._flat(other.parameters(np.zeros(self.size)))
        columns = [
            self._flat(other.parameters(step)) - self._flat(other.parameters(-step))
            for step in _STEP * np.eye(self.size)
        ]
        self.scale = np.ascontiguousarray(np.stack(columns, axis=1) / (2.0 * _STEP))

    def __call__(self, x: Array) -> tuple[float, Array]:
        """Log density and gradient at ``x`` (size,)."""
        try:
            value, gradient, *_ = self._evaluate(x, self.centre, self.scale, *self._data)
        except ZeroDivisionError:
            # compiled graphs divide as Python does; far out, where exponentials underflow, the density is zero
            return -np.inf, np.zeros(self.size)
        return float(value), gradient

    def parameters(self, x: Array) -> Parameters:
        """Parameters of the mixture (standardised) at ``x`` (size,)."""
        _, _, weights, beta, means, roots, shifts, df = self._evaluate(x, self.centre, self.scale, *self._data)
        log_weights = np.log(weights)
        contrasts = log_weights[1:] - log_weights[0]
        return Parameters(contrasts, beta, means, roots, shifts, df, self._arrays.tails.n_free)


def _unconstrain(name: str, value: Array) -> Array:
    """Forward transform of a free variable as PyMC declares it: log for positive ones, centred log for the simplex."""
    if name in (CHI_SQUARED, DF_FREE):
        return np.log(value)
    if name == names.WEIGHTS:
        log_value = np.log(value)
        return np.asarray(log_value[:-1] - log_value.mean())
    return value
