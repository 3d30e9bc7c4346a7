r"""The covariances' M step of every family: one problem, fourteen sets to solve it on.

.. math:: \min_{\Sigma \in \text{family}} \sum_k n_k \log|\Sigma_k| + \mathrm{tr}(W_k \Sigma_k^{-1})

with :math:`n_k` people (and prior people) and scatter :math:`W_k` (and prior scatter). Closed forms and alternations
are those of Celeux and Govaert (1995, section 3), with the orientation shared by unequal shapes found by exact plane
rotations (Flury and Gautschi 1986 solve the same problem). An alternation starts at the previous covariances, so it
never ends above where it began.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from bayesgmm.core.families import EQUAL, NONE, Family
from bayesgmm.core.linalg import add_multiple, covariance_of_root, eigen, multiple_into, precision_root, trace
from bayesgmm.core.pointers import Pointer, a1, a3, b1, call_at

Array = NDArray[np.float64]

_ALTERNATIONS = 30
_SAME = 1e-13  # relative change of the criterion at which an alternation stops


@njit(cache=True, error_model="numpy", nogil=True)
def _trace_solve(matrix: Array, root: Array) -> float:
    """``tr(W P)`` of ``P = L L'``."""
    size = len(matrix)
    total = 0.0
    for j in range(size):
        for a in range(j, size):
            inner = 0.0
            for b in range(j, size):
                inner += matrix[a, b] * root[b, j]
            total += inner * root[a, j]
    return total


@njit(cache=True, error_model="numpy", nogil=True)
def _unit_determinant(matrix: Array) -> float:
    """Divide a positive definite matrix by the D-th root of its determinant, which is returned; -1 if it is not."""
    size = len(matrix)
    root = np.empty((size, size))
    if precision_root(matrix, root) <= 0.0:
        return -1.0
    log_det = 0.0
    for d in range(size):
        log_det -= 2.0 * math.log(root[d, d])
    scale = math.exp(log_det / size)
    multiple_into(matrix, 1.0 / scale, matrix)
    return scale


@njit(cache=True, error_model="numpy", nogil=True)
def _total(values: Array) -> float:
    total = 0.0
    for value in values:
        total += value
    return total


@njit(cache=True, error_model="numpy", nogil=True)
def _all_positive(values: Array) -> bool:
    positive = True
    for value in values:
        positive = positive and value > 0.0
    return positive


@njit(cache=True, error_model="numpy", nogil=True)
def _of_axes(axes: Array, variances: Array, factor: float, out: Array) -> None:
    """Write ``factor`` times the matrix with these axes (columns) and variances along them."""
    size = len(variances)
    for a in range(size):
        for b in range(size):
            total = 0.0
            for d in range(size):
                total += axes[a, d] * variances[d] * axes[b, d]
            out[a, b] = factor * total


@njit(cache=True, error_model="numpy", nogil=True)
def _unit_product(values: Array) -> None:
    """Divide positive numbers by their geometric mean."""
    log_product = 0.0
    for value in values:
        log_product += math.log(value)
    scale = math.exp(log_product / len(values))
    for d in range(len(values)):
        values[d] /= scale


@njit(cache=True, error_model="numpy", nogil=True)
def _pooled(values: Array, volume: Array, out: Array) -> None:
    """Write the sum over components of eigenvalues divided by volumes."""
    for d in range(len(out)):
        out[d] = 0.0
        for k in range(len(values)):
            out[d] += values[k, d] / volume[k]


@njit(cache=True, error_model="numpy", nogil=True)
def _diagonal_parts(matrices: Array) -> Array:
    out = np.zeros(matrices.shape)
    for k in range(len(matrices)):
        for d in range(matrices.shape[1]):
            out[k, d, d] = matrices[k, d, d]
    return out


def _closed(equal_volume: bool, on_axes: bool, n: Array, scatter: Array, previous: Array, out: Array) -> bool:
    """Every component's own matrix (VVV, VVI) or one for all (EEE, EEI)."""
    n_components, size = len(n), scatter.shape[1]
    if not (equal_volume or _all_positive(n)):
        return False
    pooled = np.zeros((size, size))
    for k in range(n_components):
        add_multiple(scatter[k], 1.0, pooled)
    people = _total(n)
    for k in range(n_components):
        if equal_volume:
            multiple_into(pooled, 1.0 / people, out[k])
        else:
            multiple_into(scatter[k], 1.0 / n[k], out[k])
        for d in range(size):
            for e in range(size):
                if on_axes and d != e:
                    out[k, d, e] = 0.0
    return True


