r"""The Fisher information of the mixing weights given the component densities, as a share of the complete-data one.

The information of the weights in one person's traits is

.. math:: I_{kl} = \mathrm{E}_f[(f_k - f_K)(f_l - f_K) / f^2], \qquad f = \sum_k \pi_k f_k,

that of traits and membership together :math:`\mathrm{diag}(1/\pi) + 1/\pi_K`, with determinant
:math:`\prod 1/\pi_k`, the square of the Dirichlet(1/2) density's kernel (Bernardo and Giron 1988). With
:math:`r_k = \pi_k f_k / f` the responsibilities and

.. math:: P_{kl} = \mathrm{E}_f[r_k r_l] / \sqrt{\pi_k \pi_l},

both are quadratic forms on the complement of :math:`\sqrt\pi`, and P is the first relative to the second;
:math:`\sqrt\pi` itself is an eigenvector of P with eigenvalue 1. So the ratio of the determinants is :math:`\det P`,
and Jeffreys' prior of the weights is :math:`\sqrt{\det P}` times the kernel of Dirichlet(1/2). The ratio is between 0
(two components are one density) and 1 (nobody's membership is in doubt).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

Array = NDArray[np.float64]

_REACH = 8.0  # standard deviations of a component beyond which its density is nothing
_PANELS = 17  # break points of one component between them
_NODES = 8  # Gauss-Legendre nodes of a panel
_BATCHES = 4  # independent sets of points, whose spread is the error
_POINTS = 256  # points of one set for each component
_WORK = 4_000_000  # densities evaluated at a time
_LOG_2PI = float(np.log(2.0 * np.pi))


def log_information_ratio(pi: Array, means: Array, roots: Array, *, seed: int = 0) -> tuple[Array, Array]:
    r"""Half the log determinant of P of every draw: the log of Jeffreys' prior over the kernel of Dirichlet(1/2).

    For one trait by composite Gauss-Legendre quadrature, panels as narrow as the narrowest component near them. For
    more by scrambled Sobol points of every component, the same for all draws (common random numbers).

    Parameters
    ----------
    pi : ndarray (n, K)
    means : ndarray (n, K, D)
    roots : ndarray (n, K, D, D)
        Lower Cholesky factors of the precisions.
    seed : int
        Of the scrambling, for more than one trait.

    Returns
    -------
    log_ratio : ndarray (n,)
        At most 0; minus infinity where two components are the same density.
    error : ndarray (n,)
        Standard error of the ratio itself (not its log); 0 for one trait, where quadrature leaves about 1e-8.
    """
    n, k, size = means.shape
    if k == 1:
        return np.zeros(n), np.zeros(n)
    if size == 1:
        nodes = k * _PANELS * _NODES
        parts = [
            _shared_in_one_trait(pi[part], means[part, :, 0], roots[part, :, 0, 0]) for part in _parts(n, nodes * k)
        ]
        return _log_root_determinant(np.concatenate(parts)), np.zeros(n)
    points = _standard_points(size, seed)
    log_ratio = np.empty((_BATCHES + 1, n))
    for part in _parts(n, _BATCHES * _POINTS * k * k * size):
        batches = np.stack([_shared_by_points(pi[part], means[part], roots[part], z) for z in points])
        log_ratio[:_BATCHES, part] = [_log_root_determinant(shared) for shared in batches]
        log_ratio[_BATCHES, part] = _log_root_determinant(batches.mean(axis=0))
    error: Array = np.exp(log_ratio[:_BATCHES]).std(axis=0, ddof=1) / np.sqrt(_BATCHES)
    return log_ratio[_BATCHES], error


def _parts(n: int, work: int) -> list[slice]:
    step = max(1, _WORK // max(work, 1))
    return [slice(first, min(first + step, n)) for first in range(0, n, step)]


def _log_root_determinant(shared: Array) -> Array:
    """``log sqrt(det P)`` from ``E_f[r_k r_l]`` (n, K, K)."""
    # rows sum to the weights but for the error of the integrals; with their own sums the eigenvalues are within 0 and 1
    root = np.sqrt(shared.sum(axis=2))
    values = np.linalg.eigvalsh(shared / (root[:, :, None] * root[:, None, :]))
    with np.errstate(divide="ignore"):
        total: Array = 0.5 * np.log(np.clip(values, 0.0, 1.0)).sum(axis=1)
    return total


def _shared_in_one_trait(pi: Array, means: Array, roots: Array) -> Array:
    """``E_f[r_k r_l]`` (n, K, K) by quadrature; ``means`` and ``roots`` (n, K)."""
    grid = np.linspace(-_REACH, _REACH, _PANELS)
    breaks = np.sort((means[:, :, None] + grid / roots[:, :, None]).reshape(len(pi), -1), axis=1)
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    half = 0.5 * np.diff(breaks, axis=1)
    middle = breaks[:, :-1] + half
    y = (middle[:, :, None] + half[:, :, None] * nodes).reshape(len(pi), -1)
    step = (half[:, :, None] * weights).reshape(len(pi), -1)
    scaled = (y[:, None, :] - means[:, :, None]) * roots[:, :, None]
    log_joint = np.log(pi * roots)[:, :, None] - 0.5 * (scaled**2 + _LOG_2PI)
    log_density = logsumexp(log_joint, axis=1, keepdims=True)
    r = np.exp(log_joint - log_density)
    shared: Array = np.einsum("nkm,nlm,nm->nkl", r, r, step * np.exp(log_density[:, 0]))
    return shared


def _standard_points(size: int, seed: int) -> Array:
    """Points of a standard normal (batch, point, trait), evenly spread within a batch."""
    from scipy.special import ndtri
    from scipy.stats import qmc

    rng = np.random.default_rng(seed)
    batches = [qmc.Sobol(size, rng=rng).random(_POINTS) for _ in range(_BATCHES)]
    points: Array = ndtri(np.clip(np.stack(batches), 1e-12, 1.0 - 1e-12))
    return points


def _shared_by_points(pi: Array, means: Array, roots: Array, z: Array) -> Array:
    """``E_f[r_k r_l]`` (n, K, K) by as many points under every component.

    Points are weighed as draws of the components' average (balance heuristic, Veach and Guibas 1995), so a narrow
    component in a wide one is read at its own points.
    """
    n, k, size = means.shape
    identity = np.broadcast_to(np.eye(size), roots.shape)
    back = np.linalg.solve(roots, identity)  # rows z of L^-1: y = mu + z L^-1
    y = (means[:, :, None, :] + z @ back).reshape(n, 1, k * len(z), size)
    scaled = (y - means[:, :, None, :]) @ roots
    log_det = np.log(np.diagonal(roots, axis1=2, axis2=3)).sum(-1)
    log_each = log_det[:, :, None] - 0.5 * (scaled**2).sum(-1)
    log_joint = np.log(pi)[:, :, None] + log_each
    log_density = logsumexp(log_joint, axis=1)
    r = np.exp(log_joint - log_density[:, None])
    weight = np.exp(log_density - logsumexp(log_each, axis=1)) / len(z)
    shared: Array = (r * weight[:, None]) @ np.swapaxes(r, 1, 2)
    return shared
