"""Draws from the prior of a problem, and traits simulated from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayesgmm import names
from bayesgmm.core.gaussian import NiwPrior, precision_roots
from bayesgmm.core.objective import Parameters, Stacked
from bayesgmm.core.tails import Tails
from bayesgmm.errors import InputError
from bayesgmm.inference.thinning import log_jeffreys_ratio

if TYPE_CHECKING:
    from bayesgmm.problem import Problem

Array = NDArray[np.float64]

_BATCHES = 500  # of as many draws as are asked for, before it is said that hardly any is kept


def draw_prior(problem: Problem, n: int, rng: np.random.Generator) -> Stacked:
    """Draw parameters (n, ...), standardised, from the prior.

    Raises
    ------
    PropernessError, InputError
        If the prior is improper, the family has no density of its own, or hardly a draw is kept under Jeffreys' prior
        of the weights.
    """
    problem.priors.refuse_improper()
    problem.refuse_unsampled()
    if not problem.priors.weights_jeffreys:
        return _draw(problem, n, rng)
    kept: list[Stacked] = []
    missing = n
    for _ in range(_BATCHES):
        # Jeffreys' prior of the weights is at most the Dirichlet that is drawn from (bayesgmm.core.fisher)
        batch = _draw(problem, n, rng)
        log_ratio, _ = log_jeffreys_ratio(batch.pi, batch.means, batch.roots)
        chosen = np.flatnonzero(np.log(rng.random(n)) < log_ratio)[:missing]
        kept.append(Stacked(*(x[chosen] for x in batch)))
        missing -= len(chosen)
        if missing == 0:
            return Stacked(*(np.concatenate(parts) for parts in zip(*kept, strict=True)))
    raise InputError(
        f"weights prior: of {_BATCHES * n} draws fewer than {n} are kept under Jeffreys' prior, since the components' "
        "prior draws them nearly on top of each other; give a smaller strength or dof, or fewer components"
    )


def _draw(problem: Problem, n: int, rng: np.random.Generator) -> Stacked:
    """Draws (n, ...) under the Dirichlet prior of the weights."""
    arrays, k, located = problem.arrays, problem.n_components, problem.n_located
    prior = arrays.weights_prior
    pi = rng.dirichlet(prior.concentration, n) if k > 1 else np.ones((n, 1))
    scales, sds = problem.priors.scales, None
    if scales is not None:
        sds = scales.sds(scales.quantiles(rng.random((n, scales.n_scales)))) * problem.predictor_unit
    beta = prior.draw_effects(n, rng, sds)
    roots = _draw_roots(arrays.niw_prior, located, n, rng)
    # mu | Sigma ~ N(m0, Sigma / kappa0), and Sigma = inv(L L')
    noise = rng.standard_normal((n, located, arrays.n_traits, 1)) / np.sqrt(arrays.niw_prior.strength)
    means = arrays.niw_prior.mean + np.linalg.solve(np.swapaxes(roots, -1, -2), noise)[..., 0]
    shifts = rng.standard_normal((n, *arrays.shift_precision.shape)) / np.sqrt(arrays.shift_precision)
    return Stacked(np.maximum(pi, np.finfo(float).tiny), beta, means, roots, shifts, _draw_df(arrays.tails, n, rng))


def _draw_df(tails: Tails, n: int, rng: np.random.Generator) -> Array:
    """Degrees of freedom (n, L) from their prior, or as they are given."""
    if not tails.n_free:
        return np.tile(tails.df, (n, 1))
    free = rng.gamma(tails.shape, 1.0 / tails.rate, (n, tails.n_free))
    return free[:, np.arange(len(tails.df)) % tails.n_free]


def _draw_roots(niw: NiwPrior, n_components: int, n: int, rng: np.random.Generator) -> Array:
    """Precision factors (n, K, D, D) of covariances from the prior of a family (Bartlett 1933)."""
    size, family = len(niw.mean), niw.family
    copies = 1 if family.shared else n_components
    roots: Array
    if family.spherical or family.diagonal:
        freedom = 1 if family.spherical else size
        rate = np.array([np.trace(niw.scale) / size]) if family.spherical else np.diag(niw.scale)
        precision = rng.chisquare(niw.dof, (n, copies, freedom)) / rate
        roots = np.sqrt(precision)[..., None] * np.eye(size)
    else:
        bartlett = np.zeros((n, copies, size, size))
        rows, columns = np.tril_indices(size, -1)
        bartlett[..., rows, columns] = rng.standard_normal((n, copies, len(rows)))
        every = np.arange(size)
        bartlett[..., every, every] = np.sqrt(rng.chisquare(niw.dof - every, (n, copies, size)))
        roots = precision_roots(niw.scale) @ bartlett
    return np.repeat(roots, n_components // copies, axis=1)


def draw_traits(
    problem: Problem, parameters: Parameters, component: NDArray[np.int64], covariates: Array, rng: np.random.Generator
) -> Array:
    """Traits (n, D), in their units, of people of these components.

    Parameters
    ----------
    problem : Problem
    parameters : Parameters
        Standardised.
    component : ndarray of int (n,)
    covariates : ndarray (n, Q)
        Of the means, standardised.
    rng : numpy.random.Generator
    """
    n, fixed = len(component), problem.fixed
    noise = rng.standard_normal((n, len(problem.unit)))
    # who is of noise or a spike is given a place below
    located = np.minimum(component, problem.n_located - 1)
    if len(parameters.df):
        df = parameters.df[located]
        noise /= np.sqrt(rng.chisquare(df) / df)[:, None]
    factors = np.linalg.inv(parameters.roots)  # Sigma = F' F
    values = parameters.means[located] + np.einsum("ne,ned->nd", noise, factors[located])
    traits: Array = problem.centre + problem.unit * (values + covariates @ parameters.shifts)
    for k, kind in enumerate(fixed.kinds, start=problem.n_located):
        there = component == k
        if kind == names.NOISE and fixed.noise is not None:
            traits[there] = fixed.noise.draw(int(there.sum()), rng)
        elif fixed.spike is not None:
            traits[there] = fixed.spike
    return traits


def simulate_traits(problem: Problem, stacked: Stacked, rng: np.random.Generator) -> tuple[Array, NDArray[np.int64]]:
    """Traits (n, n_samples, n_traits), in their units, and components (n, n_samples) of the study's people.

    What is missing in the study is missing here.
    """
    n, n_samples = len(stacked.pi), problem.n_samples
    traits = np.empty((n, n_samples, len(problem.trait_names)))
    components = np.empty((n, n_samples), dtype=np.int64)
    covariates = problem.covariates / problem.covariate_unit
    for j in range(n):
        parameters = stacked.at(j)
        cumulative = np.exp(problem.log_weights(parameters)).cumsum(axis=1)
        z = (rng.random(n_samples)[:, None] > cumulative[:, :-1]).sum(axis=1)
        traits[j], components[j] = draw_traits(problem, parameters, z, covariates, rng), z
    traits[:, np.isnan(problem.traits)] = np.nan
    return traits, components
