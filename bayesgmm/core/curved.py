r"""Coordinates of the four covariance families that are not linear: logarithms of variances and turns of the axes.

Around given covariances :math:`\Sigma_k = D_k \mathrm{diag}(e^{s_k}) D_k'` the chart is a linear map to ``s`` (as the
diagonal families') and, for the orientation, the entries below the diagonal of a skew matrix :math:`\Omega` that turns
the axes to :math:`D_k (I - \Omega/2)^{-1} (I + \Omega/2)`, Cayley's rotation, which agrees with :math:`e^{\Omega}` to
second order; one for all components when they share the orientation. The gradient is taken in the chart around the
point itself; charts around nearby points differ by a term that vanishes with the gradient, so second derivatives at a
mode are those of any chart.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from bayesgmm.core.covariance_steps import shared_orientation
from bayesgmm.core.families import EQUAL, VARIABLE, Family, tie
from bayesgmm.core.gaussian import covariances_from_roots, precision_roots

Array = NDArray[np.float64]


@lru_cache(maxsize=64)
def _variances_tie(letters: str, n_components: int, n_traits: int) -> tuple[Array, Array]:
    """Map from a diagonal family's free coordinates to log variances (K D, n_free), and its inverse."""
    # the diagonal families tie log diagonals of factors, which are minus half the log variances
    made = -2.0 * tie(Family(letters), n_components, n_traits)[: n_components * n_traits]
    # no free coordinate repeats another, so the normal equations have one solution
    inverse: Array = np.linalg.solve(made.T @ made, made.T)
    return made, inverse


class CurvedChart:
    """Chart of EVE, VVE, EEV or VEV around given covariances.

    Parameters
    ----------
    family : Family
    roots : ndarray (K, D, D)
        Precision factors of covariances of the family.
    """

    def __init__(self, family: Family, roots: Array) -> None:
        self._family = family
        self._k, self._size = roots.shape[:2]
        self._roots = roots
        covariances = covariances_from_roots(roots)
        if family.orientation == EQUAL:
            axes = np.empty((self._size, self._size))
            shared_orientation(np.ascontiguousarray(roots), axes)
            self._axes = np.broadcast_to(axes, roots.shape)
            log_variances = np.log(np.einsum("dj,kde,ej->kj", axes, covariances, axes))
        else:
            values, vectors = np.linalg.eigh(covariances)
            self._axes = vectors
            log_variances = np.log(values)
        letters = ("V" if family.volume == VARIABLE else "E") + ("V" if family.shape == VARIABLE else "E") + "I"
        self._tie, inverse = _variances_tie(letters, self._k, self._size)
        self._pairs = np.tril_indices(self._size, -1)
        turns = len(self._pairs[0]) * (1 if family.orientation == EQUAL else self._k)
        self.origin = np.concatenate((inverse @ log_variances.ravel(), np.zeros(turns)))

    def roots(self, coordinates: Array) -> Array:
        """Precision factors (K, D, D) at coordinates of the chart."""
        n_shape = self._tie.shape[1]
        variances = np.exp(self._tie @ coordinates[:n_shape]).reshape(self._k, self._size)
        turns = coordinates[n_shape:].reshape(-1, len(self._pairs[0]))
        skew = np.zeros((len(turns), self._size, self._size))
        skew[:, self._pairs[0], self._pairs[1]] = turns
        half = 0.5 * (skew - np.swapaxes(skew, 1, 2))
        axes = self._axes @ np.linalg.solve(np.eye(self._size) - half, np.eye(self._size) + half)
        return precision_roots(np.einsum("kdj,kj,kej->kde", axes, variances, axes))

    def pull_back(self, gradient: Array) -> Array:
        """Gradient in the chart's coordinates at its origin, from the one in full coordinates of the factors."""
        k, size = self._k, self._size
        by_log = gradient[: k * size].reshape(k, size)
        by_lower = gradient[k * size :].reshape(k, -1)
        unit = self._roots / np.diagonal(self._roots, axis1=1, axis2=2)[:, None, :]
        lower = np.zeros((k, size, size))
        lower[:, self._pairs[0], self._pairs[1]] = by_lower
        # P = U V U' with V = diag(e^2l), so dP = U (2 diag(dl) V + X V + V X') U' with X = inv(U) dU strictly lower,
        # and with M = U' G U for the gradient G in P: dl gives 2 M_dd V_d, X_ab gives 2 M_ab V_b
        squared = np.diagonal(self._roots, axis1=1, axis2=2) ** 2
        core = 0.5 * np.tril(np.swapaxes(unit, 1, 2) @ lower, -1) / squared[:, None, :]
        core = core + np.swapaxes(core, 1, 2)
        core[:, np.arange(size), np.arange(size)] = 0.5 * by_log / squared
        back = np.linalg.inv(unit)
        by_precision = np.swapaxes(back, 1, 2) @ core @ back
        precision = self._roots @ np.swapaxes(self._roots, 1, 2)
        by_covariance = -precision @ by_precision @ precision
        turned = np.swapaxes(self._axes, 1, 2) @ by_covariance @ self._axes
        variances = np.exp(self._tie @ self.origin[: self._tie.shape[1]]).reshape(k, size)
        by_shape = self._tie.T @ (variances * np.diagonal(turned, axis1=1, axis2=2)).ravel()
        i, j = self._pairs
        # Omega_ij = t, Omega_ji = -t: d Sigma / dt = D (v_j - v_i) (e_i e_j' + e_j e_i') D'
        by_turn = 2.0 * (variances[:, j] - variances[:, i]) * turned[:, i, j]
        if self._family.orientation == EQUAL:
            by_turn = by_turn.sum(axis=0)
        return np.concatenate((by_shape, by_turn.ravel()))
