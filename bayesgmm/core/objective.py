r"""The log posterior of the mixture, its gradient and curvature: one function for every engine.

Flat coordinates, in which Newton's method and the normal approximation work, are ``alpha`` (K-1), ``beta`` (P, K-1),
``means`` (K, D) and, of the lower Cholesky factor ``L`` of each precision, the logarithms of the diagonal and the
entries below it. The density is always the one in the natural parameters (pi, B, mu, Sigma): no Jacobian is added, so
the mode is the same in any coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bayesgmm.core import kernel
from bayesgmm.core.gaussian import NiwPrior
from bayesgmm.core.labels import canonical_order
from bayesgmm.core.posterior import Hyper, logits_of, value_and_gradient
from bayesgmm.core.weights import WeightsPrior, log_softmax

Array = NDArray[np.float64]
Index = NDArray[np.int32]

# Central differences of an exact gradient: the cube root of the rounding error balances both errors.
_STEP = float(np.finfo(float).eps ** (1.0 / 3.0))


@dataclass(frozen=True)
class Parameters:
    """Parameters of the mixture as arrays.

    Attributes
    ----------
    alpha : ndarray (K-1,)
        Log ratios of the baseline weights to component 0.
    beta : ndarray (P, K-1)
        Log odds ratios against component 0.
    means : ndarray (K, D)
    roots : ndarray (K, D, D)
        Lower Cholesky factors of the precisions.
    """

    alpha: Array
    beta: Array
    means: Array
    roots: Array

    @property
    def log_pi(self) -> Array:
        """Log baseline weights (K,)."""
        return log_softmax(np.concatenate(([0.0], self.alpha))[None])[0]

    def pack(self) -> Array:
        """Flat coordinates (n_free,)."""
        size = self.means.shape[1]
        below = np.tril_indices(size, -1)
        log_diagonal = np.log(np.diagonal(self.roots, axis1=1, axis2=2))
        parts = (self.alpha, self.beta, self.means, log_diagonal, self.roots[:, below[0], below[1]])
        return np.concatenate([part.ravel() for part in parts])

    def unpack(self, flat: Array) -> Parameters:
        """Parameters of the shapes of this object from flat coordinates."""
        free, n_predictors = len(self.alpha), len(self.beta)
        n_components, size = self.means.shape
        lengths = np.cumsum([free, n_predictors * free, n_components * size, n_components * size])
        alpha, beta, means, log_diagonal, lower = np.split(flat, lengths)
        roots = np.zeros((n_components, size, size))
        diagonal = np.arange(size)
        below = np.tril_indices(size, -1)
        roots[:, diagonal, diagonal] = np.exp(log_diagonal).reshape(n_components, size)
        roots[:, below[0], below[1]] = lower.reshape(n_components, -1)
        return Parameters(alpha, beta.reshape(n_predictors, free), means.reshape(n_components, size), roots)

    def permuted(self, order: NDArray[np.int64]) -> Parameters:
        """Parameters with component ``j`` of the result being component ``order[j]`` of this object."""
        index = np.asarray(order)
        alpha = np.concatenate(([0.0], self.alpha))[index]
        beta = np.concatenate((np.zeros((len(self.beta), 1)), self.beta), axis=1)[:, index]
        return Parameters(alpha[1:] - alpha[0], beta[:, 1:] - beta[:, :1], self.means[index], self.roots[index])

    def sorted(self) -> Parameters:
        """Parameters with components in the order of their means on the first trait (ties: the next trait)."""
        return self.permuted(canonical_order(self.means))


@dataclass(frozen=True)
class MixtureArrays:
    """Data and priors of one problem, standardised and sorted for the kernel.

    Attributes
    ----------
    traits : ndarray (D, n)
        Standardised traits, people sorted by pattern.
    pattern : ndarray of int32 (n,)
        Row of ``predictors`` each person has; non-decreasing.
    predictors : ndarray (U, P)
        Distinct rows of centred predictors.
    totals : ndarray (U,)
        People with each row.
    weights_prior : WeightsPrior
    niw_prior : NiwPrior
        In standardised units.
    """

    traits: Array
    pattern: Index
    predictors: Array
    totals: Array
    weights_prior: WeightsPrior
    niw_prior: NiwPrior

    @property
    def n_people(self) -> int:
        """Number of people with traits."""
        return self.traits.shape[1]

    def log_weights(self, parameters: Parameters) -> Array:
        """Log mixing weights of each pattern (U, K)."""
        return log_softmax(logits_of(parameters.alpha, parameters.beta, self.predictors))

    def log_prior(self, parameters: Parameters) -> float:
        """Log prior density in the natural parameters, with every constant."""
        prior, niw, roots = self.weights_prior, self.niw_prior, parameters.roots
        value = self.hyper.constant + float((prior.concentration - 1.0) @ parameters.log_pi)
        if len(parameters.beta):
            offset = parameters.beta - prior.effect_mean
            value -= 0.5 * float(np.einsum("pk,pkl,pl->", offset, self.hyper.effect_precision, offset))
        if niw.is_flat:
            return value
        size = roots.shape[1]
        pulled = (roots * (parameters.means - niw.mean)[:, :, None]).sum(axis=1)
        value += (niw.dof + size + 2.0) * float(np.log(np.diagonal(roots, axis1=1, axis2=2)).sum())
        value -= 0.5 * float((roots * (niw.scale @ roots)).sum()) + 0.5 * niw.strength * float((pulled**2).sum())
        return value

    def expectation(self, parameters: Parameters) -> kernel.Moments:
        """E step: log likelihood and moments of the responsibilities."""
        return kernel.moments(
            self.traits, self.pattern, self.log_weights(parameters), parameters.means, parameters.roots
        )

    def membership(self, parameters: Parameters) -> tuple[Array, Array]:
        """Responsibilities (n, K) and pointwise log likelihood (n,), people in the order of ``traits``."""
        log_weights = self.log_weights(parameters)
        return kernel.posterior_membership(self.traits, self.pattern, log_weights, parameters.means, parameters.roots)

    @cached_property
    def hyper(self) -> Hyper:
        """Hyperparameters as the compiled log posterior takes them."""
        prior, niw = self.weights_prior, self.niw_prior
        finite = np.where(np.isinf(prior.effect_sd), 1.0, prior.effect_sd)
        at_mean = replace(prior, effect_sd=finite).log_density_effects(prior.effect_mean)
        constant = (
            float(prior.log_density_weights(np.zeros(prior.n_components)))
            + float(at_mean[~np.isinf(prior.effect_sd)].sum())
            + prior.n_components * niw.log_constant()
        )
        return Hyper(
            prior.concentration,
            prior.effect_mean,
            prior.effect_precision(),
            niw.mean,
            float(niw.strength),
            float(niw.dof),
            niw.scale,
            constant,
        )

    def log_posterior_and_gradient(self, parameters: Parameters) -> tuple[float, Array]:
        """Log posterior, a density in the natural parameters, and its gradient in flat coordinates."""
        return self.value_and_gradient(parameters.pack())

    def value_and_gradient(self, flat: Array, *, jacobian: bool = False) -> tuple[float, Array]:
        """Log posterior and gradient at flat coordinates; see :func:`bayesgmm.core.posterior.value_and_gradient`."""
        gradient = np.empty(len(flat))
        data = (self.traits, self.pattern, self.predictors, self.totals)
        return value_and_gradient(flat, *data, self.hyper, jacobian, gradient), gradient

    def negative_hessian(self, parameters: Parameters) -> Array:
        """Observed information of the log posterior in flat coordinates, from differences of the exact gradient."""
        centre = parameters.pack()
        result = np.empty((len(centre), len(centre)))
        for j, x in enumerate(centre):
            step = _STEP * max(1.0, abs(x))
            ahead, behind = centre.copy(), centre.copy()
            ahead[j] += step
            behind[j] -= step
            _, g_ahead = self.value_and_gradient(ahead)
            _, g_behind = self.value_and_gradient(behind)
            result[j] = (g_behind - g_ahead) / (ahead[j] - behind[j])
        return 0.5 * (result + result.T)


def moments_of_partition(arrays: MixtureArrays, responsibilities: Array) -> tuple[kernel.Moments, Array]:
    """Moments about zero of given responsibilities (n, K), and the centres they are about (K, D)."""
    n_components = responsibilities.shape[1]
    traits = arrays.traits
    counts = np.zeros((len(arrays.predictors), n_components))
    np.add.at(counts, arrays.pattern, responsibilities)
    centres = np.zeros((n_components, traits.shape[0]))
    first = (traits @ responsibilities).T
    second = np.einsum("dn,nk,en->kde", traits, responsibilities, traits, optimize=True)
    return kernel.Moments(float("nan"), counts, first, second), centres
