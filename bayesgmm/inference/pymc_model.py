r"""The same mixture as a PyMC model, membership summed out, built from the same resolved priors.

Traits are standardised as in the MAP, so that every variable is of order one. ``Sigma_k`` enters through the lower
Cholesky factor of its precision, ``L = chol(inv(Psi0)) A`` with Bartlett's ``A``: ``A_dd^2 ~ chi2(nu0 - d)``
(d from 0) and ``A_de ~ N(0, 1)`` below the diagonal. That is the inverse Wishart exactly, with no factorisation and no
inverse in the graph (Smith and Hocking 1972, Applied Statistics 21:341). Hyperparameters and data are ``pm.Data``: one
compiled model serves any values of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from numpy.typing import NDArray

from bayesgmm import names
from bayesgmm.core.gaussian import NiwPrior
from bayesgmm.core.objective import MixtureArrays, Parameters
from bayesgmm.inference.likelihood_op import marginal_mixture_likelihood

if TYPE_CHECKING:
    from bayesgmm.problem import Problem

Array = NDArray[np.float64]

MEANS_STANDARD = "means_standard"
CHI_SQUARED = "bartlett_squared_diagonal"
LOWER = "bartlett_lower"
EFFECTS_STANDARD = "effects_standard"


def effect_factor(n_components: int) -> Array:
    """Lower factor ``M`` with ``M M' = (I + 11') / 2``: effects are ``mean + sd * z M'`` with z standard normal."""
    size = n_components - 1
    return np.linalg.cholesky(0.5 * (np.eye(size) + np.ones((size, size))))


def data_of(arrays: MixtureArrays) -> dict[str, Any]:
    """Values of every ``pm.Data`` of the model: observed data and hyperparameters."""
    niw, prior = arrays.niw_prior, arrays.weights_prior
    return {
        "traits": arrays.traits,
        "pattern": arrays.pattern,
        "pattern_totals": arrays.totals,
        "predictors": arrays.predictors,
        "prior_concentration": prior.concentration,
        "prior_mean": niw.mean,
        "prior_strength": np.asarray(niw.strength, dtype=float),
        "prior_dof": np.asarray(niw.dof, dtype=float),
        "prior_precision_root": _bartlett_scale(niw),
        "prior_effect_mean": prior.effect_mean,
        "prior_effect_sd": prior.effect_sd,
    }


def _bartlett_scale(niw: NiwPrior) -> Array:
    return np.linalg.cholesky(np.linalg.inv(niw.scale))


def build_model(problem: Problem) -> pm.Model:
    """Build the PyMC model of a problem.

    Parameters
    ----------
    problem : Problem

    Returns
    -------
    pymc.Model
        Free variables in standardised coordinates; ``means``, ``covariances`` and ``effects`` in the traits' units as
        deterministics, with the names and dims of :class:`bayesgmm.MapFit`.

    Raises
    ------
    PropernessError
        If the prior is improper.
    """
    problem.priors.refuse_improper()
    with pm.Model(coords=_coords(problem)) as model:
        parameters = _declare(problem.arrays)
        unit, centre = problem.unit, problem.centre
        pm.Deterministic(names.MEANS, centre + unit * parameters["means"], dims=(names.COMPONENT, names.TRAIT))
        inverse = pt.linalg.inv(parameters["roots"])
        covariances = pt.matmul(inverse.transpose(0, 2, 1), inverse) * np.outer(unit, unit)
        pm.Deterministic(names.COVARIANCES, covariances, dims=(names.COMPONENT, names.TRAIT, names.TRAIT_BIS))
        if problem.predictor_names and problem.n_components > 1:
            full = pt.concatenate([pt.zeros((len(problem.predictor_names), 1)), parameters["beta"]], axis=1)
            others = [k for k in range(problem.n_components) if k != problem.reference]
            effects = full[:, others] - full[:, [problem.reference]]
            pm.Deterministic(names.EFFECTS, effects, dims=(names.PREDICTOR, names.CONTRAST))
    return model


def build_core_model(arrays: MixtureArrays) -> tuple[pm.Model, dict[str, Any]]:
    """Model without labels or deterministics, and its parameters as graph variables: what the sampler compiles."""
    with pm.Model() as model:
        parameters = _declare(arrays)
    return model, parameters


