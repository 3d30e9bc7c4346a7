r"""The same mixture as a PyMC model, membership summed out, built from the same resolved priors.

Traits are standardised as in the MAP, so that every variable is of order one. ``Sigma_k`` enters through the lower
Cholesky factor of its precision, ``L = chol(inv(Psi0)) A`` with Bartlett's ``A``: ``A_dd^2 ~ chi2(nu0 - d)``
(d from 0) and ``A_de ~ N(0, 1)`` below the diagonal. That is the inverse Wishart exactly, with no factorisation and no
inverse in the graph (Smith and Hocking 1972, Applied Statistics 21:341). A variance of a diagonal or spherical family
is the reciprocal of a chi-square over its rate: inverse-gamma exactly. A covariance that all components share is one
variable. Effects are standardised: with ``z`` of length ``|z|^2 = u`` they are ``mean + s z M'``, and ``z`` has PyMC's
own distribution where two components leave one contrast, else the density of :mod:`bayesgmm.core.effect_density`,
without its constant, as a potential. Hyperparameters and data are ``pm.Data``: one compiled model serves any values of
them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from numpy.typing import NDArray

from bayesgmm import names
from bayesgmm.core.effect_density import LAPLACE, NORMAL, SPIKE_SLAB, STUDENT_T
from bayesgmm.core.families import Family
from bayesgmm.core.gaussian import NiwPrior
from bayesgmm.core.learned_scales import GroupScales, HorseshoeScales
from bayesgmm.core.objective import MixtureArrays, Parameters
from bayesgmm.core.sample import Sample
from bayesgmm.core.scale_model import ScaleModel
from bayesgmm.core.tails import Tails
from bayesgmm.errors import InputError
from bayesgmm.inference.likelihood_op import marginal_mixture_likelihood, sample_inputs

if TYPE_CHECKING:
    from bayesgmm.problem import Problem

Array = NDArray[np.float64]

MEANS_STANDARD = "means_standard"
CHI_SQUARED = "bartlett_squared_diagonal"
LOWER = "bartlett_lower"
EFFECTS_STANDARD = "effects_standard"
SHIFTS_STANDARD = "shifts_standard"
GROUPS_STANDARD = "group_scales_standard"
GLOBAL_STANDARD = "global_scale_standard"
SLAB_SQUARED = "slab_squared_standard"
DF_FREE = "df_free"


def effect_factor(n_components: int) -> Array:
    """Lower factor ``M`` with ``M M' = (I + 11') / 2``: effects are ``mean + sd * z M'`` with z standard normal."""
    size = n_components - 1
    return np.linalg.cholesky(0.5 * (np.eye(size) + np.ones((size, size))))


def data_of(arrays: MixtureArrays) -> dict[str, Any]:
    """Values of every ``pm.Data`` of the model: observed data and hyperparameters."""
    niw, prior = arrays.niw_prior, arrays.weights_prior
    shapes = {} if (prior.effect_kind == NORMAL).all() else {"prior_effect_shape": prior.effect_shape}
    if len(arrays.tails.df):
        shapes["prior_df"] = np.array([arrays.tails.df[0], arrays.tails.shape, arrays.tails.rate])
    return {
        **sample_inputs(arrays.sample),
        **shapes,
        "prior_concentration": prior.concentration,
        "prior_mean": niw.mean,
        "prior_strength": np.asarray(niw.strength, dtype=float),
        "prior_dof": np.asarray(niw.dof, dtype=float),
        "prior_precision_root": _bartlett_scale(niw),
        "prior_effect_mean": prior.effect_mean,
        "prior_effect_sd": prior.effect_sd,
        "prior_shift_sd": arrays.shift_precision**-0.5,
    }


