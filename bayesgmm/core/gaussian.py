r"""The components' prior of every covariance family: densities and the numbers they come to.

.. math:: \mu_k \mid \Sigma_k \sim N(m_0, \Sigma_k / \kappa_0)

and, for the covariances (Fraley and Raftery 2007, sections 3.1 to 3.3),

- full matrices: each distinct :math:`\Sigma \sim IW(\nu_0, \Psi_0)`, with density proportional to
  :math:`|\Sigma|^{-(\nu_0 + D + 1)/2} \exp(-\mathrm{tr}(\Psi_0 \Sigma^{-1})/2)`;
- diagonal families: each distinct variance inverse-gamma with shape :math:`\nu_0/2` and rate :math:`\Psi_{0,dd}/2`;
- spherical families: each distinct variance inverse-gamma with shape :math:`\nu_0/2` and rate :math:`\psi_0/2`,
  :math:`\psi_0` the mean of the diagonal of :math:`\Psi_0`.

A covariance that all components share has that density once. Families whose components share a part only (VEI, EVI;
VEE, EVE, VVE, EEV, VEV, EVV) have the density of VVI or VVV, every component's, restricted to the covariances of the
family; the constant that would make the restriction integrate to one is left out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, multigammaln

from bayesgmm.core.families import Family

Array = NDArray[np.float64]

UNRESTRICTED = Family("VVV")


@dataclass(frozen=True)
class NiwPrior:
    """Prior of every component's mean and covariance, as arrays.

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
    family : Family
    is_flat : bool
        The density is constant in (mu, Sigma); the other numbers are then zero.

    With all numbers zero and ``is_flat`` false it is Jeffreys' prior given memberships, without a constant; see
    :class:`bayesgmm.Jeffreys`.
    """

    mean: Array
    strength: float
    dof: float
    scale: Array
    family: Family = UNRESTRICTED
    is_flat: bool = False

    @classmethod
    def flat(cls, n_traits: int, family: Family = UNRESTRICTED) -> NiwPrior:
        """Prior under which the mode is the maximum likelihood estimate."""
        return cls(np.zeros(n_traits), 0.0, 0.0, np.zeros((n_traits, n_traits)), family, is_flat=True)

    @classmethod
    def jeffreys(cls, n_traits: int, family: Family = UNRESTRICTED) -> NiwPrior:
        """Jeffreys' prior of each Gaussian given memberships: strength, dof and scale zero."""
        return cls(np.zeros(n_traits), 0.0, 0.0, np.zeros((n_traits, n_traits)), family)

    def rescaled(self, centre: Array, unit: Array) -> NiwPrior:
        """Prior of the same components after the traits become ``(y - centre) / unit``."""
        if self.is_flat:
            return self
        return replace(self, mean=(self.mean - centre) / unit, scale=self.scale / np.outer(unit, unit))

    @property
    def mean_power(self) -> float:
        """Power of ``|L_k|`` in the density of a mean."""
        return 0.0 if self.is_flat else 1.0

    @property
    def covariance_power(self) -> float:
        """Power of ``|L|`` in the density of one covariance: of a matrix, of D variances, of one variance."""
        size = len(self.mean)
        if self.is_flat:
            return 0.0
        if self.family.spherical:
            return (self.dof + 2.0) / size
        return self.dof + 2.0 if self.family.diagonal else self.dof + size + 1.0

    @property
    def trace_scale(self) -> Array:
        """The matrix ``Psi`` of ``exp(-tr(Psi P)/2)`` in the density of one covariance (D, D)."""
        size = len(self.mean)
        if self.family.spherical:
            return np.eye(size) * (np.trace(self.scale) / size**2)
        return np.diag(np.diag(self.scale)) if self.family.diagonal else self.scale

    def copies(self, n_components: int) -> Array:
        """How often the density of a covariance counts for each component (K,)."""
        copies = np.ones(n_components)
        if self.family.shared:
            copies[1:] = 0.0
        return copies

    def jacobian_power(self, n_components: int) -> Array:
        r"""Powers of :math:`e^{l_{kd}}` in :math:`|d\Sigma / d(l, U)|` (K, D).

        A matrix: :math:`\prod_d e^{-(2d + 2) l_d}`, d from 0 (from ``P = L L'`` and ``L = U diag(e^l)``); a variance
        ``e^{-2 l}``: -2.
        """
        size = len(self.mean)
        if self.family.spherical:
            each = np.full(size, -2.0 / size)
        elif self.family.diagonal:
            each = np.full(size, -2.0)
        else:
            each = -2.0 * np.arange(1, size + 1)
        return np.outer(self.copies(n_components), each)

    def n_logs(self, n_components: int) -> int:
        """Logarithms of precisions' roots among the free coordinates; each puts a factor of two in the Jacobian."""
        each = 1 if self.family.spherical else len(self.mean)
        return each * int(self.copies(n_components).sum())

    def unit_power(self, n_components: int) -> Array:
        """Powers of each trait's unit by which the density falls when traits go back to their own units (D,)."""
        size = len(self.mean)
        if self.is_flat:
            return np.zeros(size)
        times = float(self.copies(n_components).sum())
        if self.family.spherical:
            return n_components + np.full(size, 2.0 * times / size)
        return n_components + np.full(size, times * (2.0 if self.family.diagonal else size + 1.0))

    def log_constant(self) -> tuple[float, float]:
        """Parts of the log density of one mean and of one covariance that do not depend on them; zero when improper."""
        return self._log_constant

    @cached_property
    def _log_constant(self) -> tuple[float, float]:
        if not self.strength > 0.0:
            return 0.0, 0.0
        size = len(self.mean)
        of_mean = 0.5 * size * np.log(self.strength / (2.0 * np.pi))
        half = 0.5 * self.dof
        if self.family.spherical or self.family.diagonal:
            rates = np.array([np.trace(self.scale) / size]) if self.family.spherical else np.diag(self.scale)
            return float(of_mean), float((half * np.log(0.5 * rates) - gammaln(half)).sum())
        of_covariance = half * np.linalg.slogdet(self.scale)[1] - half * size * np.log(2.0) - multigammaln(half, size)
        return float(of_mean), float(of_covariance)

    def log_density(self, means: Array, roots: Array) -> Array:
        """Log density of every component's (mu, Sigma), with every constant, as a density in Sigma.

        Parameters
        ----------
        means : ndarray (..., K, D)
        roots : ndarray (..., K, D, D)
            Lower Cholesky factors of the precisions.

        Returns
        -------
        ndarray (..., K)
            The density of a covariance that all share is counted with component 0.
        """
        if self.is_flat:
            return np.zeros(means.shape[:-1])
        of_mean, of_covariance = self.log_constant()
        log_det = np.log(np.diagonal(roots, axis1=-2, axis2=-1)).sum(-1)
        scaled = np.einsum("...de,...d->...e", roots, means - self.mean)
        trace = np.einsum("...de,...ce,dc->...", roots, roots, self.trace_scale)
        once = of_covariance + self.covariance_power * log_det - 0.5 * trace
        value: Array = (
            of_mean + log_det - 0.5 * self.strength * (scaled**2).sum(-1) + self.copies(means.shape[-2]) * once
        )
        return value


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
