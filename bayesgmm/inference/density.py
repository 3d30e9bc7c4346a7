"""What the sampler evaluates: the log density in whitened coordinates, without the interpreter's lock.

Two sources of the same density: the project's compiled log posterior (:class:`FusedDensity`), which needs no PyMC and
compiles once for every model, and the PyMC graph (:class:`GraphDensity`), compiled once per shape of model.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from bayesgmm.core.callback import Lent
from bayesgmm.core.objective import MixtureArrays, Parameters, Stacked, writable
from bayesgmm.core.posterior import whitened_value_and_gradient, whitened_values

Array = NDArray[np.float64]

_STEP = 1e-5  # of central differences of the gradient, in coordinates of order one
LEAST_CURVATURE = 0.01  # of a direction in which the density is flat or rises: the prior's means have this much
_NEWTON_STEPS = 10
_WORK_A_THREAD = 100_000  # rows times points worth a thread


class WhitenedDensity(ABC):
    """Log density of one problem in coordinates in which the posterior is close to a standard normal.

    The sampler moves in ``x``; the model's unconstrained variables are ``centre + scale @ x``, with ``centre`` the mode
    and ``scale`` a root of the inverse curvature there. A linear map changes the density by a constant, so nothing is
    approximated; trajectories are merely short.
    """

    size: int
    centre: Array
    scale: Array

    def __init__(self, start: Array) -> None:
        self.size = len(start)
        self.centre, self.scale = start, np.eye(self.size)
        self._whiten()

    @abstractmethod
    def __call__(self, x: Array) -> tuple[float, Array]:
        """Log density and gradient at ``x`` (size,)."""

    def values(self, points: Array) -> Array:
        """Log density at many points (n, size)."""
        return np.array([self(np.ascontiguousarray(x))[0] for x in points])

    @abstractmethod
    def parameters(self, x: Array) -> Parameters:
        """Parameters of the mixture (standardised) at ``x`` (size,)."""

    def stacked(self, points: Array) -> Stacked:
        """Parameters of the mixture (standardised) at many points (n, size)."""
        return Stacked.of([self.parameters(np.ascontiguousarray(x)) for x in points])

    def lent(self) -> Lent | None:
        """Arguments with which the compiled log posterior is this density; None where it is not.

        The sampler then calls it without Python. Every other density is called as it is.
        """
        return None

    def _whiten(self) -> None:
        """Move the centre to the mode by damped Newton steps and scale by the curvature there."""
        zero = np.zeros(self.size)
        value, gradient = self(zero)
        information = self._information()
        for _ in range(_NEWTON_STEPS):
            step = np.linalg.solve(information, gradient)
            if float(gradient @ step) < 1e-6:
                break
            length = 1.0
            while length > 1e-3:
                trial_value, trial_gradient = self(length * step)
                if np.isfinite(trial_value) and trial_value > value:
                    break
                length *= 0.5
            else:
                break
            self.centre = self.centre + length * step
            value, gradient = trial_value, trial_gradient
            information = self._information()
        # information = F F', so centre + F'^-1 x has unit curvature
        factor = np.linalg.cholesky(information)
        self.scale = np.ascontiguousarray(np.linalg.solve(factor.T, np.eye(self.size)))

    def _differences(self) -> Array:
        """Negative Hessian at zero, from differences of the gradient."""
        rows = np.empty((self.size, self.size))
        for j in range(self.size):
            step = np.zeros(self.size)
            step[j] = _STEP
            rows[j] = (self(-step)[1] - self(step)[1]) / (2.0 * _STEP)
        result: Array = 0.5 * (rows + rows.T)
        return result

    def _information(self) -> Array:
        curvature, directions = np.linalg.eigh(self._differences())
        result: Array = (directions * np.maximum(curvature, LEAST_CURVATURE)) @ directions.T
        return result


class FusedDensity(WhitenedDensity):
    """The project's compiled log posterior with the Jacobian of its flat coordinates.

    Parameters
    ----------
    arrays : MixtureArrays
    start : Parameters
        Where to begin the search for the mode: the MAP.
    """

    def __init__(self, arrays: MixtureArrays, start: Parameters) -> None:
        self._arrays, self._near = arrays, start
        # chains run side by side, so a pass is not shared among threads
        self._data = (arrays.sample, arrays.engine(threads=False), arrays.softened.hyper, arrays.tie)
        super().__init__(arrays.free(start))
        # a kink or a spike has no curvature worth the name: their coordinates are those of softer priors
        self._data = (*self._data[:2], arrays.hyper, arrays.tie)

    def __call__(self, x: Array) -> tuple[float, Array]:
        """Log density and gradient at ``x`` (size,)."""
        gradient = np.empty(self.size)
        value = whitened_value_and_gradient.compiled(x, self.centre, self.scale, *self._data, gradient)
        return value, gradient

    def values(self, points: Array) -> Array:
        """Log density at many points (n, size), by as many threads as they are worth."""
        points = writable(points)
        result = np.empty(len(points))
        work = len(points) * len(self._arrays.sample.pattern)
        n_threads = max(1, min(os.cpu_count() or 1, work // _WORK_A_THREAD))
        edges = np.linspace(0, len(points), n_threads + 1).astype(int)

        def evaluate(first: int, last: int) -> None:
            whitened_values(points[first:last], self.centre, self.scale, *self._data, result[first:last])

        if n_threads == 1:
            evaluate(0, len(points))
            return result
        with ThreadPoolExecutor(n_threads) as pool:
            list(pool.map(evaluate, edges[:-1], edges[1:]))
        return result

    def stacked(self, points: Array) -> Stacked:
        """Parameters of the mixture (standardised) at many points (n, size)."""
        return self._arrays.stacked(self.centre + points @ self.scale.T, self._near)

    def parameters(self, x: Array) -> Parameters:
        """Parameters of the mixture (standardised) at ``x`` (size,)."""
        return self._arrays.of_free(self.centre + self.scale @ x, self._near)

    def lent(self) -> Lent | None:
        """Arguments of the compiled log posterior."""
        if type(self).__call__ is not FusedDensity.__call__:
            return None  # a subclass has another density
        return Lent(self.centre, self.scale, *self._data)

    def permuted(self, coordinates: Array, order: NDArray[np.int64]) -> Array:
        """Coordinates, not whitened, with components exchanged."""
        return self._arrays.free(self._arrays.of_free(coordinates, self._near).permuted(order))