def _bartlett_scale(niw: NiwPrior) -> Array:
    """Lower factor by which Bartlett's is multiplied: of the inverse scale, or one over root rates on a diagonal."""
    if niw.family.spherical:
        root: Array = np.eye(len(niw.mean)) / np.sqrt(np.trace(niw.scale) / len(niw.mean))
        return root
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
    InputError
        If the covariance family is one that cannot be sampled.
    """
    problem.priors.refuse_improper()
    problem.refuse_unsampled()
    if problem.priors.weights_jeffreys:
        raise InputError(
            "Jeffreys' prior of the weights is not in the PyMC model; use Dirichlet(0.5) there, or Mixture.sample"
        )
    with pm.Model(coords=_coords(problem)) as model:
        sds = _declare_scales(problem)
        parameters = _declare(problem.arrays, sds)
        unit, centre = problem.unit, problem.centre
        inverse = pt.linalg.inv(parameters["roots"])
        means = centre + unit * parameters["means"]
        covariances = pt.matmul(inverse.transpose(0, 2, 1), inverse) * np.outer(unit, unit)
        if len(problem.fixed):
            # noise and a spike have those of their densities, which nothing changes
            means = pt.concatenate([means, problem.fixed.means])
            covariances = pt.concatenate([covariances, problem.fixed.covariances])
        pm.Deterministic(names.MEANS, means, dims=(names.COMPONENT, names.TRAIT))
        pm.Deterministic(names.COVARIANCES, covariances, dims=(names.COMPONENT, names.TRAIT, names.TRAIT_BIS))
        if problem.priors.tails.n_free:
            pm.Deterministic(names.DF, parameters["df"][: problem.priors.tails.n_free], dims=names.LOCATED)
        if problem.predictor_names and problem.n_components > 1:
            beta = parameters["beta"] / problem.predictor_unit[:, None]
            full = pt.concatenate([pt.zeros((len(problem.predictor_names), 1)), beta], axis=1)
            others = [k for k in range(problem.n_components) if k != problem.reference]
            effects = full[:, others] - full[:, [problem.reference]]
            pm.Deterministic(names.EFFECTS, effects, dims=(names.PREDICTOR, names.CONTRAST))
        if problem.covariate_names:
            scale = unit[None, :] / problem.covariate_unit[:, None]
            pm.Deterministic(names.SHIFTS, parameters["shifts"] * scale, dims=(names.COVARIATE, names.TRAIT))
    return model


def build_core_model(arrays: MixtureArrays) -> tuple[pm.Model, dict[str, Any]]:
    """Model without labels or deterministics, and its parameters as graph variables: what the sampler compiles."""
    with pm.Model() as model:
        parameters = _declare(arrays)
    return model, parameters


def _coords(problem: Problem) -> dict[str, Any]:
    coords: dict[str, Any] = {
        names.COMPONENT: list(problem.component_labels) if len(problem.fixed) else np.arange(problem.n_components),
        names.TRAIT: list(problem.trait_names),
        names.TRAIT_BIS: list(problem.trait_names),
    }
    if problem.predictor_names and problem.n_components > 1:
        coords[names.PREDICTOR] = list(problem.predictor_names)
        coords[names.CONTRAST] = list(problem.contrasts)
    if problem.priors.tails.n_free:
        coords[names.LOCATED] = problem.coords[names.LOCATED]
    if problem.priors.scales is not None:
        coords |= problem.priors.scales.coords
    if problem.covariate_names:
        coords[names.COVARIATE] = list(problem.covariate_names)
    return coords


def _declare_scales(problem: Problem) -> Any:
    """Declare the scales of the effects where they are learned; return those of standardised predictors, else None."""
    scales = problem.priors.scales
    if scales is None:
        return None
    if isinstance(scales, GroupScales):
        between = pm.HalfNormal(names.BETWEEN_SCALE, sigma=scales.between)
        each = pm.HalfNormal(GROUPS_STANDARD, sigma=1.0, shape=len(scales.groups))
        own = pm.Deterministic(names.GROUP_SCALES, between * each, dims=names.GROUP)
        variance = pt.dot(scales.member, own**2)
        sds = pt.sqrt(pt.where(scales.learned, variance, 1.0)) * scales.base
    else:
        assert isinstance(scales, HorseshoeScales)
        half = 0.5 * scales.slab_df
        overall = pm.HalfCauchy(GLOBAL_STANDARD, beta=1.0)
        squared = pm.InverseGamma(SLAB_SQUARED, alpha=half, beta=half) * scales.slab**2
        local = pm.HalfCauchy(names.LOCAL_SCALES, beta=1.0, dims=names.PREDICTOR)
        pm.Deterministic(names.GLOBAL_SCALE, overall * scales.global_scale)
        pm.Deterministic(names.SLAB_SCALE, pt.sqrt(squared))
        t = overall * scales.global_scale * local / scales.unit
        sds = pt.sqrt(squared) * t / pt.sqrt(squared + t**2)
        shrinkage = 1.0 / (1.0 + scales.information * (scales.unit * sds) ** 2)
        pm.Deterministic(names.SHRINKAGE, shrinkage, dims=names.PREDICTOR)
        pm.Deterministic(names.EFFECTIVE_EFFECTS, (1.0 - shrinkage).sum())
    return sds * problem.predictor_unit


def scale_values(scales: ScaleModel, theta: Array) -> dict[str, Array]:
    """Values of the free variables of the scales (before any transform) at coordinates (n_scales,)."""
    if isinstance(scales, GroupScales):
        between = np.asarray(scales.between * np.exp(theta[0]))
        return {names.BETWEEN_SCALE: between, GROUPS_STANDARD: np.exp(theta[1:])}
    return {
        GLOBAL_STANDARD: np.exp(theta[0]),
        SLAB_SQUARED: np.exp(theta[1]),
        names.LOCAL_SCALES: np.exp(theta[2:]),
    }


def _declare(arrays: MixtureArrays, sds: Any = None) -> dict[str, Any]:
    """Declare data, priors and likelihood in the current model; return weights, means, roots and beta.

    ``sds`` (P,) are scales of the effects that are themselves variables, in place of those of the arrays.
    """
    data = {name: pm.Data(name, value) for name, value in data_of(arrays).items()}
    n_components, size, n_covariates = arrays.n_components, arrays.n_traits, len(arrays.shift_precision)
    n_located = arrays.n_located
    n_predictors = arrays.sample.predictors.shape[1]
    n_patterns = data["predictors"].shape[0]
    roots = _declare_roots(data, arrays.family, n_located, size)
    means = pm.Flat(MEANS_STANDARD, shape=(n_located, size))
    # mu | Sigma ~ N(m0, Sigma / kappa0), the determinant from the factor's diagonal
    scaled = (roots * (means - data["prior_mean"])[:, :, None]).sum(1)
    log_det = pt.log(pt.diagonal(roots, axis1=1, axis2=2)).sum()
    half_log = 0.5 * n_located * size * pt.log(data["prior_strength"] / (2.0 * np.pi))
    pm.Potential("means_prior", half_log + log_det - 0.5 * data["prior_strength"] * (scaled**2).sum())
    df = _declare_df(data, arrays.tails, n_located)
    shifts = pt.zeros((n_covariates, size))
    if n_covariates:
        shifts = pm.Normal(SHIFTS_STANDARD, sigma=data["prior_shift_sd"], shape=(n_covariates, size))
    if n_components == 1:
        weights, beta = pt.ones(1), pt.zeros((n_predictors, 0))
        logits = pt.zeros((n_patterns, 1))
    else:
        weights = pm.Dirichlet(names.WEIGHTS, data["prior_concentration"], shape=n_components)
        logits = pt.zeros((n_patterns, n_components)) + pt.log(weights)
        beta = pt.zeros((0, n_components - 1))
        if n_predictors:
            z = _declare_standard_effects(data, arrays.weights_prior.effect_kind, n_components - 1)
            spread = pt.dot(z, effect_factor(n_components).T)
            sds = data["prior_effect_sd"] if sds is None else sds
            beta = data["prior_effect_mean"] + sds[:, None] * spread
            logits = pt.log(weights) + pt.concatenate(
                [pt.zeros((n_patterns, 1)), pt.dot(data["predictors"], beta)], axis=1
            )
    inputs = [data[name] for name in Sample._fields]
    likelihood = marginal_mixture_likelihood(logits, means, roots, shifts, df, *inputs)[0]
    pm.Potential("log_likelihood", likelihood)
    return {"weights": weights, "beta": beta, "means": means, "roots": roots, "shifts": shifts, "df": df}


def _declare_df(data: dict[str, Any], tails: Tails, n_located: int) -> Any:
    """Degrees of freedom of every Student-t component (L,); empty where components are Gaussian."""
    if not len(tails.df):
        return pt.zeros(0)
    given, shape, rate = (data["prior_df"][j] for j in range(3))
    if not tails.n_free:
        return given * pt.ones(n_located)
    free = pm.Gamma(DF_FREE, alpha=shape, beta=rate, shape=tails.n_free)
    return free * pt.ones(n_located)


def _declare_standard_effects(data: dict[str, Any], kind: NDArray[np.int64], size: int) -> Any:
    """Effects without mean and scale, and in directions that are apart (P, K-1)."""
    shape = (len(kind), size)
    if (kind == NORMAL).all():
        return pm.Normal(EFFECTS_STANDARD, shape=shape)
    first, second = data["prior_effect_shape"][:, :1], data["prior_effect_shape"][:, 1:]
    if size == 1 and (kind == STUDENT_T).all():
        return pm.StudentT(EFFECTS_STANDARD, nu=first, mu=0.0, sigma=1.0, shape=shape)
    if size == 1 and (kind == LAPLACE).all():
        return pm.Laplace(EFFECTS_STANDARD, mu=0.0, b=1.0, shape=shape)
    if size == 1 and (kind == SPIKE_SLAB).all():
        weights, sds = pt.stack([1.0 - first, first], axis=-1), pt.stack([second, pt.ones_like(second)], axis=-1)
        return pm.NormalMixture(EFFECTS_STANDARD, w=weights, mu=pt.zeros_like(sds), sigma=sds, shape=shape)
    z = pm.Flat(EFFECTS_STANDARD, shape=shape)
    pm.Potential("effects_prior", sum(_log_kernel(kind[p], data, p, size, (z[p] ** 2).sum()) for p in range(len(kind))))
    return z


def _log_kernel(kind: int, data: dict[str, Any], p: int, size: int, u: Any) -> Any:
    """``psi(u)`` of one predictor; see :mod:`bayesgmm.core.effect_density`."""
    if kind == NORMAL:
        return -0.5 * u
    first, second = data["prior_effect_shape"][p, 0], data["prior_effect_shape"][p, 1]
    if kind == STUDENT_T:
        return -0.5 * (first + size) * pt.log1p(u / first)
    if kind == LAPLACE:
        # at zero, where a chain may be started, the gradient is zero and not undefined
        return -pt.sqrt(0.5 * (size + 1) * u + 1e-300)
    spike = pt.log1p(-first) - size * pt.log(second) - 0.5 * u / second**2
    return pt.logaddexp(spike, pt.log(first) - 0.5 * u)


def _declare_roots(data: dict[str, Any], family: Family, n_components: int, size: int) -> Any:
    """Precision factors (K, D, D): Bartlett's decomposition, or root chi-squares on the diagonal."""
    copies = 1 if family.shared else n_components
    if family.spherical or family.diagonal:
        squared = pm.ChiSquared(CHI_SQUARED, nu=data["prior_dof"], shape=(copies, 1 if family.spherical else size))
        diagonal = pt.sqrt(squared) * pt.ones((n_components, size))
        return (data["prior_precision_root"] * pt.eye(size))[None] * diagonal[:, :, None]
    dof = data["prior_dof"] - np.arange(size)
    squared = pm.ChiSquared(CHI_SQUARED, nu=dof, shape=(copies, size))
    if size == 1:
        roots = data["prior_precision_root"] * pt.sqrt(squared)[:, :, None]
    else:
        rows, columns = np.tril_indices(size, -1)
        lower = pm.Normal(LOWER, shape=(copies, len(rows)))
        bartlett = pt.zeros((copies, size, size))
        every = np.concatenate((np.arange(size), rows)), np.concatenate((np.arange(size), columns))
        bartlett = bartlett[:, every[0], every[1]].set(pt.concatenate([pt.sqrt(squared), lower], axis=1))
        roots = (data["prior_precision_root"][None, :, :, None] * bartlett[:, None, :, :]).sum(2)
    return roots * pt.ones((n_components, 1, 1))


