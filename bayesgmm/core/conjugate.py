r"""Factors of a mean-field posterior that have the prior's own form: components, baseline weights, slopes of the means.

.. math:: q(\mu_k, \Sigma_k) = NIW(m_k, \kappa_k, \nu_k, \Psi_k), \qquad q(\pi) = \mathrm{Dirichlet}(a + N)

(Attias 1999; Bishop 2006, section 10.2), with the same changes for diagonal, spherical and shared covariances as the
prior has (:mod:`bayesgmm.core.gaussian`). With :math:`P_k = E[\Sigma_k^{-1}]` the expected log density is one at
plug-in parameters and a constant,

.. math:: E[\log N(y; \mu_k, \Sigma_k)] = \log N(y; m_k, P_k^{-1}) + c_k, \qquad
          c_k = \tfrac12 (E \log |\Sigma_k^{-1}| - \log |P_k|) - D / (2 \kappa_k),

which is why the E step needs no kernel of its own: the constants go into the log weights. Traits that a person lacks
are latent in q together with the membership. Given the membership they are normal under :math:`P_k^{-1}`, so they
integrate out and are completed exactly as in EM, with the same constants.

Of Student-t components a person's latent precision ``u`` is in q as well, and integrates out given the membership: with
:math:`b_k = 1 + D / (\kappa_k \nu)` what is left is the Student-t log density of scale matrix :math:`b_k P_k^{-1}`, and
the constant :math:`\tfrac12 (E \log |\Sigma_k^{-1}| - \log |P_k|) - \tfrac{\nu}{2} \log b_k`, whichever traits the
person has. What the pass then returns of ``E[u]`` is ``b_k`` times too large. As :math:`\nu` grows this becomes what it
is of Gaussians.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, gammaln

from bayesgmm.core.gaussian import NiwPrior, precision_roots

Array = NDArray[np.float64]
Order = NDArray[np.int64]

_LEAST_MASS = 1e-300


@dataclass(frozen=True)
class ComponentFactors:
    """Normal-inverse-Wishart factors of all components, or what takes its place in a family.

    Attributes
    ----------
    prior : NiwPrior
    mass : ndarray (K,)
        Expected number of people, ``N``.
    means : ndarray (K, D)
        ``m``.
    scales : ndarray (K, D, D)
        ``Psi``: diagonal in families along the axes, a multiple of the identity in spherical ones (the multiple is
        twice the rate of the inverse gamma), all the same where components share a covariance.
    precisions : ndarray (K,) or None
        Sum of the people's expected latent precisions, which is what their means count; None: ``mass``.
    """

    prior: NiwPrior
    mass: Array
    means: Array
    scales: Array
    precisions: Array | None = None

    @classmethod
    def updated(
        cls, prior: NiwPrior, mass: Array, about: Array, first: Array, scatter: Array, precisions: Array | None = None
    ) -> ComponentFactors:
        """The factors that maximise the bound given moments of the people.

        Parameters
        ----------
        prior : NiwPrior
        mass : ndarray (K,)
        about : ndarray (K, D)
            What the moments are about.
        first : ndarray (K, D)
            ``sum_i r_ik (y_i - about_k)``; Student-t: of ``r_ik E[u_ik]``.
        scatter : ndarray (K, D, D)
            Second moments of the same.
        precisions : ndarray (K,), optional
            Student-t: ``sum_i r_ik E[u_ik]``.
        """
        pull = mass if precisions is None else precisions
        strength = prior.strength + pull
        # means move little from what the moments are about, so the scatter about them loses no digits
        moved = (prior.strength * (prior.mean - about) + first) / strength[:, None]
        cross = np.einsum("kd,ke->kde", first, moved)
        away = about + moved - prior.mean
        own = (
            scatter
            - cross
            - np.swapaxes(cross, 1, 2)
            + pull[:, None, None] * np.einsum("kd,ke->kde", moved, moved)
            + prior.strength * np.einsum("kd,ke->kde", away, away)
        )
        size, family = len(prior.mean), prior.family
        if family.shared:
            own = np.broadcast_to(own.sum(axis=0), own.shape)
        if family.spherical:
            rate = np.trace(prior.scale) / size + np.trace(own, axis1=1, axis2=2)
            scales = rate[:, None, None] * np.eye(size)
        else:
            scales = prior.scale + own
            scales = scales * np.eye(size) if family.diagonal else 0.5 * (scales + np.swapaxes(scales, 1, 2))
        least = None if precisions is None else np.maximum(precisions, _LEAST_MASS)
        return cls(prior, np.maximum(mass, _LEAST_MASS), about + moved, scales, least)

    # -- numbers of the factors -------------------------------------------------------------------

    @property
    def strength(self) -> Array:
        """``kappa`` (K,)."""
        return self.prior.strength + (self.mass if self.precisions is None else self.precisions)

    @property
    def dof(self) -> Array:
        """``nu`` (K,): twice the shape of the inverse gamma in families along the axes."""
        family = self.prior.family
        told = np.full_like(self.mass, self.mass.sum()) if family.shared else self.mass
        return self.prior.dof + (len(self.prior.mean) * told if family.spherical else told)

    @cached_property
    def roots(self) -> Array:
        """Lower Cholesky factors (K, D, D) of the expected precisions ``P``."""
        return precision_roots(self.scales / self.dof[:, None, None])

    @cached_property
    def _log_det_plug_in(self) -> Array:
        return 2.0 * np.log(np.diagonal(self.roots, axis1=1, axis2=2)).sum(axis=1)

    @cached_property
    def _log_det_excess(self) -> Array:
        """``E log |inv Sigma| - log |P|`` (K,), never positive."""
        size, half = len(self.prior.mean), 0.5 * self.dof
        if self.prior.family.on_axes:
            return size * (digamma(half) - np.log(half))
        return digamma(half[:, None] - 0.5 * np.arange(size)).sum(axis=1) - size * np.log(half)

    @property
    def log_excess(self) -> Array:
        """``c`` (K,): what the expected log density is above that at plug-in parameters; negative."""
        value: Array = 0.5 * self._log_det_excess - 0.5 * len(self.prior.mean) / self.strength
        return value

    def widening(self, df: Array) -> Array:
        """``b`` (K,) of Student-t components of these degrees of freedom (K,); empty where they are Gaussian."""
        if not len(df):
            return df
        return 1.0 + len(self.prior.mean) / (self.strength * df)

    def log_excess_of(self, df: Array) -> Array:
        """:attr:`log_excess` of Student-t components (K,); ``df`` empty where they are Gaussian."""
        if not len(df):
            return self.log_excess
        value: Array = 0.5 * self._log_det_excess - 0.5 * df * np.log1p(len(self.prior.mean) / (self.strength * df))
        return value

    @property
    def expected_log_roots(self) -> Array:
        """Half the expected log determinants of the precisions (K,)."""
        value: Array = 0.5 * (self._log_det_excess + self._log_det_plug_in)
        return value

    @property
    def expected_precisions(self) -> Array:
        """``P`` (K, D, D)."""
        return self.roots @ np.swapaxes(self.roots, 1, 2)

    def _of_covariances(self) -> tuple[Array, Array, Array]:
        """Log constant, power of ``|L|`` and ``tr(T P)`` of each covariance's density under q; see ``NiwPrior``."""
        size, family, half = len(self.prior.mean), self.prior.family, 0.5 * self.dof
        log_det = size * np.log(self.dof) - self._log_det_plug_in
        if family.spherical:
            return half * (log_det / size - np.log(2.0)) - gammaln(half), (self.dof + 2.0) / size, self.dof
        trace = size * self.dof
        if family.diagonal:
            return half * (log_det - size * np.log(2.0)) - size * gammaln(half), self.dof + 2.0, trace
        # the multivariate gamma function
        gammas = gammaln(half[:, None] - 0.5 * np.arange(size)).sum(axis=1) + 0.25 * size * (size - 1) * np.log(np.pi)
        constant = half * (log_det - size * np.log(2.0)) - gammas
        return constant, self.dof + size + 1.0, trace

    def divergence(self) -> float:
        """Kullback-Leibler divergence of the factors from the prior."""
        prior, size = self.prior, len(self.prior.mean)
        of_mean, of_covariance = prior.log_constant()
        constant, power, trace = self._of_covariances()
        log_det = 0.5 * (self._log_det_plug_in + self._log_det_excess)
        away = np.einsum("kde,kd->ke", self.roots, self.means - prior.mean)
        pull = prior.strength * ((away**2).sum(axis=1) + size / self.strength)
        own = 0.5 * size * (np.log(self.strength / (2.0 * np.pi)) - 1.0)
        means = own - of_mean + 0.5 * pull
        prior_trace = np.einsum("kde,kce,dc->k", self.roots, self.roots, prior.trace_scale)
        covariances = constant - of_covariance + (power - prior.covariance_power) * log_det
        covariances = covariances - 0.5 * (trace - prior_trace)
        return float(means.sum() + prior.copies(len(self.mass)) @ covariances)

    def log_density(self, means: Array, roots: Array) -> Array:
        """Log density (n,) of draws ``means`` (n, K, D) and ``roots`` (n, K, D, D), a density in the covariances."""
        constant, power, _ = self._of_covariances()
        size, family = len(self.prior.mean), self.prior.family
        log_det = np.log(np.diagonal(roots, axis1=-2, axis2=-1)).sum(axis=-1)
        away = np.einsum("nkde,nkd->nke", roots, means - self.means)
        of_means = 0.5 * size * np.log(self.strength / (2.0 * np.pi)) + log_det
        of_means = of_means - 0.5 * self.strength * (away**2).sum(axis=-1)
        rates = self.scales / size if family.spherical else self.scales
        trace = np.einsum("nkde,nkce,kdc->nk", roots, roots, rates)
        once = constant + power * log_det - 0.5 * trace
        value: Array = of_means.sum(axis=1) + once @ self.prior.copies(len(self.mass))
        return value

    def draw(self, n: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """Draw means (n, K, D) and roots of precisions (n, K, D, D)."""
        k, size = self.means.shape
        family, dof = self.prior.family, self.dof
        copies = 1 if family.shared else k
        factor = np.zeros((n, copies, size, size))
        every = np.arange(size)
        if family.spherical:
            factor[:, :, every, every] = np.sqrt(rng.chisquare(dof[:copies], (n, copies)))[:, :, None]
        elif family.diagonal:
            factor[:, :, every, every] = np.sqrt(rng.chisquare(dof[:copies, None], (n, copies, size)))
        else:
            # Bartlett's decomposition
            rows, columns = np.tril_indices(size, -1)
            factor[:, :, rows, columns] = rng.standard_normal((n, copies, len(rows)))
            factor[:, :, every, every] = np.sqrt(rng.chisquare(dof[:copies, None] - every, (n, copies, size)))
        roots = precision_roots(self.scales[:copies]) @ factor
        roots = np.ascontiguousarray(np.broadcast_to(roots, (n, k, size, size)))
        noise = rng.standard_normal((n, k, size, 1))
        means = (
            self.means + np.linalg.solve(np.swapaxes(roots, -1, -2), noise)[..., 0] / np.sqrt(self.strength)[:, None]
        )
        return means, roots

    # -- moments of the parameters ----------------------------------------------------------------

    def expected_covariances(self) -> Array:
        """Expected covariances (K, D, D); infinite variances where the factor has no mean."""
        size = len(self.prior.mean)
        left = self.dof - (2.0 if self.prior.family.on_axes else size + 1.0)
        finite = self.scales / np.where(left > 0.0, left, 1.0)[:, None, None]
        return np.where((left > 0.0)[:, None, None], finite, np.where(np.eye(size) > 0.0, np.inf, 0.0))

    def mean_sds(self) -> Array:
        """Standard deviations (K, D) of the means."""
        variances = np.diagonal(self.expected_covariances(), axis1=1, axis2=2)
        return np.sqrt(variances / self.strength[:, None])

    def covariance_sds(self) -> Array:
        """Standard deviations (K, D, D) of the covariances' entries; infinite where the factor has none."""
        size = len(self.prior.mean)
        diagonal = np.diagonal(self.scales, axis1=1, axis2=2)
        on_axes = self.prior.family.on_axes
        left = self.dof - (4.0 if on_axes else size + 3.0)
        good = np.where(left > 0.0, left, 1.0)[:, None, None]
        if on_axes:
            # an inverse gamma's variance is its squared mean over (shape - 2)
            variance = (self.scales / (good + 2.0)) ** 2 * 2.0 / good
        else:
            # of an inverse Wishart (Press 1982, section 5.2.3)
            outer = np.einsum("kd,ke->kde", diagonal, diagonal)
            spread = (good + 4.0) * self.scales**2 + (good + 2.0) * outer
            variance = spread / ((good + 3.0) * (good + 2.0) ** 2 * good)
        none = np.where(np.eye(size) > 0.0, np.inf, 0.0) if on_axes else np.full((size, size), np.inf)
        return np.sqrt(np.where((left > 0.0)[:, None, None], variance, none))

    def permuted(self, order: Order) -> ComponentFactors:
        """Component ``j`` of the result is component ``order[j]`` of this object."""
        precisions = None if self.precisions is None else self.precisions[order]
        return replace(
            self, mass=self.mass[order], means=self.means[order], scales=self.scales[order], precisions=precisions
        )


@dataclass(frozen=True)
class DirichletFactor:
    """Dirichlet factor of the baseline weights.

    Attributes
    ----------
    prior : ndarray (K,)
        Concentration of the prior.
    concentration : ndarray (K,)
    """

    prior: Array
    concentration: Array

    @property
    def log_weights(self) -> Array:
        """Expected log weights (K,)."""
        value: Array = digamma(self.concentration) - digamma(self.concentration.sum())
        return value

    def expected_log_weights(self, predictors: Array) -> Array:
        """The same for every row of predictors (U, K), of which there are none."""
        return np.ascontiguousarray(np.broadcast_to(self.log_weights, (len(predictors), len(self.prior))))

    def divergence(self) -> float:
        """Kullback-Leibler divergence from the prior."""
        a, b = self.concentration, self.prior
        constants = gammaln(a.sum()) - gammaln(a).sum() - gammaln(b.sum()) + gammaln(b).sum()
        return float(constants + (a - b) @ self.log_weights)

    def updated(self, counts: Array, predictors: Array) -> DirichletFactor:
        """The factor that maximises the bound given counts (U, K)."""
        return replace(self, concentration=self.prior + counts.sum(axis=0))

    def draw(self, n: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """Draw baseline weights (n, K) and effects of no predictor (n, 0, K-1)."""
        # gammas of a small shape underflow; their logarithms do not (Marsaglia and Tsang 2000, section 6)
        a = self.concentration
        log_gamma = np.log(rng.standard_gamma(a + 1.0, (n, len(a)))) + np.log(rng.random((n, len(a)))) / a
        log_gamma -= log_gamma.max(axis=1, keepdims=True)
        pi = np.exp(log_gamma)
        pi /= pi.sum(axis=1, keepdims=True)
        return np.maximum(pi, np.finfo(float).tiny), np.zeros((n, 0, len(a) - 1))

    def log_density(self, pi: Array, beta: Array) -> Array:
        """Log density (n,) of draws of the baseline weights (n, K)."""
        a = self.concentration
        value: Array = gammaln(a.sum()) - gammaln(a).sum() + np.log(pi) @ (a - 1.0)
        return value

    def expected_weights(self, predictors: Array) -> Array:
        """Expected weights (m, K) at rows of predictors."""
        return np.broadcast_to(self.baseline(), (len(predictors), len(self.prior)))

    def baseline(self) -> Array:
        """Expected baseline weights (K,)."""
        value: Array = self.concentration / self.concentration.sum()
        return value

    def weight_sds(self) -> Array:
        """Standard deviations (K,) of the baseline weights."""
        mean, total = self.baseline(), self.concentration.sum()
        return np.sqrt(mean * (1.0 - mean) / (total + 1.0))

    def permuted(self, order: Order) -> DirichletFactor:
        """Component ``j`` of the result is component ``order[j]`` of this object."""
        return DirichletFactor(self.prior[order], self.concentration[order])


@dataclass(frozen=True)
class ShiftFactor:
    r"""Normal factor of the slopes of the means, ``Delta``.

    What is not known of the slopes widens every component for a person with covariates ``u``:

    .. math:: E[\log N(y; \mu_k + u \Delta, \Sigma_k)] = \log N(y; m_k + u \bar\Delta, P_k^{-1}) + c_k
              - \tfrac12 \sum_{qr} u_q u_r \mathrm{tr}(P_k C_{qr})

    Attributes
    ----------
    precision : ndarray (Q, D)
        Of the prior, whose mean is zero.
    mean : ndarray (Q, D)
    covariance : ndarray (Q, D, Q, D)
        ``C``.
    """

    precision: Array
    mean: Array
    covariance: Array

    @classmethod
    def at(cls, precision: Array, mean: Array) -> ShiftFactor:
        """Slopes that are taken as known, to begin with."""
        q, size = precision.shape
        return cls(precision, mean, np.zeros((q, size, q, size)))

    def updated(self, precisions: Array, squares: Array, cross: Array) -> ShiftFactor:
        """The factor that maximises the bound.

        Parameters
        ----------
        precisions : ndarray (K, D, D)
            Expected precisions of the components.
        squares : ndarray (K, Q, Q)
            ``sum_i r_ik u_i u_i'``.
        cross : ndarray (K, Q, D)
            ``sum_i r_ik u_i (y_i - m_k)'``.
        """
        q, size = self.precision.shape
        if not q:
            return self
        matrix = np.einsum("kqr,kde->qdre", squares, precisions).reshape(q * size, q * size)
        matrix = matrix + np.diag(self.precision.ravel())
        covariance = np.linalg.inv(matrix)
        mean = covariance @ np.einsum("kqe,ked->qd", cross, precisions).ravel()
        covariance = 0.5 * (covariance + covariance.T)
        return replace(self, mean=mean.reshape(q, size), covariance=covariance.reshape(q, size, q, size))

    def widths(self, precisions: Array, covariates: Array) -> Array:
        """``sum_qr u_q u_r tr(P_k C_qr)`` (n, K) of everybody; ``covariates`` (Q, n)."""
        traces = np.einsum("kde,qerd->kqr", precisions, self.covariance)
        value: Array = np.einsum("qn,kqr,rn->nk", covariates, traces, covariates, optimize=True)
        return value

    def scatter(self, squares: Array) -> Array:
        """What is added to each component's scatter for it (K, D, D)."""
        value: Array = np.einsum("kqr,qdre->kde", squares, self.covariance)
        return 0.5 * (value + np.swapaxes(value, 1, 2))

    def _flat(self) -> Array:
        return self.covariance.reshape(self.mean.size, self.mean.size)

    def divergence(self) -> float:
        """Kullback-Leibler divergence from the prior."""
        if not self.mean.size:
            return 0.0
        variances = np.diagonal(self._flat())
        known = self.precision.ravel() @ (variances + self.mean.ravel() ** 2)
        log_dets = np.linalg.slogdet(self._flat())[1] + np.log(self.precision).sum()
        return float(0.5 * (known - self.mean.size - log_dets))

    def draw(self, n: int, rng: np.random.Generator) -> Array:
        """Draw slopes (n, Q, D)."""
        if not self.mean.size:
            return np.zeros((n, *self.mean.shape))
        noise = rng.standard_normal((n, self.mean.size)) @ np.linalg.cholesky(self._flat()).T
        return self.mean + noise.reshape(n, *self.mean.shape)

    def log_density(self, shifts: Array) -> Array:
        """Log density (n,) of draws (n, Q, D)."""
        size = self.mean.size
        if not size:
            return np.zeros(len(shifts))
        root = np.linalg.cholesky(self._flat())
        z = np.linalg.solve(root, (shifts - self.mean).reshape(len(shifts), size).T)
        value: Array = -0.5 * (z**2).sum(axis=0) - np.log(np.diagonal(root)).sum() - 0.5 * size * np.log(2.0 * np.pi)
        return value

    def sds(self) -> Array:
        """Standard deviations (Q, D)."""
        return np.sqrt(np.diagonal(self._flat())).reshape(self.mean.shape)
