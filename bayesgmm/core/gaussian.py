r"""Gaussian components with the Normal-Inverse-Wishart prior: densities, modes and factors.

.. math:: \mu_k \mid \Sigma_k \sim N(m_0, \Sigma_k / \kappa_0), \qquad \Sigma_k \sim IW(\nu_0, \Psi_0)

with density proportional to :math:`|\Sigma|^{-(\nu_0 + D + 1)/2} \exp(-\mathrm{tr}(\Psi_0 \Sigma^{-1})/2)`
(Gelman et al. 2013, *Bayesian Data Analysis*, section 3.6).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import multigammaln

Array = NDArray[np.float64]


@dataclass(frozen=True)
class NiwPrior:
    """Normal-Inverse-Wishart prior of every component, as arrays.

    A flat prior is the limit ``strength = 0``, ``scale = 0``, ``dof = -(D + 2)``, with which the same updates give
    maximum likelihood and the log density is zero.

    Attributes
    ----------
    mean : ndarray (n_traits,)
        ``m0``.
    strength : float
        ``kappa0``, prior observations worth of knowledge of the mean.
    dof : float
        ``nu0``.
    scale : ndarray (n_traits, n_traits)
        ``Psi0``.
    """

    mean: Array
    strength: float
    dof: float
    scale: Array

    @classmethod
    def flat(cls, n_traits: int) -> NiwPrior:
        """Prior under which the mode is the maximum likelihood estimate."""
        return cls(np.zeros(n_traits), 0.0, -(n_traits + 2.0), np.zeros((n_traits, n_traits)))

    @property
    def is_flat(self) -> bool:
        """Whether the density is constant in (mu, Sigma)."""
        return self.strength == 0.0 and self.dof == -(len(self.mean) + 2.0) and not self.scale.any()

    def rescaled(self, centre: Array, unit: Array) -> NiwPrior:
        """Prior of the same components after the traits become ``(y - centre) / unit``."""
        if self.is_flat:
            return self
        return NiwPrior((self.mean - centre) / unit, self.strength, self.dof, self.scale / np.outer(unit, unit))

    def log_constant(self) -> float:
        """Part of the log density of one component that does not depend on it; zero when flat."""
        if self.is_flat:
            return 0.0
        size = len(self.mean)
        return float(
            0.5 * self.dof * np.linalg.slogdet(self.scale)[1]
            - 0.5 * self.dof * size * np.log(2.0)
            - multigammaln(0.5 * self.dof, size)
            + 0.5 * size * np.log(self.strength / (2.0 * np.pi))
        )

    def log_density(self, means: Array, roots: Array) -> Array:
        """Log density of (mu, Sigma), with every constant, as a density in Sigma.

        Parameters
        ----------
        means : ndarray (..., D)
        roots : ndarray (..., D, D)
            Lower Cholesky factors of the precisions.

        Returns
        -------
        ndarray (...)
        """
        if self.is_flat:
            return np.zeros(means.shape[:-1])
        size = len(self.mean)
        half_log_det = np.log(np.diagonal(roots, axis1=-2, axis2=-1)).sum(-1)
        offset = means - self.mean
        scaled = np.einsum("...de,...d->...e", roots, offset)
        trace = np.einsum("...de,...ce,dc->...", roots, roots, self.scale)
        value: Array = (
            self.log_constant()
            + (self.dof + size + 2.0) * half_log_det
            - 0.5 * trace
            - 0.5 * self.strength * (scaled**2).sum(-1)
        )
        return value

    def mode(self, counts: Array, first: Array, second: Array, centres: Array) -> tuple[Array, Array]:
        """Joint mode of (mu_k, Sigma_k) given the moments of the responsibilities.

        ``mu_k = (N_k ybar_k + kappa0 m0) / (N_k + kappa0)`` and ``Sigma_k = (Psi0 + S_k + kappa0 N_k / (kappa0 + N_k)
        (ybar_k - m0)(ybar_k - m0)') / (nu0 + N_k + D + 2)`` (Fraley and Raftery 2007, section 3.2).

        Parameters
        ----------
        counts : ndarray (K,)
        first, second : ndarray (K, D), (K, D, D)
            Moments about ``centres``.
        centres : ndarray (K, D)

        Returns
        -------
        means : ndarray (K, D)
        covariances : ndarray (K, D, D)
        """
        size = len(self.mean)
        safe = np.where(counts > 0.0, counts, 1.0)
        shift = first / safe[:, None]
        averages = centres + shift
        scatter = second - counts[:, None, None] * shift[:, :, None] * shift[:, None, :]
        total = counts + self.strength
        offset = averages - self.mean
        pulled = (self.strength * counts / np.where(total > 0.0, total, 1.0))[:, None, None]
        share = (counts / np.where(total > 0.0, total, 1.0))[:, None]
        means = self.mean + share * offset if self.strength > 0.0 else averages
        denominators = (self.dof + size + 2.0) + counts
        covariances = (self.scale + scatter + pulled * offset[:, :, None] * offset[:, None, :]) / denominators[
            :, None, None
        ]
        return means, covariances


def precision_roots(covariances: Array) -> Array:
    """Lower Cholesky factors ``L`` of the precisions, ``inv(Sigma) = L L'``.

    Raises
    ------
    numpy.linalg.LinAlgError
        If a covariance matrix is not positive definite.
    """
    # Sigma = U U' with U upper triangular (Cholesky of the reversed matrix) gives inv(Sigma) = U^-T U^-1.
    reversed_factor = np.linalg.cholesky(covariances[..., ::-1, ::-1])
    upper = reversed_factor[..., ::-1, ::-1]
    identity = np.broadcast_to(np.eye(covariances.shape[-1]), covariances.shape)
    return np.ascontiguousarray(np.tril(np.swapaxes(np.linalg.solve(upper, identity), -1, -2)))


def covariances_from_roots(roots: Array) -> Array:
    """Covariance matrices of lower Cholesky factors of the precisions."""
    identity = np.broadcast_to(np.eye(roots.shape[-1]), roots.shape)
    inverse = np.tril(np.linalg.solve(roots, identity))
    product: Array = np.swapaxes(inverse, -1, -2) @ inverse
    return product