def natural_values(arrays: MixtureArrays, parameters: Parameters) -> dict[str, Array]:
    """Values of the free variables (before any transform) at given parameters."""
    niw, prior, family = arrays.niw_prior, arrays.weights_prior, arrays.family
    size = arrays.n_traits
    bartlett = np.linalg.solve(_bartlett_scale(niw)[None], parameters.roots)
    if family.shared:
        bartlett = bartlett[:1]
    squared = np.diagonal(bartlett, axis1=1, axis2=2) ** 2
    values = {
        CHI_SQUARED: squared[:, :1] if family.spherical else squared,
        MEANS_STANDARD: parameters.means,
    }
    if size > 1 and not (family.spherical or family.diagonal):
        rows, columns = np.tril_indices(size, -1)
        values[LOWER] = bartlett[:, rows, columns]
    if len(parameters.shifts):
        values[SHIFTS_STANDARD] = parameters.shifts
    if arrays.tails.n_free:
        values[DF_FREE] = parameters.df[: arrays.tails.n_free]
    if prior.n_components > 1:
        values[names.WEIGHTS] = np.exp(parameters.log_pi)
        if len(parameters.beta):
            spread = (parameters.beta - prior.effect_mean) / prior.effect_sd[:, None]
            values[EFFECTS_STANDARD] = np.linalg.solve(effect_factor(prior.n_components), spread.T).T
    return values
