r"""What a mean-field posterior leaves out of its variances, by linear response.

The factors of parameters are :math:`q(\theta) \propto p(\theta) e^{s \cdot \tau(\theta)}` with

.. math:: \tau_k = (\log \pi_k + \tfrac12 \log |\Lambda_k| - \tfrac12 \mu_k' \Lambda_k \mu_k,\; \Lambda_k \mu_k,\;
          -\tfrac12 \Lambda_k), \qquad s_k = \sum_i r_{ik} (1,\; y_i,\; y_i y_i')

and the memberships r depend on :math:`E \tau`. If the log posterior had a small multiple of :math:`g(\theta)` added to
it, the factors would move, memberships after them, and the factors again; how far :math:`E g` moves in the end is the
variance of g that q should have had (Giordano, Broderick and Jordan 2018, JMLR 19:51). With
:math:`V = \mathrm{cov}_q(\tau)`, :math:`C = \mathrm{cov}_q(g, \tau)` and :math:`R = ds / dE\tau`

.. math:: \mathrm{var}(g) = \mathrm{var}_q(g) + C R (I - V R)^{-1} C'

V and C are derivatives of expectations under q in its own numbers s, in closed form but for differences; R is the only
part that needs the people, two passes for each number. Where predictors act on the weights, their normal factor stands
in for :math:`\log \pi_k`, with ``s`` the sums of responsibilities times predictors.

Of Student-t components memberships come with latent precisions ``u``: all of ``s`` but its first part is weighted by
:math:`E[u_{ik}]`, :math:`-\tfrac12 \mu_k' \Lambda_k \mu_k` is a part of its own with :math:`\sum_i r_{ik} E[u_{ik}]`,
and degrees of freedom that are estimated are one more, :math:`\nu / 2` with
:math:`\sum_i r_{ik} E[\log u_{ik} - u_{ik} + 1]`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bayesgmm.core.conjugate import ComponentFactors, DirichletFactor
from bayesgmm.core.mean_field import Factors, MeanField
from bayesgmm.core.tail_factor import log_height
from bayesgmm.core.tilted import NormalFactor

Array = NDArray[np.float64]

_STEP = 1e-4  # of the differences, relative to what a number is known to
_HALF_LOG_2PI = 0.5 * np.log(2.0 * np.pi)


class LinearResponse:
    """Linear response of factors at the top of the bound; without covariates of the means.

    Parameters
    ----------
    field : MeanField
    factors : Factors
    """

    def __init__(self, field: MeanField, factors: Factors) -> None:
        self._field, self._factors = field, factors
        self._rows, self._columns = np.tril_indices(field.arrays.n_traits)
        # an entry below the diagonal stands for two
        self._times = np.where(self._rows == self._columns, 1.0, 2.0)

    @property
    def _n_components(self) -> int:
        """Components, with noise and a spike, which have a weight and nothing else."""
        return self._field.arrays.n_components

    @property
    def n_passes(self) -> int:
        """Passes over the people that :meth:`added_variances` takes, at most."""
        return 2 * len(self._expected(self._factors))

    # -- numbers of q and expectations under it ----------------------------------------------------

    @property
    def _n_tails(self) -> tuple[int, int]:
        """Student-t components, and degrees of freedom that are estimated."""
        tails = self._factors.tails.tails
        return len(tails.df), tails.n_free

    def _pack(self, mass: Array, sums: Array, squares: Array, weights: Array, tails: Array) -> Array:
        return np.concatenate(
            (mass, sums.ravel(), squares[:, self._rows, self._columns].ravel(), weights.ravel(), tails)
        )

    def _unpack(self, flat: Array) -> tuple[Array, Array, Array, Array, Array]:
        k, size = self._factors.components.means.shape
        turns, n_tails = len(self._rows), sum(self._n_tails)
        flat, tails = flat[: len(flat) - n_tails], flat[len(flat) - n_tails :]
        mass, sums, squares, weights = np.split(flat, np.cumsum([self._n_components, k * size, k * turns]))
        full = np.zeros((k, size, size))
        full[:, self._rows, self._columns] = squares.reshape(k, turns)
        full[:, self._columns, self._rows] = squares.reshape(k, turns)
        return mass, sums.reshape(k, size), full, weights, tails

    def _moved(self, change: Array) -> Factors:
        """The factors when ``s`` changes by this; of a normal factor, when its mean does."""
        q, prior = self._factors.components, self._factors.components.prior
        mass, sums, squares, weights, of_tails = self._unpack(change)
        own_mass, tails, precisions = mass[: len(q.mass)], self._factors.tails, None
        strength = q.strength + own_mass
        if q.precisions is not None:
            n_tailed, n_free = self._n_tails
            strength, precisions = q.strength + of_tails[:n_tailed], q.precisions + of_tails[:n_tailed]
            people = tails.people + np.array([own_mass[j::n_free].sum() for j in range(n_free)])
            tails = replace(tails, people=people, excess=tails.excess + of_tails[n_tailed:])
        means = (q.strength[:, None] * q.means + sums) / strength[:, None]
        # Psi + kappa m m' is linear in the sums
        outer = np.einsum("k,kd,ke->kde", q.strength, q.means, q.means) + squares
        own = outer - np.einsum("k,kd,ke->kde", strength, means, means)
        size, family = means.shape[1], prior.family
        if family.shared:
            own = np.broadcast_to(own.sum(axis=0), own.shape)
        if family.spherical:
            own = np.trace(own, axis1=1, axis2=2)[:, None, None] * np.eye(size)
        elif family.diagonal:
            own = own * np.eye(size)
        components = ComponentFactors(prior, q.mass + own_mass, means, q.scales + own, precisions)
        found = self._factors.weights
        if isinstance(found, NormalFactor):
            made: DirichletFactor | NormalFactor = NormalFactor(
                found.prior, found.mean + weights.reshape(found.mean.shape), found.covariance
            )
        else:
            made = DirichletFactor(found.prior, found.concentration + mass)
        return Factors(made, components, self._factors.shifts, tails)

    def _expected(self, q: Factors) -> Array:
        """``E tau``."""
        c = q.components
        precisions = c.expected_precisions
        slopes = np.einsum("kde,ke->kd", precisions, c.means)
        size = c.means.shape[1]
        pulls = -0.5 * (np.einsum("kd,kd->k", slopes, c.means) + size / c.strength)
        height, of_tails = c.expected_log_roots - size * _HALF_LOG_2PI, np.zeros(0)
        if c.precisions is None:
            height = height + pulls
        else:
            of_tails = pulls
            if q.tails.tails.n_free:
                height, of_tails = height + q.tails.heights(), np.concatenate((pulls, 0.5 * q.tails.means))
        height = np.pad(height, (0, self._n_components - len(c.mass)))
        weights = np.zeros(0)
        if isinstance(q.weights, NormalFactor):
            weights = q.weights.mean.ravel()
        else:
            height = height + q.weights.log_weights
        return self._pack(height, slopes, -0.5 * precisions * self._doubled, weights, of_tails)

    @property
    def _doubled(self) -> Array:
        size = self._field.arrays.n_traits
        return 2.0 - np.eye(size)

    # -- memberships -------------------------------------------------------------------------------

    def _sums_at(self, tau: Array) -> Array:
        """``s`` of memberships under expectations ``tau``."""
        height, slopes, halves, weights, of_tails = self._unpack(tau)
        precisions = -2.0 * halves / self._doubled
        means = np.linalg.solve(precisions, slopes[:, :, None])[:, :, 0]
        roots = np.linalg.cholesky(precisions)
        log_det = 2.0 * np.log(np.diagonal(roots, axis1=1, axis2=2)).sum(axis=1)
        k, size = means.shape
        constants = height.copy()
        inside = (slopes * means).sum(axis=1)
        constants[:k] += size * _HALF_LOG_2PI - 0.5 * log_det
        n_tailed, n_free = self._n_tails
        df = widening = np.zeros(0)
        if n_tailed:
            df = self._factors.tails.df
            if n_free:
                df = 2.0 * of_tails[n_tailed:][np.arange(k) % n_free]
                constants[:k] -= log_height(df)
            widening = 1.0 - (2.0 * of_tails[:n_tailed] + inside) / df
            constants[:k] -= 0.5 * df * np.log(widening)
        else:
            constants[:k] += 0.5 * inside
        predictors, found = self._field.arrays.sample.predictors, self._factors.weights
        counts = np.broadcast_to(constants, (len(predictors), len(constants)))
        if isinstance(found, NormalFactor):
            moved = NormalFactor(found.prior, weights.reshape(found.mean.shape), found.covariance)
            counts = counts + moved.expected_log_weights(predictors)
        moments = self._field.pass_at(counts, means, roots, np.zeros((0, size)), df=df, widening=widening)
        mass, first = moments.mass[: self._n_components], moments.first
        own_mass, tails = mass[:k], np.zeros(0)
        if n_tailed:
            precisions, logs = np.split(moments.mass[self._n_components :], 2)
            excess = logs - precisions + own_mass
            own_mass = precisions
            tails = np.concatenate((precisions, [excess[j::n_free].sum() for j in range(n_free)]))
        sums = first + own_mass[:, None] * means
        cross = np.einsum("kd,ke->kde", first, means)
        squares = moments.second + cross + np.swapaxes(cross, 1, 2) + np.einsum("k,kd,ke->kde", own_mass, means, means)
        of_weights = np.zeros(0)
        if isinstance(found, NormalFactor):
            x = np.column_stack((np.ones(len(predictors)), predictors))
            of_weights = (x.T @ moments.counts[:, 1:]).ravel()
        return self._pack(mass, sums, squares, of_weights, tails)

    # -- the answer --------------------------------------------------------------------------------

    def _jacobian(self, function: Callable[[Array], Array], at: Array, steps: Array) -> Array:
        """Derivatives (outputs, inputs) by central differences."""
        columns = []
        for j, step in enumerate(steps):
            change = np.zeros(len(at))
            change[j] = step
            columns.append((function(at + change) - function(at - change)) / (2.0 * step))
        return np.stack(columns, axis=1)

    def added_variances(self, of: Callable[[Factors], Array]) -> Array:
        """What linear response adds to the variances under q of quantities with expectations ``of`` (m,).

        Raises
        ------
        numpy.linalg.LinAlgError
            If the factors are not at a maximum of the bound.
        """
        tau = self._expected(self._factors)
        still = np.zeros(len(tau))
        size = self._field.arrays.n_traits
        k, turns = len(self._factors.components.mass), len(self._rows)
        n_tailed, n_free = self._n_tails
        n_weights = len(still) - self._n_components - k * (size + turns) - n_tailed - n_free
        # sums over people are known to about the square root of their number
        components, weights = self._factors.components, self._factors.weights
        root = np.sqrt(components.mass + components.prior.dof)
        people = np.ones(self._n_components)
        people[:k] = np.minimum(root, 10.0 * components.strength)
        if isinstance(weights, DirichletFactor):
            people = np.minimum(people, 10.0 * weights.concentration)
        tails = self._factors.tails
        each = np.concatenate(
            (
                people,
                np.repeat(root, size),
                np.repeat(root, turns),
                np.ones(n_weights),
                np.minimum(root, 10.0 * components.strength)[:n_tailed],
                np.maximum(-tails.excess, tails.tails.rate),
            )
        )
        steps = _STEP * each
        variances = self._jacobian(lambda change: self._expected(self._moved(change)), still, steps)
        covariances = self._jacobian(lambda change: of(self._moved(change)), still, steps)
        if isinstance(weights, NormalFactor):
            # a normal factor moves by its covariance times the change of its sums
            end = len(still) - n_tailed - n_free
            own = slice(end - n_weights, end)
            variances[:, own] = variances[:, own] @ weights.covariance
            covariances[:, own] = covariances[:, own] @ weights.covariance
        spread = np.sqrt(np.maximum(np.diagonal(variances), 0.0))
        moving = np.flatnonzero(spread > 0.0)
        # where degrees of freedom are few a small move of a mean is many of a person's widths
        share = 0.01 * min(1.0, float(tails.df.min())) if len(tails.df) else 0.01
        steps = np.where(spread > 0.0, share * spread, 1.0)[moving]

        def sums(some: Array) -> Array:
            whole = tau.copy()
            whole[moving] = some
            return self._sums_at(whole)[moving]

        response = self._jacobian(sums, tau[moving], steps)
        response = 0.5 * (response + response.T)
        variances = variances[np.ix_(moving, moving)]
        covariances = covariances[:, moving]
        # in units of the spread under q the system is well scaled
        scale = spread[moving]
        inner = np.eye(len(scale)) - (variances / scale[:, None]) @ (response * scale[None, :])
        if not np.isfinite(inner).all():
            raise np.linalg.LinAlgError("memberships change too steeply to be differenced, as where df is near nothing")
        eigenvalues = np.linalg.eigvals(inner)
        if not (eigenvalues.real > 0.0).all():
            raise np.linalg.LinAlgError("the factors are not at a strict maximum of the bound")
        solved = np.linalg.solve(inner, (covariances / scale).T)
        added = np.einsum("ml,lm->m", covariances @ response * scale, solved)
        return added
