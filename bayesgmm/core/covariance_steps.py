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
from bayesgmm.core.linalg import covariance_of_root, eigen, precision_root
from bayesgmm.core.pointers import Pointer, a1, a3, b1, call_at

Array = NDArray[np.float64]

_ALTERNATIONS = 30
_TINY = 1e-300
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
    matrix /= scale
    return scale


@njit(cache=True, error_model="numpy", nogil=True)
def _diagonal_part(matrix: Array) -> Array:
    out = np.zeros(matrix.shape)
    for d in range(len(matrix)):
        out[d, d] = matrix[d, d]
    return out


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
    pooled = np.zeros((size, size))
    for k in range(n_components):
        if not (n[k] > 0.0 or equal_volume):
            return False
        pooled += scatter[k]
    people = n.sum()
    for k in range(n_components):
        out[k] = pooled / people if equal_volume else scatter[k] / n[k]
        if on_axes:
            out[k] = _diagonal_part(out[k])
    return True


def _spheres(equal_volume: bool, on_axes: bool, n: Array, scatter: Array, previous: Array, out: Array) -> bool:
    """Sigma_k = lambda_k I (VII) or lambda I (EII)."""
    n_components, size = len(n), scatter.shape[1]
    total = 0.0
    for k in range(n_components):
        if not (n[k] > 0.0 or equal_volume):
            return False
        trace = 0.0
        for d in range(size):
            trace += scatter[k, d, d]
        total += trace
        out[k] = np.eye(size) * (trace / (size * max(n[k], _TINY)))
    if equal_volume:
        for k in range(n_components):
            out[k] = np.eye(size) * (total / (size * n.sum()))
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
    if not n.min() > 0.0:
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
        common[:] = 0.0
        for k in range(n_components):
            common += scatter[k] / volume[k]
    if _unit_determinant(common) <= 0.0:
        return False
    for k in range(n_components):
        out[k] = volume[k] * common
    return True


def _equal_volume(equal_volume: bool, on_axes: bool, n: Array, scatter: Array, previous: Array, out: Array) -> bool:
    """Sigma_k = lambda C_k with every C_k of determinant one (EVV; EVI with what the scatters have on the axes)."""
    if on_axes:
        scatter = _diagonal_parts(scatter)
    total = 0.0
    for k in range(len(n)):
        out[k] = scatter[k]
        scale = _unit_determinant(out[k])
        if scale <= 0.0:
            return False
        total += scale
    out *= total / n.sum()
    return True


def _common_shape(equal_volume: bool, on_axes: bool, n: Array, scatter: Array, previous: Array, out: Array) -> bool:
    """Own orientations, one shape (EEV in closed form, VEV by alternation over volumes and shape)."""
    n_components, size = len(n), scatter.shape[1]
    values = np.empty((n_components, size))
    vectors = np.empty((n_components, size, size))
    if not (equal_volume or n.min() > 0.0):
        return False
    for k in range(n_components):
        eigen(scatter[k], values[k], vectors[k])
    shape = np.zeros(size)
    volume = np.ones(n_components)
    if equal_volume:
        for k in range(n_components):
            shape += values[k]
        shape /= n.sum()
        for d in range(size):
            if not shape[d] > 0.0:
                return False
    else:
        covariance = np.empty((size, size))
        covariance_of_root(previous[0], covariance)
        scratch = np.empty((size, size))
        eigen(covariance, shape, scratch)
        before = np.inf
        for _ in range(_ALTERNATIONS):
            log_det = 0.0
            for d in range(size):
                if not shape[d] > 0.0:
                    return False
                log_det += math.log(shape[d])
            shape /= math.exp(log_det / size)
            criterion = 0.0
            for k in range(n_components):
                volume[k] = (values[k] / shape).sum() / (size * n[k])
                criterion += n[k] * math.log(volume[k])
            if before - criterion <= _SAME * abs(criterion):
                break
            before = criterion
            shape[:] = 0.0
            for k in range(n_components):
                shape += values[k] / volume[k]
        log_det = np.log(shape).sum()
        shape /= math.exp(log_det / size)
    for k in range(n_components):
        for a in range(size):
            for b in range(size):
                total = 0.0
                for d in range(size):
                    total += vectors[k, a, d] * shape[d] * vectors[k, b, d]
                out[k, a, b] = volume[k] * total
    return True


@njit(cache=True, error_model="numpy", nogil=True)
def shared_orientation(roots: Array, out: Array) -> None:
    """Eigenvectors that commuting covariances share: those of a combination in which no two directions tie."""
    n_components, size = roots.shape[0], roots.shape[1]
    mixed, covariance = np.zeros((size, size)), np.empty((size, size))
    for k in range(n_components):
        covariance_of_root(roots[k], covariance)
        trace = 0.0
        for d in range(size):
            trace += covariance[d, d]
        mixed += covariance * ((1.0 + 0.37 * math.sin(1.0 + k)) / trace)
    scratch = np.empty(size)
    eigen(mixed, scratch, out)


def _common_orientation(
    equal_volume: bool, on_axes: bool, n: Array, scatter: Array, previous: Array, out: Array
) -> bool:
    """One orientation, own shapes (EVE, VVE), alternating over axes' variances and plane rotations."""
    n_components, size = len(n), scatter.shape[1]
    axes = np.empty((size, size))
    shared_orientation(previous, axes)
    turned = np.empty((n_components, size, size))
    if not (equal_volume or n.min() > 0.0):
        return False
    for k in range(n_components):
        turned[k] = axes.T @ scatter[k] @ axes
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
            variance *= total / n.sum()
            criterion = n.sum() * size * math.log(total)
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
        for a_ in range(size):
            for b_ in range(size):
                value = 0.0
                for d in range(size):
                    value += axes[a_, d] * variance[k, d] * axes[b_, d]
                out[k, a_, b_] = value
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
