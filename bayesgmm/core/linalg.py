"""Linear algebra of small matrices, compiled: a library call costs more than the arithmetic below ten traits.

Loops stand where whole-array expressions would be shorter: numba compiles a loop many times faster.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[np.float64]

_SWEEPS = 60


@njit(cache=True, error_model="numpy", nogil=True)
def copy_into(source: Array, out: Array) -> None:
    """Copy a vector."""
    for i in range(len(out)):
        out[i] = source[i]


@njit(cache=True, error_model="numpy", nogil=True)
def dot(a: Array, b: Array) -> float:
    """Sum of products of two vectors."""
    total = 0.0
    for i in range(len(a)):
        total += a[i] * b[i]
    return total


@njit(cache=True, error_model="numpy", nogil=True)
def multiple_into(source: Array, factor: float, out: Array) -> None:
    """Write ``factor`` times a matrix."""
    for i in range(source.shape[0]):
        for j in range(source.shape[1]):
            out[i, j] = factor * source[i, j]


@njit(cache=True, error_model="numpy", nogil=True)
def add_multiple(source: Array, factor: float, out: Array) -> None:
    """Add ``factor`` times a matrix to another."""
    for i in range(source.shape[0]):
        for j in range(source.shape[1]):
            out[i, j] += factor * source[i, j]


@njit(cache=True, error_model="numpy", nogil=True)
def trace(matrix: Array) -> float:
    """Sum of the diagonal."""
    total = 0.0
    for d in range(len(matrix)):
        total += matrix[d, d]
    return total


@njit(cache=True, error_model="numpy", nogil=True)
def precision_root(covariance: Array, root: Array) -> float:
    """Fill ``root`` (D, D) with the lower Cholesky factor ``L`` of the precision, ``inv(Sigma) = L L'``.

    ``Sigma = U U'`` with ``U`` upper triangular gives ``L = inv(U)'``.

    Returns
    -------
    float
        The smallest ``U_dd^2 / Sigma_dd``, the share of a trait's variance that the later traits do not explain; not
        above zero, with ``root`` unusable, where the matrix is not positive definite.
    """
    size = covariance.shape[0]
    upper = np.zeros((size, size))
    least = np.inf
    for j in range(size - 1, -1, -1):
        pivot = covariance[j, j]
        for c in range(j + 1, size):
            pivot -= upper[j, c] * upper[j, c]
        if not (pivot > 0.0 and covariance[j, j] < np.inf):
            return -1.0
        least = min(least, pivot / covariance[j, j])
        diagonal = math.sqrt(pivot)
        upper[j, j] = diagonal
        for i in range(j):
            total = covariance[i, j]
            for c in range(j + 1, size):
                total -= upper[i, c] * upper[j, c]
            upper[i, j] = total / diagonal
    for j in range(size):
        # column j of inv(U), upward
        for i in range(size):
            root[j, i] = 0.0
        root[j, j] = 1.0 / upper[j, j]
        for i in range(j - 1, -1, -1):
            total = 0.0
            for c in range(i + 1, j + 1):
                total += upper[i, c] * root[j, c]
            root[j, i] = -total / upper[i, i]
    return least


@njit(cache=True, error_model="numpy", nogil=True)
def covariance_of_root(root: Array, covariance: Array) -> None:
    """Fill ``covariance`` with ``inv(L L')``."""
    size = root.shape[0]
    inverse = np.zeros((size, size))
    for j in range(size):
        inverse[j, j] = 1.0 / root[j, j]
        for i in range(j + 1, size):
            total = 0.0
            for c in range(j, i):
                total += root[i, c] * inverse[c, j]
            inverse[i, j] = -total / root[i, i]
    for i in range(size):
        for j in range(i + 1):
            total = 0.0
            for c in range(i, size):
                total += inverse[c, i] * inverse[c, j]
            covariance[i, j] = total
            covariance[j, i] = total


@njit(cache=True, error_model="numpy", nogil=True)
def solve_positive(matrix: Array, right: Array) -> bool:
    """Solve ``matrix x = right`` in place of ``right`` by Cholesky; ``matrix`` is overwritten.

    Returns
    -------
    bool
        False, with ``right`` spoilt, where the matrix is not positive definite.
    """
    size = len(right)
    for j in range(size):
        own = matrix[j, j]
        pivot = own
        for c in range(j):
            pivot -= matrix[j, c] * matrix[j, c]
        # against its own diagonal, so that the units of the coordinates do not matter
        if not (pivot > 1e-14 * own and own > 0.0):
            return False
        diagonal = math.sqrt(pivot)
        matrix[j, j] = diagonal
        for i in range(j + 1, size):
            total = matrix[i, j]
            for c in range(j):
                total -= matrix[i, c] * matrix[j, c]
            matrix[i, j] = total / diagonal
    for i in range(size):
        total = right[i]
        for c in range(i):
            total -= matrix[i, c] * right[c]
        right[i] = total / matrix[i, i]
    for i in range(size - 1, -1, -1):
        total = right[i]
        for c in range(i + 1, size):
            total -= matrix[c, i] * right[c]
        right[i] = total / matrix[i, i]
    return True


@njit(cache=True, error_model="numpy", nogil=True)
def eigen(symmetric: Array, values: Array, vectors: Array) -> None:
    """Eigenvalues, largest first, and eigenvectors (columns) of a symmetric matrix by Jacobi's rotations."""
    size = symmetric.shape[0]
    a = symmetric.copy()
    v = np.eye(size)
    for _ in range(_SWEEPS):
        off = 0.0
        total = 0.0
        for i in range(size):
            total += a[i, i] * a[i, i]
            for j in range(i):
                off += a[i, j] * a[i, j]
        if off <= 1e-32 * total:
            break
        for p in range(size):
            for q in range(p + 1, size):
                if a[p, q] == 0.0:
                    continue
                theta = 0.5 * (a[q, q] - a[p, p]) / a[p, q]
                t = 1.0 / (abs(theta) + math.sqrt(theta * theta + 1.0))
                if theta < 0.0:
                    t = -t
                c = 1.0 / math.sqrt(t * t + 1.0)
                s = t * c
                for i in range(size):
                    x, y = a[i, p], a[i, q]
                    a[i, p] = c * x - s * y
                    a[i, q] = s * x + c * y
                for i in range(size):
                    x, y = a[p, i], a[q, i]
                    a[p, i] = c * x - s * y
                    a[q, i] = s * x + c * y
                for i in range(size):
                    x, y = v[i, p], v[i, q]
                    v[i, p] = c * x - s * y
                    v[i, q] = s * x + c * y
    diagonal = np.empty(size)
    for i in range(size):
        diagonal[i] = a[i, i]
    order = np.argsort(-diagonal)
    for j in range(size):
        values[j] = diagonal[order[j]]
        for i in range(size):
            vectors[i, j] = v[i, order[j]]