def _coords(problem: Problem) -> dict[str, Any]:
    coords: dict[str, Any] = {
        names.COMPONENT: np.arange(problem.n_components),
        names.TRAIT: list(problem.trait_names),
        names.TRAIT_BIS: list(problem.trait_names),
    }
    if problem.predictor_names and problem.n_components > 1:
        coords[names.PREDICTOR] = list(problem.predictor_names)
        coords[names.CONTRAST] = list(problem.contrasts)
    return coords


def _declare(arrays: MixtureArrays) -> dict[str, Any]:
    """Declare data, priors and likelihood in the current model; return weights, means, roots and beta."""
    data = {name: pm.Data(name, value) for name, value in data_of(arrays).items()}
    n_components = arrays.weights_prior.n_components
    size = arrays.traits.shape[0]
    n_predictors = arrays.predictors.shape[1]
    n_patterns = data["predictors"].shape[0]
    roots = _declare_roots(data, n_components, size)
    means = pm.Flat(MEANS_STANDARD, shape=(n_components, size))
    # mu | Sigma ~ N(m0, Sigma / kappa0), the determinant from the factor's diagonal
    scaled = (roots * (means - data["prior_mean"])[:, :, None]).sum(1)
    log_det = pt.log(pt.diagonal(roots, axis1=1, axis2=2)).sum()
    half_log = 0.5 * n_components * size * pt.log(data["prior_strength"] / (2.0 * np.pi))
    pm.Potential("means_prior", half_log + log_det - 0.5 * data["prior_strength"] * (scaled**2).sum())
    if n_components == 1:
        weights, beta = pt.ones(1), pt.zeros((n_predictors, 0))
        logits = pt.zeros((n_patterns, 1))
    else:
        weights = pm.Dirichlet(names.WEIGHTS, data["prior_concentration"], shape=n_components)
        logits = pt.zeros((n_patterns, n_components)) + pt.log(weights)
        beta = pt.zeros((0, n_components - 1))
        if n_predictors:
            z = pm.Normal(EFFECTS_STANDARD, shape=(n_predictors, n_components - 1))
            spread = pt.dot(z, effect_factor(n_components).T)
            beta = data["prior_effect_mean"] + data["prior_effect_sd"][:, None] * spread
            logits = pt.log(weights) + pt.concatenate(
                [pt.zeros((n_patterns, 1)), pt.dot(data["predictors"], beta)], axis=1
            )
    likelihood = marginal_mixture_likelihood(
        logits, means, roots, data["traits"], data["pattern"], data["pattern_totals"]
    )[0]
    pm.Potential("log_likelihood", likelihood)
    return {"weights": weights, "beta": beta, "means": means, "roots": roots}


def _declare_roots(data: dict[str, Any], n_components: int, size: int) -> Any:
    dof = data["prior_dof"] - np.arange(size)
    squared = pm.ChiSquared(CHI_SQUARED, nu=dof, shape=(n_components, size))
    if size == 1:
        return data["prior_precision_root"] * pt.sqrt(squared)[:, :, None]
    rows, columns = np.tril_indices(size, -1)
    lower = pm.Normal(LOWER, shape=(n_components, len(rows)))
    bartlett = pt.zeros((n_components, size, size))
    every = np.concatenate((np.arange(size), rows)), np.concatenate((np.arange(size), columns))
    bartlett = bartlett[:, every[0], every[1]].set(pt.concatenate([pt.sqrt(squared), lower], axis=1))
    return (data["prior_precision_root"][None, :, :, None] * bartlett[:, None, :, :]).sum(2)


def natural_values(arrays: MixtureArrays, parameters: Parameters) -> dict[str, Array]:
    """Values of the free variables (before any transform) at given parameters."""
    niw, prior = arrays.niw_prior, arrays.weights_prior
    size = arrays.traits.shape[0]
    bartlett = np.linalg.solve(_bartlett_scale(niw)[None], parameters.roots)
    values = {
        CHI_SQUARED: np.diagonal(bartlett, axis1=1, axis2=2) ** 2,
        MEANS_STANDARD: parameters.means,
    }
    if size > 1:
        rows, columns = np.tril_indices(size, -1)
        values[LOWER] = bartlett[:, rows, columns]
    if prior.n_components > 1:
        values[names.WEIGHTS] = np.exp(parameters.log_pi)
        if len(parameters.beta):
            spread = (parameters.beta - prior.effect_mean) / prior.effect_sd[:, None]
            values[EFFECTS_STANDARD] = np.linalg.solve(effect_factor(prior.n_components), spread.T).T
    return values