def _spheres(equal_volume: bool, on_axes: bool, n: Array, scatter: Array, previous: Array, out: Array) -> bool:
    """Sigma_k = lambda_k I (VII) or lambda I (EII)."""
    n_components, size = len(n), scatter.shape[1]
    if not (equal_volume or _all_positive(n)):
        return False
    total = 0.0
    for k in range(n_components):
        total += trace(scatter[k])
    for k in range(n_components):
        variance = total / (size * _total(n)) if equal_volume else trace(scatter[k]) / (size * n[k])
        for d in range(size):
            for e in range(size):
                out[k, d, e] = variance if d == e else 0.0
    return True


def _common_matrix(equal_volume: bool, on_axes: bool, n: Array, scatter: Array, previous: Array, out: Array) -> bool:
    """Sigma_k = lambda_k C with one C of determinant one (VEE; VEI with what the scatters have on the axes)."""
    if on_axes:
        scatter = _diagonal_parts(scatter)
    n_components, size = len(n), scatter.shape[1]
    common = np.empty((size, size))
    covariance_of_root(previous[0], common)
    root = np.empty((size, size))
    volume = np.empty(n_components)
    before = np.inf
    if not _all_positive(n):
        return False
    for _ in range(_ALTERNATIONS):
        if _unit_determinant(common) <= 0.0 or precision_root(common, root) <= 0.0:
            return False
        criterion = 0.0
        for k in range(n_components):
            volume[k] = _trace_solve(scatter[k], root) / (size * n[k])
            if not volume[k] > 0.0:
                return False
            criterion += n[k] * math.log(volume[k])
        if before - criterion <= _SAME * abs(criterion):
            break
        before = criterion
        multiple_into(common, 0.0, common)
        for k in range(n_components):
            add_multiple(scatter[k], 1.0 / volume[k], common)
    if _unit_determinant(common) <= 0.0:
        return False
    for k in range(n_components):
        multiple_into(common, volume[k], out[k])
    return True


def _equal_volume(equal_volume: bool, on_axes: bool, n: Array, scatter: Array, previous: Array, out: Array) -> bool:
    """Sigma_k = lambda C_k with every C_k of determinant one (EVV; EVI with what the scatters have on the axes)."""
    if on_axes:
        scatter = _diagonal_parts(scatter)
    total = 0.0
    for k in range(len(n)):
        multiple_into(scatter[k], 1.0, out[k])
        scale = _unit_determinant(out[k])
        if scale <= 0.0:
            return False
        total += scale
    for k in range(len(n)):
        multiple_into(out[k], total / _total(n), out[k])
    return True


def _common_shape(equal_volume: bool, on_axes: bool, n: Array, scatter: Array, previous: Array, out: Array) -> bool:
    """Own orientations, one shape (EEV in closed form, VEV by alternation over volumes and shape)."""
    n_components, size = len(n), scatter.shape[1]
    values = np.empty((n_components, size))
    vectors = np.empty((n_components, size, size))
    if not (equal_volume or _all_positive(n)):
        return False
    for k in range(n_components):
        eigen(scatter[k], values[k], vectors[k])
    shape, volume = np.empty(size), np.empty(n_components)
    for k in range(n_components):
        volume[k] = 1.0
    if equal_volume:
        _pooled(values, volume, shape)
        for d in range(size):
            shape[d] /= _total(n)
        if not _all_positive(shape):
            return False
    else:
        covariance = np.empty((size, size))
        covariance_of_root(previous[0], covariance)
        scratch = np.empty((size, size))
        eigen(covariance, shape, scratch)
        before = np.inf
        for _ in range(_ALTERNATIONS):
            if not _all_positive(shape):
                return False
            _unit_product(shape)
            criterion = 0.0
            for k in range(n_components):
                volume[k] = 0.0
                for d in range(size):
                    volume[k] += values[k, d] / shape[d] / (size * n[k])
                criterion += n[k] * math.log(volume[k])
            if before - criterion <= _SAME * abs(criterion):
                break
            before = criterion
            _pooled(values, volume, shape)
        _unit_product(shape)
    for k in range(n_components):
        _of_axes(vectors[k], shape, volume[k], out[k])
    return True


@njit(cache=True, error_model="numpy", nogil=True)
def shared_orientation(roots: Array, out: Array) -> None:
    """Eigenvectors that commuting covariances share: those of a combination in which no two directions tie."""
    n_components, size = roots.shape[0], roots.shape[1]
    mixed, covariance = np.zeros((size, size)), np.empty((size, size))
    for k in range(n_components):
        covariance_of_root(roots[k], covariance)
        add_multiple(covariance, (1.0 + 0.37 * math.sin(1.0 + k)) / trace(covariance), mixed)
    scratch = np.empty(size)
    eigen(mixed, scratch, out)


def _common_orientation(
    equal_volume: bool, on_axes: bool, n: Array, scatter: Array, previous: Array, out: Array
) -> bool:
    """One orientation, own shapes (EVE, VVE), alternating over axes' variances and plane rotations."""
    n_components, size = len(n), scatter.shape[1]
    axes = np.empty((size, size))
    shared_orientation(previous, axes)
    turned, half = np.empty((n_components, size, size)), np.empty((size, size))
    if not (equal_volume or _all_positive(n)):
        return False
    for k in range(n_components):
        for i in range(size):
            for j in range(size):
                half[i, j] = 0.0
                for m in range(size):
                    half[i, j] += scatter[k, i, m] * axes[m, j]
        for i in range(size):
            for j in range(size):
                turned[k, i, j] = 0.0
                for m in range(size):
                    turned[k, i, j] += axes[m, i] * half[m, j]
    variance = np.empty((n_components, size))
    before = np.inf
    for _ in range(_ALTERNATIONS):
        criterion = 0.0
        total = 0.0
        for k in range(n_components):
            log_det = 0.0
            for d in range(size):
                if not turned[k, d, d] > 0.0:
                    return False
                log_det += math.log(turned[k, d, d])
            scale = math.exp(log_det / size)
            total += scale
            for d in range(size):
                variance[k, d] = turned[k, d, d] / (scale if equal_volume else n[k])
            criterion += n[k] * log_det
        if equal_volume:
            multiple_into(variance, total / _total(n), variance)
            criterion = _total(n) * size * math.log(total)
        if before - criterion <= _SAME * abs(criterion):
            break
        before = criterion
        for p in range(size):
            for q in range(p + 1, size):
                # the criterion depends on axis p alone, c e_p + s e_q: a quadratic form in (c, s) to be least
                a, b, h = 0.0, 0.0, 0.0
                for k in range(n_components):
                    weight = 1.0 / variance[k, p] - 1.0 / variance[k, q]
                    a += weight * turned[k, p, p]
                    b += weight * turned[k, q, q]
                    h += weight * turned[k, p, q]
                angle = 0.5 * math.atan2(2.0 * h, a - b) + 0.5 * math.pi
                # the same axis whichever way it points; the small turn keeps axes in their order
                if angle > 0.5 * math.pi:
                    angle -= math.pi
                c, s = math.cos(angle), math.sin(angle)
                for i in range(size):
                    x, y = axes[i, p], axes[i, q]
                    axes[i, p] = c * x + s * y
                    axes[i, q] = c * y - s * x
                for k in range(n_components):
                    for i in range(size):
                        x, y = turned[k, i, p], turned[k, i, q]
                        turned[k, i, p] = c * x + s * y
                        turned[k, i, q] = c * y - s * x
                    for i in range(size):
                        x, y = turned[k, p, i], turned[k, q, i]
                        turned[k, p, i] = c * x + s * y
                        turned[k, q, i] = c * y - s * x
    for k in range(n_components):
        _of_axes(axes, variance[k], 1.0, out[k])
    return True


# equal_volume, on_axes, n (K,), scatter (K, D, D), previous precision factors (K, D, D), out (K, D, D); False where a
# covariance would be singular
_STEP = types.boolean(b1, b1, a1, a3, a3, a3)
call_step = call_at(_STEP)
_CLOSED = Pointer(_closed, _STEP, nogil=True)
_SPHERES = Pointer(_spheres, _STEP, nogil=True)
_COMMON_MATRIX = Pointer(_common_matrix, _STEP, nogil=True)
_EQUAL_VOLUME = Pointer(_equal_volume, _STEP, nogil=True)
_COMMON_SHAPE = Pointer(_common_shape, _STEP, nogil=True)
_COMMON_ORIENTATION = Pointer(_common_orientation, _STEP, nogil=True)


def covariance_step(family: Family) -> Pointer:
    """The M step of a family, to be called as ``(equal_volume, on_axes, n, scatter, previous, out)``."""
    if family.shape == NONE:
        return _SPHERES
    if family.orientation == NONE or family.shape == family.orientation:
        # shape and orientation both shared, both free, or no orientation: what matters is whether the volume is too
        if family.shape == family.volume:
            return _CLOSED
        return _COMMON_MATRIX if family.shape == EQUAL else _EQUAL_VOLUME
    return _COMMON_SHAPE if family.shape == EQUAL else _COMMON_ORIENTATION
